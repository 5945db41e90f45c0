"""The ops that multiply by weights, against their NumPy twins: every instruction set and type.

Oracle: `freehold.ops.reference`, float64 sums over the gguf package's dequantized values.

| op                  | bound, of sum|activation| * max|w|  | reason                              |
|---------------------|-------------------------------------|-------------------------------------|
| embed               | none: bit for bit                   | unpacking adds nothing up           |
| quantized weights   | (K / 4 + 8) 2^-24                   | sums inside a block are integers;   |
|                     |                                     | up to 6 float operations for each   |
| float weights       | (K + 8) 2^-24                       | one multiply-add for each element   |
| after a norm        | (2 K + 8) 2^-24 instead             | its sum of squares is float32 too   |
| the same, quantized | and one code of one block           | a last place may tip a half to the  |
|                     |                                     | other int8 code                     |
| silu(g) u           | 1.2 |u| gate + |g| up + 2^-20 |gu|  | slope of silu below 1.1; exponential|
|                     |                                     | to a few last places                |

A wrong scale, a swapped row or a skipped element is a thousand times larger.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from freehold import ops
from freehold.ops import reference
from freehold.ops.reference import Matrix
from tests.ops.grid import (
    FLOATS,
    TYPES,
    Array,
    floats,
    misaligned,
    native,
    raw_weight,
    steps,
    tensor,
    weight,
)
from tests.parity.blocks import QUANTIZED
from tests.parity.checkpoint_blocks import CHECKPOINT

EPS = 1e-5
LAST = 2.0**-24
MOST = 2 * 16 + 3  # tokens: two full tiles of 16, and a 2 and a 1
ROWS = 37  # two groups of 16 rows and a part of one
SHAPES = [(name, ROWS, 512) for name in (*QUANTIZED, *CHECKPOINT)]
SHAPES += [(name, rows, cols) for name in FLOATS for rows, cols in [(ROWS, 67), (1, 1), (16, 129)]]
SHAPES += [("Q8_0", 1, 32), ("Q4_1", 15, 96), ("Q6_K", 17, 256), ("Q5_0", 129, 32)]


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def rounding(x: Array, matrix: Matrix, *, normed: bool = False) -> Array:
    """The bound on every product of a token, (T, 1); x (T, K) as the weight meets it."""
    cols = x.shape[1]
    largest = np.abs(matrix.values).max()
    share = 2 * cols + 8 if normed else (cols / 4 if matrix.quantized else cols) + 8
    bound: Array = share * LAST * np.abs(x).sum(axis=1, keepdims=True) * largest
    if normed and matrix.quantized:
        bound = bound + np.abs(x).max(axis=1, keepdims=True) / 127 * largest
    return bound


def assert_within(ours: Array, twin: Array, bound: Array) -> None:
    assert ours.shape == twin.shape
    assert np.isfinite(ours).all()
    excess = np.abs(ours.astype(np.float64) - twin) - bound
    assert excess.max() <= 0, f"off by {np.abs(ours - twin).max():.3g}"


@pytest.mark.parametrize("name", TYPES)
def test_embed_is_exact(isa: str, name: str) -> None:
    rng = seeded(name)
    packed, matrix = weight(rng, name, ROWS, 512, offset=1)
    tokens = rng.integers(0, ROWS, MOST).tolist()
    x = ops.Tensor(MOST + 3, 512)
    ops.embed(packed, native(steps(tokens)), x)
    assert np.array_equal(x.numpy()[:MOST], reference.embed(matrix, tokens))
    assert not x.numpy()[MOST:].any()


@pytest.mark.parametrize(("name", "rows", "cols"), SHAPES)
def test_project_matches_its_twin_for_every_count(
    isa: str, name: str, rows: int, cols: int
) -> None:
    """And a token's result is the same bits for every count of tokens beside it."""
    rng = seeded(name, rows, cols)
    packed, matrix = weight(rng, name, rows, cols, offset=rows % 4)
    x, bias = floats(rng, MOST, cols), floats(rng, rows)
    (twin,) = reference.norm_project(x, None, EPS, [matrix], [bias])
    bound = rounding(x, matrix) + 2 * LAST * np.abs(twin)
    given, added, out = tensor(x), tensor(bias), ops.Tensor(MOST, rows)
    ops.norm_project(given, None, EPS, MOST, [packed], [added], [out])
    whole = out.numpy().copy()
    assert_within(whole, twin, bound)
    for count in range(1, MOST):
        out.fill(np.full((MOST, rows), 7, np.float32))
        ops.norm_project(given, None, EPS, count, [packed], [added], [out])
        assert np.array_equal(out.numpy()[:count], whole[:count]), count
        assert (out.numpy()[count:] == 7).all(), "wrote past the tokens"


