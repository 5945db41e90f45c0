"""Claims about making a model smaller, on a toy of random weights."""

from __future__ import annotations

from pathlib import Path
from time import sleep
from typing import Any

import gguf
import numpy as np
import pytest

from freehold.errors import BadRecipe, LoadError
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import open_gguf
from freehold.loading.gguf import Loaded, load_gguf
from freehold.quantize import TextChoice, open_source, plan_recipe, recipe_named, shrink, texts_for
from freehold.quantize.loss import logits_of
from freehold.quantize.reducing import run_past
from freehold.quantize.shrink import Outcome
from tests.loading.small import Dims, small


def made(source: Path, target: Path, story: Path, *, recipe: str = "Q4_0", **how: Any) -> Outcome:
    method = how.setdefault("method", "feedback")
    wanted = TextChoice(calibration=(story,), calibration_tokens=600, held_out_tokens=200)
    with open_source(source) as opened:
        texts = texts_for(opened, wanted, method=method)
        plan = plan_recipe(opened, recipe_named(recipe), method=method)
        return shrink(opened, plan, texts, target, **how)


@pytest.mark.parametrize("method", ["feedback", "importance", "weights"])
def test_the_gguf_package_reads_the_file(
    toy: Path, story: Path, tmp_path: Path, method: str
) -> None:
    outcome = made(toy, tmp_path / "out.gguf", story, method=method)
    reader = gguf.GGUFReader(outcome.path)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.attn_q.weight"] == "Q4_0"
    assert kinds["token_embd.weight"] == "Q8_0"
    assert kinds["blk.0.attn_norm.weight"] == "F32"
    source = {tensor.name: tensor for tensor in gguf.GGUFReader(toy).tensors}
    for tensor in reader.tensors:
        before = gguf.quants.dequantize(source[tensor.name].data, source[tensor.name].tensor_type)
        after = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert np.abs(after - before).max() < 0.3
        assert np.corrcoef(after.ravel(), before.ravel())[0, 1] > 0.98


def test_the_loss_is_written_into_the_file(toy: Path, story: Path, tmp_path: Path) -> None:
    outcome = made(toy, tmp_path / "out.gguf", story)
    with open_gguf(outcome.path) as file:
        said = file.metadata
        assert said["freehold.loss.mean_kl"] == pytest.approx(outcome.loss.mean_kl)
        assert said["freehold.loss.tokens"] == outcome.loss.tokens == 200
        assert said["freehold.quantize.recipe"] == "Q4_0"
        assert said["freehold.quantize.calibration.text"] == "story.txt"
        assert said["general.file_type"] == 2
        with open_gguf(toy) as source:
            kept = {key for key in source.metadata if not key.startswith("general.")}
            assert kept <= said.keys()
            assert all(file.raw_value(key) == source.raw_value(key) for key in kept)


def test_the_loss_is_that_of_the_file_that_is_left(toy: Path, story: Path, tmp_path: Path) -> None:
    outcome = made(toy, tmp_path / "out.gguf", story)
    source, after = load_gguf(toy).model, load_gguf(outcome.path).model
    kl, agrees = [], []
    for text in outcome.texts.held_out:
        for ours, theirs in zip(logits_of(source, text), logits_of(after, text), strict=True):
            p, q = (log_softmax(x.astype(np.float64)) for x in (ours, theirs))
            kl.append((np.exp(p) * (p - q)).sum(1))
            agrees.append(p.argmax(1) == q.argmax(1))
    assert outcome.loss.mean_kl == pytest.approx(np.concatenate(kl).mean(), rel=1e-6)
    assert outcome.loss.p99_kl == pytest.approx(np.quantile(np.concatenate(kl), 0.99), rel=1e-6)
    assert outcome.loss.agreement == pytest.approx(np.concatenate(agrees).mean())


