"""The network's parts whose gradients are written out, so that little is kept and nothing is done
for weights that stay as they are.

Room: tune. Knows tensors; must not know models or files. Dims: T tokens of a row, D width, N rows
of a matrix, r rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["LowRank", "Matrix", "cross_entropy", "gated", "normed", "project", "rotated"]


class Matrix(Protocol):
    """Weights (N, D) as floats when they are needed."""

    def floats(self) -> Tensor:
        """(N, D) in the type that is computed in; valid until the next call."""


@dataclass(frozen=True)
class LowRank:
    """What adapters add to some rows of a stacked matrix: scale * (x lower^T) upper^T.

    Shapes: `lower` (k r, D), `upper` (rows of all k parts, r). `parts` are the runs of the stacked
    matrix's rows (start, end), in order.
    """

    lower: Tensor
    upper: Tensor
    parts: tuple[tuple[int, int], ...]
    scale: float

    def runs(self) -> list[tuple[slice, slice, slice]]:
        """For each part: its rows of the matrix, of `upper`, and of `lower`."""
        rank, at, runs = self.upper.shape[1], 0, []
        for index, (start, end) in enumerate(self.parts):
            upper = slice(at, at + end - start)
            runs.append((slice(start, end), upper, slice(index * rank, (index + 1) * rank)))
            at += end - start
        return runs


def project(x: Tensor, matrix: Matrix, bias: Tensor | None, low: LowRank | None) -> Tensor:
    """x (T, D) -> (T, N): x W^T + bias + what the adapter adds; gradients reach x and the adapter.

    A matrix that learns is a parameter and not this function's.
    """
    if low is None:
        out: Tensor = _Project.apply(x, matrix, bias, None, None, None)
        return out
    added: Tensor = _Project.apply(x, matrix, bias, low, low.lower, low.upper)
    return added


class _Project(torch.autograd.Function):  # type: ignore[misc] # torch is untyped to us
    """The product with a frozen matrix; keeps x and its product with `lower`, no weights."""

    @staticmethod
    def forward(  # noqa: PLR0913, PLR0917 - what torch hands over
        ctx: Any,
        x: Tensor,
        matrix: Matrix,
        bias: Tensor | None,
        low: LowRank | None,
        lower: Tensor | None,
        upper: Tensor | None,
    ) -> Tensor:
        weight = matrix.floats()
        out = torch.mm(x, weight.t()) if bias is None else torch.addmm(bias, x, weight.t())
        ctx.matrix, ctx.low = matrix, low
        if low is None or lower is None or upper is None:
            ctx.save_for_backward()
            return out
        inner = torch.mm(x, lower.to(x.dtype).t())  # (T, k r)
        wide = upper.to(x.dtype)
        for rows, above, below in low.runs():
            out[:, rows].addmm_(inner[:, below], wide[above].t(), alpha=low.scale)
        ctx.save_for_backward(x, inner, lower, upper)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (grad,) = grads
        low: LowRank | None = ctx.low
        back = torch.mm(grad, ctx.matrix.floats()) if ctx.needs_input_grad[0] else None
        if low is None:
            return back, None, None, None, None, None
        x, inner, lower, upper = ctx.saved_tensors
        wide = upper.to(grad.dtype)
        through = torch.empty_like(inner)  # (T, k r)
        for_upper = torch.empty_like(upper)
        for rows, above, below in low.runs():
            some = grad[:, rows]
            torch.mm(some, wide[above], out=through[:, below])
            for_upper[above] = torch.mm(some.t(), inner[:, below]) * low.scale
        through *= low.scale
        if back is not None:
            back.addmm_(through, lower.to(grad.dtype))
        for_lower = torch.mm(through.t(), x).to(lower.dtype)
        return back, None, None, None, for_lower, for_upper


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """RMSNorm over the last dim, as wide as `weight`; computed in float32."""
    if weight.requires_grad or not x.is_floating_point():
        return torch.nn.functional.rms_norm(x.float(), weight.shape, weight, eps).to(x.dtype)
    out: Tensor = _Normed.apply(x, weight, eps)
    return out


class _Normed(torch.autograd.Function):  # type: ignore[misc] # torch is untyped to us
    """Keeps x and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        inverse = torch.rsqrt(wide.square().mean(-1, keepdim=True).add_(eps))
        ctx.save_for_backward(x, weight, inverse)
        return (wide * inverse).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        x, weight, inverse = ctx.saved_tensors
        unit = x.float() * inverse
        scaled = grads[0].float() * weight
        along = (scaled * unit).mean(-1, keepdim=True)
        return scaled.sub_(unit.mul_(along)).mul_(inverse).to(x.dtype), None, None


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (T, H, A) turned by its token's angles (T, 1, A_rotated / 2); later columns stay."""
    out: Tensor = _Rotated.apply(x, cos, sin)
    return out


