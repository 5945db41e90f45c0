"""The NumPy twin of every op: the same contract on plain arrays, slow and easy to read.

Room: ops. For tests only: nothing of Freehold runs on it. Knows arrays; must not know the compiled
core, files or models. Sums are float64, so a twin is nearer to the mathematics than its op; what
an op rounds on purpose (activations to int8, keys and values to float16) is rounded here too.
Dims: those of `freehold.ops`; N rows of a weight, K its columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.ops.gate_reference import SILU, Gating, open_gate

__all__ = [
    "AttendRule",
    "Draw",
    "Matrix",
    "Pages",
    "StepArrays",
    "add_normed",
    "attend",
    "diverge",
    "embed",
    "gate_up",
    "head",
    "make_rotation",
    "mask_logits",
    "norm_first",
    "norm_heads",
    "norm_project",
    "project_add",
    "project_heads",
    "rotate_write",
    "round_activations",
    "sample",
    "scale_late",
]

KV_GROUP = 32  # elements of an int8 key or value that share a scale
ACTIVATION_BLOCK = 16  # elements that share one activation scale
SCALE_UNITS = np.float32(16383)  # that the largest block's scale takes of its token's unit
SMALLEST = np.float32(1e-30)  # tokens below it become zeros, so that 1 / largest stays finite

Floats = NDArray[np.float32]
Rotation = tuple[Floats, Floats]  # cos and sin, (T, A_rotated / 2) each


@dataclass(frozen=True)
class Matrix:
    """A weight's dequantized values (N, K), and whether activations meet it as int8 blocks."""

    values: Floats
    quantized: bool


@dataclass(frozen=True)
class StepArrays:
    """The tokens of one step, packed sequence after sequence; the fields of `ops.Step`."""

    tokens: list[int]  # (T,)
    positions: list[int]  # (T,)
    offsets: list[int]  # (S + 1,) first token of each sequence
    pages: list[list[int]]  # per sequence: page ids, in token order
    logit_rows: list[int]


@dataclass(frozen=True)
class Pages:
    """Keys and values of each layer, (pages, G, P, A) and (pages, G, P, A_v), as a page keeps them.

    `bits` 16: to float16; 8: to int8 with a float16 scale for each 32 elements of a head. The
    values of a latent layer are a view of its keys.
    """

    keys: list[Floats]
    values: list[Floats]
    bits: int = 16

    @classmethod
    def empty(
        cls,
        layers: Sequence[tuple[int, int, int, bool]],
        pages: int,
        page_tokens: int,
        bits: int = 16,
    ) -> Pages:
        """Zeroed pages for layers as `ops.LayerKv` says them."""
        keys = [np.zeros((pages, g, page_tokens, wide), np.float32) for g, wide, _, _ in layers]
        values = [
            own[..., :wide] if latent else np.zeros((pages, g, page_tokens, wide), np.float32)
            for own, (g, _, wide, latent) in zip(keys, layers, strict=True)
        ]
        return cls(keys, values, bits)

    def rounded(self, row: Floats) -> Floats:
        """What a page keeps of heads (G, A)."""
        row = _within_half(row)
        if self.bits == 16:
            return row.astype(np.float16).astype(np.float32)
        out = np.empty_like(row)
        for start in range(0, row.shape[1], KV_GROUP):
            part = row[:, start : start + KV_GROUP]  # (G, up to 32)
            largest = np.abs(part).max(axis=1, keepdims=True)
            scale = (largest / np.float32(127)).astype(np.float16).astype(np.float32)
            inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
            codes = np.rint(np.clip(part * inverse, -127, 127))
            out[:, start : start + KV_GROUP] = codes * scale
        return out


