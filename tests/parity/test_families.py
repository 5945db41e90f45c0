"""Every decoder family against transformers at toy size, from both formats.

Oracle: the family's own class of transformers 5 on torch 2.13, float32, no cache, its keys and
values passed through float16 as ours are. Weights are F32 in the files. "rms" is that of the
oracle's logits.

| what, of rms       | bound | reason                                                              |
|--------------------|-------|---------------------------------------------------------------------|
| rms difference     | 5e-4  | float32 sums in another order; where one falls across a float16     |
|                    |       | edge a key or a value differs by 2^-11                              |
| largest difference | 1e-2  | the same, the worst of all places                                   |
| a flipped switch   | 5e-3  | at least this far: ten times what arithmetic may do                 |

A token on the border between two experts may choose another one by such a difference: toys are
drawn so that no scores lie that near.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.loading import load_model
from freehold.loading.sources import Table
from freehold.models.registry import DECODERS, FAMILIES
from tests.parity import family as families
from tests.parity import (
    toys_experts,
    toys_gemma4,
    toys_hybrid,
    toys_latent,
    toys_layers,
    toys_mistral,
    toys_norms,
    toys_qwen,
)
from tests.parity.family import FamilyToy, Flip
from tests.parity.toy import Array

pytestmark = pytest.mark.parity

TOYS = (
    *toys_experts.TOYS,
    *toys_gemma4.TOYS,
    *toys_hybrid.TOYS,
    *toys_latent.TOYS,
    *toys_layers.TOYS,
    *toys_mistral.TOYS,
    *toys_norms.TOYS,
    *toys_qwen.TOYS,
)

RMS_BOUND = 5e-4
LARGEST_BOUND = 1e-2
FLIP_BOUND = 5e-3


@dataclasses.dataclass(frozen=True)
class Case:
    """A toy, its files by format, a prompt and the oracle's logits (T, V)."""

    toy: FamilyToy
    paths: dict[str, Path]
    ids: list[int]
    logits: Array


@pytest.fixture(scope="module", params=TOYS, ids=lambda toy: toy.name.replace(" ", "-"))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    toy: FamilyToy = request.param
    folder = tmp_path_factory.mktemp("family")
    model = families.family_oracle(toy)
    paths = {"directory": families.write_directory(model, folder / "model")}
    if toy.arch:
        paths["gguf"] = families.write_family_gguf(toy, paths["directory"], folder / "model.gguf")
    ids = np.random.default_rng(len(toy.name)).integers(0, toy.vocabulary, toy.tokens).tolist()
    return Case(toy, paths, ids, families.oracle_logits(model, ids, half_kv=True))


def runner_of(path: Path, case: Case) -> Runner:
    return Runner(load_model(path).model, tokens=2 * len(case.ids) + 256)


def rms(values: Array) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def assert_near(ours: Array, case: Case, rows: slice = slice(None)) -> None:
    expected = case.logits[rows]
    assert ours.shape == expected.shape
    assert np.isfinite(ours).all()
    scale = rms(case.logits)
    assert rms(ours - expected) <= RMS_BOUND * scale
    assert np.abs(ours - expected).max() <= LARGEST_BOUND * scale


def in_chunks(runner: Runner, ids: list[int], sizes: list[int]) -> Array:
    """Logits of every token, run in chunks of the sizes, the last repeated to the end."""
    sequence, rows, done = Sequence(), [], 0
    sizes = list(sizes)
    while done < len(ids):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        chunk = ids[done : done + size]
        rows.append(runner.run([Part(sequence, chunk, wanted=len(chunk))]).copy())
        done += len(chunk)
    runner.pages.release(sequence)
    return np.concatenate(rows)


def test_prefill_decode_chunks_and_batches_match_transformers(case: Case) -> None:
    """Both formats, and the same bits however the prompt is cut or accompanied."""
    for path in case.paths.values():
        runner = runner_of(path, case)
        whole = in_chunks(runner, case.ids, [len(case.ids)])
        assert_near(whole, case)
        decoded = in_chunks(runner, case.ids[:20], [1])
        assert np.array_equal(decoded, whole[:20])
        chunked = in_chunks(runner, case.ids, [63, 2, 70, 1, 5])
        assert np.array_equal(chunked, whole)
        assert np.array_equal(batched(runner, case.ids), whole[[99, 70]])


def batched(runner: Runner, ids: list[int]) -> Array:
    """A decode beside another sequence's prefill, pages interleaved: logits of tokens 99 and 70."""
    first, second = Sequence(), Sequence()
    runner.run([Part(first, ids[:70])])
    logits = runner.run([Part(second, ids[:100]), Part(first, ids[70:71])]).copy()
    runner.pages.release(first)
    runner.pages.release(second)
    return logits


def test_a_flipped_switch_shows(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model_type = case.toy.config.get_text_config().model_type
    module: Any = import_module(f"freehold.loading.names.{DECODERS[model_type]}")
    table: Table = module.HUB
    for name, flip in case.toy.flips.items():
        flipped = dataclasses.replace(table, read_config=flipped_reader(table, flip))
        with monkeypatch.context() as patch:
            patch.setattr(module, "HUB", flipped)
            runner = runner_of(case.paths["directory"], case)
        ours = in_chunks(runner, case.ids, [len(case.ids)])
        assert rms(ours - case.logits) >= FLIP_BOUND * rms(case.logits), name


def test_a_bias_that_only_chooses_experts_shows(case: Case, tmp_path: Path) -> None:
    """It is a tensor, not a switch: at zero, other experts must answer."""
    weights = load_file(case.paths["directory"] / "model.safetensors")
    biases = [name for name in weights if name.endswith("e_score_correction_bias")]
    assert bool(biases) == any(word in case.toy.name for word in ("deepseek-v3", "glm4-moe"))
    if biases:
        shutil.copytree(case.paths["directory"], tmp_path / "model")
        zeroed = {name: np.zeros_like(weights[name]) for name in biases}
        save_file(weights | zeroed, tmp_path / "model" / "model.safetensors", {"format": "pt"})
        ours = in_chunks(runner_of(tmp_path / "model", case), case.ids, [len(case.ids)])
        assert rms(ours - case.logits) >= FLIP_BOUND * rms(case.logits)


def flipped_reader(table: Table, flip: Flip) -> Callable[[Mapping[str, object]], Any]:
    return lambda metadata: flip(table.read_config(metadata))


def test_every_family_has_a_toy_in_each_of_its_formats() -> None:
    assert {toy.config.get_text_config().model_type for toy in TOYS} >= DECODERS.keys()
    assert {toy.arch for toy in TOYS} >= FAMILIES.keys()
