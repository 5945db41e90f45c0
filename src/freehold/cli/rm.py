"""`freehold rm`: give a model's disk space back.

Room: cli.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["rm"]


def rm(name: Annotated[str, typer.Argument(help="The short name of a pulled model.")]) -> None:
    """Delete a pulled model."""
    from freehold.cli.printing import say
    from freehold.config import resolve_settings
    from freehold.library import entry_named, remove
    from freehold.library.record import note_removal
    from freehold.library.shelf import place_of

    settings = resolve_settings()
    freed_bytes = remove(name, settings.models_dir)
    location = place_of(entry_named(name), settings.models_dir)
    note_removal(settings, name=name, location=location)
    say(f"removed {name}, {freed_bytes / 1e6:.1f} MB freed")
