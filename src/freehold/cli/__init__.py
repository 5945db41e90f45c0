"""The `freehold` command: one file per command, heavy imports inside the commands.

Room: cli. The bottom of the house: it may use every room, and no room may use it.
"""

from __future__ import annotations

from freehold.cli.entry import main

__all__ = ["main"]
