"""Adapters against weights merged by hand, from both forms of adapter and both of model.

Oracle: transformers 5 on torch 2.13, float32, with W + scale B A in place of W (added in float64),
its keys and values passed through float16 as ours are. The base's weights are F32 in the files.
"change" is the rms of what the adapter changes in the oracle's logits.

| rms error     | bound            | reason                                                        |
|---------------|------------------|---------------------------------------------------------------|
| kept in       | 1e-3 of change,  | A and B are rounded by 2^-11 at most; the base's own bound is |
| float16       | 5e-4 of logits   | that of test_families                                         |
| kept in       | 2e-2 of change,  | A and B are each rounded by about 0.5 % of what is usual, at  |
| 8 bits        | 5e-4 of logits   | random                                                        |
| the same,     | 1.5e-1 of change | a token near the border between two experts chooses the other |
| a mixture     |                  |                                                               |

A module left out, a wrong scale, or rows in another order change far more: that is shown below.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import Loaded, load_model
from freehold.loading.adapters import load_adapter
from tests.parity import family as families
from tests.parity import lora as loras
from tests.parity import toys_mistral, toys_norms, toys_qwen
from tests.parity.family import FamilyToy
from tests.parity.lora import Lora
from tests.parity.toy import Array

pytestmark = pytest.mark.parity

CHANGE_BOUND = {16: 1e-3, 8: 2e-2}
LOGIT_BOUND = 5e-4
TOYS = {
    toy.name: toy
    for toy in (*toys_mistral.TOYS, *toys_norms.TOYS, *toys_qwen.TOYS)
    if toy.name in ("gemma3", "mistral", "mixtral", "olmo2", "qwen2, tied", "qwen3, wide heads")
}


@dataclass(frozen=True)
class Case:
    """A toy with three adapters: the oracle's logits without and with each, and the files."""

    toy: FamilyToy
    paths: dict[str, Path]
    loras: tuple[Lora, ...]
    files: dict[str, list[Path]]  # form of adapter -> a path for each
    ids: list[int]
    plain: Array
    merged: list[Array]


def adapters_of(model: Any, toy: FamilyToy) -> tuple[Lora, ...]:
    """All modules; some at another rank; a root for a scale and one module of its own."""
    every = loras.ATTENTION if "mixtral" in toy.name else loras.ATTENTION + loras.MLP
    some = ("self_attn.q_proj", "self_attn.v_proj")
    return (
        Lora(pairs=loras.draw(model, 1, modules=every)),
        Lora(pairs=loras.draw(model, 2, rank=16, modules=some), alpha=16.0),
        Lora(pairs=loras.draw(model, 3, rank=3, modules=every[-1:]), alpha=2.0),
    )


@pytest.fixture(scope="module", params=list(TOYS.values()), ids=list(TOYS))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    toy: FamilyToy = request.param
    folder = tmp_path_factory.mktemp("adapters")
    model = families.family_oracle(toy)
    paths = {"directory": families.write_directory(model, folder / "model")}
    paths["gguf"] = families.write_family_gguf(toy, paths["directory"], folder / "model.gguf")
    ids = np.random.default_rng(5).integers(0, toy.vocabulary, 90).tolist()
    found = adapters_of(model, toy)
    merged = []
    plain = families.oracle_logits(model, ids, half_kv=True)
    for lora in found:
        loras.merge(model, lora)
        merged.append(families.oracle_logits(model, ids, half_kv=True))
        loras.merge(model, lora, -1.0)
    files = {
        "peft": [loras.write_peft(one, folder / f"peft-{i}") for i, one in enumerate(found)],
        "gguf": [
            loras.write_gguf_lora(one, toy, folder / f"lora-{i}.gguf")
            for i, one in enumerate(found)
        ],
    }
    return Case(toy, paths, found, files, ids, plain, merged)


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def runner_with(loaded: Loaded, paths: list[Path], bits: int) -> Runner:
    """The adapters under the indices 0, 1, 2 ..."""
    for index, path in enumerate(paths):
        load_adapter(path, loaded, bits=bits).attach(index)
    return Runner(loaded.model, tokens=2048)


def logits_with(loaded: Loaded, path: Path, ids: list[int]) -> Array:
    """Logits of every token with an adapter that is taken away again."""
    adapter = load_adapter(path, loaded, bits=16)
    adapter.attach(0)
    found = logits(Runner(loaded.model, tokens=2048), ids, 0)
    adapter.detach(0)
    return found


def logits(runner: Runner, ids: list[int], adapter: int, cuts: tuple[int, ...] = ()) -> Array:
    """Logits of every token, the prompt cut before these."""
    sequence, rows = Sequence(), []
    for start, end in zip((0, *cuts), (*cuts, len(ids)), strict=True):
        part = Part(sequence, ids[start:end], end - start, adapter)
        rows.append(runner.run([part]).copy())
    runner.pages.release(sequence)
    return np.concatenate(rows)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("form", ["peft", "gguf"])
