"""Rows of a data set from its files: Arrow streams, lines of JSON, plain text.

Room: evals. Bytes in, rows out; must not know what they mean.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from freehold.errors import BadTask, SetupError

__all__ = ["Row", "arrow_rows", "json_rows", "text_pieces"]

_MOST_BYTES = 1 << 30
_PIECE_CHARS = 2000

Row = dict[str, Any]


def arrow_rows(path: Path) -> Iterator[Row]:
    """The rows of a file of Arrow's stream form. Raises: SetupError without pyarrow, BadTask."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise SetupError(
            "reading this data set needs the package pyarrow",
            hint="pip install 'freehold[evals]'",
        ) from error
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for batch in stream:
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise BadTask(
            "the file is no Arrow stream", value=str(path), found=type(error).__name__
        ) from error


def json_rows(path: Path) -> Iterator[Row]:
    """An object for each line, of a file that may be compressed. Raises: BadTask, with the line."""
    read = 0
    with path.open("rb") as raw:
        lines: Iterable[bytes] = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        for number, line in enumerate(lines, start=1):
            read += len(line)
            if read > _MOST_BYTES:
                raise BadTask("the file is too large", value=str(path), expected="1 GiB of text")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise BadTask(f"line {number} is not JSON", value=str(path)) from error
            if not isinstance(row, dict):
                raise BadTask(f"line {number} is no JSON object", value=str(path))
            yield row


def text_pieces(path: Path) -> list[str]:
    """A text cut between paragraphs into pieces of at least 2000 characters. Raises: BadTask."""
    if path.stat().st_size > _MOST_BYTES:
        raise BadTask("the file is too large", value=str(path), expected="1 GiB of text")
    try:
        text = path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BadTask("the text is not UTF-8", value=str(path)) from error
    pieces: list[str] = []
    waiting = ""
    for paragraph in text.split("\n\n"):
        waiting += ("\n\n" if waiting else "") + paragraph
        if len(waiting) >= _PIECE_CHARS:
            pieces.append(waiting)
            waiting = ""
    if waiting.strip():
        pieces.append(waiting)
    return pieces
