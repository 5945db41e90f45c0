"""How the command line speaks: errors, JSON lines, and model text made safe for a terminal.

Room: cli. Knows text only; must not know models or commands.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO

from freehold.errors import FreeholdError, LoadError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = [
    "error_lines",
    "print_error",
    "print_json",
    "safe_text",
    "say",
    "table_console",
    "write_piece",
]

# Everything below space but newline and tab, plus DEL and the C1 block: what terminals obey.
_CONTROLS = {
    code: "\N{REPLACEMENT CHARACTER}"
    for code in (*range(0x20), *range(0x7F, 0xA0))
    if chr(code) not in "\n\t"
}


def say(line: str = "") -> None:
    """Write one line to stderr, where everything goes that is not the answer itself."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def print_json(record: Mapping[str, object]) -> None:
    """Write one JSON object as one line to stdout."""
    sys.stdout.write(json.dumps(record, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def error_lines(error: FreeholdError) -> list[str]:
    """An error as a person reads it: the first line says what, the rest what to do."""
    lines = [f"error[{error.code}]: {error.message}"]
    shown = " ".join(str(part) for part in (error.message, error.found))
    if error.value is not None and str(error.value) not in shown:
        lines.append(f"  value:    {error.value!r}")
    for label, text in (
        ("where", _where(error)),
        ("expected", error.expected),
        ("found", error.found),
        ("hint", error.hint),
    ):
        if text:
            lines.append(f"  {label + ':':<9} {text}")
    return [safe_text(line) for line in lines]


def _where(error: FreeholdError) -> str:
    # A FormatError says where in its message.
    if not isinstance(error, LoadError):
        return ""
    parts = (("family", error.family), ("tensor", error.tensor))
    return ", ".join(f"{name} {part}" for name, part in parts if part is not None)


def print_error(error: FreeholdError) -> None:
    """Write an error to stderr, its first line in colour when a person is looking."""
    first, *rest = error_lines(error)
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        head, colon, tail = first.partition(":")
        first = f"\x1b[1;31m{head}{colon}\x1b[0m{tail}"
    for line in (first, *rest):
        say(line)


def safe_text(text: str) -> str:
    """The text with control characters replaced, so that it cannot drive the terminal."""
    return text.translate(_CONTROLS)


def write_piece(piece: str, *, to: TextIO) -> None:
    """Write a piece of an answer at once; made safe only where a terminal would obey it."""
    to.write(safe_text(piece) if to.isatty() else piece)
    to.flush()


def table_console() -> Console:
    """Where tables go: stdout, wide enough for a path when no terminal sets the width."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else 160
    return Console(width=width, highlight=False, markup=False)
