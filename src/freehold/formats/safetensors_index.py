"""The index of a sharded safetensors model: which tensor is in which file beside it.

Room: formats. Must not open any file that the index names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.errors import BadValue, LimitExceeded
from freehold.formats.mapped_file import clip, label
from freehold.formats.safetensors_header import MAX_HEADER_BYTES, MAX_TENSORS, parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from freehold.formats.mapped_file import MappedFile

__all__ = ["read_index"]

MAX_SHARDS = 512  # each holds a file descriptor, of which a process often has 1,024
MAX_FILE_NAME_BYTES = 255


def read_index(file: MappedFile) -> dict[str, str]:
    """The file name of each tensor. `metadata.total_size` is not used: it is wrong in the wild.

    Raises: FormatError when the index is unusable or names anything but a plain file beside it.
    """
    path = file.path
    if file.size_bytes > MAX_HEADER_BYTES:
        raise _too_many(path, "end of file", file.size_bytes, MAX_HEADER_BYTES, "bytes")
    table = parse_json(path, file.map[:], offset=0)
    surplus = sorted(table.keys() - {"metadata", "weight_map"})
    weight_map = table.get("weight_map")
    if surplus or not isinstance(weight_map, dict) or not weight_map:
        found = f"the key {label(surplus[0])}" if surplus else type(weight_map).__name__
        raise BadValue(
            "this is not the index of a sharded model",
            path=path,
            field="weight_map",
            value=found,
            expected="an object of metadata and weight_map, which maps tensors to files",
            found=found,
            hint="open the model by its .safetensors.index.json",
        )
    if len(weight_map) > MAX_TENSORS:
        raise _too_many(path, "weight_map", len(weight_map), MAX_TENSORS, "tensors")
    for name, shard in weight_map.items():
        if not _is_plain_name(shard):
            raise BadValue(
                "the index points somewhere else than beside itself",
                path=path,
                field=label(name),
                value=clip(shard),
                expected="the plain name of a .safetensors file",
                found=clip(shard),
                hint="the index is damaged or hostile",
            )
    num_shards = len(set(weight_map.values()))
    if num_shards > MAX_SHARDS:
        raise _too_many(path, "weight_map", num_shards, MAX_SHARDS, "files")
    return weight_map


def _is_plain_name(shard: object) -> bool:
    if not isinstance(shard, str) or not shard.endswith(".safetensors"):
        return False
    # Printable also rules out NUL, line ends and half surrogate pairs.
    plain = shard.isprintable() and not set(shard) & set('/\\:*?"<>|') and shard[0] != "."
    return plain and len(shard.encode("utf-8", "replace")) <= MAX_FILE_NAME_BYTES


def _too_many(path: Path, field: str, found: int, limit: int, what: str) -> LimitExceeded:
    return LimitExceeded(
        "the index is larger than any real one",
        path=path,
        field=field,
        value=found,
        expected=f"at most {limit} {what}",
        found=str(found),
        hint="the index is damaged or hostile",
    )
