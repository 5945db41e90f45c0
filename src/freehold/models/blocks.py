"""Blocks that families share: attention, the gated MLP, rotary frequencies, work buffers.

Room: models. Must not know any family by name. Weights are (out, in); shapes use the dims of
`freehold.ops`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.ops import KvPool, Rotation, Step, Tensor, Weight

__all__ = ["Attention", "Mlp", "Rope", "RopeScaling", "Workspace", "rope"]


@dataclass(frozen=True)
class RopeScaling:
    """How rotary frequencies are stretched beyond the trained context.

    `kind` is "none", "linear" or "yarn". Frequency divisors of a file (the llama3 kind) are
    given to `rope` directly.
    Source: linear, arXiv 2306.15595; yarn, arXiv 2309.00071 section 3.
    """

    kind: str = "none"
    factor: float = 1.0
    original_context: int = 0
    attention_factor: float | None = None  # yarn: None means 0.1 ln(factor) + 1
    beta_fast: float = 32.0
    beta_slow: float = 1.0


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
    if scaling.kind != "yarn":
        return Rope(plain.astype(np.float32))
    ramp = _yarn_ramp(width, base, scaling)
    stretched = plain / np.float32(scaling.factor)
    mixed = stretched * ramp + plain * (np.float32(1.0) - ramp)
    scale = scaling.attention_factor
    if scale is None:
        scale = 0.1 * math.log(scaling.factor) + 1.0 if scaling.factor > 1.0 else 1.0
    return Rope(mixed.astype(np.float32), scale)


def _yarn_ramp(width: int, base: float, scaling: RopeScaling) -> NDArray[np.float32]:
    """0 where a frequency turns often enough to be kept, 1 where it is stretched."""

    def dimension(turns: float) -> float:
        period = scaling.original_context / (turns * 2.0 * math.pi)
        return width * math.log(period) / (2.0 * math.log(base))

    low = max(math.floor(dimension(scaling.beta_fast)), 0)
    high = min(math.ceil(dimension(scaling.beta_slow)), width - 1)
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
    rotation: Rotation = field(default_factory=Rotation)

    def reserve(self, count: int) -> None:
        """Makes every buffer at least (count, width). Mutates: buffers."""
        if count > self.rows:
            self.buffers = {name: Tensor(count, width) for name, width in self.widths.items()}
            self.rows = count

    def __getitem__(self, name: str) -> Tensor:
        return self.buffers[name]


@dataclass(frozen=True)
class Attention:
    """Grouped-query attention with rotary positions; x += out(attend(q, k, v))."""

    layer: int
    norm: Tensor  # (1, D)
    eps: float
    q: Weight  # (H A, D)
    k: Weight  # (G A, D)
    v: Weight  # (G A, D)
    out: Weight  # (D, H A)
    biases: tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]  # q, k, v, out
    scale: float

    def __call__(self, x: Tensor, step: Step, kv: KvPool, work: Workspace) -> None:
        """Mutates: x (T, D) and the step's pages of `kv`."""
        q, k, v, attended = work["q"], work["k"], work["v"], work["attended"]
        count = step.count
        ops.norm_project(
            x, self.norm, self.eps, count, (self.q, self.k, self.v), self.biases[:3], (q, k, v)
        )  # q (T, H A), k and v (T, G A)
        ops.rotate_write(q, k, v, work.rotation, step, kv, self.layer)
        ops.attend(q, kv, self.layer, step, self.scale, attended)  # (T, H A)
        ops.project_add(attended, self.out, self.biases[3], count, x)  # (T, D)


@dataclass(frozen=True)
class Mlp:
    """The gated MLP; x += down(silu(gate(norm(x))) * up(norm(x)))."""

    norm: Tensor  # (1, D)
    eps: float
    gate: Weight  # (F, D)
    up: Weight  # (F, D)
    down: Weight  # (D, F)

    def __call__(self, x: Tensor, step: Step, work: Workspace) -> None:
        """Mutates: x (T, D)."""
        hidden = work["hidden"]  # (T, F)
        ops.gate_up(x, self.norm, self.eps, self.gate, self.up, step.count, hidden)
        ops.project_add(hidden, self.down, None, step.count, x)
