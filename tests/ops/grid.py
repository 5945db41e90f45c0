"""What the tests of the ops share: weights with their twins, tensors, and steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from freehold import ops
from freehold.ops.reference import Matrix, StepArrays
from tests.parity.blocks import QUANTIZED, block_size, random_blocks, reference
from tests.parity.checkpoint_blocks import CHECKPOINT, checkpoint_rows, type_number

Array = np.ndarray[Any, Any]

FLOATS = ("F32", "F16", "BF16")
# Types that activations meet as int8, and those that they meet as floats.
ROUNDING = (*QUANTIZED, *(name for name, (_, _, rounds) in CHECKPOINT.items() if rounds))
TYPES = (*FLOATS, *QUANTIZED, *CHECKPOINT)


def raw_weight(rng: np.random.Generator, name: str, rows: int, cols: int) -> tuple[Array, Array]:
    """The bytes of a random weight in a file, and its values (rows, cols)."""
    if name in CHECKPOINT:
        made, values = checkpoint_rows(rng, name, rows, cols)
        return made.reshape(-1), values
    if name in QUANTIZED:
        raw = random_blocks(rng, name, rows * cols // block_size(name)[0])
        return raw, reference(name, raw).reshape(rows, cols)
    values = rng.standard_normal((rows, cols)).astype(np.float32)
    if name == "F16":
        halves = values.astype(np.float16)
        return halves.reshape(-1).view(np.uint8), halves.astype(np.float32)
    if name == "BF16":
        bits = values.view(np.uint32) & np.uint32(0xFFFF0000)
        kept = (bits >> np.uint32(16)).astype(np.uint16)
        return kept.reshape(-1).view(np.uint8), bits.view(np.float32)
    return values.reshape(-1).view(np.uint8), values


def misaligned(raw: Array, offset: int) -> Array:
    """The same bytes at an address that is `offset` past an even one."""
    room = np.empty(raw.size + offset, np.uint8)
    room[offset:] = raw
    return room[offset:]


def weight(
    rng: np.random.Generator, name: str, rows: int, cols: int, *, offset: int = 0
) -> tuple[ops.Weight, Matrix]:
    """A packed weight and the matrix its twin multiplies by."""
    raw, values = raw_weight(rng, name, rows, cols)
    packed = ops.Weight(type_number(name), rows, cols)
    packed.pack(0, rows, misaligned(raw, offset))
    return packed, Matrix(values, quantized=name in ROUNDING)


def tensor(values: Array) -> ops.Tensor:
    """A tensor of the values (rows, cols), or (cols,) as one row."""
    rows = np.atleast_2d(values).astype(np.float32)
    out = ops.Tensor(*rows.shape)
    out.fill(rows)
    return out


def floats(rng: np.random.Generator, *shape: int) -> Array:
    """Values N(0, 1), float32."""
    return rng.standard_normal(shape).astype(np.float32)


def steps(tokens: list[int], positions: list[int] | None = None) -> StepArrays:
    """One sequence on the first pages."""
    places = list(range(len(tokens))) if positions is None else positions
    pages = list(range(places[-1] // ops.PAGE_TOKENS + 1))
    return StepArrays(tokens, places, [0, len(tokens)], [pages], [len(tokens) - 1])


def native(step: StepArrays) -> ops.Step:
    """The step as the core takes it."""
    return ops.Step(step.tokens, step.positions, step.offsets, step.pages, step.logit_rows)