def round_activations(x: Floats) -> NDArray[np.float64]:
    """Rounds x (T, K) to int8 blocks of 16, half to even.

    A token's unit is its largest element / 127 / 16383; a block's scale is the least whole number
    of units with which its elements stay within 127. Scales and codes are the op's, bit for bit.
    """
    blocks = x.reshape(len(x), -1, ACTIVATION_BLOCK)  # (T, K / 16, 16)
    largest = np.abs(blocks).max(axis=2, keepdims=True)
    top = largest.max(axis=1, keepdims=True)
    zeros = np.zeros_like(top)
    units = np.divide(SCALE_UNITS, top, out=zeros, where=top > SMALLEST)  # of one in x
    inverse = units * np.float32(127)
    scale = np.clip(np.ceil(largest * units), 1, SCALE_UNITS)  # (T, K / 16, 1), float32
    codes = np.rint(blocks * (inverse / scale))  # whole, within -127 .. 127
    unit = np.where(top > SMALLEST, top / (np.float32(127) * SCALE_UNITS), np.float32(0))
    met: NDArray[np.float64] = (codes.astype(np.float64) * scale * unit).reshape(x.shape)
    return met


def embed(weight: Matrix, tokens: Sequence[int]) -> Floats:
    """x (T, D): row tokens[t] of weight (V, D), exactly."""
    rows: Floats = weight.values[np.asarray(tokens)]
    return rows


def norm_project(
    x: Floats,
    norm: Floats | None,
    eps: float,
    weights: Sequence[Matrix],
    biases: Sequence[Floats | None],
) -> list[Floats]:
    """norm(x) (T, D) . weights[i]^T + biases[i], (T, N_i) each; a null norm leaves x as it is."""
    normed = x if norm is None else _rms_norm(x, norm, eps)  # (T, D)
    outs = []
    for weight, bias in zip(weights, biases, strict=True):
        out = _multiply(normed, weight)  # (T, N_i)
        outs.append((out if bias is None else out + bias).astype(np.float32))
    return outs


def project_add(a: Floats, weight: Matrix, bias: Floats | None, x: Floats) -> Floats:
    """x (T, D) + a (T, N) . weight^T + bias."""
    out = x + _multiply(a, weight)  # (T, D)
    return (out if bias is None else out + bias).astype(np.float32)


def gate_up(
    x: Floats,
    norm: Floats | None,
    eps: float,
    gate: Matrix,
    up: Matrix,
    how: Gating = SILU,
) -> Floats:
    """norm(x) . gate^T opening norm(x) . up^T, (T, F); a null norm leaves x as it is."""
    normed = x if norm is None else _rms_norm(x, norm, eps)  # (T, D)
    return open_gate(_multiply(normed, gate), _multiply(normed, up), how).astype(np.float32)


def add_normed(y: Floats, norm: Floats, eps: float, x: Floats) -> Floats:
    """x (T, D) + norm(y (T, D)), each run of norm (W,) columns by itself."""
    return (x + norm_heads(y, norm, eps)).astype(np.float32)


def make_rotation(positions: Sequence[int], frequencies: Floats, scale: float) -> Rotation:
    """cos and sin of position * frequency, times `scale`, (T, A_rotated / 2) each.

    The angle is rounded to float32 before the cosine, as the op and the checkpoints' code do.
    """
    angles = np.asarray(positions, np.float32)[:, None] * frequencies  # (T, A_rotated / 2)
    wide = angles.astype(np.float64)
    factor = np.float32(scale)
    return np.cos(wide).astype(np.float32) * factor, np.sin(wide).astype(np.float32) * factor


def _within_half(row: Floats) -> Floats:
    """Keeps finite numbers finite in float16, as the op does."""
    limit = np.float32(np.finfo(np.float16).max)
    return np.clip(row, -limit, limit)