@pytest.mark.parametrize("name", TYPES)
def test_norm_project_matches_its_twin(isa: str, thread_count: int, name: str) -> None:
    """One norm, three weights of which one is of another kind, with and without biases."""
    rng = seeded("norm", name)
    cols = 512
    made = [weight(rng, kind, rows, cols) for kind, rows in ((name, 48), ("F16", 3), (name, 19))]
    x, norm = 3 * floats(rng, 21, cols), floats(rng, cols)
    biases = [floats(rng, 48), None, floats(rng, 19)]
    outs = [ops.Tensor(21, packed.rows) for packed, _ in made]
    ops.norm_project(
        tensor(x),
        tensor(norm),
        EPS,
        21,
        [packed for packed, _ in made],
        [None if bias is None else tensor(bias) for bias in biases],
        outs,
    )
    twins = reference.norm_project(x, norm, EPS, [matrix for _, matrix in made], biases)
    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * norm
    for out, twin, (_, matrix) in zip(outs, twins, made, strict=True):
        bound = rounding(normed, matrix, normed=True)
        assert_within(out.numpy(), twin, bound + 2 * LAST * np.abs(twin))


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1.0, 1e6])
def test_norm_holds_for_small_and_large_rows(isa: str, scale: float) -> None:
    """Rows of zeros included; epsilon matters for the small ones."""
    rng = seeded("scale", scale)
    x = (scale * floats(rng, 5, 75)).astype(np.float32)
    x[3] = 0
    packed, matrix = weight(rng, "F32", 75, 75)
    out = ops.Tensor(5, 75)
    norm = floats(rng, 75)
    ops.norm_project(tensor(x), tensor(norm), EPS, 5, [packed], [None], [out])
    (twin,) = reference.norm_project(x, norm, EPS, [matrix], [None])
    normed = x / np.sqrt((x.astype(np.float64) ** 2).mean(axis=1, keepdims=True) + EPS) * norm
    assert_within(out.numpy(), twin, rounding(normed, matrix, normed=True))
    assert not out.numpy()[3].any()


def test_activations_round_half_to_even(isa: str) -> None:
    """Codes of 0.5, 1.5, -0.5 and so on, read back through a weight that picks one element."""
    x = np.zeros((1, 32), np.float32)
    x[0, :8] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, 126.5, -126.5]
    one = np.zeros((8, 34), np.uint8)  # Q8_0: a float16 scale of 1, then 32 codes
    one[:, :2] = np.array([1], np.float16).view(np.uint8)
    one[np.arange(8), 2 + np.arange(8)] = 1
    packed = ops.Weight(8, 8, 32)
    packed.pack(0, 8, one.reshape(-1))
    out = ops.Tensor(1, 8)
    ops.norm_project(tensor(x), None, EPS, 1, [packed], [None], [out])
    codes = [127, 0, 2, 2, 0, -2, 126, -126]
    assert out.numpy()[0].tolist() == pytest.approx(codes, rel=2 * LAST)  # a scale's rounding
    assert reference.round_activations(x)[0, :8].tolist() == pytest.approx(codes, rel=LAST)


@pytest.mark.parametrize("size", [0.0, 1e-45, 1e-38, 1e-31, 1e-29])
def test_tiny_activations_stay_finite(isa: str, size: float) -> None:
    """A scale whose inverse would overflow must not make the block infinite or NaN."""
    rng = seeded("tiny")
    packed, matrix = weight(rng, "Q4_1", 16, 64)
    x = np.full((1, 64), size, np.float32)
    out = ops.Tensor(1, 16)
    ops.norm_project(tensor(x), None, EPS, 1, [packed], [None], [out])
    # Codes rest on the processor's handling of subnormals; what they stand for is as small.
    largest = np.abs(matrix.values).max()
    assert np.abs(out.numpy()).max() <= 64 * 1.01 * size * largest + 1e-36


