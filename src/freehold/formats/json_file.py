"""Small JSON files that lie beside a model's weights: configurations and lists.

Room: formats. Must not know what any key means.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from freehold.errors import BadValue, LimitExceeded
from freehold.formats.mapped_file import MappedFile
from freehold.formats.safetensors_header import parse_json

__all__ = ["read_json_list", "read_json_object"]

MAX_BYTES = 4 << 20


def read_json_object(path: Path) -> dict[str, Any]:
    """The object that a file holds.

    Raises: FormatError when it holds anything else, a key twice, or too much; OSError.
    """
    return parse_json(path, _bytes_of(path), offset=0)


def read_json_list(path: Path) -> list[object]:
    """The list that a file holds. Raises: as `read_json_object`."""
    # As the only value of an object, so that one parser guards both.
    found = parse_json(path, b'{"list":' + _bytes_of(path) + b"}", offset=0)
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


def _bytes_of(path: Path) -> bytes:
    file = MappedFile(path)
    try:
        if file.size_bytes > MAX_BYTES:
            raise LimitExceeded(
                "the file is larger than any real one of its kind",
                path=path,
                value=file.size_bytes,
                expected=f"at most {MAX_BYTES} bytes",
                found=f"{file.size_bytes} bytes",
                hint="the file is damaged or hostile",
            )
        return file.map[:]
    finally:
        file.close()
