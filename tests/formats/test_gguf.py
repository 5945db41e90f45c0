"""Claims about opening sound GGUF files. Oracle: the gguf package's writer and reader."""

from __future__ import annotations

import gc
import mmap
import sys
import time
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from freehold.errors import BadMagic, Truncated
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_header import read_opening
from freehold.formats.mapped_file import MappedFile
from tests.formats.gguf_build import ARCHITECTURE, STRING, U32, Gguf, array, pair, sound, tensor

VOCABULARY = ["<unk>", "<s>", "</s>", "", "▁the", "Ġein", "日本語", "\n", "🙂"] * 50


def written_by_gguf(path: Path, *, alignment: int | None = None) -> Path:
    random = np.random.default_rng(1)
    writer = gguf.GGUFWriter(path, "llama")
    if alignment is not None:
        writer.add_custom_alignment(alignment)
    writer.add_name("toy")
    writer.add_uint32("llama.block_count", 2)
    writer.add_uint64("toy.large", (1 << 64) - 1)
    writer.add_int64("toy.small", -(1 << 63))
    writer.add_int16("toy.short", -2)
    writer.add_float32("toy.epsilon", 1e-5)
    writer.add_float64("toy.fine", 1e-5)
    writer.add_bool("toy.yes", val=True)
    writer.add_bool("toy.no", val=False)
    writer.add_token_list(VOCABULARY)
    writer.add_token_scores([float(i) / 3 for i in range(len(VOCABULARY))])
    writer.add_token_types([i % 6 + 1 for i in range(len(VOCABULARY))])
    writer.add_array("toy.flags", [True, False, True])
    writer.add_tensor("f32", random.standard_normal((3, 5), np.float32))
    writer.add_tensor("f16", random.standard_normal((2, 3, 7)).astype(np.float16))
    for kind in (gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.Q4_0):
        blocks = gguf.quants.quantize(random.standard_normal((4, 64), np.float32), kind)
        writer.add_tensor(kind.name, blocks, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parity
@pytest.mark.parametrize("alignment", [None, 64, 4096])
def test_reads_what_the_gguf_package_writes(tmp_path: Path, alignment: int | None) -> None:
    path = written_by_gguf(tmp_path / "toy.gguf", alignment=alignment)
    theirs = gguf.GGUFReader(path)
    with open_gguf(path) as ours:
        expected = {
            key: value.contents()
            for key, value in theirs.fields.items()
            if not key.startswith("GGUF.")
        }
        assert {key: plain(value) for key, value in ours.metadata.items()} == expected
        assert list(ours.tensors) == [tensor.name for tensor in theirs.tensors]
        for other in theirs.tensors:
            mine = ours.tensors[other.name]
            assert int(mine.type) == int(other.tensor_type)
            assert mine.shape == tuple(int(n) for n in reversed(other.shape))
            assert mine.n_bytes == other.n_bytes
            assert mine.data().tobytes() == other.data.tobytes()


@pytest.mark.parametrize("version", [2, 3])
def test_values_of_every_kind_arrive(tmp_path: Path, version: int) -> None:
    build = sound()
    build.version = version
    with open_gguf(build.write(tmp_path)) as file:
        assert file.version == version
        assert file.architecture == "llama"
        metadata = {key: plain(value) for key, value in file.metadata.items()}
    assert metadata == {
        "general.architecture": "llama",
        "a.u8": 200,
        "a.i8": -3,
        "a.u16": 60000,
        "a.i16": -300,
        "a.u32": 4_000_000_000,
        "a.i32": -70000,
        "a.f32": 0.5,
        "a.bool": True,
        "a.text": "größer",
        "a.u64": 1 << 63,
        "a.i64": -(1 << 62),
        "a.f64": 1e-300,
        "b.u8": [1, 2, 3],
        "b.i32": [-1, 0, 1],
        "b.f32": [0.5, -0.5],
        "b.bool": [False, True, True],
        "b.text": ["", "a", "日本", "<|im_end|>"],
        "b.u64": [1 << 63],
        "b.empty": [],
        "b.no_text": [],
        "b.no_bool": [],
    }


def test_values_have_python_types_and_arrays_cannot_be_written(tmp_path: Path) -> None:
    with open_gguf(sound().write(tmp_path)) as file:
        kinds = {key: type(value) for key, value in file.metadata.items()}
        numbers = file.metadata["b.i32"]
    assert kinds["a.u8"] is kinds["a.u64"] is int
    assert kinds["a.f32"] is kinds["a.f64"] is float
    assert kinds["a.bool"] is bool
    assert kinds["b.text"] is tuple
    assert isinstance(numbers, np.ndarray)
    assert numbers.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        numbers[0] = 1
    with pytest.raises(TypeError):
        file.metadata["a.u8"] = 1  # type: ignore[index]


def test_shapes_are_row_major_and_data_are_the_files_bytes(tmp_path: Path) -> None:
    with open_gguf(sound().write(tmp_path)) as file:
        embedding, norm = file.tensors.values()
        assert (embedding.name, embedding.type, embedding.shape, embedding.n_bytes) == (
            "token_embd.weight",
            BlockType.Q4_0,
            (3, 32),
            54,
        )
        assert embedding.data().tobytes() == bytes(range(54))
        assert (norm.type, norm.shape, norm.n_bytes) == (BlockType.F32, (5,), 20)
        assert norm.data().tobytes() == bytes(range(20))
        assert norm.data().dtype == np.uint8


def test_tensors_keep_the_files_order_even_when_their_bytes_do_not(tmp_path: Path) -> None:
    build = Gguf(
        tensors=[tensor("second", [8], 0, 32), tensor("first", [8], 0, 0)],
        data=b"1" * 32 + b"2" * 32,
    )
    with open_gguf(build.write(tmp_path)) as file:
        assert list(file.tensors) == ["second", "first"]
        assert file.tensors["second"].data().tobytes() == b"2" * 32


def test_data_is_a_view_of_the_file_not_a_copy(tmp_path: Path) -> None:
    build = Gguf(tensors=[tensor("large", [1 << 22], 0, 0)], data=bytes(1 << 24))
    path = build.write(tmp_path)
    tracemalloc.start()
    with open_gguf(path) as file:
        data = file.tensors["large"].data()
        assert data.nbytes == 1 << 24
        assert not data.flags.owndata
        assert not data.flags.writeable
        del data
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("padding", [0, 1, 12])
def test_the_last_tensor_may_be_padded_to_the_alignment(tmp_path: Path, padding: int) -> None:
    build = sound()
    build.data += bytes(padding)
    with open_gguf(build.write(tmp_path)) as file:
        assert len(file.tensors) == 2
        assert file.size_bytes == file.path.stat().st_size


def test_a_file_without_tensors_opens_with_and_without_padding(tmp_path: Path) -> None:
    for content in (Gguf().content(), Gguf().header()):
        path = tmp_path / "vocabulary.gguf"
        path.write_bytes(content)
        with open_gguf(str(path)) as file:
            assert file.tensors == {}


def test_a_scalar_tensor_has_an_empty_shape(tmp_path: Path) -> None:
    build = Gguf(tensors=[tensor("scale", [], 0, 0)], data=bytes(4))
    with open_gguf(build.write(tmp_path)) as file:
        assert (file.tensors["scale"].shape, file.tensors["scale"].n_bytes) == ((), 4)


def test_the_files_own_alignment_counts(tmp_path: Path) -> None:
    build = Gguf(
        pairs=[ARCHITECTURE, pair("general.alignment", U32, 8)],
        tensors=[tensor("a", [1], 0, 0), tensor("b", [1], 0, 8)],
        data=b"aaaa\0\0\0\0bbbb",
        alignment=8,
    )
    with open_gguf(build.write(tmp_path)) as file:
        assert file.tensors["b"].data().tobytes() == b"bbbb"


def test_closing_ends_access_but_not_metadata_nor_living_views(tmp_path: Path) -> None:
    file = open_gguf(sound().write(tmp_path))
    one = file.tensors["norm.weight"]
    view = one.data()
    file.close()
    file.close()
    assert view.tobytes() == bytes(range(20))
    assert file.metadata["a.u8"] == 200
    with pytest.raises(ValueError, match="closed"):
        one.data()


def descriptors(folder: Path) -> int:
    """How many descriptors of this process are files below the folder; others come and go."""
    found = 0
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            found += link.readlink().is_relative_to(folder)
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors by /proc")
def test_neither_success_nor_refusal_leaks_a_descriptor(tmp_path: Path) -> None:
    good, bad = sound().write(tmp_path), tmp_path / "bad.gguf"
    bad.write_bytes(good.read_bytes()[:-1])
    for _ in range(5):
        with open_gguf(good) as file:
            assert file.tensors
        with pytest.raises(Exception, match="ends inside the tensor"):
            open_gguf(bad)
    with good.open():
        assert descriptors(tmp_path) == 1  # they are counted
    gc.collect()
    assert descriptors(tmp_path) == 0


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * mmap.PAGESIZE


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_release_gives_pages_back_and_views_stay_valid(tmp_path: Path) -> None:
    n = 64 << 20
    build = Gguf(tensors=[tensor("large", [n // 4], 0, 0)], data=b"\x07" * n)
    path = build.write(tmp_path)
    del build
    with open_gguf(path) as file:
        large = file.tensors["large"]
        view = large.data()
        assert int(view.max()) == 7
        touched = resident_bytes()
        large.release(0, n // 2)
        half = resident_bytes()
        large.release()
        assert touched - half > 0.9 * n / 2
        assert touched - resident_bytes() > 0.9 * n
        assert int(view[-1]) == 7


@pytest.mark.parametrize(("start", "end"), [(-1, 4), (5, 4), (0, 21)])
def test_release_refuses_bytes_outside_the_tensor(tmp_path: Path, start: int, end: int) -> None:
    with open_gguf(sound().write(tmp_path)) as file, pytest.raises(ValueError, match="tensor of"):
        file.tensors["norm.weight"].release(start, end)


def vocabulary(size: int) -> Gguf:
    tokens = [f"token{i}" for i in range(size)]
    merges = [f"a{i} b{i}" for i in range(size)]
    return Gguf(pairs=[ARCHITECTURE, array("t", STRING, tokens), array("m", STRING, merges)])


def test_a_vocabulary_of_150_000_opens_fast(tmp_path: Path) -> None:
    path = vocabulary(150_000).write(tmp_path)
    # Processor time, and three times what it takes, so that a busy machine does not fail it.
    assert min(seconds_to_open(path) for _ in range(3)) < 0.4
    with open_gguf(path) as file:
        assert file.metadata["t"] == tuple(f"token{i}" for i in range(150_000))


def test_a_vocabulary_takes_little_more_memory_than_its_strings(tmp_path: Path) -> None:
    path = vocabulary(20_000).write(tmp_path)
    tracemalloc.start()
    try:
        with open_gguf(path) as file:
            peak_bytes = tracemalloc.get_traced_memory()[1]
            strings = [*plain(file.metadata["t"]), *plain(file.metadata["m"])]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 1.5 * sum(sys.getsizeof(string) for string in strings)


def seconds_to_open(path: Path) -> float:
    start_s = time.process_time()
    with open_gguf(path) as file:
        assert file.metadata
    return time.process_time() - start_s


@pytest.mark.weights
@pytest.mark.parity
def test_the_starter_file_opens_as_the_gguf_package_reads_it(starter_path: Path) -> None:
    theirs = gguf.GGUFReader(starter_path)
    with open_gguf(starter_path) as file:
        assert file.architecture == "llama"
        for key, value in file.metadata.items():
            assert plain(value) == theirs.fields[key].contents(), key
        assert len(file.tensors) == len(theirs.tensors) == 272
        for other in theirs.tensors:
            mine = file.tensors[other.name]
            assert np.array_equal(mine.data(), other.data.reshape(-1).view(np.uint8))
            assert mine.shape == tuple(int(n) for n in reversed(other.shape))


@pytest.mark.weights
def test_the_starter_files_header_opens_in_under_150_ms(starter_path: Path) -> None:
    assert min(seconds_to_open(starter_path) for _ in range(5)) < 0.15


def test_the_opening_of_a_header_ends_before_a_prefix_and_is_judged_so_far(tmp_path: Path) -> None:
    pairs = [
        ARCHITECTURE,
        pair("general.license", STRING, "mit"),
        pair("tokenizer.ggml.model", STRING, "gpt2"),
        pair("general.name", STRING, "late"),
    ]

    def opening(raw: bytes) -> dict[str, object]:
        path = tmp_path / "model.gguf"
        path.write_bytes(raw)
        file = MappedFile(path)
        try:
            return dict(read_opening(file, until="tokenizer."))
        finally:
            file.close()

    whole = Gguf(pairs=pairs).content()
    assert opening(whole) == {"general.architecture": "llama", "general.license": "mit"}
    assert opening(Gguf(pairs=pairs[:2]).content())["general.license"] == "mit"
    cut = whole[: whole.index(b"mit") + 1]
    with pytest.raises(Truncated):
        opening(cut)
    with pytest.raises(BadMagic):
        opening(b"GGUX" + whole[4:])