@pytest.mark.parametrize("name", ["F32", "BF16", "Q4_1", "Q8_0", "Q2_K", "IQ4_XS"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
def test_project_add_matches_its_twin(
    isa: str, thread_count: int, name: str, with_bias: bool
) -> None:
    rng = seeded("add", name)
    packed, matrix = weight(rng, name, 43, 256)
    a, x = floats(rng, 19, 256), 10 * floats(rng, 20, 43)
    bias = floats(rng, 43) if with_bias else None
    residual = tensor(x)
    added = None if bias is None else tensor(bias)
    ops.project_add(tensor(a), packed, added, 19, residual)
    twin = reference.project_add(a, matrix, bias, x[:19])
    # Both sums may pass through a larger value than they end at.
    passing = np.abs(x[:19]) + np.abs(twin) + (0 if bias is None else np.abs(bias))
    assert_within(residual.numpy()[:19], twin, rounding(a, matrix) + 4 * LAST * passing)
    assert np.array_equal(residual.numpy()[19], x[19])


@pytest.mark.parametrize(
    ("gate_type", "up_type"),
    [
        (name, name)
        for name in (
            "F32",
            "F16",
            "BF16",
            "Q4_0",
            "Q4_K",
            "Q6_K",
            "MXFP4",
            "Int4x128",
            "Fp8x32",
            "Nvfp4",
        )
    ]
    + [("Q4_0", "Q6_K"), ("F16", "Q8_0"), ("Q3_K", "F32"), ("Int8x32", "Fp8x128")],
)
def test_gate_up_matches_its_twin(
    isa: str, thread_count: int, gate_type: str, up_type: str
) -> None:
    rng = seeded(gate_type, up_type)
    cols, rows, count = 256, 53, 18
    gate, gate_matrix = weight(rng, gate_type, rows, cols)
    up, up_matrix = weight(rng, up_type, rows, cols)
    x, norm = floats(rng, count, cols), floats(rng, cols)
    out = ops.Tensor(count + 1, rows)
    ops.gate_up(tensor(x), tensor(norm), EPS, gate, up, count, out)
    twin = reference.gate_up(x, norm, EPS, gate_matrix, up_matrix)
    opened, raised = reference.norm_project(x, norm, EPS, [gate_matrix, up_matrix], [None, None])
    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * norm
    bound = 1.2 * np.abs(raised) * rounding(normed, gate_matrix, normed=True)
    bound = bound + np.abs(opened) * rounding(normed, up_matrix, normed=True)
    assert_within(out.numpy()[:count], twin, bound + 2.0**-20 * np.abs(opened * raised) + 1e-30)
    assert not out.numpy()[count:].any()


@pytest.mark.parametrize("gate", [-1e30, -200.0, -88.0, -0.0, 0.0, 1e-30, 88.0, 200.0, 1e30])
def test_silu_holds_at_the_edges(isa: str, gate: float) -> None:
    """Where the exponential would overflow, silu is 0 or the gate itself."""
    packed = ops.Weight(0, 1, 1)
    packed.pack(0, 1, np.array([gate], np.float32).view(np.uint8))
    one = ops.Weight(0, 1, 1)
    one.pack(0, 1, np.ones(1, np.float32).view(np.uint8))
    out = ops.Tensor(1, 1)
    ops.gate_up(tensor(np.ones(1)), tensor(np.ones(1)), 1e-12, packed, one, 1, out)
    exact = gate / (1 + np.exp(-gate)) if gate > -700 else 0.0
    # Beyond -87 the op's exponential stands still: what is left is below 1e-36 of the gate.
    assert abs(float(out.numpy()[0, 0]) - exact) <= 1e-6 * abs(exact) + 1e-35 * abs(gate)


@pytest.mark.parametrize("name", ["F32", "F16", "Q4_1", "Q6_K", "Q8_0"])
def test_head_matches_its_twin_on_the_rows_wanted(isa: str, name: str) -> None:
    rng = seeded("head", name)
    packed, matrix = weight(rng, name, 71, 256)
    x, norm = floats(rng, 24, 256), floats(rng, 256)
    normed = x / np.sqrt((x**2).mean(axis=1, keepdims=True) + EPS) * norm
    for rows in ([23], [0], [5, 5, 1], list(range(24)), list(range(23, 0, -2))):
        step = ops.Step([0] * 24, list(range(24)), [0, 24], [[0]], rows)
        logits = ops.Tensor(len(rows) + 1, 71)
        ops.head(tensor(x), tensor(norm), EPS, packed, step, logits)
        twin = reference.head(x, norm, EPS, matrix, rows)
        bound = rounding(normed[rows], matrix, normed=True)
        assert_within(logits.numpy()[:-1], twin, bound)
        assert not logits.numpy()[-1].any()


@pytest.mark.parametrize("name", TYPES)
def test_packing_keeps_every_value_whichever_chunk_comes_first(name: str) -> None:
    rng = seeded("pack", name)
    raw, values = raw_weight(rng, name, 53, 256)
    row_bytes = raw.size // 53
    packed = ops.Weight(int(weight(rng, name, 1, 256)[0].type), 53, 256)
    packed.pack(0, 53, misaligned(raw, 3))
    assert np.array_equal(packed.unpack(), values)
    for start, count in ((32, 21), (0, 32)):  # in chunks, the last one first
        packed.pack(start, count, raw[start * row_bytes : (start + count) * row_bytes])
    assert np.array_equal(packed.unpack(), values)
