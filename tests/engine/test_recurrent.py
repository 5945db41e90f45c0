"""A model with recurrent states: whatever else runs, is cut, shared, preempted or cancelled, an
answer is its own, bit for bit.

Every expected answer comes from a plain loop over a runner of its own: no batch, no cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold import ops
from freehold.engine.engine import Engine
from freehold.engine.measure import measure
from freehold.engine.pages import Sequence
from freehold.engine.request import Output, Request
from freehold.engine.runner import Part, Runner, slot_bytes
from freehold.engine.sampler import Sampler, Sampling
from freehold.errors import OutOfPages, WrongTask
from freehold.loading.adapters import load_adapter
from freehold.loading.gguf import Loaded
from freehold.models.base import Model, Parameter
from freehold.models.hybrid import DeltaConfig, HybridConfig, HybridDecoder
from tests.ops.grid import Array, tensor

VOCABULARY = 97
CONFIG = HybridConfig(
    vocabulary=VOCABULARY,
    context_tokens=4096,
    layers=4,
    width=48,
    heads=4,
    kv_heads=2,
    head_width=16,
    mlp_width=64,
    eps=1e-6,
    rope_base=1e4,
    rotated_width=8,
    delta=DeltaConfig(
        layers=frozenset({0, 1, 2}),
        key_heads=2,
        value_heads=4,
        key_width=16,
        value_width=20,
        taps=4,
    ),
)
WARM = Sampling(temperature=1.5, top_p=0.9, seed=7)


@pytest.fixture(scope="module")
def model() -> Model:
    """Random weights; states that fade slowly enough to matter after hundreds of tokens."""
    rng = np.random.default_rng(5)
    parameters: dict[str, Parameter] = {}
    for name, slot in HybridDecoder.slots(CONFIG).items():
        values = rng.standard_normal(slot.shape).astype(np.float32)
        if name.endswith("norm"):
            values = 1 + 0.2 * values
        if name.endswith("decay"):
            continue  # made from its logarithm
        if name.endswith("decay_log"):
            values = (values - 6).astype(np.float32)
        if not slot.matrix:
            parameters[name] = tensor(values)
            continue
        weight = ops.Weight(0, slot.shape[0], slot.shape[1])
        scaled = (1.5 * values / np.sqrt(slot.shape[1])).astype(np.float32)
        weight.pack(0, slot.shape[0], scaled.reshape(-1).view(np.uint8))
        parameters[name] = weight
    made: Any = HybridDecoder(CONFIG, parameters)
    found: Model = made
    return found


@pytest.fixture
def thread_count() -> Iterator[None]:
    before = ops.threads()
    yield
    ops.set_threads(before)


def prompt(length: int, seed: int = 0) -> list[int]:
    tokens: list[int] = np.random.default_rng(seed).integers(0, VOCABULARY, length).tolist()
    return tokens


def in_chunks(runner: Runner, ids: list[int], size: int) -> Array:
    sequence, rows = Sequence(), []
    for start in range(0, len(ids), size):
        chunk = ids[start : start + size]
        rows.append(runner.run([Part(sequence, chunk, len(chunk))]).copy())
    runner.pages.release(sequence)
    return np.concatenate(rows)


def alone(model: Model, request: Request) -> list[int]:
    """The answer by the plain loop."""
    runner, sequence = Runner(model, tokens=2048), Sequence()
    sampler = Sampler(request.sampling, request.tokens, branch=request.branch)
    answer: list[int] = []
    tokens = request.tokens
    while len(answer) < request.max_tokens:
        token = sampler.next(runner.run([Part(sequence, tokens)])[0])
        answer.append(token)
        tokens = [token]
    return answer


def drained(engine: Engine) -> dict[str, list[Output]]:
    """Steps until nothing is left; every output by request."""
    outputs: dict[str, list[Output]] = {}
    while engine.has_work:
        for name, output in engine.step():
            outputs.setdefault(name, []).append(output)
    assert_all_free(engine)
    return outputs


def assert_all_free(engine: Engine) -> None:
    pages = engine.runner.pages
    pages.check()
    assert pages.num_pages_free == pages.count
    assert pages.states is not None
    pages.states.check([])


def answer(outputs: list[Output]) -> list[int]:
    return [token for output in outputs for token in output.tokens]


def test_chunks_batches_threads_and_slots_change_no_bit(model: Model, thread_count: None) -> None:
    ids, others = prompt(300), [prompt(210, seed=1), prompt(130, seed=2)]
    runner = Runner(model, tokens=4096)
    whole = in_chunks(runner, ids, 300)
    for size in (1, 63, 64, 128):
        assert np.array_equal(in_chunks(runner, ids, size), whole), size
    for threads in (1, 2):
        ops.set_threads(threads)
        first, second, third = Sequence(), Sequence(), Sequence()
        runner.run([Part(second, others[0][:150]), Part(third, others[1])])
        rows = []
        for start in range(0, 300, 50):
            parts = [Part(first, ids[start : start + 50], 50)]
            if start % 100 == 0 and start < 300:
                at = second.length
                parts.insert(start // 100 % 2, Part(second, others[0][at : at + 20], 0))
            rows.append(runner.run(parts).copy())
        assert np.array_equal(np.concatenate(rows), whole), threads
        for sequence in (first, second, third):
            runner.pages.release(sequence)


def requests(count: int) -> list[Request]:
    """Different lengths and samplings; some prompts begin alike."""
    head = prompt(200, seed=99)
    return [
        Request(
            id=str(i),
            tokens=head[: 70 * (i % 3)] + prompt(20 + 37 * i % 300, seed=i),
            max_tokens=5 + 7 * i % 40,
            sampling=replace(WARM, seed=i) if i % 2 else Sampling(),
            owner="ab"[i % 2],
        )
        for i in range(count)
    ]


@pytest.mark.parametrize("slots", [2, 3, 16])
def test_many_requests_answer_as_each_alone(model: Model, slots: int) -> None:
    """Also when there are fewer states than requests."""
    engine, asked = Engine(Runner(model, tokens=16384, slots=slots)), requests(9)
    for request in asked:
        engine.submit(request)
    outputs = drained(engine)
    for request in asked:
        assert answer(outputs[request.id]) == alone(model, request)


def test_preemption_changes_no_answer(model: Model) -> None:
    engine = Engine(Runner(model, tokens=8 * 64))
    asked = [
        Request(
            id=str(i), tokens=prompt(60, seed=i), max_tokens=150, sampling=replace(WARM, seed=i)
        )
        for i in range(4)
    ]
    for request in asked:
        engine.submit(request)
    outputs = drained(engine)
    assert engine.stats().preemptions_total > 0
    for request in asked:
        assert answer(outputs[request.id]) == alone(model, request)


def test_a_second_turn_hits_and_answers_as_if_it_had_not(model: Model) -> None:
    engine = Engine(Runner(model, tokens=8192))
    first = Request(id="first", tokens=prompt(300), max_tokens=100, sampling=WARM)
    engine.submit(first)
    said = answer(drained(engine)["first"])
    turn = first.tokens + said + prompt(30, seed=3)
    for name, tokens, least in (("second", turn, 384), ("again", first.tokens, 256)):
        request = Request(id=name, tokens=tokens, max_tokens=20, sampling=WARM)
        engine.submit(request)
        outputs = drained(engine)[name]
        assert outputs[0].cached_tokens == least
        assert answer(outputs) == alone(model, request)
    assert engine.stats().prefix_hits_total == 384 + 256
    other = Request(id="other", tokens=turn, max_tokens=2, owner="someone else")
    engine.submit(other)
    assert drained(engine)["other"][0].cached_tokens == 0


def test_prompt_logprobs_are_those_of_every_token(model: Model) -> None:
    """Nothing is shared for them, and nothing that others left disturbs them."""
    engine = Engine(Runner(model, tokens=8192))
    plain = Request(id="plain", tokens=prompt(150), max_tokens=2)
    engine.submit(plain)
    drained(engine)
    engine.submit(replace(plain, id="noted", prompt_logprobs=0))
    noted = drained(engine)["noted"][0].prompt_logprobs
    logits = Runner(model, tokens=256).logits(plain.tokens).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    assert noted is not None
    for i, note in enumerate(noted[1:]):
        assert note is not None
        assert note.logprob == pytest.approx(expected[i, plain.tokens[i + 1]], abs=1e-4)


def test_a_cancelled_request_gives_its_slot_back(model: Model) -> None:
    engine = Engine(Runner(model, tokens=4096, slots=2))
    for name in "abc":
        engine.submit(Request(id=name, tokens=prompt(40), max_tokens=500))
    for _ in range(4):
        engine.step()
    assert (engine.stats().num_running, engine.stats().num_waiting) == (2, 1)
    engine.cancel("a")
    engine.step()
    assert engine.stats().num_running == 2
    engine.cancel("b")
    engine.cancel("c")
    assert_all_free(engine)


def test_more_sequences_than_slots_are_refused_by_a_runner(model: Model) -> None:
    runner = Runner(model, tokens=4096, slots=2)
    sequences = [Sequence() for _ in range(3)]
    for sequence in sequences[:2]:
        runner.run([Part(sequence, [1, 2])])
    with pytest.raises(OutOfPages, match="state of one more"):
        runner.run([Part(sequences[2], [1, 2])])
    assert sequences[2].pages == []


def test_a_sequence_goes_back_to_its_mark(model: Model) -> None:
    runner, sequence = Runner(model, tokens=512), Sequence()
    runner.run([Part(sequence, prompt(70))])
    mark = runner.mark(sequence)
    first = runner.run([Part(sequence, [1, 2, 3])]).copy()
    for _ in range(2):
        runner.rewind(sequence, mark)
        assert sequence.length == 70
        assert np.array_equal(runner.run([Part(sequence, [1, 2, 3])]), first)


def test_a_state_is_as_large_as_its_layers_say(model: Model) -> None:
    taps = 3 * (2 * 2 * 16 + 4 * 20)
    state = 4 * 16 * 32  # columns in whole blocks of 32
    assert slot_bytes(model) == 3 * 4 * (taps + state)
    assert slot_bytes(model) == Runner(model, tokens=64).kv.states.slot_bytes  # type: ignore[union-attr]


class Bench:
    """What `measure` asks for."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def new_runner(self, tokens: int, sequences: int) -> Runner:
        return Runner(self.model, tokens=tokens, slots=sequences)


@pytest.mark.parametrize("depth", [0, 65])
def test_measures_go_back_to_where_they_began(model: Model, depth: int) -> None:
    found = list(measure(Bench(model), prompt=70, generate=3, batch=2, depth=depth, repeats=2))
    assert [(m.test, m.depth) for m in found] == [("prefill", depth), ("decode", depth)]


def test_adapters_are_refused(model: Model) -> None:
    """Else an adapter's gates would be lost without a word."""
    with pytest.raises(WrongTask, match="takes no adapters"):
        load_adapter(Path("unread"), Loaded(model, {}, Path("unread"), "toy", 0))
