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
    from freehold.library import remove

    freed_bytes = remove(name, resolve_settings().models_dir)
    say(f"removed {name}, {freed_bytes / 1e6:.1f} MB freed")
