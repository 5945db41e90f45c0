"""Requests that no model can answer: refused by name, never shortened, and at no cost to others."""

from __future__ import annotations

from pathlib import Path

import pytest

import freehold
from freehold.errors import BadPrompt, BadSampling, BadSetting, PromptTooLong, RequestError
from freehold.local import load_chat
from tests.loading.small import Dims, small

DIMS = Dims(L=1, D=32, H=4, G=2, A=8, F=48, V=261, context_tokens=128)


def written(folder: Path) -> Path:
    return small(DIMS).write(folder / "model.gguf")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> freehold.Model:
    return load_chat(written(tmp_path_factory.mktemp("model")), context_tokens=100)


@pytest.mark.parametrize("context_tokens", [0, -1, 129, 1 << 40])
def test_a_context_the_model_does_not_have_is_refused(tmp_path: Path, context_tokens: int) -> None:
    with pytest.raises(BadSetting) as caught:
        freehold.load(written(tmp_path), context_tokens=context_tokens)
    assert caught.value.value == context_tokens
    assert "128" in caught.value.expected


@pytest.mark.parametrize("threads", [0, -1, 257])
def test_a_bad_thread_count_is_a_setting_refused(tmp_path: Path, threads: int) -> None:
    with pytest.raises(BadSetting, match="threads"):
        freehold.load(written(tmp_path), threads=threads)


@pytest.mark.parametrize("count", [100, 101, 128, 5000])
def test_a_prompt_that_leaves_no_room_is_refused_and_not_shortened(
    model: freehold.Model, count: int
) -> None:
    with pytest.raises(PromptTooLong, match="not shortened") as caught:
        model.generate([5] * count)
    assert caught.value.value == count
    assert "100 tokens" in caught.value.expected
    assert model.generate([5] * 99).finish_reason in ("length", "stop")


def test_a_prompt_with_its_answer_must_fit(model: freehold.Model) -> None:
    with pytest.raises(PromptTooLong, match="51 for the answer"):
        model.generate([5] * 50, max_tokens=51)
    assert len(model.generate([5] * 50, max_tokens=50).token_ids) <= 50


def test_logits_of_a_full_context_fit_and_one_more_does_not(model: freehold.Model) -> None:
    assert model.logits([5] * 100).shape == (100, DIMS.V)
    with pytest.raises(PromptTooLong):
        model.logits([5] * 101)


@pytest.mark.parametrize("token", [-1, DIMS.V, 1 << 31, -(1 << 40)])
def test_a_token_outside_the_vocabulary_is_refused(model: freehold.Model, token: int) -> None:
    for ask in (model.generate, model.logits):
        with pytest.raises(BadPrompt, match=f"0 to {DIMS.V - 1}") as caught:
            ask([1, token, 2])
        assert caught.value.value == token


@pytest.mark.parametrize("prompt", [[], ""])
def test_an_empty_prompt_is_refused(model: freehold.Model, prompt: list[int] | str) -> None:
    with pytest.raises(BadPrompt, match="empty"):
        model.generate(prompt)


def test_no_logits_of_nothing(model: freehold.Model) -> None:
    with pytest.raises(BadPrompt, match="empty"):
        model.logits([])


@pytest.mark.parametrize("max_tokens", [0, -1, -100, True])
def test_an_answer_of_no_tokens_is_refused(model: freehold.Model, max_tokens: int) -> None:
    with pytest.raises(BadSampling, match="max_tokens") as caught:
        model.generate([1], max_tokens=max_tokens)
    assert caught.value.value == max_tokens


def test_a_refused_request_costs_the_next_one_nothing(model: freehold.Model) -> None:
    before = model.generate([7, 8, 9], max_tokens=5).token_ids
    for bad in ([], [DIMS.V], [1] * 500):
        with pytest.raises(RequestError):
            model.generate(bad)
    assert model.generate([7, 8, 9], max_tokens=5).token_ids == before


def test_no_error_repeats_the_prompt(model: freehold.Model) -> None:
    secret = "the code is 4711 " * 40
    with pytest.raises(PromptTooLong) as caught:
        model.generate(secret)
    told = f"{caught.value!r} {caught.value} {caught.value.value!r}"
    assert "4711" not in told
    assert "code" not in told.replace("decode", "")
