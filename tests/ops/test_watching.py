"""Claims about who watches the ops: what is seen is what the matrices meet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from freehold import ops
from freehold.ops import RouterRule, Routing, Tensor, Weight
from freehold.ops.watching import Inputs, watching

T, D, F, X = 5, 48, 32, 4
Array = np.ndarray[Any, Any]


class Recorder:
    """Keeps the inputs of each weight by identity, and swaps what it is told to."""

    def __init__(self, swaps: dict[int, Weight] | None = None) -> None:
        self.swaps = swaps or {}
        self.inputs: dict[int, list[Array]] = {}

    def instead(self, weight: Weight) -> Weight:
        return self.swaps.get(id(weight), weight)

    def meet(self, weights: Sequence[Weight], parts: int, inputs: Inputs) -> Sequence[Weight]:
        for weight in weights:
            self.inputs[id(weight)] = [inputs(part).copy() for part in range(parts)]
        return [self.instead(weight) for weight in weights]


def weight(rng: np.random.Generator, rows: int, cols: int) -> tuple[Weight, Array]:
    values = rng.standard_normal((rows, cols)).astype(np.float32)
    made = Weight(0, rows, cols)
    made.pack(0, rows, values.view(np.uint8).reshape(-1))
    return made, values


def tensor(values: Array) -> Tensor:
    made = Tensor(*values.shape)
    made.fill(np.ascontiguousarray(values, np.float32))
    return made


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def test_a_projection_is_its_inputs_times_its_matrix(rng: np.random.Generator) -> None:
    matrix, values = weight(rng, F, D)
    x, norm = tensor(rng.standard_normal((T, D))), tensor(1 + rng.standard_normal((1, D)))
    out, recorder = Tensor(T, F), Recorder()
    with watching(recorder):
        ops.norm_project(x, norm, 1e-5, T, [matrix], [None], [out])
    (seen,) = recorder.inputs[id(matrix)]
    np.testing.assert_allclose(seen @ values.T, out.numpy(), rtol=1e-4, atol=1e-4)


def test_sums_and_gates_are_seen_too(rng: np.random.Generator) -> None:
    (gate, g), (up, u) = weight(rng, F, D), weight(rng, F, D)
    down, d = weight(rng, D, F)
    x, before = tensor(rng.standard_normal((T, D))), None
    hidden, recorder = Tensor(T, F), Recorder()
    before = x.numpy().copy()
    with watching(recorder):
        ops.gate_up(x, None, 0.0, gate, up, T, hidden)
        ops.project_add(hidden, down, None, T, x)
    (seen,) = recorder.inputs[id(gate)]
    raised = seen @ g.T
    np.testing.assert_allclose(
        raised / (1 + np.exp(-raised)) * (seen @ u.T), hidden.numpy(), rtol=1e-4, atol=1e-4
    )
    (seen,) = recorder.inputs[id(down)]
    np.testing.assert_allclose(before + seen @ d.T, x.numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weigh_inputs", [False, True])
def test_each_expert_is_seen_with_its_own_tokens(
    rng: np.random.Generator, weigh_inputs: bool
) -> None:
    (gate, _), (up, _), (down, d) = (
        weight(rng, X * F, D),
        weight(rng, X * F, D),
        weight(rng, X * D, F),
    )
    router, _ = weight(rng, X, D)
    x, norm = tensor(rng.standard_normal((T, D))), tensor(np.ones((1, D)))
    before, routing, recorder = x.numpy().copy(), Routing(), Recorder()
    with watching(recorder):
        ops.route(x, norm, 1e-5, router, None, RouterRule(chosen=2), T, routing)
        ops.mix_experts(norm, 1e-5, gate, up, down, routing, x, weigh_inputs=weigh_inputs)
    ids = np.asarray(routing.ids).reshape(T, 2)
    weights = np.asarray(routing.weights).reshape(T, 2)
    total = before.astype(np.float64)
    for expert, hidden in enumerate(recorder.inputs[id(down)]):
        token, place = np.nonzero(ids == expert)
        assert len(hidden) == len(token)
        scale = 1 if weigh_inputs else weights[token, place][:, None]
        total[token] += scale * (hidden @ d[expert * D : (expert + 1) * D].T)
    np.testing.assert_allclose(total, x.numpy(), rtol=1e-3, atol=1e-3)


def test_heads_are_seen_one_by_one(rng: np.random.Generator) -> None:
    heads, wide, narrow = 3, 16, 16
    matrix, values = weight(rng, heads * narrow, wide)
    x, out = tensor(rng.standard_normal((T, heads * wide))), Tensor(T, heads * narrow)
    recorder = Recorder()
    with watching(recorder):
        ops.project_heads(x, matrix, heads, T, out)
    for head, seen in enumerate(recorder.inputs[id(matrix)]):
        rows = slice(head * narrow, (head + 1) * narrow)
        np.testing.assert_allclose(
            seen @ values[rows].T, out.numpy()[:, rows], rtol=1e-4, atol=1e-4
        )


def test_another_matrix_can_take_the_place(rng: np.random.Generator) -> None:
    (matrix, _), (other, values) = weight(rng, F, D), weight(rng, F, D)
    x, out = tensor(rng.standard_normal((T, D))), Tensor(T, F)
    with watching(Recorder({id(matrix): other})):
        ops.norm_project(x, None, 0.0, T, [matrix], [None], [out])
    np.testing.assert_allclose(x.numpy() @ values.T, out.numpy(), rtol=1e-4, atol=1e-4)


def test_only_one_watches_and_nobody_afterwards() -> None:
    kept = ops.norm_project

    def watch_twice() -> None:
        with watching(Recorder()):
            assert ops.norm_project is not kept
            with watching(Recorder()):
                pass

    with pytest.raises(RuntimeError, match="already"):
        watch_twice()
    assert ops.norm_project is kept
