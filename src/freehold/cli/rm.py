"""`freehold rm`: give a model's disk space back.

Room: cli.
"""

from __future__ import annotations

from typing import Annotated

import typer

__all__ = ["rm"]


def rm(
    name: Annotated[
        str,
        typer.Argument(metavar="REF", help="The name of a model here, as `freehold list` has it."),
    ],
) -> None:
    """Delete a model from the store. Files of others that it refers to stay."""
    from freehold.cli.printing import say
    from freehold.config import resolve_settings
    from freehold.library import entries, entry_named, held_named, remove, remove_held
    from freehold.library.record import note_removal
    from freehold.library.shelf import place_of

    settings = resolve_settings()
    held = None
    if all(entry.name != name for entry in entries()):
        held = held_named(name, settings.models_dir)
    if held is not None:
        freed_bytes, location = remove_held(held), held.path
    else:
        freed_bytes = remove(name, settings.models_dir)
        location = place_of(entry_named(name), settings.models_dir)
    note_removal(settings, name=name, location=location)
    say(f"removed {name}, {freed_bytes / 1e6:.1f} MB freed")
