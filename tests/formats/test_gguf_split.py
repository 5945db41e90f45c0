"""Claims about models split over files. Oracle: the gguf package's writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest

from freehold.errors import BadValue, DuplicateName, FormatError, MissingShard, Truncated
from freehold.formats.gguf import open_gguf
from tests.formats.gguf_build import (
    ARCHITECTURE,
    BOOL,
    F32,
    I32,
    STRING,
    U16,
    U32,
    Gguf,
    array,
    pair,
    tensor,
)


def split_pairs(number: int, *, count: int = 3, total: int = 3) -> list[bytes]:
    return [
        pair("split.no", U16, number),
        pair("split.count", U16, count),
        pair("split.tensors.count", U32, total),
    ]


def part(number: int) -> Gguf:
    """One of three files with one tensor each."""
    first = [ARCHITECTURE, pair("toy.key", U32, 7)] if number == 0 else []
    return Gguf(
        pairs=first + split_pairs(number),
        tensors=[tensor(f"t{number}", [8], 0, 0)],
        data=bytes([number]) * 32,
    )


def name_of(number: int, *, count: int = 3) -> str:
    return f"toy-{number + 1:05}-of-{count:05}.gguf"


def write_parts(folder: Path) -> Path:
    for number in range(3):
        part(number).write(folder, name_of(number))
    return folder / name_of(0)


def test_all_parts_become_one_model(tmp_path: Path) -> None:
    with open_gguf(write_parts(tmp_path)) as file:
        assert list(file.tensors) == ["t0", "t1", "t2"]
        assert [int(one.data()[0]) for one in file.tensors.values()] == [0, 1, 2]
        assert file.metadata["toy.key"] == 7
        sizes = [path.stat().st_size for path in tmp_path.iterdir()]
        assert file.size_bytes == sum(sizes)


@pytest.mark.parity
@pytest.mark.parametrize("small_first", [False, True])
def test_reads_what_the_gguf_package_splits(tmp_path: Path, small_first: bool) -> None:
    writer = gguf.GGUFWriter(
        tmp_path / "toy.gguf", "llama", split_max_tensors=2, small_first_shard=small_first
    )
    arrays = {f"t{i}": np.full((2, 8), i, np.float32) for i in range(5)}
    for name, values in arrays.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    first = min(tmp_path.iterdir())
    with open_gguf(first) as file:
        assert {name: one.data().tobytes() for name, one in file.tensors.items()} == {
            name: values.tobytes() for name, values in arrays.items()
        }


def test_later_parts_are_not_read_before_tensors_are_wanted(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    (tmp_path / name_of(1)).write_bytes(b"no model")
    with open_gguf(first) as file:
        assert file.metadata["toy.key"] == 7
        with pytest.raises(FormatError) as caught:
            _ = file.tensors
    assert caught.value.path == tmp_path / name_of(1)


def test_a_model_of_one_part_needs_no_special_name(tmp_path: Path) -> None:
    build = part(0)
    build.pairs = [ARCHITECTURE, *split_pairs(0, count=1, total=1)]
    with open_gguf(build.write(tmp_path)) as file:
        assert list(file.tensors) == ["t0"]


def test_a_missing_part_is_named_at_once(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    (tmp_path / name_of(1)).unlink()
    with pytest.raises(MissingShard, match="toy-00002-of-00003") as caught:
        open_gguf(first)
    assert caught.value.found == "2 of them"


def test_a_later_part_points_to_the_first(tmp_path: Path) -> None:
    write_parts(tmp_path)
    part_two = part(1)
    part_two.pairs.insert(0, ARCHITECTURE)
    path = part_two.write(tmp_path, name_of(1))
    with pytest.raises(BadValue, match="later part") as caught:
        open_gguf(path)
    assert caught.value.hint == "open toy-00001-of-00003.gguf instead"


def test_a_later_part_without_an_architecture_says_so(tmp_path: Path) -> None:
    write_parts(tmp_path)
    with pytest.raises(BadValue) as caught:
        open_gguf(tmp_path / name_of(1))
    assert caught.value.field == "general.architecture"
    assert "open its first file" in caught.value.hint


@pytest.mark.parametrize("name", ["model.gguf", name_of(1), name_of(0, count=4), "toy-1-of-3.gguf"])
def test_a_renamed_first_part_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadValue, match="does not say which part") as caught:
        open_gguf(part(0).write(tmp_path, name))
    assert "-00001-of-00003.gguf" in caught.value.expected


def swapped(build: Gguf) -> None:
    build.pairs = split_pairs(2)


def other_count(build: Gguf) -> None:
    build.pairs = split_pairs(1, count=4)


def other_total(build: Gguf) -> None:
    build.pairs = split_pairs(1, total=4)


def no_keys(build: Gguf) -> None:
    build.pairs = []


def surplus_key(build: Gguf) -> None:
    build.pairs.append(pair("llama.rope.freq_base", U32, 1))


def other_architecture(build: Gguf) -> None:
    build.pairs.append(pair("general.architecture", STRING, "qwen2"))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (swapped, "split.no"),
        (other_count, "split.count"),
        (other_total, "split.tensors.count"),
        (no_keys, "split.no"),
        (surplus_key, "llama.rope.freq_base"),
        (other_architecture, "general.architecture"),
    ],
)
def test_a_foreign_part_is_refused(
    tmp_path: Path, change: Callable[[Gguf], None], field: str
) -> None:
    first = write_parts(tmp_path)
    build = part(1)
    change(build)
    build.write(tmp_path, name_of(1))
    with open_gguf(first) as file, pytest.raises(MissingShard) as caught:
        _ = file.tensors
    assert caught.value.field == field
    assert caught.value.path == tmp_path / name_of(1)


def test_a_part_may_repeat_what_the_first_says(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    build = part(1)
    build.pairs += [ARCHITECTURE, pair("general.alignment", U32, 64)]
    build.alignment = 64
    build.data += bytes(32)
    build.write(tmp_path, name_of(1))
    with open_gguf(first) as file:
        assert len(file.tensors) == 3


@pytest.mark.parametrize(
    ("repeated", "is_same"),
    [
        (array("toy.list", U32, [1, 2]), True),
        (array("toy.list", U32, [1, 3]), False),
        (array("toy.list", I32, [1, 2]), False),
        (pair("toy.list", U32, 1), False),
        (array("toy.other", U32, [1, 2]), False),
    ],
)
def test_a_repeated_array_must_be_the_same(tmp_path: Path, repeated: bytes, is_same: bool) -> None:
    write_parts(tmp_path)
    build = part(0)
    build.pairs.append(array("toy.list", U32, [1, 2]))
    first = build.write(tmp_path, name_of(0))
    build = part(1)
    build.pairs.append(repeated)
    build.write(tmp_path, name_of(1))
    with open_gguf(first) as file:
        if is_same:
            assert len(file.tensors) == 3
            return
        with pytest.raises(MissingShard):
            _ = file.tensors


def test_a_tensor_in_two_parts_is_refused(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    build = part(1)
    build.tensors = [tensor("t0", [8], 0, 0)]
    build.write(tmp_path, name_of(1))
    with open_gguf(first) as file, pytest.raises(DuplicateName, match="t0"):
        _ = file.tensors


def test_a_truncated_part_is_refused_again_and_again(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    path = tmp_path / name_of(2)
    path.write_bytes(path.read_bytes()[:-1])
    with open_gguf(first) as file:
        for _ in range(2):
            with pytest.raises(Truncated):
                _ = file.tensors


def test_a_closed_model_opens_no_further_parts(tmp_path: Path) -> None:
    with open_gguf(write_parts(tmp_path)) as file:
        pass
    with pytest.raises(ValueError, match="closed"):
        _ = file.tensors


def test_too_few_tensors_in_all_are_refused(tmp_path: Path) -> None:
    for number in range(3):
        build = part(number)
        build.pairs = build.pairs[:-3] + split_pairs(number, total=5)
        build.write(tmp_path, name_of(number))
    with open_gguf(tmp_path / name_of(0)) as file, pytest.raises(MissingShard) as caught:
        _ = file.tensors
    assert (caught.value.expected, caught.value.found) == ("5 tensors", "3")


def test_the_first_file_too_many_is_named_and_no_more_are_read(tmp_path: Path) -> None:
    for number in range(3):
        build = part(number)
        build.pairs = build.pairs[:-3] + split_pairs(number, total=1)
        build.write(tmp_path, name_of(number))
    (tmp_path / name_of(2)).write_bytes(b"no model")
    with open_gguf(tmp_path / name_of(0)) as file, pytest.raises(MissingShard) as caught:
        _ = file.tensors
    assert caught.value.path == tmp_path / name_of(1)
    assert (caught.value.expected, caught.value.found) == ("1 tensors", "2")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
def test_a_refused_part_leaks_no_descriptor(tmp_path: Path) -> None:
    first = write_parts(tmp_path)
    (tmp_path / name_of(2)).write_bytes(b"no model")
    with open_gguf(first) as file:
        before = len(list(Path("/proc/self/fd").iterdir()))
        for _ in range(3):
            with pytest.raises(FormatError):
                _ = file.tensors
        assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("value", [65535, 513])
def test_the_number_of_parts_is_capped(tmp_path: Path, value: int) -> None:
    build = Gguf(pairs=[ARCHITECTURE, *split_pairs(0, count=value)])
    with pytest.raises(BadValue) as caught:
        open_gguf(build.write(tmp_path))
    assert caught.value.field == "split.count"


@pytest.mark.parametrize(("kind", "value"), [(STRING, "../../etc"), (BOOL, 1), (F32, 2.0)])
def test_split_numbers_must_be_numbers(tmp_path: Path, kind: int, value: float | str) -> None:
    build = Gguf(pairs=[ARCHITECTURE, pair("split.count", kind, value)])
    with pytest.raises(BadValue, match=r"split\.count"):
        open_gguf(build.write(tmp_path))
