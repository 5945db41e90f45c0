"""Small JSON files that lie beside a model's weights: configurations and lists.

Room: formats. Must not know what any key means.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import BadValue, LimitExceeded
from freehold.formats.mapped_file import MappedFile
from freehold.formats.safetensors_header import (
    MAX_BRACKETS,
    MAX_COMMAS,
    JsonLimits,
    parse_json,
)

__all__ = [
    "SMALL",
    "VOCABULARY",
    "FileLimits",
    "parse_object",
    "read_json_list",
    "read_json_object",
    "read_text",
]


@dataclass(frozen=True, slots=True)
class FileLimits:
    """The most that a file may hold."""

    max_bytes: int
    json: JsonLimits


SMALL = FileLimits(4 << 20, JsonLimits(MAX_BRACKETS, MAX_COMMAS))
# Twice the largest published: 33 MB with 516,000 brackets, and 1.4 million commas.
VOCABULARY = FileLimits(64 << 20, JsonLimits(1 << 20, 1 << 22))


def read_json_object(path: Path, *, limits: FileLimits = SMALL) -> dict[str, Any]:
    """The object that a file holds.

    Raises: FormatError when it holds anything else, a key twice, or too much; OSError.
    """
    return parse_object(path, _bytes_of(path, limits), limits)


def parse_object(path: Path, raw: bytes, limits: FileLimits) -> dict[str, Any]:
    """The object that bytes hold; the path is for errors. Raises: as `read_json_object`."""
    return parse_json(path, raw, offset=0, limits=limits.json)


def read_text(path: Path) -> str:
    """The UTF-8 text of a small file. Raises: FormatError for anything else; OSError."""
    try:
        return _bytes_of(path, SMALL).decode()
    except UnicodeDecodeError as error:
        raise BadValue(
            "the file is not text",
            path=path,
            offset=error.start,
            expected="UTF-8",
            found="other bytes",
            hint="the file is damaged or hostile",
        ) from None


def read_json_list(path: Path) -> list[object]:
    """The list that a file holds. Raises: as `read_json_object`."""
    # As the only value of an object, so that one parser guards both.
    found = parse_json(path, b'{"list":' + _bytes_of(path, SMALL) + b"}", offset=0)
    values = found["list"]
    if found.keys() != {"list"} or not isinstance(values, list):
        raise BadValue(
            "the JSON is not a list",
            path=path,
            offset=0,
            expected="a list",
            found=type(values).__name__,
            hint="the file is damaged or hostile",
        )
    return values


def _bytes_of(path: Path, limits: FileLimits) -> bytes:
    file = MappedFile(path)
    try:
        if file.size_bytes > limits.max_bytes:
            raise LimitExceeded(
                "the file is larger than any real one of its kind",
                path=path,
                value=file.size_bytes,
                expected=f"at most {limits.max_bytes} bytes",
                found=f"{file.size_bytes} bytes",
                hint="the file is damaged or hostile",
            )
        return file.map[:]
    finally:
        file.close()
