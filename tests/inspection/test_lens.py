"""The lens ends in the model's own answer, and attention is what transformers attends with.

Oracle: attentions of transformers 5.23's LlamaForCausalLM, eager, float32. Bound 2e-3 absolute: our
queries meet weights in float32 in another order, and the toy's layers add up; seen 1e-5.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.engine.runner import Runner
from freehold.errors import BadRequest, WrongTask
from freehold.inspection.lens import MOST_TOKENS, depth_logits, lens_of, watch
from freehold.loading import load_gguf
from freehold.models.decoder import Decoder
from tests.loading.small import small


@pytest.fixture
def model(tmp_path: Path) -> Any:
    loaded = load_gguf(small().write(tmp_path / "m.gguf")).model
    assert isinstance(loaded, Decoder)
    return loaded


def test_the_last_layer_says_what_the_model_says(model: Any) -> None:
    ids = [5, 9, 200, 31, 7]
    *before, last = depth_logits(model, ids)
    assert len(before) == len(model.layers) - 1
    np.testing.assert_array_equal(last, Runner(model, tokens=8).logits(ids))
    assert np.abs(before[0] - last).max() > 0.1


def test_looking_changes_nothing(model: Any) -> None:
    ids = [5, 9, 200]
    before = Runner(model, tokens=8).logits(ids)
    watch(model, ids)
    next(depth_logits(model, ids))
    np.testing.assert_array_equal(Runner(model, tokens=8).logits(ids), before)


def test_shares_are_causal_and_whole(model: Any) -> None:
    for attended in watch(model, [5, 9, 200, 31, 7]):
        weights = np.array(attended.weights)
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-9)
        assert (np.triu(weights, 1) == 0).all()


@pytest.mark.parity
def test_attention_is_that_of_transformers(tmp_path: Path) -> None:
    import torch

    from tests.parity import toy as toys

    toy = next(toy for toy in toys.TOYS if toy.L == 4)
    oracle = toys.oracle(toy)
    oracle.set_attn_implementation("eager")
    ids = np.random.default_rng(0).integers(0, toy.V, 24).tolist()
    with torch.no_grad():
        theirs = oracle(torch.tensor([ids]), output_attentions=True).attentions
    loaded = load_gguf(toys.write_gguf(toy, oracle, tmp_path / "toy.gguf")).model
    assert isinstance(loaded, Decoder)
    ours = watch(loaded, ids)
    assert [attended.layer for attended in ours] == list(range(toy.L))
    for attended, their in zip(ours, theirs, strict=True):
        mean = their[0].mean(dim=0).numpy()
        assert np.abs(np.array(attended.weights) - mean).max() < 2e-3


def test_a_prompt_is_not_shortened(tmp_path: Path) -> None:
    path = small().write(tmp_path / "m.gguf")
    with pytest.raises(BadRequest):
        lens_of(path, "x y " * MOST_TOKENS)
    lens = lens_of(path, "abc")
    assert len(lens.guesses) == 2
    assert len(lens.guesses[0]) == len(lens.tokens)


@pytest.mark.weights
def test_an_embedder_has_no_lens(embedder_path: Path) -> None:
    with pytest.raises(WrongTask):
        lens_of(embedder_path, "abc")


@pytest.mark.weights
def test_the_starter_knows_the_capital_of_france(starter_path: Path) -> None:
    lens = lens_of(starter_path, "The capital of France is")
    assert lens.guesses[-1][-1].token == " Paris"
    assert lens.guesses[0][-1].token != " Paris"
