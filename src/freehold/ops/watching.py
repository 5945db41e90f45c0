"""The face of the core with somebody between who sees what each matrix meets.

Room: ops. For measuring a model, never for serving it: while a watcher is there, the whole process
is watched. Models need not know: they call the ops by their names in `freehold.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.ops import Gating, RouterRule, Routing, Step, Tensor, Weight

__all__ = ["Inputs", "Watcher", "watching"]

Floats = NDArray[np.float32]
# Of a part of the matrix, (T, K): the rows that meet it. Valid until the op goes on.
Inputs = Callable[[int], Floats]


class Watcher(Protocol):
    """Sees matrices before they are used, and may put others in their place."""

    def meet(self, weights: Sequence[Weight], parts: int, inputs: Inputs) -> Sequence[Weight]:
        """What to use instead of the weights, which meet the same inputs.

        Each weight's rows are `parts` runs of equal length; run i meets inputs(i) (T, K), which
        are computed when asked for and hold only the tokens that come there.
        """

    def instead(self, weight: Weight) -> Weight:
        """What to use instead of a table of rows, or of a matrix that is not to be looked at."""


@contextmanager
def watching(watcher: Watcher) -> Iterator[None]:
    """Within the block, every op asks the watcher first. Not to be nested."""
    own = _Face(watcher)
    names = ("norm_project", "project_add", "gate_up", "head", "embed", "route", "mix_experts",
             "project_heads", "project")  # fmt: skip
    kept = {name: getattr(ops, name) for name in names}
    if any(getattr(each, "__self__", None).__class__ is _Face for each in kept.values()):
        raise RuntimeError("somebody is watching already")
    own.core = kept
    try:
        for name in names:
            setattr(ops, name, getattr(own, name))
        yield
    finally:
        for name, function in kept.items():
            setattr(ops, name, function)


class _Face:
    """The watched ops, each with its own arguments as `freehold.ops` has them."""

    core: dict[str, Callable[..., None]]

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._room: Tensor | None = None  # of the rows that `_normed` gave last

    def _normed(self, x: Tensor, norm: Tensor | None, eps: float, count: int) -> Floats:
        rows = x.numpy()[:count]
        if norm is None:
            return rows
        if self._room is None or (self._room.rows, self._room.cols) != rows.shape:
            self._room = Tensor(count, x.cols)
        self._room.fill(rows)
        ops.norm_first(self._room, norm, eps, count)
        return self._room.numpy()

    def norm_project(  # noqa: PLR0913, PLR0917 - the op's own
        self,
        x: Tensor,
        norm: Tensor | None,
        eps: float,
        count: int,
        weights: Sequence[Weight],
        biases: Sequence[Tensor | None],
        outs: Sequence[Tensor],
    ) -> None:
        used = self._watcher.meet(weights, 1, lambda _: self._normed(x, norm, eps, count))
        self.core["norm_project"](x, norm, eps, count, list(used), biases, outs)

    def project_add(
        self, a: Tensor, weight: Weight, bias: Tensor | None, count: int, x: Tensor
    ) -> None:
        (used,) = self._watcher.meet([weight], 1, lambda _: self._normed(a, None, 0.0, count))
        self.core["project_add"](a, used, bias, count, x)

    def project(
        self,
        x: Tensor,
        count: int,
        weights: Sequence[Weight],
        biases: Sequence[Tensor | None],
        activation: int,
        outs: Sequence[Tensor],
    ) -> None:
        used = self._watcher.meet(weights, 1, lambda _: self._normed(x, None, 0.0, count))
        self.core["project"](x, count, list(used), biases, activation, outs)

    def gate_up(  # noqa: PLR0913, PLR0917 - the op's own
        self,
        x: Tensor,
        norm: Tensor | None,
        eps: float,
        gate: Weight,
        up: Weight,
        count: int,
        out: Tensor,
        gating: Gating | None = None,
    ) -> None:
        used = self._watcher.meet([gate, up], 1, lambda _: self._normed(x, norm, eps, count))
        self.core["gate_up"](x, norm, eps, *used, count, out, gating or Gating())

    def head(
        self, x: Tensor, norm: Tensor, eps: float, weight: Weight, step: Step, logits: Tensor
    ) -> None:
        (used,) = self._watcher.meet([weight], 1, lambda _: self._normed(x, norm, eps, step.count))
        self.core["head"](x, norm, eps, used, step, logits)

    def embed(self, weight: Weight, step: Step, x: Tensor) -> None:
        self.core["embed"](self._watcher.instead(weight), step, x)

    def route(  # noqa: PLR0913, PLR0917 - the op's own
        self,
        x: Tensor,
        norm: Tensor,
        eps: float,
        weight: Weight,
        bias: Tensor | None,
        rule: RouterRule,
        count: int,
        out: Routing,
        *,
        offsets: Tensor | None = None,
        factors: Tensor | None = None,
    ) -> None:
        used = self._watcher.instead(weight)
        self.core["route"](
            x, norm, eps, used, bias, rule, count, out, offsets=offsets, factors=factors
        )

    def project_heads(self, x: Tensor, weight: Weight, heads: int, count: int, out: Tensor) -> None:
        def inputs(head: int) -> Floats:
            wide = x.numpy()[:count].reshape(count, heads, -1)  # (T, H, K + R)
            return np.ascontiguousarray(wide[:, head, : weight.cols])

        (used,) = self._watcher.meet([weight], heads, inputs)
        self.core["project_heads"](x, used, heads, count, out)

    def mix_experts(  # noqa: PLR0913, PLR0917 - the op's own
        self,
        norm: Tensor,
        eps: float,
        gate: Weight,
        up: Weight,
        down: Weight,
        routing: Routing,
        x: Tensor,
        out: Tensor | None = None,
        *,
        gating: Gating | None = None,
        gate_bias: Tensor | None = None,
        up_bias: Tensor | None = None,
        down_bias: Tensor | None = None,
        weigh_inputs: bool = False,
    ) -> None:
        how = gating or Gating()
        experts = down.rows // x.cols
        ids = np.asarray(routing.ids).reshape(routing.count, routing.chosen)
        weights = np.asarray(routing.weights, np.float32).reshape(ids.shape)

        def inputs(expert: int) -> Floats:
            token, place = np.nonzero(ids == expert)
            rows = self._normed(x, norm, eps, routing.count)[token]
            return rows * weights[token, place][:, None] if weigh_inputs else rows

        gate, up = self._watcher.meet([gate, up], experts, inputs)
        floats: list[Floats] = []

        def hidden(expert: int) -> Floats:
            if not floats:
                floats.extend((gate.unpack(), up.unpack()))  # (X F, D) each
            met, wide = inputs(expert), gate.rows // experts
            if len(met) == 0:
                return np.empty((0, wide), np.float32)
            raised = []
            for values, bias in zip(floats, (gate_bias, up_bias), strict=True):
                made = met @ values[expert * wide : (expert + 1) * wide].T
                made = made if bias is None else made + bias.numpy().reshape(experts, -1)[expert]
                raised.append(Tensor(len(met), wide))
                raised[-1].fill(np.ascontiguousarray(made, np.float32))
            ops.gate_rows(raised[1], len(met), raised[0], how)
            return raised[0].numpy().copy()

        (down,) = self._watcher.meet([down], experts, hidden)
        biases = {"gate_bias": gate_bias, "up_bias": up_bias, "down_bias": down_bias}
        self.core["mix_experts"](
            norm, eps, gate, up, down, routing, x, out,
            gating=how, weigh_inputs=weigh_inputs, **biases,
        )  # fmt: skip
