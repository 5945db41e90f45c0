"""Every hostile safetensors file or index gets its exact error, and none of them costs memory."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import pytest

from freehold.errors import (
    BadMagic,
    BadOffset,
    BadValue,
    DuplicateName,
    FormatError,
    LimitExceeded,
    Truncated,
    UnsupportedType,
)
from freehold.formats.safetensors import open_safetensors
from tests.formats.safetensors_build import content, entry, sound, write, write_sharded

# Content, error, and the field it must name.
Attack = tuple[bytes, type[FormatError], str]
HUGE = (1 << 64) - 1


def one(table: object, data: bytes = bytes(4)) -> bytes:
    """A file with one tensor `w` described by this."""
    return content({"w": table}, data)


def two(first: tuple[int, int], second: tuple[int, int], data: int) -> bytes:
    table = {
        "a": entry("U8", [first[1] - first[0]], *first),
        "b": entry("U8", [second[1] - second[0]], *second),
    }
    return content(table, bytes(data))


HEADER: dict[str, Attack] = {
    "7 bytes": (b"\xff" * 7, Truncated, "end of file"),
    "length 2^64-1": (content({}, length=HUGE), LimitExceeded, "header length"),
    "length past the end": (content({}, length=3), Truncated, "end of file"),
    "length 0": (content(b""), BadMagic, "header"),
    "a GGUF file": (
        b"GGUF\x03\0\0\0" + bytes(64),
        LimitExceeded,
        "header length",
    ),
    "a list": (content(b"[1]"), BadMagic, "header"),
    "a space before the object": (content(b" {}"), BadMagic, "header"),
    "cut JSON": (content(b'{"w":'), BadValue, "header"),
    "two objects": (content(b"{}{}"), BadValue, "header"),
    "not UTF-8": (content(b'{"\xff":1}'), BadValue, "header"),
    "NaN": (content(b'{"w":NaN}'), BadValue, "header"),
    "bottomless nesting": (
        content(b'{"w":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
        BadValue,
        "header",
    ),
    "600,000 lists": (content(b'{"w":[' + b"[],[]," * 300_000 + b"0]}"), LimitExceeded, "header"),
    "3,000,000 numbers": (content(b'{"w":[' + b"0," * 3_000_000 + b"0]}"), LimitExceeded, "header"),
    "5,000 digits": (content(b'{"w":' + b"9" * 5000 + b"}"), BadValue, "header"),
    "key twice": (
        content(
            b'{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
            b"x",
        ),
        DuplicateName,
        "w",
    ),
    "inner key twice": (
        content(b'{"w":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        DuplicateName,
        "dtype",
    ),
    "metadata of numbers": (content({"__metadata__": {"a": 1}}), BadValue, "__metadata__"),
    "metadata is a list": (content({"__metadata__": []}), BadValue, "__metadata__"),
    "metadata is deep": (
        content(b'{"__metadata__":' + b"[" * 300 + b"]" * 300 + b"}"),
        BadValue,
        "__metadata__",
    ),
    "empty name": (content({"": entry("U8", [1], 0, 1)}, b"x"), BadValue, ""),
    "name of 1,025 bytes": (
        content({"n" * 1025: entry("U8", [1], 0, 1)}, b"x"),
        BadValue,
        f"'{'n' * 35}...{'n' * 35}'",
    ),
    "half a surrogate pair": (
        content(b'{"\\ud800":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x"),
        BadValue,
        "'\\ud800'",
    ),
}

TENSOR: dict[str, Attack] = {
    "entry is a number": (one(3), BadValue, "w"),
    "no shape": (one({"dtype": "U8", "data_offsets": [0, 4]}), BadValue, "w"),
    "a further key": (one({**entry("U8", [4], 0, 4), "x": 1}), BadValue, "w"),
    "unknown dtype": (one(entry("F128", [1], 0, 4)), UnsupportedType, "dtype of w"),
    "dtype is a list": (one(entry(["U8"], [4], 0, 4)), UnsupportedType, "dtype of w"),
    "shape is a number": (one(entry("U8", 4, 0, 4)), BadValue, "shape of w"),
    "negative dimension": (one(entry("U8", [-4, -1], 0, 4)), BadValue, "shape of w"),
    "dimension is a float": (one(entry("U8", [4.0], 0, 4)), BadValue, "shape of w"),
    "dimension is a boolean": (one(entry("F32", [True], 0, 4)), BadValue, "shape of w"),
    "9 dimensions": (one(entry("U8", [1] * 8 + [4], 0, 4)), BadValue, "shape of w"),
    "2^64+4 elements": (one(entry("U8", [4, (1 << 62) + 1], 0, 4)), BadValue, "shape of w"),
    "4,000 digits": (one(entry("U8", [10**3999], 0, 4)), BadValue, "shape of w"),
    "one offset": (
        one({"dtype": "U8", "shape": [4], "data_offsets": [4]}),
        BadValue,
        "data_offsets of w",
    ),
    "offsets backwards": (one(entry("U8", [4], 4, 0)), BadValue, "data_offsets of w"),
    "offsets negative": (one(entry("U8", [4], -4, 0)), BadValue, "data_offsets of w"),
    "offset 2^64": (one(entry("U8", [4], 1 << 64, (1 << 64) + 4)), BadValue, "data_offsets of w"),
    "too many bytes": (one(entry("F32", [2], 0, 4)), BadOffset, "data_offsets of w"),
    "too few bytes": (one(entry("U8", [3], 0, 4)), BadOffset, "data_offsets of w"),
    "half a byte": (one(entry("F4", [7], 0, 3), bytes(3)), BadOffset, "data_offsets of w"),
}

LAYOUT: dict[str, Attack] = {
    "hole in front": (one(entry("U8", [4], 1, 5), bytes(5)), BadOffset, "data_offsets of w"),
    "hole between": (two((0, 4), (5, 9), 9), BadOffset, "data_offsets of b"),
    "overlap": (two((0, 4), (3, 7), 7), BadOffset, "data_offsets of b"),
    "the same bytes twice": (two((0, 4), (0, 4), 4), BadOffset, "data_offsets of b"),
    "an empty tensor inside another": (two((0, 4), (2, 2), 4), BadOffset, "data_offsets of b"),
    "data cut by a byte": (two((0, 4), (4, 8), 7), Truncated, "end of file"),
    "a byte after the last tensor": (two((0, 4), (4, 8), 9), BadOffset, "end of file"),
    "data without a tensor": (content({}, b"x"), BadOffset, "end of file"),
    "2^62 bytes": (one(entry("U8", [1 << 62], 0, 1 << 62)), Truncated, "end of file"),
}

ATTACKS = {
    f"{group}: {name}": attack
    for group, table in {"header": HEADER, "tensor": TENSOR, "layout": LAYOUT}.items()
    for name, attack in table.items()
}


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_safetensors_gets_its_error(tmp_path: Path, name: str) -> None:
    raw, kind, field = ATTACKS[name]
    path = write(tmp_path, raw)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            open_safetensors(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    error = caught.value
    assert type(error) is kind
    assert error.field == field
    assert error.path == path
    assert error.expected
    assert error.found
    assert error.hint
    assert len(str(error)) < 800
    assert peak_bytes < (2 << 20) + 4 * len(raw)


def test_every_truncation_of_a_sound_file_is_refused(tmp_path: Path) -> None:
    raw = sound()
    for length in range(len(raw)):
        with pytest.raises(Truncated):
            open_safetensors(write(tmp_path, raw[:length], f"{length}.safetensors"))


def test_a_sparse_file_with_an_absurd_header_costs_nothing(tmp_path: Path) -> None:
    path = write(tmp_path, content({}, length=8 << 30))
    os.truncate(path, 16 << 30)
    with pytest.raises(LimitExceeded):
        open_safetensors(path)


def test_too_many_tensors_are_refused(tmp_path: Path) -> None:
    table = dict.fromkeys((f"t{i}" for i in range((1 << 17) + 1)), 0)
    with pytest.raises(LimitExceeded, match="too many tensors"):
        open_safetensors(write(tmp_path, content(table)))


TRICKS = [
    "../model.safetensors",
    "/etc/passwd.safetensors",
    "sub/model.safetensors",
    "..\\model.safetensors",
    "C:model.safetensors",
    "model\0.safetensors",
    "model\n.safetensors",
    ".safetensors",
    "..safetensors",
    "model.safetensors/..",
    "model.bin",
    "m" * 300 + ".safetensors",
    "\ud800.safetensors",
    "",
    7,
    None,
    ["model.safetensors"],
]


@pytest.mark.parametrize("shard", TRICKS, ids=repr)
def test_an_index_cannot_point_anywhere_but_beside_itself(tmp_path: Path, shard: object) -> None:
    index = write_sharded(tmp_path, {"w": shard})
    with pytest.raises(BadValue, match="somewhere else") as caught:
        open_safetensors(index)
    assert caught.value.field == "w"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", Truncated),
        (b"{", BadValue),
        (b"[]", BadValue),
        (b"{}", BadValue),
        (b'{"weight_map":{}}', BadValue),
        (b'{"weight_map":["a.safetensors"]}', BadValue),
        (b'{"weight_map":{"a":"a.safetensors"},"other":1}', BadValue),
        (b'{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}', DuplicateName),
        (b" " * (33 << 20), LimitExceeded),
    ],
    ids=["empty", "cut", "list", "nothing", "no tensors", "map is a list", "key", "twice", "large"],
)
def test_an_index_that_is_none_is_refused(
    tmp_path: Path, raw: bytes, kind: type[FormatError]
) -> None:
    with pytest.raises(FormatError) as caught:
        open_safetensors(write(tmp_path, raw, "model.safetensors.index.json"))
    assert type(caught.value) is kind


def test_an_index_of_too_many_tensors_is_refused(tmp_path: Path) -> None:
    weight_map = dict.fromkeys((f"t{i}" for i in range((1 << 17) + 1)), "m.safetensors")
    raw = json.dumps({"weight_map": weight_map}).encode()
    with pytest.raises(LimitExceeded, match="index is larger"):
        open_safetensors(write(tmp_path, raw, "model.safetensors.index.json"))


def test_an_index_of_too_many_files_is_refused(tmp_path: Path) -> None:
    weight_map = {f"t{i}": f"m{i}.safetensors" for i in range(600)}
    raw = json.dumps({"weight_map": weight_map}).encode()
    with pytest.raises(LimitExceeded, match="index is larger"):
        open_safetensors(write(tmp_path, raw, "model.safetensors.index.json"))
