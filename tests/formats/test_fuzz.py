"""Mutated files either open or get a FormatError, in little memory; nothing else may happen.

The run is the same every time: a failure names the round, which rebuilds its file.
"""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from freehold.errors import FormatError
from freehold.formats.gguf import GgufFile, open_gguf
from freehold.formats.safetensors import SafetensorsFile, open_safetensors
from tests.formats import safetensors_build
from tests.formats.gguf_build import (
    ARCHITECTURE,
    STRING,
    U16,
    U32,
    Gguf,
    array,
    pair,
    sound,
    tensor,
)

ROUNDS = 2000
TRACED_ROUNDS = 300  # tracing makes each several times slower
SLOW_ROUNDS = 100_000
# The seeds are under 2 KB, so this is hundreds of times what an honest one takes.
PEAK_BYTES = 2 << 20

EDGES = [0, 1, 2, 3, 7, 8, 31, 32, 33, 63, 64, 255, 256, 65535, 65536, 1 << 17]
EDGES += [base + shift for base in (1 << 31, 1 << 32, 1 << 62, 1 << 63) for shift in (-1, 0, 1)]
EDGES += [(1 << 64) - back for back in (1, 2, 8, 32, 64)]
JSON_WORDS = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"-", b"0", b"1e999", b"null", b"true"]
JSON_WORDS += [b"[[[[", b'{"a":', b"18446744073709551616", b"__metadata__", b"\\u0000", b"\\ud800"]


def gguf_seeds() -> list[bytes]:
    older = sound()
    older.version = 2
    aligned = Gguf(
        pairs=[ARCHITECTURE, pair("general.alignment", U32, 64)],
        tensors=[tensor("a", [256, 2], 12, 0), tensor("b", [32], 39, 320), tensor("c", [], 0, 384)],
        data=bytes(388),
        alignment=64,
    )
    words = Gguf(pairs=[ARCHITECTURE, array("t", STRING, [f"token {i}" for i in range(40)])])
    split = Gguf(pairs=[ARCHITECTURE, pair("split.count", U16, 1), pair("split.no", U16, 0)])
    return [build.content() for build in (sound(), older, aligned, words, split)]


def safetensors_seeds() -> list[bytes]:
    table = {
        f"layers.{i}": safetensors_build.entry("F16", [2, i], i * (i - 1) * 2, i * (i + 1) * 2)
        for i in range(4)
    }
    return [safetensors_build.sound(), safetensors_build.content(table, bytes(24))]


def index_seeds() -> list[bytes]:
    shards = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]
    index = {"metadata": {"total_size": 8}, "weight_map": dict(zip("ab", shards, strict=True))}
    return [json.dumps(index).encode()]


def place_of_number(raw: bytearray, dice: random.Random) -> int:
    """A place that looks like a small number in a wide field, for a part of the tries."""
    place = 0
    for _ in range(20):
        place = dice.randrange(len(raw))
        if raw[place + 1 : place + 4] == bytes(3):
            return place
    return place


def mutate(raw: bytearray, dice: random.Random) -> None:
    if not raw:
        return
    place = dice.randrange(len(raw))
    match dice.randrange(8):
        case 0:
            raw[place] ^= 1 << dice.randrange(8)
        case 1:
            raw[place] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
        case 2:
            del raw[place:]
        case 3:
            raw[place:place] = raw[dice.randrange(len(raw)) :][: dice.randrange(1, 64)]
        case 4:
            del raw[place : place + dice.randrange(1, 64)]
        case 5:
            raw[place : place + dice.randrange(4)] = dice.choice(JSON_WORDS)
        case _:
            width = dice.choice([4, 8])
            number = dice.choice(EDGES) % (1 << 8 * width)
            place = place_of_number(raw, dice)
            raw[place : place + width] = number.to_bytes(width, "little")


def fuzz(
    model: Path,
    seeds: list[bytes],
    opened: Callable[[Path], GgufFile | SafetensorsFile],
    rounds: range,
) -> int:
    """How many mutated files opened; fails at the first that does anything but open or refuse."""
    num_opened = 0
    for number in rounds:
        dice = random.Random(number)
        raw = bytearray(seeds[number % len(seeds)])
        for _ in range(dice.randint(1, 3)):
            mutate(raw, dice)
        # A new file each time: writing over one makes many file systems wait for the disk.
        path = model.with_name(f"{number}-{model.name}")
        path.write_bytes(raw)
        try:
            with opened(path) as file:
                for one in file.tensors.values():
                    assert one.data().nbytes == one.n_bytes
                    assert len(one.data().tobytes()) <= file.size_bytes
            num_opened += 1
        except FormatError as refusal:
            if not refusal.hint or len(str(refusal)) > 1000:
                pytest.fail(f"round {number}: a poor refusal: {refusal}")
        except Exception as surprise:
            surprise.add_note(f"round {number}")
            raise
        path.unlink()
    return num_opened


Case = tuple[str, Callable[[], list[bytes]], Callable[[Path], GgufFile | SafetensorsFile]]
CASES: dict[str, Case] = {
    "gguf": ("model.gguf", gguf_seeds, open_gguf),
    "safetensors": ("model.safetensors", safetensors_seeds, open_safetensors),
    "index": ("model.safetensors.index.json", index_seeds, open_safetensors),
}


def run(case: str, folder: Path, rounds: range) -> int:
    name, seeds, opened = CASES[case]
    safetensors_build.write_sharded(folder)
    for seed in seeds():
        (folder / name).write_bytes(seed)
        with opened(folder / name) as file:
            assert file.tensors is not None
    return fuzz(folder / name, seeds(), opened, rounds)


@pytest.mark.parametrize("case", CASES)
def test_fuzz_bounded(tmp_path: Path, case: str) -> None:
    num_opened = run(case, tmp_path, range(ROUNDS))
    # Both ways must be walked, or the mutations are too mild or too wild to find anything.
    assert 0 < num_opened < 0.9 * ROUNDS


@pytest.mark.parametrize("case", CASES)
def test_fuzz_takes_little_memory(tmp_path: Path, case: str) -> None:
    tracemalloc.start()
    try:
        run(case, tmp_path, range(ROUNDS, ROUNDS + TRACED_ROUNDS))
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < PEAK_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_fuzz_long(tmp_path: Path, case: str) -> None:
    run(case, tmp_path, range(SLOW_ROUNDS))
