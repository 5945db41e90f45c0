"""The runner's steps and pages, and the measures that are built on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold import ops
from freehold.engine.measure import measure
from freehold.engine.pages import Sequence
from freehold.engine.runner import Part, Runner
from freehold.errors import OutOfPages
from freehold.loading import load_gguf
from freehold.models.base import Model
from freehold.models.blocks import Workspace
from freehold.ops import Step, Tensor
from tests.loading.small import Dims, small

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_gguf(small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf")).model


class Bench:
    """What `measure` asks for."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.rooms: list[int] = []

    def new_runner(self, tokens: int, sequences: int) -> Runner:
        self.rooms.append(tokens)
        return Runner(self.model, tokens=tokens, slots=sequences)


def test_prefill_yields_logits_after_each_chunk(model: Model) -> None:
    runner, sequence = Runner(model, tokens=400, step_tokens=48), Sequence()
    ids = list(range(130))
    chunks = [logits.copy() for logits in runner.prefill(sequence, ids)]
    assert [chunk.shape for chunk in chunks] == [(1, DIMS.V)] * 3
    assert sequence.length == 130
    whole = runner.logits(ids)
    assert np.array_equal(np.concatenate(chunks), whole[[47, 95, 129]])


def test_the_last_feed_takes_the_tokens_whose_logits_are_wanted(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or all of them for somebody who watches; the logits are the same."""
    taken: list[int] = []
    mixer, feed = model.layers[-1]

    def counted(x: Tensor, step: Step, work: Workspace) -> None:
        taken.append(step.count)
        feed(x, step, work)

    monkeypatch.setattr(model, "layers", [*model.layers[:-1], (mixer, counted)])

    def logits(wanted: int, *, whole: bool) -> Any:
        runner, few = Runner(model, tokens=128, whole=whole), min(wanted, 1)
        parts = [Part(Sequence(), list(range(10)), wanted), Part(Sequence(), [7], few)]
        return runner.run(parts).copy()

    for wanted in (2, 0, 10):
        assert np.array_equal(logits(wanted, whole=False), logits(wanted, whole=True))
    assert taken == [3, 11, 11, 11, 11]


def test_logits_give_their_pages_back_and_own_their_memory(model: Model) -> None:
    runner = Runner(model, tokens=128)
    first = runner.logits(list(range(100)))
    kept = first.copy()
    assert runner.pages.num_pages_free == 2
    runner.logits(list(range(99, -1, -1)))
    assert np.array_equal(first, kept)


def test_a_step_without_room_runs_nothing_and_loses_nothing(model: Model) -> None:
    runner, sequence = Runner(model, tokens=128), Sequence()
    before = runner.run([Part(sequence, list(range(64)))]).copy()
    with pytest.raises(OutOfPages):
        runner.run([Part(sequence, list(range(65)))])
    assert (sequence.length, len(sequence.pages), runner.pages.num_pages_free) == (64, 1, 1)
    with pytest.raises(OutOfPages):
        runner.logits(list(range(128)))
    assert runner.pages.num_pages_free == 1
    sequence.length = 63
    again = runner.run([Part(sequence, [63])])
    assert np.array_equal(again, before)


def test_measures_say_what_they_measured(model: Model) -> None:
    bench = Bench(model)
    found = list(measure(bench, prompt=70, generate=3, batch=2, depth=65, repeats=2))
    prefill, decode = found
    assert (prefill.test, prefill.prompt, prefill.generate) == ("prefill", 70, 0)
    assert (decode.test, decode.prompt, decode.generate) == ("decode", 0, 3)
    for measured in found:
        assert (measured.batch, measured.depth, measured.repeats) == (2, 65, 2)
        assert (measured.isa, measured.threads) == (ops.isa_name(), ops.threads())
        assert 0 < measured.tokens_per_s < 1e9
    assert bench.rooms == [2 * 192, 2 * 128]  # whole pages for each sequence


@pytest.mark.parametrize(("prompt", "generate", "tests"), [(5, 0, ["prefill"]), (0, 2, ["decode"])])
def test_a_measure_of_nothing_is_left_out(
    model: Model, prompt: int, generate: int, tests: list[str]
) -> None:
    found = measure(Bench(model), prompt=prompt, generate=generate, batch=1, depth=0, repeats=1)
    assert [measured.test for measured in found] == tests


def test_a_saved_model_file_is_not_needed_after_loading(model: Model, tmp_path: Path) -> None:
    """The weights are packed copies: the file may go."""
    path = small(DIMS).write(tmp_path / "gone.gguf")
    loaded = load_gguf(path).model
    path.unlink()
    ids = list(range(20))
    assert np.array_equal(
        Runner(loaded, tokens=64).logits(ids), Runner(model, tokens=64).logits(ids)
    )
