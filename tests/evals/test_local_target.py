"""A model in this process answers and weighs as it does alone, item by item."""

from __future__ import annotations

import numpy as np
import pytest

from freehold.errors import PromptTooLong
from freehold.evals import Generation, Identity, LocalTarget, Pair
from freehold.local import Model, load_chat
from tests.loading.small import small

NAME = Identity(name="small", digest="sha256:" + "00" * 32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = small().write(tmp_path_factory.mktemp("small") / "small.gguf")
    return load_chat(path, context_tokens=256)


@pytest.fixture
def target(model: Model) -> LocalTarget:
    return LocalTarget(model, NAME)


def alone(model: Model, prompt: str, continuation: str) -> tuple[float, bool]:
    before = model.tokenizer.encode(prompt)
    whole = model.tokenizer.encode(prompt + continuation)
    logits = model.logits(whole).astype(np.float64)
    logits -= logits.max(1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(1, keepdims=True))
    places = range(len(before), len(whole))
    total = sum(float(logits[i - 1, whole[i]]) for i in places)
    greedy = all(int(logits[i - 1].argmax()) == whole[i] for i in places)
    return total, greedy


def test_continuations_have_the_log_probabilities_of_the_text_alone(
    model: Model, target: LocalTarget
) -> None:
    groups = [
        tuple(Pair(prompt, end) for end in (" a", " bc", " a longer ending", ""))
        for prompt in ("Question: x", "A prompt that goes on for a while, and then", "y" * 150)
    ]
    groups.append((Pair("One name", " ends"), Pair("Another name", " ends")))
    found = dict(target.score(groups))
    assert sorted(found) == [0, 1, 2, 3]
    for number, group in enumerate(groups):
        for pair, scored in zip(group, found[number], strict=True):
            total, greedy = alone(model, str(pair.prompt), pair.continuation)
            assert scored.logprob == pytest.approx(total, abs=1e-4)
            assert scored.greedy is greedy


def test_what_the_model_would_write_is_greedy(model: Model, target: LocalTarget) -> None:
    ids = model.tokenizer.encode("Question")
    first = int(model.logits(ids)[-1].argmax())
    text = model.tokenizer.decode([first])
    if model.tokenizer.encode("Question" + text)[: len(ids)] != ids:
        pytest.skip("the small vocabulary joins these letters")
    ((_, (scored,)),) = target.score([(Pair("Question", text),)])
    assert scored.greedy


def test_space_at_a_prompts_end_belongs_to_the_continuation(target: LocalTarget) -> None:
    ((_, (one, other)),) = target.score([(Pair("Question: ", "a"), Pair("Question:", " a"))])
    assert one == other


def test_answers_are_those_of_the_model_alone(model: Model, target: LocalTarget) -> None:
    prompts = [f"Say {i}" for i in range(40)]
    found = dict(target.generate(prompts, Generation(max_tokens=6)))
    assert sorted(found) == list(range(40))
    for i in (0, 17, 39):
        assert found[i].text == model.generate(prompts[i], max_tokens=6).text


def test_a_stop_text_ends_an_answer_before_it(model: Model, target: LocalTarget) -> None:
    whole = model.generate("Say", max_tokens=12).text
    stop = whole[4:6]
    ((_, found),) = target.generate(["Say"], Generation(max_tokens=12, stop=(stop,)))
    assert found.text == whole[: whole.index(stop)]
    assert found.finish_reason == "stop"


def test_what_does_not_fit_is_refused_alone(target: LocalTarget) -> None:
    found = dict(target.generate(["a", "b " * 600, "c"], Generation(max_tokens=2)))
    assert isinstance(found[1].refused, PromptTooLong)
    assert found[0].refused is None
    assert found[2].refused is None
    scored = dict(target.score([(Pair("b " * 600, "x"),), (Pair("a", "x"),)]))
    assert isinstance(scored[0][0].refused, PromptTooLong)
    assert scored[1][0].refused is None


def test_a_long_text_is_read_in_windows(model: Model, target: LocalTarget) -> None:
    text = "some words " * 80
    ((_, found),) = target.read([text])
    assert found.tokens == len(model.tokenizer.encode(text, add_bos=False))
    assert found.tokens > model.context_tokens
    assert found.logprob < 0


def test_the_same_seed_draws_the_same_answers(target: LocalTarget) -> None:
    how = Generation(max_tokens=8, temperature=1.0, seed=7)
    first = dict(target.generate(["a", "b"], how))
    assert dict(target.generate(["a", "b"], how)) == first