def log_softmax(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.asarray(x - np.log(np.exp(x).sum(1, keepdims=True)))


def test_passing_errors_on_loses_less(toy: Path, story: Path, tmp_path: Path) -> None:
    with_feedback = made(toy, tmp_path / "a.gguf", story)
    without = made(toy, tmp_path / "b.gguf", story, method="weights")
    by_columns = made(toy, tmp_path / "c.gguf", story, method="importance")
    assert with_feedback.loss.mean_kl < 0.8 * by_columns.loss.mean_kl < without.loss.mean_kl
    assert with_feedback.size_bytes == pytest.approx(without.size_bytes, abs=200)


def test_each_matrix_is_met_by_the_text(toy: Path, story: Path, tmp_path: Path) -> None:
    outcome = made(toy, tmp_path / "out.gguf", story)
    assert outcome.guided == set(outcome.plan.choices)
    assert made(toy, tmp_path / "b.gguf", story, method="weights").guided == set()


def test_every_matrix_is_met_by_every_token(toy: Path) -> None:
    """The last layer's too, though only the last tokens' logits are asked for."""

    met: list[int] = []

    class Counting:
        def meet(self, weights: Any, _parts: int, inputs: Any) -> Any:
            met.append(len(inputs(0)))
            return weights

        def instead(self, weight: Any) -> Any:
            return weight

    run_past(load_gguf(toy).model, [list(range(50)), list(range(30))], Counting())
    assert met == [80] * (4 * 2 + 1)  # four kinds of inputs a layer, and the head's


def test_experts_are_met_one_by_one(story: Path, tmp_path: Path) -> None:
    from tests.quantize.mixture import mixture

    source = mixture(tmp_path / "mixture.gguf")
    guided = made(source, tmp_path / "a.gguf", story, recipe="Q4_0")
    plain = made(source, tmp_path / "b.gguf", story, recipe="Q4_0", method="weights")
    assert guided.guided == set(guided.plan.choices)
    assert guided.loss.mean_kl < plain.loss.mean_kl


def test_a_larger_quantization_can_be_the_source(story: Path, tmp_path: Path) -> None:
    dims = Dims(L=1, D=64, H=4, G=2, A=16, F=96, V=300, kind="Q8_0", context_tokens=512)
    source = small(dims).write(tmp_path / "q8.gguf")
    outcome = made(source, tmp_path / "out.gguf", story, recipe="Q4_0")
    assert outcome.loss.mean_kl > 0
    with pytest.raises(BadRecipe, match="not get smaller"):
        made(outcome.path, tmp_path / "larger.gguf", story, recipe="Q8_0")


def test_a_broken_off_run_leaves_nothing(toy: Path, story: Path, tmp_path: Path) -> None:
    def interrupt(phase: str, _done: int, _total: int) -> None:
        if phase == "measure":
            raise KeyboardInterrupt

    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        made(toy, tmp_path / "out.gguf", story, progress=interrupt)
    assert set(tmp_path.iterdir()) == before


def test_the_same_text_gives_the_same_file(toy: Path, story: Path, tmp_path: Path) -> None:
    first = made(toy, tmp_path / "a.gguf", story, threads=1).path.read_bytes()
    assert made(toy, tmp_path / "b.gguf", story, threads=2).path.read_bytes() == first


def test_progress_ends_at_the_whole(toy: Path, story: Path, tmp_path: Path) -> None:
    heard: dict[str, tuple[int, int]] = {}

    def listen(phase: str, done: int, total: int) -> None:
        assert heard.get(phase, (0, 0))[0] <= done
        heard[phase] = (done, total)

    outcome = made(toy, tmp_path / "out.gguf", story, progress=listen)
    assert heard == {
        "encode": (outcome.plan.weight_bytes, outcome.plan.weight_bytes),
        "measure": (200, 200),
    }


def test_types_say_why_they_are_not_the_recipes(toy: Path) -> None:
    with open_source(toy) as source:
        plan = plan_recipe(source, recipe_named("q4_k_m"), method="weights")
    assert plan.substitutes[BlockType.Q4_K, BlockType.Q5_0] > 0
    assert plan.substitutes[BlockType.Q6_K, BlockType.Q8_0] > 0


def test_a_network_that_loads_beside_other_work_says_what_failed_when_it_is_asked_for(
    toy: Path,
) -> None:
    def fail() -> Loaded:
        raise LoadError("no network here")

    with open_source(toy) as source:
        source.load = fail
        source.begin_loading()
        with pytest.raises(LoadError, match="no network"):
            _ = source.loaded


def test_a_source_is_open_for_as_long_as_its_network_loads(toy: Path) -> None:
    told: list[str] = []
    with open_source(toy) as source:
        load, close = source.load, source.on_close

        def slowly() -> Loaded:
            sleep(0.2)
            told.append("loaded")
            return load()

        source.load, source.on_close = slowly, lambda: told.append("closed")
        source.begin_loading()
    close()
    assert told == ["loaded", "closed"]
