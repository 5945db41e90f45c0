"""What an outline takes on a machine of given rates: memory, and the time of a step.

Room: fit. Arithmetic alone; must not know where outlines and rates come from.

A step of one token reads every weight it uses once, and the keys and values it attends to: what
counts is memory, or the products where these are slower. A step of many tokens is bound by its
products; of a mixture's experts each sees its share of the tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from freehold import ops
from freehold.engine.rates import AttendRates, Rates, TypeRates
from freehold.formats.block_types import BlockType, block_type
from freehold.loading.outline import Outline, Part
from freehold.ops import KvPool, StatePool, Weight

__all__ = ["Needs", "Times", "memory_needs", "step_seconds", "times"]

STEP_TOKENS = 512  # of a prompt, as the runner cuts it
_MANY = 8  # tokens from which on products run at their full rate
_NARROW, _WIDE = 512, 2048  # columns that rates were measured with
_PROCESS_BYTES = 80_000_000  # the program, its libraries, and their buffers
_TOKEN_BYTES = 400  # of a vocabulary: a token's text, its merges, its places in tables
_CALLS = 7  # of ops in a layer, about

# Quantized checkpoints have types of their own, which run like these.
_LIKE = {
    ops.INT4_X32: "Q4_0",
    ops.INT4_X64: "Q4_0",
    ops.INT4_X128: "Q4_0",
    ops.INT8_X32: "Q8_0",
    ops.INT8_X128: "Q8_0",
    ops.FP8_X32: "Q8_0",
    ops.FP8_X128: "Q8_0",
    ops.NVFP4: "MXFP4",
    ops.MXFP4_PAIRS: "MXFP4",
}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Memory in bytes: weights as they lie in memory, keys and values, states, and the rest."""

    weights: int
    kv: int
    states: int
    work: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.kv + self.states + self.work


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds a prompt takes, and a token of the answer after it."""

    prompt_s: float
    token_s: float


def memory_needs(outline: Outline, *, context: int, kv_bits: int = 16) -> Needs:
    """What one sequence of `context` tokens takes, beside the model itself."""
    pages = -(-context // ops.PAGE_TOKENS)
    kv = KvPool(outline.kv.layers, 1, kv_bits).page_bytes if outline.kv.layers else 0
    states = StatePool(outline.kv.states, 1).slot_bytes if outline.kv.states else 0
    weights = sum(round(part.n_bytes * _growth(part.block_type)) for part in outline.parts)
    return Needs(
        weights=weights + outline.vectors_bytes,
        kv=pages * kv,
        states=2 * states,  # one that runs, one to come back to
        work=_PROCESS_BYTES + _work_bytes(outline),
    )


def _work_bytes(outline: Outline) -> int:
    """Buffers of a step, as wide as what a layer makes of a token; logits; the vocabulary."""
    vocabulary = max((part.rows for part in outline.parts if _is_head(part)), default=0)
    by_layer: dict[str, int] = {}
    for part in outline.parts:
        if part.used and not _is_head(part):
            layer = part.name.split(".", 2)[1]
            by_layer[layer] = by_layer.get(layer, 0) + part.rows * (part.copies == 1)
    widest = max(by_layer.values(), default=0) + 2 * outline.width
    return 4 * STEP_TOKENS * widest + (8 + _TOKEN_BYTES) * vocabulary


def times(outline: Outline, rates: Rates, *, prompt: int, depth: int | None = None) -> Times:
    """A prompt of so many tokens from nothing, and one token at `depth`, or right after it."""
    prompt_s = sum(
        step_seconds(outline, rates, tokens=min(STEP_TOKENS, prompt - start), depth=start)
        for start in range(0, prompt, STEP_TOKENS)
    )
    after = prompt if depth is None else depth
    return Times(prompt_s=prompt_s, token_s=step_seconds(outline, rates, tokens=1, depth=after))


def step_seconds(outline: Outline, rates: Rates, *, tokens: int, depth: int) -> float:
    """A step of one sequence that has `depth` tokens in the cache; logits of the last one."""
    products = sum(
        count * _product_s(part, rates, tokens) for part, count in outline.alike if part.used
    )
    layers = len(outline.kv.layers)
    calls = rates.op_s * (_CALLS * layers + 2)
    return (
        products
        + calls
        + _attend_s(outline, rates, tokens, depth)
        + _state_s(outline, rates, tokens)
    )


def _product_s(part: Part, rates: Rates, tokens: int) -> float:
    if _is_head(part):
        tokens = 1
    elements = part.rows * part.columns
    share = part.used / part.copies
    touched = part.copies * (1.0 - (1.0 - share) ** tokens) if share < 1 else part.copies
    each = tokens * part.used / touched  # tokens that meet one of the copies
    kind = _rates_of(part.block_type, rates.types)
    reading = touched * elements / kind.stream
    return max(reading, tokens * part.used * elements / _product_rate(kind, part.columns, each))


def _product_rate(kind: TypeRates, columns: int, tokens: float) -> float:
    """Between one token and many by their logarithm, between narrow and wide by the columns."""
    place = min(max(columns, _NARROW), _WIDE)
    share = (1 / place - 1 / _WIDE) / (1 / _NARROW - 1 / _WIDE)
    many = 1.0 / (share / kind.narrow + (1 - share) / kind.many)
    full = min(math.log(max(tokens, 1.0)) / math.log(_MANY), 1.0)
    one = min(kind.one, many)
    return float(one * (many / one) ** full)


def _attend_s(outline: Outline, rates: Rates, tokens: int, depth: int) -> float:
    seconds = 0.0
    for layer, window in zip(outline.kv.layers, outline.windows, strict=True):
        if layer.heads == 0:
            continue
        pairs = _pairs(tokens, depth, window)
        rate = _attend_rates(rates.attend, layer.key_width, latent=layer.latent)
        multiplied = pairs * outline.heads * (layer.key_width + layer.value_width)
        if tokens == 1:
            row_bytes = 2 * layer.heads * (layer.key_width + layer.value_width * (not layer.latent))
            read_s = pairs * row_bytes / rates.bandwidth_bytes_per_s
            seconds += max(multiplied / rate.one, read_s)
        else:
            seconds += multiplied / rate.many
    return seconds


def _pairs(tokens: int, depth: int, window: int) -> float:
    """How many keys the step's queries see in all."""
    if not window or depth + tokens <= window:
        return tokens * depth + tokens * (tokens + 1) / 2
    free = min(max(window - depth, 0), tokens)  # queries before the window is full
    return free * depth + free * (free + 1) / 2 + (tokens - free) * window


def _state_s(outline: Outline, rates: Rates, tokens: int) -> float:
    rate = rates.state_one if tokens == 1 else rates.state_many
    return tokens * sum(outline.kv.states) / rate


def _attend_rates(known: Mapping[str, AttendRates], width: int, *, latent: bool) -> AttendRates:
    if latent:
        return known["latent"]
    widths = [int(name) for name in known if name != "latent"]
    return known[str(min(widths, key=lambda each: abs(each - width)))]


def _rates_of(kind: int, known: Mapping[str, TypeRates]) -> TypeRates:
    ours = block_type(kind)
    return known[ours.name if ours is not None else _LIKE[kind]]


def _is_head(part: Part) -> bool:
    return part.name in ("head", "embed", "output.weight", "token_embd.weight")


@cache
def _growth(kind: int) -> float:
    """Bytes in memory for each byte of the file: packed scales become bytes of their own."""
    ours = block_type(kind)
    if ours is None:
        return 1.0  # what a checkpoint's rows take was counted as it lies in memory
    columns = max(ours.block_elements, BlockType.Q4_K.block_elements)
    stored = ops.GROUP_ROWS * (columns // ours.block_elements) * ours.block_bytes
    return Weight(kind, ops.GROUP_ROWS, columns).bytes / stored
