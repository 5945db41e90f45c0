"""Blocks that families share: attention, MLPs and mixtures, rotary frequencies, work buffers.

Room: models. Must not know any family by name. Weights are (out, in); shapes use the dims of
`freehold.ops`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.models.adapting import Adaptable, Place
from freehold.ops import (
    Deltas,
    Gating,
    KvPool,
    Rotation,
    RouterRule,
    Routing,
    Step,
    Tensor,
    Weight,
)

__all__ = [
    "SILU",
    "Attention",
    "Late",
    "Mlp",
    "Moe",
    "Rope",
    "RopeScaling",
    "SharedExpert",
    "Workspace",
    "add_projected",
    "rope",
]

SILU = Gating()


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context.

    `kind` is "none", "linear", "yarn" or "banded": slow frequencies are divided by the factor, fast
    ones stay. Frequency divisors that a file holds are given to `rope` directly.
    Source: linear, arXiv 2306.15595; yarn, arXiv 2309.00071 section 3; banded, arXiv 2407.21783.
    """

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float | None = None  # yarn: None means 0.1 ln(factor) + 1
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True  # yarn: whole dimensions bound the ramp
    low_turns: float = 1.0  # banded: fewer turns in the original context are slow
    high_turns: float = 4.0  # banded: more turns are fast


@dataclass(frozen=True)
class Rope:
    """Rotary frequencies (A_rotated / 2,) float32 and the scale of cos and sin."""

    frequencies: NDArray[np.float32]
    scale: float = 1.0


def rope(
    width: int,
    base: float,
    scaling: RopeScaling,
    divisors: NDArray[np.float32] | None = None,
) -> Rope:
    """The frequencies of a head of `width` rotated elements.

    Computed in float32 step by step as the reference does, so that long positions agree.
    """
    exponents = np.arange(0, width, 2, dtype=np.float32) / np.float32(width)
    plain = np.float32(1.0) / np.power(np.float32(base), exponents, dtype=np.float32)
    if divisors is not None:
        plain = plain / divisors
    if scaling.kind == "linear":
        return Rope((plain / np.float32(scaling.factor)).astype(np.float32))
    if scaling.kind == "banded":
        return Rope(_banded(plain, scaling))
    if scaling.kind != "yarn":
        return Rope(plain.astype(np.float32))
    ramp = _yarn_ramp(width, base, scaling)
    stretched = plain / np.float32(scaling.factor)
    mixed = stretched * ramp + plain * (np.float32(1.0) - ramp)
    scale = scaling.attention_factor
    if scale is None:
        scale = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1.0 else 1.0
    return Rope(mixed.astype(np.float32), scale)


def _banded(plain: NDArray[np.float32], scaling: RopeScaling) -> NDArray[np.float32]:
    turns = scaling.original_context * plain / np.float32(2.0 * math.pi)
    span = max(scaling.high_turns - scaling.low_turns, 1e-9)  # a step where they are equal
    share = (turns - scaling.low_turns) / span
    share = np.clip(share, 0.0, 1.0)
    mixed = (1.0 - share) * plain / scaling.factor + share * plain
    return np.asarray(mixed, np.float32)


