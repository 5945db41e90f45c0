"""The same tokens give the same bits, however they are cut, batched, threaded or paged.

Every comparison is of whole float32 logits, bit for bit; there is no tolerance to hide in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from freehold import ops
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import load_gguf
from tests.loading.small import Array, Dims, small

LENGTH = 600  # ten pages of 64, three segments of 256
MODELS = {
    # Five query heads share one KV head; no width is a multiple of a vector.
    "F32": Dims(D=60, H=5, G=1, A=12, F=77),
    "BF16": Dims(kind="BF16", D=96, H=3, G=3, A=34, F=50),
    "Q4_1": Dims(kind="Q4_1", D=96, H=6, G=2, A=16, F=160),
    "Q8_0": Dims(kind="Q8_0", D=64, H=2, G=1, A=64, F=96),
    "Q4_K and others": Dims(
        kind="Q4_K",
        F=256,
        other_kinds={"attn_v.weight": "Q6_K", "ffn_up.weight": "Q3_K", "attn_k.weight": "F16"},
    ),
    "IQ4_XS and others": Dims(
        kind="IQ4_XS", F=256, other_kinds={"attn_v.weight": "MXFP4", "ffn_down.weight": "Q2_K"}
    ),
}
# Of the older instruction sets; by default only the first, which is the type of the starter model.
EVERY_ISA = ("Q4_1", "F32", "Q4_K and others")


@dataclass(frozen=True)
class Case:
    """A model, a runner over it, tokens, and the logits of them all in one step."""

    runner: Runner
    ids: list[int]
    whole: Array  # (T, V)


def cases() -> list[object]:
    best = ops.available_isas()[-1]
    return [
        pytest.param(
            (name, isa),
            id=f"{name}-{isa}",
            marks=[] if isa == best or name == EVERY_ISA[0] else [pytest.mark.slow],
        )
        for name in MODELS
        for isa in ops.available_isas()
        if isa == best or name in EVERY_ISA
    ]


@pytest.fixture(scope="module", params=cases())
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    name, isa = request.param
    before = ops.isa_name()
    ops.force_isa(isa)
    path = small(MODELS[name]).write(tmp_path_factory.mktemp("small") / "small.gguf")
    yield made(path, LENGTH)
    ops.force_isa(before)


def made(path: Path, length: int) -> Case:
    runner = Runner(load_gguf(path).model, tokens=10 * length)
    ids = np.random.default_rng(3).integers(0, runner.model.vocabulary, length).tolist()
    return Case(runner, ids, in_chunks(runner, ids, [length]))


@pytest.fixture
def thread_count() -> Iterator[None]:
    before = ops.threads()
    yield
    ops.set_threads(before)


def in_chunks(runner: Runner, ids: list[int], sizes: list[int]) -> Array:
    """Logits of every token, in chunks of these sizes, over and over."""
    sequence, rows, done, turn = Sequence(), [], 0, 0
    while done < len(ids):
        chunk = ids[done : done + sizes[turn % len(sizes)]]
        rows.append(runner.run([Part(sequence, chunk, len(chunk))]).copy())
        done, turn = done + len(chunk), turn + 1
    runner.pages.release(sequence)
    return np.concatenate(rows)


def last_logits(runner: Runner, ids: list[int], size: int) -> Array:
    """Logits after the last token only, the prompt run in chunks."""
    sequence = Sequence()
    for start in range(0, len(ids), size):
        logits = runner.run([Part(sequence, ids[start : start + size])]).copy()
    runner.pages.release(sequence)
    return logits


def together(runner: Runner, texts: list[list[int]], sizes: list[int]) -> list[Array]:
    """Logits of every token of several sequences that share each step, each at its own pace."""
    sequences = [Sequence() for _ in texts]
    rows: list[list[Array]] = [[] for _ in texts]
    while any(s.length < len(ids) for s, ids in zip(sequences, texts, strict=True)):
        running = [i for i, s in enumerate(sequences) if s.length < len(texts[i])]
        parts = [
            Part(sequences[i], chunk, len(chunk))
            for i in running
            for chunk in [texts[i][sequences[i].length : sequences[i].length + sizes[i]]]
        ]
        logits = runner.run(parts)
        for i, part in zip(running, parts, strict=True):
            rows[i].append(logits[: len(part.tokens)].copy())
            logits = logits[len(part.tokens) :]
    for sequence in sequences:
        runner.pages.release(sequence)
    return [np.concatenate(row) for row in rows]


def test_the_logits_are_worth_comparing(case: Case) -> None:
    """Finite, unlike for unlike tokens, and moved by a token 599 places back."""
    assert np.isfinite(case.whole).all()
    assert len(np.unique(case.whole[:, 0])) > LENGTH // 2
    other = [(case.ids[0] + 1) % case.runner.model.vocabulary, *case.ids[1:]]
    moved = in_chunks(case.runner, other, [LENGTH])
    assert not np.array_equal(moved[-1], case.whole[-1])


@pytest.mark.parametrize(
    "sizes",
    [[1], [2], [3], [5], [16], [63], [64], [65], [200], [257], [1, 300, 2, 31, 4]],
    ids=str,
)
def test_chunks_of_any_size_give_the_same_bits(case: Case, sizes: list[int]) -> None:
    assert np.array_equal(in_chunks(case.runner, case.ids, sizes), case.whole)


def lengths() -> list[object]:
    """Each length in one of two sizes of chunks; in the other too, if slow."""
    return [
        pytest.param(length, size, marks=[] if place % 2 == turn else [pytest.mark.slow])
        for place, length in enumerate((1, 64, 2, 65, 257, 256, 513, 600))
        for turn, size in enumerate((600, 64))
    ]


@pytest.mark.parametrize(("length", "size"), lengths())
def test_the_last_token_alone_gets_the_same_bits(case: Case, length: int, size: int) -> None:
    """Whether or not other logits are wanted beside it, and whatever follows it."""
    logits = last_logits(case.runner, case.ids[:length], size)
    assert np.array_equal(logits, case.whole[length - 1 : length])


def test_a_batch_of_seven_gives_the_same_bits_as_each_alone(case: Case) -> None:
    """Long beside short, decodes beside prompts; one sequence is the whole text itself."""
    ids = case.ids
    texts = [ids, ids[5:275], ids[:1], ids[100:200], ids[7:72], ids[:64], ids[300:590]]
    batch = together(case.runner, texts, [100, 1, 1, 3, 65, 17, 40])
    assert np.array_equal(batch[0], case.whole)
    for text, logits in zip(texts[1:], batch[1:], strict=True):
        assert np.array_equal(logits, in_chunks(case.runner, text, [len(text)]))
    assert np.array_equal(batch[5], case.whole[:64])


@pytest.mark.parametrize("count", [1, 2, 3])
def test_any_number_of_threads_gives_the_same_bits(
    case: Case, thread_count: None, count: int
) -> None:
    ops.set_threads(count)
    assert np.array_equal(in_chunks(case.runner, case.ids, [LENGTH]), case.whole)
    assert np.array_equal(in_chunks(case.runner, case.ids[:300], [50, 1]), case.whole[:300])


def test_pages_handed_out_in_another_order_give_the_same_bits(case: Case) -> None:
    """The pages hold another text's keys and values from before."""
    runner = case.runner
    holders = [Sequence() for _ in range(runner.pages.num_pages_free)]
    for holder in holders:
        runner.pages.extend(holder, 1)
    for i in np.random.default_rng(8).permutation(len(holders)):
        runner.pages.release(holders[i])
    in_chunks(runner, case.ids[::-1], [200])
    assert np.array_equal(in_chunks(runner, case.ids, [90, 7]), case.whole)


@pytest.mark.weights
def test_the_starter_model_gives_the_same_bits_however_it_is_run(starter_path: Path) -> None:
    """Past a segment of 256: in one step, in chunks, in a batch, with one thread, last token."""
    case = made(starter_path, 270)
    texts = [case.ids, case.ids[40:90], case.ids[:33]]
    batch = together(case.runner, texts, [100, 1, 20])
    assert np.array_equal(batch[0], case.whole)
    assert np.array_equal(batch[1], in_chunks(case.runner, texts[1], [50]))
    assert np.array_equal(batch[2], case.whole[:33])
    assert np.array_equal(last_logits(case.runner, case.ids, 64), case.whole[-1:])
    sequence = Sequence()
    case.runner.run([Part(sequence, case.ids[:250])])
    for i, token in enumerate(case.ids[250:], start=250):  # decodes across the segment's edge
        assert np.array_equal(case.runner.run([Part(sequence, [token])])[0], case.whole[i])
