"""Models split over several GGUF files: their names, and that they belong together.

Room: formats. Must not open a file, nor know what a tensor is for.

Source: llama.cpp at 0c1e57098, tools/gguf-split: `NAME-00001-of-00003.gguf`, keys `split.no`
(from 0), `split.count` and `split.tensors.count`. The names come from the first file's own name
and never from its contents, so a file cannot point anywhere else.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from freehold.errors import BadValue, MissingShard
from freehold.formats.gguf_header import MAX_TENSORS
from freehold.formats.mapped_file import clip, label

if TYPE_CHECKING:
    from pathlib import Path

    from freehold.formats.gguf_cursor import MetadataValue
    from freehold.formats.gguf_header import GgufHeader

__all__ = ["check_shard", "check_total", "find_shards"]

MAX_SHARDS = 512  # each holds a file descriptor, of which a process often has 1,024
_NAME = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
# A later file repeats few keys, and these may differ from the first file's.
_OWN_KEYS = frozenset({"split.no", "general.alignment"})


def find_shards(path: Path, first: GgufHeader) -> list[Path]:
    """All files of the model whose first file is `path`, which is alone if it is not split.

    Raises: BadValue when the split's keys are unusable or this is not the first file;
    MissingShard when a file is absent.
    """
    metadata = first.metadata
    count = _whole(path, metadata, "split.count", (0, MAX_SHARDS), absent=0)
    if count <= 1:
        return [path]
    number = _whole(path, metadata, "split.no", (0, count - 1))
    _whole(path, metadata, "split.tensors.count", (0, MAX_TENSORS))
    match = _NAME.fullmatch(path.name)
    if match is None or int(match["number"]) != number + 1 or int(match["count"]) != count:
        raise BadValue(
            "the name of this file does not say which part of a split model it is",
            path=path,
            field="split.no",
            value=number,
            expected=f"a name ending in -{number + 1:05}-of-{count:05}.gguf",
            found=path.name,
            hint="give the files of the model their original names",
        )
    shards = [
        path.with_name(f"{match['stem']}-{i + 1:05}-of-{count:05}.gguf") for i in range(count)
    ]
    if number != 0:
        raise BadValue(
            "this is a later part of a split model",
            path=path,
            field="split.no",
            value=number,
            expected="0, the first part",
            found=str(number),
            hint=f"open {shards[0].name} instead",
        )
    missing = [shard for shard in shards if not shard.is_file()]
    if missing:
        raise MissingShard(
            f"{missing[0].name} is missing",
            path=path,
            field="split.count",
            value=str(missing[0]),
            expected=f"{count} files beside each other",
            found=f"{count - len(missing)} of them",
            hint="fetch the missing files into the same folder",
        )
    return shards


def check_shard(path: Path, header: GgufHeader, *, number: int, first: GgufHeader) -> None:
    """Make sure that a later file is the one its name says, and says nothing else.

    Raises: MissingShard when its keys are not those of the first file's model.
    """
    for key, expected in (("split.no", number), ("split.count", first.metadata["split.count"])):
        found = header.metadata.get(key)
        if not _same(found, expected):
            _fail_foreign(path, key, found, expected)
    for key, found in header.metadata.items():
        if key not in _OWN_KEYS and not _same(found, first.metadata.get(key)):
            _fail_foreign(path, key, found, first.metadata.get(key))


def check_total(path: Path, first: GgufHeader, num_tensors: int, *, complete: bool) -> None:
    """Make sure that a split model has, when complete, as many tensors as it announces.

    Before that it may have fewer but not more, so that many files cannot add up to too much.
    Raises: MissingShard when it has not.
    """
    if "split.tensors.count" not in first.metadata:
        return
    expected = _whole(path, first.metadata, "split.tensors.count", (0, MAX_TENSORS))
    if num_tensors > expected or (complete and num_tensors < expected):
        raise MissingShard(
            "the files do not hold as many tensors as they announce",
            path=path,
            field="split.tensors.count",
            value=num_tensors,
            expected=f"{expected} tensors",
            found=str(num_tensors),
            hint="the files are not parts of one model; fetch them again",
        )


def _whole(
    path: Path,
    metadata: dict[str, MetadataValue],
    key: str,
    limits: tuple[int, int],
    *,
    absent: int | None = None,
) -> int:
    value = metadata.get(key, absent)
    low, high = limits
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return value
    raise BadValue(
        "the split is not usable",
        path=path,
        field=key,
        value=clip(value),
        expected=f"a whole number from {low} to {high}",
        found="nothing" if value is None else clip(value),
        hint="the file is damaged or hostile",
    )


def _same(one: MetadataValue | None, other: MetadataValue | None) -> bool:
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return (
            isinstance(one, np.ndarray)
            and isinstance(other, np.ndarray)
            and one.dtype == other.dtype
            and one.tobytes() == other.tobytes()
        )
    return type(one) is type(other) and one == other


def _fail_foreign(
    path: Path, key: str, found: MetadataValue | None, expected: MetadataValue | None
) -> None:
    raise MissingShard(
        "this file is not a part of the model whose first file was opened",
        path=path,
        field=label(key),
        value=clip(found),
        expected="nothing" if expected is None else clip(expected),
        found="nothing" if found is None else clip(found),
        hint="files of two models were mixed; fetch this one again",
    )
