"""Claims about opening sound safetensors models. Oracle: the safetensors package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from freehold.errors import DuplicateName, FormatError, MissingShard
from freehold.formats.safetensors import Dtype, open_safetensors
from tests.formats.safetensors_build import content, entry, sound, write, write_sharded

NUMPY = {
    "BOOL": np.bool_,
    "U8": np.uint8,
    "I8": np.int8,
    "I16": np.int16,
    "U16": np.uint16,
    "F16": np.float16,
    "I32": np.int32,
    "U32": np.uint32,
    "F32": np.float32,
    "C64": np.complex64,
    "F64": np.float64,
    "I64": np.int64,
    "U64": np.uint64,
}


@pytest.mark.parity
def test_reads_what_the_safetensors_package_writes(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    arrays: dict[str, Any] = {
        name: (random.standard_normal((3, 5)) * 50).astype(kind) for name, kind in NUMPY.items()
    }
    arrays |= {"scalar": np.array(1.5, np.float32), "empty": np.empty((0, 4), np.float32)}
    path = tmp_path / "toy.safetensors"
    safetensors.numpy.save_file(arrays, path, metadata={"format": "np", "größe": "日本"})
    with open_safetensors(path) as file:
        assert file.metadata == {"format": "np", "größe": "日本"}
        assert file.tensors.keys() == arrays.keys()
        for name, array in arrays.items():
            mine = file.tensors[name]
            assert mine.shape == array.shape
            assert mine.n_bytes == array.nbytes
            assert mine.data().tobytes() == array.tobytes()
            assert NUMPY.get(mine.dtype.name) is array.dtype.type


@pytest.mark.parity
@pytest.mark.parametrize("dtype", Dtype, ids=lambda dtype: dtype.name)
def test_the_safetensors_package_agrees_on_every_width(tmp_path: Path, dtype: Dtype) -> None:
    raw = content({"a": entry(dtype.name, [8], 0, dtype.bits)}, bytes(dtype.bits))
    ((_, theirs),) = safetensors.deserialize(raw)  # type: ignore[no-untyped-call, unused-ignore]
    with open_safetensors(write(tmp_path, raw)) as file:
        mine = file.tensors["a"]
        assert (mine.dtype.name, list(mine.shape)) == (theirs["dtype"], theirs["shape"])
        assert mine.data().tobytes() == bytes(theirs["data"])


def test_tensors_come_in_the_order_of_their_bytes(tmp_path: Path) -> None:
    table = {"late": entry("U8", [2], 2, 4), "early": entry("U8", [2], 0, 2)}
    with open_safetensors(write(tmp_path, content(table, b"eell"))) as file:
        assert [one.data().tobytes() for one in file.tensors.values()] == [b"ee", b"ll"]
        assert list(file.tensors) == ["early", "late"]


def test_a_header_may_be_padded_with_spaces_and_data_unaligned(tmp_path: Path) -> None:
    raw = content(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}   ', b"abcd")
    with open_safetensors(write(tmp_path, raw)) as file:
        assert file.tensors["a"].data().tobytes() == b"abcd"


def test_data_are_read_only_views_that_release_leaves_valid(tmp_path: Path) -> None:
    file = open_safetensors(write(tmp_path, sound()))
    a, empty = file.tensors["a"], file.tensors["d"]
    view = a.data()
    assert view.dtype == np.uint8
    assert view.shape == (24,)
    assert not view.flags.writeable
    assert not view.flags.owndata
    assert empty.data().shape == (0,)
    a.release()
    empty.release()
    with pytest.raises(ValueError, match="tensor of"):
        a.release(0, 25)
    file.close()
    assert view.tobytes() == bytes(range(24))
    with pytest.raises(ValueError, match="closed"):
        a.data()


def test_an_empty_tensor_may_be_the_last(tmp_path: Path) -> None:
    table = {"a": entry("U8", [4], 0, 4), "empty": entry("F32", [0], 4, 4)}
    with open_safetensors(write(tmp_path, content(table, b"abcd"))) as file:
        assert file.tensors["empty"].data().nbytes == 0


def test_size_is_the_files(tmp_path: Path) -> None:
    with open_safetensors(write(tmp_path, sound())) as file:
        assert file.size_bytes == len(sound())


def test_a_file_without_tensors_opens(tmp_path: Path) -> None:
    with open_safetensors(write(tmp_path, content({}))) as file:
        assert file.tensors == {}


def test_an_index_makes_its_files_one_model(tmp_path: Path) -> None:
    with open_safetensors(write_sharded(tmp_path)) as file:
        assert {name: int(one.data()[0]) for name, one in file.tensors.items()} == {"a": 1, "b": 2}
        sizes = [path.stat().st_size for path in tmp_path.glob("*.safetensors")]
        assert file.size_bytes == sum(sizes)


def test_files_behind_an_index_may_be_links_as_the_hub_cache_has_them(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    (tmp_path / "blobs").mkdir()
    for shard in sorted(tmp_path.glob("*.safetensors")):
        shard.rename(tmp_path / "blobs" / shard.name)
        shard.symlink_to(Path("blobs") / shard.name)
    with open_safetensors(index) as file:
        assert len(file.tensors) == 2


def test_files_behind_an_index_are_not_read_before_tensors_are_wanted(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    broken = write(tmp_path, b"no model", "model-00002-of-00002.safetensors")
    with open_safetensors(index) as file:
        for _ in range(2):
            with pytest.raises(FormatError) as caught:
                _ = file.tensors
            assert caught.value.path == broken


def test_a_missing_file_is_named_at_once(tmp_path: Path) -> None:
    index = write_sharded(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MissingShard, match="model-00002-of-00002"):
        open_safetensors(index)


def test_an_index_that_lies_about_its_files_is_refused(tmp_path: Path) -> None:
    one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    for weight_map, kind, field in (
        ({"a": one}, None, None),
        ({"a": one, "c": two}, MissingShard, "b"),
        ({"a": one, "b": two, "c": two}, MissingShard, "c"),
        ({"a": two, "b": one}, DuplicateName, "b"),
    ):
        with open_safetensors(write_sharded(tmp_path, weight_map)) as file:
            if kind is None:
                # A file that the index does not name is not of the model.
                assert list(file.tensors) == ["a"]
                continue
            with pytest.raises(kind) as caught:
                _ = file.tensors
            assert caught.value.field == field


def test_a_closed_model_opens_no_further_files(tmp_path: Path) -> None:
    with open_safetensors(write_sharded(tmp_path)) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        _ = file.tensors