class _Rotated(torch.autograd.Function):  # type: ignore[misc] # torch is untyped to us
    """A rotation, whose gradient is the rotation back; keeps nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        # cos and sin may carry a scale, so this is the transpose, not the inverse.
        cos, sin = ctx.saved_tensors
        return _turn(grads[0], cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    half = cos.shape[-1]
    first, second = x[..., :half], x[..., half : 2 * half]
    out = torch.empty_like(x)
    torch.addcmul(first * cos, second, sin, value=-1, out=out[..., :half])
    torch.addcmul(second * cos, first, sin, out=out[..., half : 2 * half])
    if x.shape[-1] > 2 * half:
        out[..., 2 * half :] = x[..., 2 * half :]
    return out


def gated(opened: Tensor, gate: str) -> Tensor:
    """(T, 2F), gate beside up, -> gate(first half) * second half, (T, F)."""
    out: Tensor = _Gated.apply(opened, gate)
    return out


class _Gated(torch.autograd.Function):  # type: ignore[misc] # torch is untyped to us
    """Keeps its input only."""

    @staticmethod
    def forward(ctx: Any, opened: Tensor, gate: str) -> Tensor:
        ctx.save_for_backward(opened)
        ctx.gate = gate
        first, second = opened.chunk(2, dim=-1)
        return _open(first, gate).mul_(second)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (opened,) = ctx.saved_tensors
        (grad,) = grads
        first, second = opened.chunk(2, dim=-1)
        back = torch.empty_like(opened)
        torch.mul(grad, _open(first, ctx.gate), out=back[:, second.shape[1] :])
        raised = grad * second
        if ctx.gate == "silu":
            back[:, : second.shape[1]] = torch.ops.aten.silu_backward(raised, first)
        else:
            back[:, : second.shape[1]] = torch.ops.aten.gelu_backward(
                raised, first, approximate="tanh"
            )
        return back, None


def _open(x: Tensor, gate: str) -> Tensor:
    if gate == "silu":
        return torch.nn.functional.silu(x)
    assert gate == "gelu_tanh", "the registry names gates that are known here"
    return torch.nn.functional.gelu(x, approximate="tanh")


def cross_entropy(
    hidden: Tensor, head: Matrix, tokens: Tensor, *, cap: float, chunk: int = 256
) -> Tensor:
    """-log p of each token (R,) by its hidden state (R, D), without all logits at once."""
    if isinstance(head, torch.nn.Parameter) or not hidden.requires_grad:
        parts = _chunks(len(tokens), chunk)
        every = [_surprise(hidden[at], head.floats(), tokens[at], cap)[0] for at in parts]
        return torch.cat(every) if every else hidden.new_zeros(0, dtype=torch.float32)
    out: Tensor = _CrossEntropy.apply(hidden, head, tokens, cap, chunk)
    return out


class _CrossEntropy(torch.autograd.Function):  # type: ignore[misc] # torch is untyped to us
    """Keeps hidden states; logits are computed again for their gradient, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, head: Matrix, tokens: Tensor, cap: float, chunk: int
    ) -> Tensor:
        ctx.head, ctx.cap, ctx.chunk = head, cap, chunk
        weight = head.floats()
        parts = _chunks(len(tokens), chunk)
        every = [_surprise(hidden[at], weight, tokens[at], cap) for at in parts]
        loss = torch.cat([one for one, _ in every])
        # A few rows' logits are kept; many are computed again.
        kept = every[0][1] if len(every) == 1 else None
        ctx.save_for_backward(hidden, tokens, *([] if kept is None else [kept]))
        return loss

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        hidden, tokens, *kept = ctx.saved_tensors
        weight, cap = ctx.head.floats(), ctx.cap
        back = torch.empty_like(hidden)
        for at in _chunks(len(tokens), ctx.chunk):
            logits = kept[0] if kept else _logits(hidden[at], weight, cap)
            slope = torch.softmax(logits, -1)
            slope[torch.arange(len(slope)), tokens[at]] -= 1
            slope *= grads[0][at, None]
            if cap:
                slope *= 1 - (logits / cap).square_()
            back[at] = torch.mm(slope.to(hidden.dtype), weight)
        return back, None, None, None, None


def _chunks(count: int, size: int) -> Sequence[slice]:
    return [slice(at, min(at + size, count)) for at in range(0, count, size)]


def _logits(hidden: Tensor, weight: Tensor, cap: float) -> Tensor:
    logits = torch.mm(hidden, weight.t()).float()
    return torch.tanh(logits / cap) * cap if cap else logits


def _surprise(hidden: Tensor, weight: Tensor, tokens: Tensor, cap: float) -> tuple[Tensor, Tensor]:
    logits = _logits(hidden, weight, cap)
    chosen = logits.gather(1, tokens[:, None])[:, 0]
    return torch.logsumexp(logits, -1) - chosen, logits