@pytest.mark.parametrize("base", ["directory", "gguf"])
def test_an_adapter_answers_as_merged_weights_would(
    case: Case, base: str, form: str, bits: int
) -> None:
    runner = runner_with(load_model(case.paths[base]), case.files[form], bits)
    for index, merged in enumerate(case.merged):
        change = rms(merged - case.plain)
        # Forty times the bound; a norm after a half takes much of what an adapter adds to it.
        assert change > 0.02 * rms(case.plain), "an adapter so weak that its loss would not show"
        error = rms(logits(runner, case.ids, index) - merged)
        bound = 0.15 if case.toy.name == "mixtral" and bits == 8 else CHANGE_BOUND[bits]
        assert error <= bound * change + LOGIT_BOUND * rms(merged)
    untouched = Runner(load_model(case.paths[base]).model, tokens=2048)
    assert np.array_equal(logits(runner, case.ids, -1), logits(untouched, case.ids, -1))


@pytest.mark.parametrize("base", ["directory", "gguf"])
def test_a_mixed_batch_has_each_sequence_s_own_bits(case: Case, base: str) -> None:
    """Prompts and answers of three adapters and none, cut anyhow, in the same steps."""
    runner = runner_with(load_model(case.paths[base]), case.files["peft"], 8)
    alone = {index: logits(runner, case.ids, index) for index in (-1, 0, 1, 2)}
    for index, whole in alone.items():
        assert np.array_equal(logits(runner, case.ids, index, (1, 2, 50, 67)), whole)
    order = (0, -1, 2, 0, 1, -1)
    sequences = [Sequence() for _ in order]
    starts = (30, 1, 64, 31, 7, 40)
    runner.run(
        [Part(s, case.ids[:n], 0, a) for s, n, a in zip(sequences, starts, order, strict=True)]
    )
    for step in range(3):
        parts = [
            Part(s, case.ids[n + step : n + step + 1], 1, a)
            for s, n, a in zip(sequences, starts, order, strict=True)
        ]
        got = runner.run(parts)
        for row, (n, adapter) in enumerate(zip(starts, order, strict=True)):
            assert np.array_equal(got[row], alone[adapter][n + step])


def test_what_could_go_wrong_changes_more_than_the_bounds_allow(case: Case, tmp_path: Path) -> None:
    """A module left out, another alpha, and query rows in the file's order: all must show."""
    loaded = load_model(case.paths["directory"])
    lora, merged = case.loras[0], case.merged[0]
    limit = CHANGE_BOUND[8] * rms(merged - case.plain) + LOGIT_BOUND * rms(merged)
    for module in {name.split(".", 3)[3] for name in lora.pairs}:
        left = {name: pair for name, pair in lora.pairs.items() if not name.endswith(module)}
        path = loras.write_peft(replace(lora, pairs=left), tmp_path / module)
        assert rms(logits_with(loaded, path, case.ids) - merged) > limit, module
    path = loras.write_peft(replace(lora, alpha=1.1 * lora.alpha), tmp_path / "alpha")
    assert rms(logits_with(loaded, path, case.ids) - merged) > limit
    unpermuted = replace(case.toy, change=lambda name, values: {name: values})
    if case.toy.arch == "llama":
        path = loras.write_gguf_lora(lora, unpermuted, tmp_path / "rows.gguf")
        assert rms(logits_with(loaded, path, case.ids) - merged) > limit


def test_roots_patterns_and_other_types_mean_what_they_say(tmp_path: Path) -> None:
    toy = TOYS["qwen3, wide heads"]
    model = families.family_oracle(toy)
    loaded = load_model(families.write_directory(model, tmp_path / "model"))
    ids = np.random.default_rng(5).integers(0, toy.vocabulary, 40).tolist()
    pairs = loras.draw(model, 4, rank=4)
    own = "model.layers.1.mlp.down_proj"
    pairs[own] = loras.draw(model, 5, rank=9)[own]
    lora = Lora(
        pairs=pairs,
        alpha=5.0,
        rooted=True,
        ranks={"layers.1.mlp.down_proj": 9},
        alphas={"v_proj": 11.0, "layers.1.mlp.down_proj": 3.0},
    )
    loras.merge(model, lora)
    merged = families.oracle_logits(model, ids, half_kv=True)
    path = loras.write_peft(lora, tmp_path / "peft")
    assert rms(logits_with(loaded, path, ids) - merged) <= 1e-3 * rms(merged)
    halves = replace(lora, rooted=False, ranks={}, alphas={})
    rounded = {
        name: (loras.halved(lower), loras.halved(upper))
        for name, (lower, upper) in pairs.items()
        if name != own
    }
    halves = replace(halves, pairs=rounded)  # values that float16 holds
    single = loras.write_gguf_lora(halves, toy, tmp_path / "single.gguf")
    half = loras.write_gguf_lora(halves, toy, tmp_path / "half.gguf", kind=np.float16)
    found = [logits_with(loaded, path, ids) for path in (single, half)]
    assert np.array_equal(found[0], found[1]), "a value of float16 is kept as it is"
