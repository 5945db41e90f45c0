"""Where in a model file a change lies: the tensors that a range of bytes touches.

Room: library. Reads headers only; must not know why somebody asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from freehold.errors import FormatError
from freehold.formats import gguf_header, safetensors_header
from freehold.formats.mapped_file import MappedFile, label

__all__ = ["describe_ranges"]

_MOST_RANGES = 4
_MOST_TENSORS = 3

_Place = tuple[str, int, int]


def describe_ranges(path: Path, ranges: Sequence[tuple[int, int]]) -> str:
    """The ranges in words, with what the file's own header says lies there.

    The header itself may be what was damaged; then the bytes alone are told.
    """
    places = _places(path)
    shown = [_describe(start, end, places) for start, end in ranges[:_MOST_RANGES]]
    if len(ranges) > _MOST_RANGES:
        shown.append(f"and {len(ranges) - _MOST_RANGES} more ranges")
    return "; ".join(shown)


def _places(path: Path) -> list[_Place]:
    """(name, start, end) of the file's tensors in the order of their bytes; none if unknown."""
    try:
        file = MappedFile(path)
        try:
            if path.suffix == ".safetensors":
                places = [_ends(one) for one in safetensors_header.read_header(file)[1]]
            elif path.suffix == ".gguf":
                places = [_ends(one) for one in gguf_header.read_header(file).tensors]
            else:
                places = []
        finally:
            file.close()
    except (FormatError, OSError):
        return []
    return sorted(places, key=lambda place: place[1])


def _ends(one: gguf_header.TensorPlace | safetensors_header.SafetensorsPlace) -> _Place:
    return (one.name, one.offset, one.offset + one.n_bytes)


def _describe(start: int, end: int, places: list[_Place]) -> str:
    text = f"bytes {start:,} to {end:,}"
    touched = [name for name, begin, stop in places if begin < end and start < stop]
    parts = ["the header"] if places and start < places[0][1] else []
    if touched:
        names = ", ".join(label(name) for name in touched[:_MOST_TENSORS])
        more = len(touched) - _MOST_TENSORS
        names += f" and {more} more" if more > 0 else ""
        parts.append(f"tensor {names}" if len(touched) == 1 else f"one of the tensors {names}")
    return f"{text} ({' or '.join(parts)})" if parts else text
