"""Claims about writing GGUF files. Oracle: the gguf package's reader."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest

from freehold.errors import DiskFull
from freehold.formats import gguf_writer as w
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_writer import GgufWriter, NewTensor
from tests.formats.gguf_build import sound

METADATA = {
    "general.architecture": w.string("llama"),
    "a.count": w.u32(4_000_000_000),
    "a.small": w.f32(0.5),
    "a.fine": w.f64(1e-300),
    "a.yes": w.truth(True),
    "a.words": w.strings(["", "größer", "日本"]),
    "a.scores": w.values(np.array([0.5, -1.5], np.float32)),
    "a.kinds": w.values(np.array([1, -3], np.int32)),
}
TENSORS = (
    NewTensor("blocks", (3, 64), BlockType.Q8_0),
    NewTensor("norm", (5,), BlockType.F32),
    NewTensor("experts", (2, 3, 32), BlockType.Q4_0),
)


def data_of(tensor: NewTensor) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    size = tensor.rows * tensor.row_bytes
    return (np.arange(size) % 50).astype(np.uint8).reshape(tensor.rows, tensor.row_bytes)


def write(path: Path) -> Path:
    with GgufWriter(path, METADATA, TENSORS) as writer:
        for tensor in reversed(TENSORS):
            for row in range(tensor.rows):
                writer.write(tensor.name, row, data_of(tensor)[row])
        return writer.publish()


def test_the_gguf_package_reads_what_was_written(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write(tmp_path / "a.gguf"))
    found = {name: field.contents() for name, field in reader.fields.items()}
    assert found["a.words"] == ["", "größer", "日本"]
    assert found["a.scores"] == [0.5, -1.5]
    assert found["a.kinds"] == [1, -3]
    assert (found["a.count"], found["a.small"], found["a.fine"]) == (4_000_000_000, 0.5, 1e-300)
    assert found["a.yes"] is True
    for expected, tensor in zip(TENSORS, reader.tensors, strict=True):
        assert tensor.name == expected.name
        assert tuple(reversed(tensor.shape.tolist())) == expected.shape
        raw = tensor.data.view(np.uint8).reshape(-1)
        np.testing.assert_array_equal(raw, data_of(expected).reshape(-1))


def test_our_own_reader_agrees(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    with open_gguf(path) as file:
        assert {key: file.raw_value(key) for key in file.metadata} == METADATA
        assert tuple(file.tensors) == tuple(tensor.name for tensor in TENSORS)


def test_metadata_of_every_type_passes_through_byte_by_byte(tmp_path: Path) -> None:
    source = sound().write(tmp_path, "source.gguf")
    with open_gguf(source) as file:
        raw = {key: file.raw_value(key) for key in file.metadata}
        with GgufWriter(tmp_path / "copy.gguf", raw, TENSORS) as writer:
            copy = writer.publish()
        with open_gguf(copy) as other:
            assert {key: other.raw_value(key) for key in other.metadata} == raw


def test_a_value_can_be_put_in_later_where_its_length_stays(tmp_path: Path) -> None:
    with GgufWriter(tmp_path / "a.gguf", METADATA, TENSORS) as writer:
        writer.write("blocks", 0, data_of(TENSORS[0]))
        writer.set({"a.small": w.f32(0.25)})
        with pytest.raises(ValueError, match="length"):
            writer.set({"general.architecture": w.string("longer")})
        path = writer.publish()
    with open_gguf(path) as file:
        assert file.metadata["a.small"] == 0.25
        np.testing.assert_array_equal(
            file.tensors["blocks"].data(), data_of(TENSORS[0]).reshape(-1)
        )


def test_nothing_is_left_when_the_work_is_broken_off(tmp_path: Path) -> None:
    def work() -> None:
        with GgufWriter(tmp_path / "a.gguf", METADATA, TENSORS) as writer:
            writer.write("norm", 0, data_of(TENSORS[1]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.gguf"
    target.write_text("old")
    with pytest.raises(RuntimeError), GgufWriter(target, METADATA, TENSORS):
        raise RuntimeError
    assert target.read_text() == "old"


def test_a_full_disk_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _start: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskFull) as caught:
        GgufWriter(tmp_path / "a.gguf", METADATA, TENSORS)
    assert "bytes" in caught.value.expected
    assert list(tmp_path.iterdir()) == []


def test_rows_that_do_not_fit_their_tensor_are_refused(tmp_path: Path) -> None:
    with GgufWriter(tmp_path / "a.gguf", METADATA, TENSORS) as writer:
        with pytest.raises(ValueError, match="row 3"):
            writer.write("blocks", 3, data_of(TENSORS[0])[0])
        with pytest.raises(ValueError, match="row 0"):
            writer.write("blocks", 0, data_of(TENSORS[0])[0][:-1])


def test_a_disk_that_fails_while_the_writer_goes_on_is_told_of_when_it_publishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "a.gguf"
    with GgufWriter(path, METADATA, TENSORS) as writer:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fail)
            writer.settle()
        with pytest.raises(OSError, match="Input/output"):
            writer.publish()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_writer_left_is_removed_and_what_another_writes_is_not(
    tmp_path: Path,
) -> None:
    target = tmp_path / "a.gguf"
    left = [tmp_path / f".{name}.999999999.part" for name in ("a.gguf", "b.gguf", "a.gguf.x")]
    for path in left:
        path.write_bytes(b"half")
    (tmp_path / ".a.gguf.1.part").mkdir()
    with GgufWriter(target, METADATA, TENSORS) as writer:
        assert [path.exists() for path in left] == [False, True, True]
        moved = writer.part.rename(tmp_path / ".a.gguf.888888888.part")
        with GgufWriter(target, METADATA, TENSORS):
            assert moved.exists(), "the file of a writer at work was removed"
        moved.rename(writer.part)
        for tensor in TENSORS:
            writer.write(tensor.name, 0, data_of(tensor)[0])
        assert writer.publish() == target
    assert (tmp_path / ".a.gguf.1.part").is_dir()


def test_two_threads_with_one_target_write_one_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    with ThreadPoolExecutor(4) as pool:
        written = list(pool.map(write, [path] * 12))
    assert written == [path] * 12
    with open_gguf(path) as file:
        assert {key: file.raw_value(key) for key in file.metadata} == METADATA
        np.testing.assert_array_equal(
            file.tensors["blocks"].data(), data_of(TENSORS[0]).reshape(-1)
        )
    assert list(tmp_path.iterdir()) == [path]
