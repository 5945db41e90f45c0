"""Predictions, against what is worked out by hand and what is loaded for real."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freehold.engine.rates import TypeRates
from freehold.engine.runner import Runner, slot_bytes
from freehold.fit.predict import memory_needs, step_seconds, times
from freehold.formats.block_types import BlockType
from freehold.loading import load_model
from freehold.loading.outline import Outline, Part, outline_of
from freehold.models.base import KvSpec
from freehold.ops import LayerKv, Weight
from tests.fit.rates import made_rates
from tests.loading.small_directory import write_directory, write_weights

WIDE = 2048


def outline(
    *parts: Part, kv: tuple[LayerKv, ...] = (LayerKv(0, 0, 0),), window: int = 0
) -> Outline:
    return Outline(
        parts=parts,
        kv=KvSpec(kv),
        windows=(window,) * len(kv),
        heads=16,
        width=WIDE,
        context_tokens=100_000,
    )


def part(name: str = "layers.0.attn.q", copies: int = 1, used: int = 1) -> Part:
    return Part(name, WIDE, WIDE, int(BlockType.Q8_0), WIDE * WIDE * copies, copies, used)


def test_one_token_takes_as_long_as_reading_the_weights() -> None:
    took = step_seconds(outline(part()), made_rates(), tokens=1, depth=0)
    assert took == pytest.approx(WIDE * WIDE / 10e9)


def test_many_tokens_take_as_long_as_their_products() -> None:
    took = step_seconds(outline(part()), made_rates(), tokens=512, depth=0)
    assert took == pytest.approx(512 * WIDE * WIDE / 80e9)


def test_a_narrow_matrix_runs_at_the_narrow_rate() -> None:
    narrow = replace(part(), columns=512)
    took = step_seconds(outline(narrow), made_rates(), tokens=512, depth=0)
    assert took == pytest.approx(512 * WIDE * 512 / 40e9)


def test_the_head_is_for_one_token_of_a_prompt() -> None:
    head = outline(part("head"))
    assert step_seconds(head, made_rates(), tokens=512, depth=0) == pytest.approx(
        step_seconds(head, made_rates(), tokens=1, depth=0)
    )


def test_one_token_reads_its_own_experts_only() -> None:
    experts = outline(part("layers.0.moe.up", copies=128, used=8))
    took = step_seconds(experts, made_rates(), tokens=1, depth=0)
    assert took == pytest.approx(8 * WIDE * WIDE / 10e9)


def test_a_prompt_meets_every_expert_with_its_share_of_tokens() -> None:
    """512 tokens of which each uses 8 of 128: 32 a piece, enough for the full rate."""
    experts = outline(part("layers.0.moe.up", copies=128, used=8))
    took = step_seconds(experts, made_rates(), tokens=512, depth=0)
    assert took == pytest.approx(512 * 8 * WIDE * WIDE / 80e9)


def test_few_tokens_run_between_the_rates_of_one_and_of_many() -> None:
    rates = made_rates(TypeRates(stream=1e15, one=20e9, many=80e9, narrow=80e9))
    taken = [step_seconds(outline(part()), rates, tokens=n, depth=0) / n for n in (1, 2, 4, 8, 16)]
    assert taken == sorted(taken, reverse=True)
    assert taken[0] == pytest.approx(WIDE * WIDE / 20e9)
    assert taken[3] == taken[4] == pytest.approx(WIDE * WIDE / 80e9)


def test_attention_grows_with_the_depth_until_the_window() -> None:
    kept = (LayerKv(16, 128, 128),)
    full, near = outline(kv=kept), outline(kv=kept, window=1024)
    at = {depth: step_seconds(full, made_rates(), tokens=1, depth=depth) for depth in (511, 4095)}
    assert at[4095] == pytest.approx(8 * at[511])
    assert at[511] == pytest.approx(512 * 16 * 256 / 10e9)
    seen = step_seconds(near, made_rates(), tokens=1, depth=8191)
    assert seen == pytest.approx(1024 * 16 * 256 / 10e9)


def test_a_prompt_sees_every_key_before_each_query() -> None:
    kept = outline(kv=(LayerKv(16, 128, 128),))
    took = times(kept, made_rates(), prompt=2000).prompt_s
    assert took == pytest.approx(2000 * 2001 / 2 * 16 * 256 / 20e9)


def test_a_window_that_fills_inside_a_prompt_counts_each_query_once() -> None:
    kept = outline(kv=(LayerKv(16, 128, 128),), window=700)
    pairs = sum(min(position + 1, 700) for position in range(2000))
    took = times(kept, made_rates(), prompt=2000).prompt_s
    assert took == pytest.approx(pairs * 16 * 256 / 20e9)


def test_states_take_every_token_in() -> None:
    recurrent = replace(outline(), kv=KvSpec((LayerKv(0, 0, 0),), (1000, 4000)))
    assert step_seconds(recurrent, made_rates(), tokens=1, depth=0) == pytest.approx(5000 / 5e9)
    took = step_seconds(recurrent, made_rates(), tokens=100, depth=0)
    assert took == pytest.approx(100 * 5000 / 15e9)


def test_calls_cost_a_small_model_time() -> None:
    small = outline(kv=(LayerKv(0, 0, 0),) * 30)
    assert step_seconds(small, made_rates(op_s=2e-6), tokens=1, depth=0) > 300e-6


def loaded_sizes(path: Path, context: int) -> tuple[int, int, int]:
    """Bytes of the weights, the pages and two states of a model that was loaded."""
    loaded = load_model(path)
    weights = sum(
        each.bytes if isinstance(each, Weight) else 4 * each.rows * each.cols
        for each in loaded.parameters.values()
    )
    runner = Runner(loaded.model, tokens=context)
    return weights, runner.kv.pages * runner.kv.page_bytes, 2 * slot_bytes(loaded.model)


@pytest.mark.weights
def test_memory_of_the_starter_is_what_loading_it_takes(starter_path: Path) -> None:
    needs = memory_needs(outline_of(starter_path), context=1000)
    weights, pages, states = loaded_sizes(starter_path, 1000)
    assert needs.weights == pytest.approx(weights, rel=1e-3)
    assert (needs.kv, needs.states) == (pages, states)


def test_outline_of_a_directory_has_its_matrices(tmp_path: Path) -> None:
    write_weights(write_directory(tmp_path))
    found = outline_of(tmp_path)
    stored = 300 * 64 + 4 * 64 * 64 + 3 * 128 * 64
    assert found.elements == stored
    assert found.weights_bytes == 4 * (stored + 3 * 64)
    assert [part.used for part in found.parts if part.name == "embed"] == [1]  # it is the head
    assert found.kv.layers == (LayerKv(4, 16, 16),)
    assert found.context_tokens == 512


def test_reading_an_outline_reads_no_weights(tmp_path: Path) -> None:
    write_weights(write_directory(tmp_path))
    file = tmp_path / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-4:] = np.float32(np.nan).tobytes()  # the last norm; loading it is refused
    file.write_bytes(raw)
    assert outline_of(tmp_path).elements > 0
