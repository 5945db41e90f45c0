"""The engine: whatever else runs, is cut, shared, preempted or cancelled, an answer is its own.

Every expected answer comes from a plain loop over a runner of its own: no batch, no cache.
"""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.engine.engine import Engine
from freehold.engine.pages import Sequence
from freehold.engine.request import Output, Request
from freehold.engine.runner import Part, Runner
from freehold.engine.sampler import Sampler, Sampling
from freehold.engine.scheduler import Budget
from freehold.errors import BadPrompt, BadSchema, DeadlineExceeded, PromptTooLong, QueueFull
from freehold.loading import load_gguf
from freehold.models.base import Model
from tests.loading.small import Dims, small

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64)
WARM = Sampling(temperature=1.5, top_p=0.9, seed=7)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_gguf(small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf")).model


def prompt(length: int, seed: int = 0) -> list[int]:
    tokens: list[int] = np.random.default_rng(seed).integers(0, DIMS.V, length).tolist()
    return tokens


def engine_of(model: Model, *, tokens: int = 4096, max_running: int = 64) -> Engine:
    return Engine(Runner(model, tokens=tokens), max_running=max_running)


def alone(model: Model, request: Request) -> list[int]:
    """The answer by the plain loop."""
    runner, sequence = Runner(model, tokens=2048), Sequence()
    sampler = Sampler(request.sampling, request.tokens, branch=request.branch)
    answer: list[int] = []
    tokens = request.tokens
    while len(answer) < request.max_tokens:
        (logits,) = runner.run([Part(sequence, tokens)])
        token = sampler.next(logits)
        if token in request.stop_ids:
            break
        answer.append(token)
        tokens = [token]
    return answer


def drained(engine: Engine) -> dict[str, list[Output]]:
    """Steps until nothing is left; every output by request."""
    outputs: dict[str, list[Output]] = {}
    for _ in range(5000):
        if not engine.has_work:
            break
        for name, output in engine.step():
            outputs.setdefault(name, []).append(output)
    assert not engine.has_work
    engine.runner.pages.check()
    assert engine.runner.pages.num_pages_free == engine.runner.pages.count
    return outputs


def text_of(outputs: list[Output]) -> list[int]:
    return [token for output in outputs for token in output.tokens]


def requests(count: int) -> list[Request]:
    """Different lengths, samplings and limits; some prompts begin alike."""
    head = prompt(150, seed=99)
    return [
        Request(
            id=str(i),
            tokens=(head[: 40 * (i % 4)] + prompt(20 + 37 * i % 300, seed=i)),
            max_tokens=5 + 7 * i % 40,
            sampling=replace(WARM, seed=i) if i % 2 else Sampling(),
            owner="ab"[i % 2],
        )
        for i in range(count)
    ]


def test_many_requests_answer_as_each_alone(model: Model) -> None:
    engine, asked = engine_of(model, tokens=16384), requests(12)
    for request in asked:
        engine.submit(request)
    outputs = drained(engine)
    for request in asked:
        assert text_of(outputs[request.id]) == alone(model, request)
        assert [o.finish_reason for o in outputs[request.id]][-1] == "length"


def test_preemption_changes_no_answer(model: Model) -> None:
    """Eight pages for answers that need twenty: they push each other out, and finish."""
    engine = engine_of(model, tokens=8 * 64)
    asked = [
        Request(
            id=str(i), tokens=prompt(60, seed=i), max_tokens=150, sampling=replace(WARM, seed=i)
        )
        for i in range(6)
    ]
    for request in asked:
        engine.submit(request)
    outputs = drained(engine)
    assert engine.stats().preemptions_total > 0
    for request in asked:
        assert text_of(outputs[request.id]) == alone(model, request)


def test_a_shared_prefix_is_computed_once_and_changes_no_answer(model: Model) -> None:
    engine = engine_of(model)
    first = Request(id="first", tokens=prompt(300), max_tokens=20)
    engine.submit(first)
    one = drained(engine)["first"]
    again = replace(first, id="again")
    engine.submit(again)
    two = drained(engine)["again"]
    assert text_of(one) == text_of(two) == alone(model, first)
    assert (one[0].cached_tokens, two[0].cached_tokens) == (0, 299)
    # A second turn goes on from the answer, whose pages are kept too.
    turn = replace(first, id="turn", tokens=first.tokens + text_of(one) + prompt(30, seed=5))
    engine.submit(turn)
    three = drained(engine)["turn"]
    assert three[0].cached_tokens == 319
    assert text_of(three) == alone(model, turn)


def test_a_prefix_is_not_shared_between_owners(model: Model) -> None:
    engine = engine_of(model)
    for owner in ("a", "b"):
        engine.submit(Request(id=owner, tokens=prompt(300), max_tokens=1, owner=owner))
        assert drained(engine)[owner][0].cached_tokens == 0


def test_what_is_cached_gives_way_to_what_is_asked(model: Model) -> None:
    engine = engine_of(model, tokens=10 * 64)
    for i in range(6):
        engine.submit(Request(id=str(i), tokens=prompt(300, seed=i), max_tokens=2))
        drained(engine)
    engine.submit(Request(id="last", tokens=prompt(300, seed=5), max_tokens=2))
    assert drained(engine)["last"][0].cached_tokens == 299
    engine.submit(Request(id="old", tokens=prompt(300, seed=0), max_tokens=2))
    assert drained(engine)["old"][0].cached_tokens == 0


def test_stop_ids_end_an_answer_and_are_not_part_of_it(model: Model) -> None:
    request = Request(id="a", tokens=prompt(9), max_tokens=30, sampling=WARM)
    whole = alone(model, request)
    stop = replace(request, stop_ids=frozenset({whole[12], 9999}))
    engine = engine_of(model)
    engine.submit(stop)
    outputs = drained(engine)["a"]
    assert text_of(outputs) == whole[: whole.index(whole[12])]
    assert (outputs[-1].finish_reason, outputs[-1].stop_id) == ("stop", whole[12])
    assert outputs[-1].stop_logprob is None


def test_the_token_that_ended_an_answer_has_its_log_probability(model: Model) -> None:
    request = Request(id="a", tokens=prompt(9), max_tokens=30)
    whole = alone(model, request)
    engine = engine_of(model)
    engine.submit(replace(request, stop_ids=frozenset({whole[0]}), logprobs=1))
    (output,) = drained(engine)["a"]
    assert (output.tokens, output.logprobs, output.stop_id) == ((), (), whole[0])
    assert output.stop_logprob is not None
    assert output.stop_logprob.token == output.stop_logprob.top[0][0] == whole[0]


def test_branches_of_one_seed_differ_and_repeat(model: Model) -> None:
    engine = engine_of(model)
    for branch in range(3):
        engine.submit(
            Request(id=f"{branch}", tokens=prompt(9), max_tokens=20, sampling=WARM, branch=branch)
        )
    texts = {name: text_of(outputs) for name, outputs in drained(engine).items()}
    assert len({tuple(text) for text in texts.values()}) == 3
    one = Request(id="1", tokens=prompt(9), max_tokens=20, sampling=WARM, branch=1)
    assert texts["1"] == alone(model, one)


def test_logprobs_are_those_of_the_model(model: Model) -> None:
    request = Request(
        id="a", tokens=prompt(80), max_tokens=8, sampling=WARM, logprobs=3, prompt_logprobs=2
    )
    engine = engine_of(model)
    engine.submit(request)
    outputs = drained(engine)["a"]
    answer = text_of(outputs)
    logits = Runner(model, tokens=2048).logits(request.tokens + answer).astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    notes = [note for output in outputs for note in output.logprobs]
    assert [note.token for note in notes] == answer
    for i, note in enumerate(notes):
        row = expected[len(request.tokens) + i - 1]
        assert abs(note.logprob - row[note.token]) < 1e-6
        assert [token for token, _ in note.top] == np.argsort(-row)[:3].tolist()
    prompt_notes = outputs[0].prompt_logprobs
    assert prompt_notes is not None
    assert prompt_notes[0] is None
    for i, known in enumerate(prompt_notes[1:]):
        assert known is not None
        assert known.token == request.tokens[i + 1]
        assert abs(known.logprob - expected[i][known.token]) < 1e-6
        assert len(known.top) == 2


def test_preemption_moves_no_log_probability_of_a_prompt(model: Model) -> None:
    """Of two prompts that are half done and fill the cache, one begins again."""
    noted = Request(id="n", tokens=prompt(400, seed=9), max_tokens=2, prompt_logprobs=0)
    unhurried = engine_of(model)
    unhurried.submit(noted)
    expected = drained(unhurried)["n"][0].prompt_logprobs
    engine = engine_of(model, tokens=9 * 64)
    engine.submit(replace(noted, id="before"))
    engine.submit(noted)
    outputs = drained(engine)
    assert engine.stats().preemptions_total > 0
    assert outputs["n"][0].prompt_logprobs == expected


def test_a_prompt_goes_on_beside_more_answers_than_a_step_has_tokens(model: Model) -> None:
    engine = engine_of(model, tokens=16384)
    engine.pacer.budget = Budget(mixed_tokens=32, alone_tokens=512)
    engine._bounds_chunks = False
    for i in range(40):
        engine.submit(Request(id=f"{i}", tokens=prompt(9, seed=i), max_tokens=60))
    engine.step()
    engine.submit(Request(id="late", tokens=prompt(40), max_tokens=1))
    ended = [name for _ in range(10) for name, output in engine.step() if output.finish_reason]
    assert ended == ["late"]


def test_a_request_that_waits_for_pages_is_looked_up_once(model: Model) -> None:
    engine = engine_of(model, tokens=6 * 64)
    for name in "ab":
        engine.submit(Request(id=name, tokens=prompt(200), max_tokens=100, owner=name))
    drained(engine)
    stats = engine.stats()
    assert stats.prefix_queries_total == 400


def test_an_accepted_request_never_finds_the_queue_full_for_its_other_choices(
    model: Model,
) -> None:
    engine = Engine(Runner(model, tokens=640), max_running=1, max_waiting=0)
    request = Request(id="a", tokens=prompt(9), max_tokens=1)
    engine.submit(request)
    for branch in range(1, 4):
        engine.submit(replace(request, id=f"a.{branch}", branch=branch))
    assert len(drained(engine)) == 4


def test_a_cancelled_request_leaves_nothing_behind(model: Model) -> None:
    engine = engine_of(model)
    for name in "abc":
        engine.submit(Request(id=name, tokens=prompt(200), max_tokens=50))
    engine.step()
    engine.cancel("b")
    engine.cancel("unknown")
    assert set(drained(engine)) == {"a", "c"}


def test_a_deadline_ends_what_runs_and_what_waits(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = engine_of(model, max_running=1)
    for name in "ab":
        engine.submit(Request(id=name, tokens=prompt(20), max_tokens=1000, deadline_s=3600.0))
    assert [name for name, _ in engine.step()] == ["a"]
    late = SimpleNamespace(monotonic=lambda: time.monotonic() + 3601)
    monkeypatch.setattr("freehold.engine.engine.time", late)
    outputs = drained(engine)
    for name in "ab":
        assert outputs[name][-1].finish_reason == "error"
        assert isinstance(outputs[name][-1].error, DeadlineExceeded)


def test_owners_take_turns_in_the_queue(model: Model) -> None:
    """One owner's ten requests do not stand before another's first."""
    engine = engine_of(model, max_running=1)
    for i in range(10):
        engine.submit(Request(id=f"many{i}", tokens=prompt(9), max_tokens=1, owner="many"))
    engine.submit(Request(id="few", tokens=prompt(9), max_tokens=1, owner="few"))
    order = list(drained(engine))
    assert order.index("few") == 1


def test_a_full_queue_refuses(model: Model) -> None:
    engine = Engine(Runner(model, tokens=640), max_running=1, max_waiting=2)
    for i in range(3):
        engine.submit(Request(id=str(i), tokens=prompt(9), max_tokens=1))
    with pytest.raises(QueueFull) as caught:
        engine.submit(Request(id="x", tokens=prompt(9), max_tokens=1))
    assert caught.value.retry_after_s
    assert set(drained(engine)) == {"0", "1", "2"}


def test_what_cannot_be_done_is_refused_at_once(model: Model) -> None:
    engine = engine_of(model, tokens=640)
    good = Request(id="a", tokens=prompt(9), max_tokens=1)
    with pytest.raises(BadPrompt):
        engine.submit(replace(good, tokens=[]))
    with pytest.raises(BadPrompt):
        engine.submit(replace(good, tokens=[0, DIMS.V]))
    with pytest.raises(BadPrompt):
        engine.submit(replace(good, tokens=[-1]))
    with pytest.raises(PromptTooLong):
        engine.submit(replace(good, max_tokens=640))
    with pytest.raises(BadSchema):
        engine.submit(replace(good, grammar="start: /a/"))
    assert not engine.has_work


def test_a_step_never_exceeds_its_budget(model: Model) -> None:
    engine = engine_of(model, tokens=16384)
    counts: list[int] = []
    run = engine.runner.run

    def counted(parts: list[Part]) -> np.ndarray:
        decodes = sum(len(part.tokens) == 1 for part in parts)
        budget = engine.pacer.budget
        total = sum(len(part.tokens) for part in parts)
        assert total <= (budget.mixed_tokens if decodes else budget.alone_tokens) + decodes
        counts.append(total)
        return run(parts)

    engine.runner.run = counted  # type: ignore[method-assign]
    for request in requests(8):
        engine.submit(request)
    drained(engine)
    assert max(counts) > 60


ACTIONS = st.lists(
    st.tuples(st.sampled_from(["submit", "step", "step", "cancel"]), st.integers(0, 9)), max_size=60
)


@settings(max_examples=25, deadline=None)
@given(actions=ACTIONS, pages=st.integers(5, 14), max_running=st.integers(1, 6))
def test_no_page_is_lost_under_any_order_of_events(
    model: Model, actions: list[tuple[str, int]], pages: int, max_running: int
) -> None:
    engine = engine_of(model, tokens=pages * 64, max_running=max_running)
    live: set[str] = set()
    for number, (action, which) in enumerate(actions):
        if action == "submit":
            length = 20 + which * 13
            tokens = prompt(length, seed=which % 3)
            engine.submit(Request(id=f"{number}", tokens=tokens, max_tokens=1 + which * 15))
            live.add(f"{number}")
        elif action == "cancel" and live:
            engine.cancel(sorted(live)[which % len(live)])
        else:
            engine.step()
        engine.runner.pages.check()
    drained(engine)