def _yarn_ramp(width: int, base: float, scaling: RopeScaling) -> NDArray[np.float32]:
    """0 where a frequency turns often enough to be kept, 1 where it is stretched."""

    def dimension(turns: float) -> float:
        period = scaling.original_context / (turns * 2.0 * math.pi)
        return width * math.log(period) / (2.0 * math.log(base))

    low, high = dimension(scaling.beta_fast), dimension(scaling.beta_slow)
    if scaling.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, width - 1)
    span = high - low if high != low else 0.001
    ramp = (np.arange(width // 2, dtype=np.float32) - np.float32(low)) / np.float32(span)
    clipped: NDArray[np.float32] = np.clip(ramp, 0.0, 1.0).astype(np.float32)
    return clipped


@dataclass
class Workspace:
    """Buffers that one step needs, grown to the largest step seen and then reused."""

    widths: dict[str, int]  # name -> columns
    rows: int = 0
    buffers: dict[str, Tensor] = field(default_factory=dict)
    rotations: list[Rotation] = field(default_factory=list)
    routing: Routing = field(default_factory=Routing)

    def reserve(self, count: int) -> None:
        """Makes every buffer at least (count, width). Mutates: buffers."""
        if count > self.rows:
            self.buffers = {name: Tensor(count, width) for name, width in self.widths.items()}
            self.rows = count

    def rotate(self, step: Step, ropes: Sequence[Rope]) -> None:
        """Makes the step's rotation for each rope. Mutates: rotations."""
        while len(self.rotations) < len(ropes):
            self.rotations.append(Rotation())
        for made, rotation in zip(ropes, self.rotations, strict=True):
            ops.make_rotation(step, made.frequencies, made.scale, rotation)

    def __getitem__(self, name: str) -> Tensor:
        return self.buffers[name]


class Late(NamedTuple):
    """How queries grow beyond the trained context; the arguments of `ops.scale_late`."""

    trained_tokens: int
    factor: float
    ahead: int = 0


@dataclass(frozen=True)
class Attention(Adaptable):
    """Grouped-query attention with rotary positions; x += post_norm(out(attend(q, k, v))).

    Norms of queries and keys are as wide as a head, or as all heads together. `window` is how many
    tokens a query sees, 0 for all; `rope` which of the step's rotations turns it, None for none.
    Without `norm` the layer reads x as it is; without `post_norm` it adds what `out` gives.
    A `gate` opens what was attended to, value by value, with a sigmoid.
    """

    layer: int
    norm: Tensor | None  # (1, D)
    eps: float
    q: Weight  # (H A, D)
    k: Weight  # (G A, D)
    v: Weight  # (G A, D)
    out: Weight  # (D, H A)
    biases: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  # q, k, v, out
    scale: float
    q_norm: Tensor | None = None
    k_norm: Tensor | None = None
    window: int = 0
    rope: int | None = 0
    late: Late | None = None
    chunk: int = 0  # a query sees nothing before the last multiple of this; 0 for all
    sinks: Tensor | None = None  # (1, H), scores without values
    post_norm: Tensor | None = None  # (1, D)
    gate: Weight | None = None  # (H A, D)
    deltas: tuple[Deltas, Deltas] = field(default_factory=lambda: (Deltas(), Deltas()))

    def places(self) -> tuple[Place, ...]:
        """Where adapters may add."""
        inner, outer = self.deltas
        return Place(inner, ("attn.q", "attn.k", "attn.v")), Place(outer, ("attn.out",))

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the step's pages of `kv`."""
        buffers, count = work.buffers, step.count
        q, k, v, attended = buffers["q"], buffers["k"], buffers["v"], buffers["attended"]
        weights: Sequence[Weight] = (self.q, self.k, self.v)
        biases: Sequence[Tensor | None] = self.biases[:3]
        outs: Sequence[Tensor] = (q, k, v)
        if self.gate is not None:
            weights, biases, outs = (*weights, self.gate), (*biases, None), (*outs, buffers["gate"])
        # q and gate (T, H A), k and v (T, G A)
        added = _added(step, self.deltas[0])  # nothing to the gate
        ops.norm_project(x, self.norm, self.eps, count, weights, biases, outs, *added)
        if self.q_norm is not None and self.k_norm is not None:
            ops.norm_heads((q, k), (self.q_norm, self.k_norm), self.eps, count)
        rotation = None if self.rope is None else work.rotations[self.rope]
        ops.rotate_write(q, k, v, rotation, step, kv, self.layer)
        if self.late is not None:
            trained_tokens, factor, ahead = self.late
            ops.scale_late(q, step, factor, trained_tokens, ahead)
        layer, scale, window, chunk = self.layer, self.scale, self.window, self.chunk
        ops.attend(q, kv, layer, step, scale, attended, window, chunk, self.sinks)  # (T, H A)
        if self.gate is not None:
            ops.open_values(buffers["gate"], count, attended)
        projection = (self.out, self.biases[3], self.deltas[1])
        add_projected(attended, projection, (self.post_norm, self.eps), step, x, work)


@dataclass(frozen=True)
class Mlp(Adaptable):
    """The gated MLP; x += post_norm(down(gate(norm(x)) opening up(norm(x))))."""

    norm: Tensor | None  # (1, D)
    eps: float
    gate: Weight  # (F, D)
    up: Weight  # (F, D)
    down: Weight  # (D, F)
    gating: Gating = SILU
    post_norm: Tensor | None = None  # (1, D)
    deltas: tuple[Deltas, Deltas] = field(default_factory=lambda: (Deltas(), Deltas()))

    def places(self) -> tuple[Place, ...]:
        """Where adapters may add."""
        inner, outer = self.deltas
        return Place(inner, ("mlp.gate", "mlp.up")), Place(outer, ("mlp.down",))

    def __call__(self, x: Tensor, step: Step, work: Workspace) -> None:
        """Mutates: x (T, D)."""
        hidden = work.buffers["hidden"]  # (T, F)
        weights, added = (self.gate, self.up), _added(step, self.deltas[0])
        ops.gate_up(x, self.norm, self.eps, *weights, step.count, hidden, self.gating, *added)
        projection = (self.down, None, self.deltas[1])
        add_projected(hidden, projection, (self.post_norm, self.eps), step, x, work)


def _added(step: Step, deltas: Deltas | None) -> tuple[Step, Deltas] | tuple[()]:
    """What a product's op is told of the step's adapters: nothing where nobody has one."""
    return (step, deltas) if deltas is not None and step.adapted else ()


def add_projected(
    a: Tensor,
    projection: tuple[Weight, Tensor | None, Deltas | None],
    norm: tuple[Tensor | None, float],
    step: Step,
    x: Tensor,
    work: Workspace,
) -> None:
    """x (T, D) += norm(a . weight^T + bias + what adapters add). Mutates: x."""
    (weight, bias, deltas), (after, eps) = projection, norm
    if after is None:
        ops.project_add(a, weight, bias, step.count, x, *_added(step, deltas))
        return
    y = work["y"]  # (T, D)
    ops.norm_project(a, None, 0.0, step.count, (weight,), (bias,), (y,), *_added(step, deltas))
    ops.add_normed(y, after, eps, step.count, x)


@dataclass(frozen=True)
class SharedExpert:
    """What every token passes through beside its experts; `opening` scales it by a sigmoid."""

    gate: Weight  # (F, D)
    up: Weight  # (F, D)
    down: Weight  # (D, F)
    opening: Weight | None = None  # (1, D)


@dataclass(frozen=True)
class Moe:
    """A mixture of gated MLPs, of which each token passes through those its router chooses."""

    norm: Tensor  # (1, D)
    eps: float
    router: Weight  # (X, D)
    rule: RouterRule
    gate: Weight  # (X F, D)
    up: Weight  # (X F, D)
    down: Weight  # (X D, F)
    bias: Tensor | None = None  # (1, X), of the choice alone
    shared: SharedExpert | None = None
    gating: Gating = SILU
    offsets: Tensor | None = None  # (1, X), of the router's logits
    biases: tuple[Tensor | None, Tensor | None, Tensor | None] = (None, None, None)
    weigh_inputs: bool = False

    def __call__(self, x: Tensor, step: Step, work: Workspace) -> None:
        """Mutates: x (T, D). The shared expert reads x before the others add to it."""
        count, shared = step.count, self.shared
        if shared is not None:
            hidden = work["shared"]  # (T, F)
            ops.gate_up(x, self.norm, self.eps, shared.gate, shared.up, count, hidden)
            if shared.opening is not None:
                opening = work["opening"]  # (T, 1)
                ops.norm_project(
                    x, self.norm, self.eps, count, (shared.opening,), (None,), (opening,)
                )
                ops.open_rows(opening, count, hidden)
        ops.route(
            x,
            self.norm,
            self.eps,
            self.router,
            self.bias,
            self.rule,
            count,
            work.routing,
            offsets=self.offsets,
        )
        ops.mix_experts(
            self.norm,
            self.eps,
            self.gate,
            self.up,
            self.down,
            work.routing,
            x,
            gating=self.gating,
            gate_bias=self.biases[0],
            up_bias=self.biases[1],
            down_bias=self.biases[2],
            weigh_inputs=self.weigh_inputs,
        )
        if shared is not None:
            ops.project_add(work["shared"], shared.down, None, count, x)