def rotate_write(
    qkv: tuple[Floats, Floats | None, Floats | None],
    rotation: Rotation | None,
    step: StepArrays,
    kv: Pages,
    layer: int,
    first: int = 0,
) -> tuple[Floats, Floats | None]:
    """Rotated q (T, H A) and k (T, G A), in each head the columns from `first` on.

    A null rotation leaves them as they are. Mutates: kv, by the rotated k and by v (T, G A_v) at
    the step's positions, where they are given.
    """
    keys, values = kv.keys[layer], kv.values[layer]
    page_tokens, width = keys.shape[2:]
    q, k, v = qkv
    if rotation is not None:
        q = _rotate(q, rotation, width, first)
        k = None if k is None else _rotate(k, rotation, width, first)
    for s, pages in enumerate(step.pages):
        for t in range(step.offsets[s], step.offsets[s + 1]):
            page, slot = pages[step.positions[t] // page_tokens], step.positions[t] % page_tokens
            if k is not None:
                keys[page, :, slot] = kv.rounded(k[t].reshape(-1, width))  # (G, A)
            if v is not None:
                values[page, :, slot] = kv.rounded(v[t].reshape(-1, values.shape[3]))  # (G, A_v)
    return q, k


def norm_heads(x: Floats, weight: Floats, eps: float) -> Floats:
    """Each run of weight (W,) columns of x (T, n W) over its root mean square, times weight."""
    return _rms_norm(x.reshape(-1, weight.size), weight, eps).reshape(x.shape)


def scale_late(
    q: Floats, positions: Sequence[int], beta: float, trained_tokens: int, ahead: int = 0
) -> Floats:
    """q (T, H A) times 1 + beta ln(1 + floor((position + ahead) / trained_tokens)) of its token."""
    factors = 1 + beta * np.log1p((np.asarray(positions) + ahead) // trained_tokens)  # (T,)
    scaled: Floats = (q * factors[:, None]).astype(np.float32)
    return scaled


class AttendRule(NamedTuple):
    """Which keys a query sees and what becomes of its scores; 0 is no bound and no cap.

    A window is how many tokens it sees at most, its own among them; it sees none before the last
    multiple of `chunk`. Sinks (H,) are scores that have no value.
    """

    window: int = 0
    chunk: int = 0
    softcap: float = 0.0
    sinks: Floats | None = None


def attend(
    q: Floats,
    kv: Pages,
    layer: int,
    step: StepArrays,
    scale: float,
    rule: AttendRule | None = None,
) -> Floats:
    """Causal attention of q (T, H A) over the step's pages, (T, H A_v)."""
    window, chunk, softcap, sinks = rule or AttendRule()
    kv_heads, width = kv.keys[layer].shape[1], kv.keys[layer].shape[3]
    group = q.shape[1] // width // kv_heads  # query heads a KV head
    out = np.empty((len(q), kv_heads * group * kv.values[layer].shape[3]))  # (T, H A_v)
    for s, pages in enumerate(step.pages):
        keys = _gather(kv.keys[layer], pages)  # (G, pages P, A)
        values = _gather(kv.values[layer], pages)  # (G, pages P, A_v)
        for t in range(step.offsets[s], step.offsets[s + 1]):
            end = step.positions[t] + 1
            first = max(0, end - window) if window else 0
            seen = slice(max(first, (end - 1) // chunk * chunk) if chunk else first, end)
            query = q[t].reshape(kv_heads, group, width).astype(np.float64)  # (G, H / G, A)
            scores = query @ keys[:, seen].swapaxes(1, 2) * scale  # (G, H / G, n)
            if softcap:
                scores = softcap * np.tanh(scores / softcap)
            weights = _softmax(scores, None if sinks is None else sinks.reshape(kv_heads, group, 1))
            out[t] = (weights @ values[:, seen]).reshape(-1)  # (H A_v,)
    return out.astype(np.float32)


def project_heads(x: Floats, weight: Matrix, heads: int) -> Floats:
    """(T, H (N + R)): the first K columns of head h of x (T, H (K + R)) times its own matrix.

    Rows [h N, (h + 1) N) of weight (H N, K) are head h's; R columns come along as they are.
    """
    count, width = len(x), weight.values.shape[1]
    given = x.reshape(count, heads, -1)  # (T, H, K + R)
    outs: list[NDArray[np.floating]] = []
    for h, matrix in enumerate(np.split(weight.values, heads)):
        own = np.ascontiguousarray(given[:, h, :width])
        outs += [_multiply(own, Matrix(matrix, weight.quantized)), given[:, h, width:]]
    return np.concatenate(outs, axis=1).astype(np.float32)


def norm_first(x: Floats, norm: Floats, eps: float) -> Floats:
    """x (T, N) with its first norm.size columns over their root mean square, times norm."""
    first = _rms_norm(x[:, : norm.size], norm, eps)
    return np.concatenate([first, x[:, norm.size :]], axis=1)


def head(x: Floats, norm: Floats, eps: float, weight: Matrix, logit_rows: Sequence[int]) -> Floats:
    """norm(x[logit_rows]) . weight^T, (S, V)."""
    return norm_project(x[np.asarray(logit_rows)], norm, eps, [weight], [None])[0]


class Draw(NamedTuple):
    """How one token is drawn; temperature 0 takes the likeliest."""

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    uniform: float = 0.0


def sample(logits: Floats, draw: Draw) -> int:
    """The token for logits (V,): ranked by logit, ties by id, then walked down to `uniform`.

    -1 when every token is masked (minus infinity).
    """
    ranked = np.lexsort((np.arange(logits.size), -logits))
    ranked = ranked[logits[ranked] > -np.inf]
    if ranked.size == 0 or draw.temperature == 0.0:
        return int(ranked[0]) if ranked.size else -1
    ranked = ranked[: draw.top_k or ranked.size]
    weights = np.exp((logits[ranked].astype(np.float64) - logits[ranked[0]]) / draw.temperature)
    if draw.top_p < 1.0:
        mass = np.cumsum(weights) / weights.sum()
        weights = weights[: int(np.searchsorted(mass, draw.top_p)) + 1]
    weights = weights[weights >= draw.min_p]
    place = int(np.searchsorted(np.cumsum(weights), draw.uniform * weights.sum(), side="right"))
    return int(ranked[min(place, weights.size - 1)])


def diverge(source: Floats, model: Floats) -> NDArray[np.float64]:
    """(T, 3) of logits (T, V): KL of the source from the model, log of either's sum of e^logit."""
    p, q = source.astype(np.float64), model.astype(np.float64)
    sums = [np.logaddexp.reduce(rows, axis=1) for rows in (p, q)]
    p, q = p - sums[0][:, None], q - sums[1][:, None]
    return np.stack([(np.exp(p) * (p - q)).sum(axis=1), *sums], axis=1)


def mask_logits(logits: Floats, allowed: NDArray[np.uint32]) -> Floats:
    """logits (V,), minus infinity where `allowed` has a 0; bit i of word j is token 32 j + i."""
    bits = np.unpackbits(allowed.view(np.uint8), bitorder="little")[: logits.size]
    return np.where(bits.astype(bool), logits, np.float32(-np.inf)).astype(np.float32)


def _rms_norm(x: Floats, weight: Floats, eps: float) -> Floats:
    wide = x.astype(np.float64)
    scale = 1 / np.sqrt((wide**2).mean(axis=1, keepdims=True) + eps)
    normed: Floats = (wide * scale * weight).astype(np.float32)
    return normed


def _multiply(x: Floats, weight: Matrix) -> NDArray[np.float64]:
    """x (T, K) . weight^T, (T, N)."""
    met = round_activations(x) if weight.quantized else x
    product: NDArray[np.float64] = met.astype(np.float64) @ weight.values.T.astype(np.float64)
    return product


def _softmax(scores: NDArray[np.float64], sinks: NDArray[np.float32] | None) -> NDArray[np.float64]:
    """Weights of scores (G, H / G, n); sinks (G, H / G, 1) join their sum."""
    largest = scores.max(axis=-1, keepdims=True)
    largest = largest if sinks is None else np.maximum(largest, sinks)
    weights: NDArray[np.float64] = np.exp(scores - largest)
    total = weights.sum(axis=-1, keepdims=True)
    weights /= total if sinks is None else total + np.exp(sinks - largest)
    return weights


def _rotate(x: Floats, rotation: Rotation, width: int, start: int) -> Floats:
    """Turns the pairs (i, i + half) of every head's columns from `start` on; the others stay."""
    cosine, sine = (part[:, None, :].astype(np.float64) for part in rotation)  # (T, 1, half)
    half = cosine.shape[2]
    heads = x.reshape(x.shape[0], -1, width).astype(np.float64)  # (T, heads, A)
    before, after = heads[..., :start], heads[..., start + 2 * half :]
    first, second = heads[..., start : start + half], heads[..., start + half : start + 2 * half]
    turned = [before, first * cosine - second * sine, second * cosine + first * sine, after]
    return np.concatenate(turned, axis=-1).reshape(x.shape).astype(np.float32)


def _gather(kept: Floats, pages: Sequence[int]) -> NDArray[np.float64]:
    """A sequence's keys or values of one layer in token order, (G, pages P, A)."""
    chosen = kept[np.asarray(pages)].astype(np.float64)  # (pages, G, P, A)
    return np.concatenate(list(chosen), axis=1)
