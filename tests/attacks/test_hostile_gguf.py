"""Every hostile GGUF file gets its exact error, and none of them costs memory."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import pytest

from freehold.errors import FormatError, LimitExceeded, Truncated
from freehold.formats.gguf import open_gguf
from tests.attacks.gguf_attacks import ATTACKS, shaped, with_tensors
from tests.formats.gguf_build import (
    ARCHITECTURE,
    ARRAY,
    BOOL,
    F32,
    STRING,
    sound,
    tensor,
    text,
    u32,
    u64,
)


def refusal_of(path: Path) -> FormatError:
    tracemalloc.start()
    try:
        with pytest.raises(FormatError) as caught:
            open_gguf(path)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 << 20
    return caught.value


@pytest.mark.parametrize("name", ATTACKS)
def test_hostile_gguf_gets_its_error(tmp_path: Path, name: str) -> None:
    content, kind, field, offset = ATTACKS[name]
    path = tmp_path / "hostile.gguf"
    path.write_bytes(content)
    error = refusal_of(path)
    assert type(error) is kind
    assert (error.field, error.path) == (field, path)
    if offset is not None:
        assert error.offset == offset
    assert error.expected
    assert error.found
    assert error.hint
    assert str(path) in error.message
    assert field in error.message
    assert len(str(error)) < 700


def test_every_truncation_of_a_sound_file_is_refused(tmp_path: Path) -> None:
    content = sound().content()
    for length in range(len(content)):
        path = tmp_path / f"{length}.gguf"
        path.write_bytes(content[:length])
        with pytest.raises(Truncated):
            open_gguf(path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.gguf"
    path.touch()
    assert isinstance(refusal_of(path), Truncated)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal_of(tmp_path).found == "a directory"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "pipe.gguf"
    os.mkfifo(path)
    assert refusal_of(path).found == "a special file"


def test_an_absent_file_is_the_operating_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_gguf(tmp_path / "absent.gguf")


def test_the_block_types_refusal_names_the_type_and_the_supported_ones(tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(shaped(256, kind=16))
    error = refusal_of(path)
    assert error.found == "16 (IQ2_XXS)"
    assert "Q4_K" in error.expected
    assert "MXFP4" in error.expected


@pytest.mark.parametrize(
    ("version", "found", "hint"),
    [
        (struct.pack(">I", 3), "version 3, big-endian", "gguf-convert-endian"),
        (struct.pack(">I", 2), "version 2, big-endian", "gguf-convert-endian"),
        (u32(1), "version 1", "convert the model again"),
        (u32(4), "version 4", "a newer Freehold"),
    ],
)
def test_old_new_and_big_endian_files_are_told_apart(
    tmp_path: Path, version: bytes, found: str, hint: str
) -> None:
    path = tmp_path / "old.gguf"
    path.write_bytes(b"GGUF" + version + bytes(60))
    error = refusal_of(path)
    assert error.found == found
    assert hint in error.hint


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("array: array of arrays", "an array of arrays"),
        ("layout: unaligned", "b is not aligned"),
        ("layout: the same bytes twice", "b overlaps a"),
        ("layout: a hole between", "32 bytes before b belong to no tensor"),
        ("layout: a hole in front", "32 bytes before a belong to no tensor"),
    ],
)
def test_the_message_says_which_rule_was_broken(tmp_path: Path, name: str, message: str) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(ATTACKS[name][0])
    assert message in refusal_of(path).message


# A sparse file costs no disk, and makes absurd counts fit the file's length.
SPARSE_BYTES = 16 << 30

SPARSE = {
    "string of 8 GB": (text("k") + u32(STRING) + u64(8 << 30), LimitExceeded),
    "string of 100 MB": (text("k") + u32(STRING) + u64(100 << 20), LimitExceeded),
    "array of 1e9 numbers": (text("k") + u32(ARRAY) + u32(F32) + u64(10**9), LimitExceeded),
    "array of 50e6 numbers": (text("k") + u32(ARRAY) + u32(F32) + u64(5 * 10**7), LimitExceeded),
    "array of 1e9 booleans": (text("k") + u32(ARRAY) + u32(BOOL) + u64(10**9), LimitExceeded),
    "array of 1e9 strings": (text("k") + u32(ARRAY) + u32(STRING) + u64(10**9), LimitExceeded),
    "array of 3,000,001 strings": (
        text("k") + u32(ARRAY) + u32(STRING) + u64(3_000_001),
        LimitExceeded,
    ),
    "one string of 8 GB in an array": (
        text("k") + u32(ARRAY) + u32(STRING) + u64(1) + u64(8 << 30),
        LimitExceeded,
    ),
}


@pytest.mark.parametrize("name", SPARSE)
def test_sparse_file_with_absurd_counts_costs_nothing(tmp_path: Path, name: str) -> None:
    pairs, kind = SPARSE[name]
    path = tmp_path / "sparse.gguf"
    path.write_bytes(b"GGUF" + u32(3) + u64(0) + u64(2) + ARCHITECTURE + pairs)
    os.truncate(path, SPARSE_BYTES)
    assert type(refusal_of(path)) is kind


def test_strings_are_capped_over_all_arrays_together(tmp_path: Path) -> None:
    # Two million empty strings twice: each array alone would pass.
    one = u32(ARRAY) + u32(STRING) + u64(2_000_000) + bytes(16_000_000)
    path = tmp_path / "many.gguf"
    path.write_bytes(
        b"GGUF" + u32(3) + u64(0) + u64(3) + ARCHITECTURE + text("a") + one + text("b") + one
    )
    with pytest.raises(LimitExceeded) as caught:
        open_gguf(path)
    assert caught.value.field == "b"


def test_a_hostile_name_reaches_the_error_escaped(tmp_path: Path) -> None:
    path = tmp_path / "hostile.gguf"
    path.write_bytes(with_tensors(tensor("\x1b[2J" + "x" * 200, [7], 99, 0)))
    error = refusal_of(path)
    assert "\x1b" not in str(error)
    assert len(str(error)) < 700
