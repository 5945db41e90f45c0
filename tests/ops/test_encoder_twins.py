"""The encoders' ops against their NumPy twins, on every instruction set.

| what               | bound                             | reason                                  |
|--------------------|-----------------------------------|-----------------------------------------|
| Fixed16 weights    | none: bit for bit                 | the same scale and the same rounding    |
| Fixed16 products   | (K / 64 + 4) 2^-24 of sum |x| |w| | sums of 128 columns are whole numbers;  |
|                    |                                   | three float32 operations for each       |
| after an addition  | and 4 2^-24 of what passes        | residual, bias                          |
| layer norm         | 2^-19 of |weight| + 2 2^-24 |out| | sums over D <= 390 in float32, of values|
|                    |                                   | of size 1 after scaling                 |
| gelu               | 2^-21 of max(|x|, 1) below 12     | e^-P(x): the fit and the exponential to |
|                    |                                   | a few last places                       |
| attention          | as in test_attention_twins        | keys and values stay float32            |
| pooling            | n 2^-24 of sum |x| / n            | float32 sums of n rows                  |

A swapped pair of columns, a wrong scale or a token too many is hundreds of times larger.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from freehold import ops
from freehold.ops import encoder_reference as twin
from freehold.ops.encoder_reference import Norm, PackedArrays
from tests.ops.grid import Array, floats, misaligned, tensor

LAST = 2.0**-24
TOKENS = 35  # two full tiles of 16, and a 2 and a 1


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def packed_of(lengths: list[int], *, vocabulary: int = 50, first_position: int = 0) -> PackedArrays:
    rng = seeded(*lengths)
    total = sum(lengths)
    return PackedArrays(
        rng.integers(0, vocabulary, total).tolist(),
        np.cumsum([0, *lengths]).tolist(),
        rng.integers(0, 2, total).tolist(),
        first_position,
    )


def native(packed: PackedArrays) -> ops.Packed:
    return ops.Packed(packed.tokens, packed.offsets, packed.types, packed.first_position)


def fixed(rng: np.random.Generator, rows: int, cols: int) -> tuple[ops.Weight, Array]:
    """A Fixed16 weight and its rounded values."""
    values = floats(rng, rows, cols) * np.exp(floats(rng, rows, 1))
    weight = ops.Weight(ops.FIXED16, rows, cols)
    weight.pack(0, rows, misaligned(values.reshape(-1).view(np.uint8), rows % 3))
    return weight, twin.round_fixed(values)


def single(rng: np.random.Generator, rows: int, cols: int) -> tuple[ops.Weight, Array]:
    """A float32 weight and its values."""
    values = floats(rng, rows, cols)
    weight = ops.Weight(0, rows, cols)
    weight.pack(0, rows, values.reshape(-1).view(np.uint8))
    return weight, values.astype(np.float64)


def norm_of(rng: np.random.Generator, width: int, eps: float = 1e-12) -> Norm:
    return Norm(1 + floats(rng, width), floats(rng, width), eps)


def assert_within(ours: Array, theirs: Array, bound: Array | float) -> None:
    assert ours.shape == theirs.shape
    assert np.isfinite(ours).all()
    excess = np.abs(ours.astype(np.float64) - theirs) - bound
    assert excess.max() <= 0, f"off by {np.abs(ours - theirs).max():.3g}"


SHAPES = [(37, 32), (16, 64), (1, 96), (48, 128), (33, 160), (5, 384), (129, 416)]


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_fixed_weights_keep_the_values_of_the_twin(rows: int, cols: int) -> None:
    rng = seeded("weights", rows, cols)
    values = floats(rng, rows, cols)
    values[0, :32] = 0
    weight = ops.Weight(ops.FIXED16, rows, cols)
    weight.pack(0, rows, misaligned(values.reshape(-1).view(np.uint8), 1))
    assert np.array_equal(weight.unpack(), twin.fixed_weight(values))
    largest = np.abs(values).max(axis=1, keepdims=True)
    assert (np.abs(weight.unpack() - values) <= 0.501 * largest / 4095).all()


@pytest.mark.parametrize(("rows", "cols"), SHAPES)
def test_fixed_products_match_their_twin_for_every_count(isa: str, rows: int, cols: int) -> None:
    """And a token's result is the same bits for every count of tokens beside it."""
    rng = seeded("products", rows, cols)
    weight, values = fixed(rng, rows, cols)
    x, bias = floats(rng, TOKENS, cols) * 10, floats(rng, rows)
    given, out = tensor(x), ops.Tensor(TOKENS, rows)
    ops.project(given, TOKENS, [weight], [tensor(bias)], 0, [out])
    whole = out.numpy().copy()
    (theirs,) = twin.project(x, [values], [bias], fixed=True)
    size = np.abs(twin.round_fixed(x)) @ np.abs(values).T + np.abs(bias)
    assert_within(whole, theirs, (cols / 64 + 4) * LAST * size + 4 * LAST * np.abs(theirs))
    for count in range(1, TOKENS):
        out.fill(np.full((TOKENS, rows), 7, np.float32))
        ops.project(given, count, [weight], [tensor(bias)], 0, [out])
        assert np.array_equal(out.numpy()[:count], whole[:count]), count
        assert (out.numpy()[count:] == 7).all(), "wrote past the tokens"


def test_fixed_products_are_the_same_bits_on_every_instruction_set() -> None:
    rng = seeded("everywhere")
    weight, _ = fixed(rng, 40, 352)
    x = tensor(floats(rng, 21, 352))
    seen, before = [], ops.isa_name()
    for name in ("avx2", "avx512"):  # the generic set multiplies and adds in two roundings
        if name in ops.available_isas():
            ops.force_isa(name)
            out = ops.Tensor(21, 40)
            ops.project(x, 21, [weight], [None], 0, [out])
            seen.append(out.numpy().copy())
    ops.force_isa(before)
    assert all(np.array_equal(seen[0], other) for other in seen)


def test_fixed_sums_do_not_overflow(isa: str) -> None:
    """128 products of the largest codes of one sign, the most a 32-bit sum must hold."""
    weight = ops.Weight(ops.FIXED16, 16, 128)
    weight.pack(0, 16, np.full(16 * 128, 3.0, np.float32).view(np.uint8))
    out = ops.Tensor(1, 16)
    ops.project(tensor(np.full((1, 128), -5.0)), 1, [weight], [None], 0, [out])
    assert np.allclose(out.numpy(), -15 * 128, rtol=1e-6)


@pytest.mark.parametrize("kind", ops.ACTIVATIONS)
@pytest.mark.parametrize("make", [fixed, single], ids=["fixed", "float"])
def test_project_matches_its_twin(isa: str, thread_count: int, kind: str, make: object) -> None:
    """Several weights over one input, with and without biases."""
    rng = seeded("project", kind)
    made = [(fixed if make is fixed else single)(rng, rows, 96) for rows in (48, 3, 19)]
    x = floats(rng, 21, 96)
    biases = [floats(rng, 48), None, floats(rng, 19)]
    outs = [ops.Tensor(22, weight.rows) for weight, _ in made]
    given = [None if bias is None else tensor(bias) for bias in biases]
    ops.project(tensor(x), 21, [w for w, _ in made], given, ops.ACTIVATIONS.index(kind), outs)
    values = [v for _, v in made]
    theirs = twin.project(x, values, biases, fixed=make is fixed, activation=kind)
    for out, each, matrix, bias in zip(outs, theirs, values, biases, strict=True):
        size = np.abs(x) @ np.abs(matrix).T + (0 if bias is None else np.abs(bias))
        assert_within(out.numpy()[:21], each, 1.2 * (96 + 8) * LAST * size + 2.0**-21)
        assert not out.numpy()[21:].any()


@pytest.mark.parametrize("kind", ["gelu", "gelu_tanh", "relu"])
def test_activations_hold_over_the_whole_range(isa: str, kind: str) -> None:
    x = np.concatenate([np.linspace(-14, 14, 20001), [0.0, -0.0, 1e-30, -1e-30, 1e30, -1e4]])
    x = x.astype(np.float32).reshape(-1, 1)
    one, _ = single(seeded("one"), 1, 1)
    one.pack(0, 1, np.ones(1, np.float32).view(np.uint8))
    out = ops.Tensor(len(x), 1)
    ops.project(tensor(x), len(x), [one], [None], ops.ACTIVATIONS.index(kind), [out])
    exact = twin.activate(x.astype(np.float64), kind)
    bound = 2.0**-21 * np.clip(np.abs(x), 1, 12) + 2 * LAST * np.abs(exact)
    assert_within(out.numpy(), exact.astype(np.float32), bound)


@pytest.mark.parametrize("make", [fixed, single], ids=["fixed", "float"])
@pytest.mark.parametrize("with_bias", [False, True], ids=["plain", "bias"])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_project_add_norm_matches_its_twin(
    isa: str, make: object, with_bias: bool, scale: float
) -> None:
    rng = seeded("add", with_bias, scale)
    weight, values = (fixed if make is fixed else single)(rng, 43, 160)
    norm = norm_of(rng, 43)
    a, x = floats(rng, 19, 160), (10 * scale * floats(rng, 20, 43) + 5 * scale).astype(np.float32)
    bias = floats(rng, 43) if with_bias else None
    kept = tensor(x)
    given = None if bias is None else tensor(bias)
    ops.project_add_norm(
        tensor(a), weight, given, tensor(norm.weight), tensor(norm.bias), norm.eps, 19, kept
    )
    theirs = twin.project_add_norm(a, values, bias, norm, x[:19], fixed=make is fixed)
    # The sum's own rounding, seen through the norm's division by its spread.
    total = x[:19] + a @ values.T + (0 if bias is None else bias)
    moved = (160 + 8) * LAST * (np.abs(a) @ np.abs(values).T + np.abs(x[:19]))
    spread = total.std(axis=1, keepdims=True)
    bound = 4 * moved.max(axis=1, keepdims=True) / spread + 2.0**-19
    assert_within(kept.numpy()[:19], theirs, bound * np.abs(norm.weight) + 1e-6)
    assert np.array_equal(kept.numpy()[19], x[19])


@pytest.mark.parametrize("width", [1, 3, 16, 33, 100, 384, 390])
def test_embed_packed_matches_its_twin(isa: str, thread_count: int, width: int) -> None:
    rng = seeded("embed", width)
    packed = packed_of([1, 7, 20, 3], first_position=2)
    words, positions, types = (floats(rng, n, width) for n in (50, 22, 2))
    norm = norm_of(rng, width, 1e-5)
    x = ops.Tensor(33, width)
    pair = (tensor(norm.weight), tensor(norm.bias), norm.eps)
    ops.embed_packed(tensor(words), tensor(positions), tensor(types), *pair, native(packed), x)
    theirs = twin.embed_packed(words, positions, types, norm, packed)
    bound = 2.0**-19 * np.abs(norm.weight) + 4 * LAST * (np.abs(theirs) + np.abs(norm.bias))
    if width > 1:  # of one element nothing is left but the bias
        assert_within(x.numpy()[:31], theirs, bound)
    assert not x.numpy()[31:].any()
    without = PackedArrays(packed.tokens, packed.offsets, [], packed.first_position)
    ops.embed_packed(tensor(words), tensor(positions), None, *pair, native(without), x)
    if width > 1:
        theirs = twin.embed_packed(words, positions, None, norm, without)
        assert_within(x.numpy()[:31], theirs, bound * 3)


@pytest.mark.parametrize("width", [1, 2, 8, 15, 16, 20, 32, 33, 64, 80, 128])
@pytest.mark.parametrize("lengths", [[1], [2, 1, 5], [16, 17, 31, 33], [64, 3], [150]], ids=str)
def test_attend_packed_matches_its_twin(isa: str, width: int, lengths: list[int]) -> None:
    rng = seeded("attend", width, lengths)
    packed, heads = packed_of(lengths), 3
    q, k, v = (2 * floats(rng, sum(lengths), heads * width) for _ in range(3))
    out = ops.Tensor(sum(lengths) + 1, heads * width)
    ops.attend_packed(tensor(q), tensor(k), tensor(v), native(packed), heads, width**-0.5, out)
    theirs = twin.attend_packed((q, k, v), packed, heads, width**-0.5)
    scores = np.abs(q).max() * np.abs(k).max() * width**0.5
    bound = np.abs(v).max() * (2.0**-20 + width * LAST * scores)
    assert_within(out.numpy()[:-1], theirs, bound)
    assert not out.numpy()[-1].any(), "wrote past the tokens"


def test_attention_of_a_text_is_the_same_bits_in_any_company(isa: str, thread_count: int) -> None:
    rng = seeded("company")
    lengths = [3, 40, 1, 200, 17]
    packed = packed_of(lengths)
    qkv = [floats(rng, sum(lengths), 4 * 24) for _ in range(3)]
    out = ops.Tensor(sum(lengths), 96)
    q, k, v = (tensor(part) for part in qkv)
    ops.attend_packed(q, k, v, native(packed), 4, 0.2, out)
    for span, n in zip(packed.spans(), lengths, strict=True):
        alone = ops.Tensor(n, 96)
        one = ops.Packed([0] * n, [0, n])
        q, k, v = (tensor(part[span]) for part in qkv)
        ops.attend_packed(q, k, v, one, 4, 0.2, alone)
        assert np.array_equal(alone.numpy(), out.numpy()[span])


@pytest.mark.parametrize("normalise", [False, True], ids=["raw", "normalised"])
@pytest.mark.parametrize("kind", ops.POOLINGS)
def test_pool_matches_its_twin(thread_count: int, kind: str, normalise: bool) -> None:
    rng = seeded("pool", kind)
    lengths = [1, 9, 300]
    packed = packed_of(lengths)
    x = floats(rng, 310, 37)
    out = ops.Tensor(4, 37)
    ops.pool(tensor(x), native(packed), ops.POOLINGS.index(kind), normalise, out)
    theirs = twin.pool(x, packed, kind, normalise=normalise)
    sums = [np.abs(x[span]).sum(axis=0) / len(x[span]) ** 0.5 for span in packed.spans()]
    bound = 300 * LAST * np.array(sums) if kind.startswith("mean") else 2 * LAST * np.abs(theirs)
    assert_within(out.numpy()[:3], theirs, bound + 4 * LAST * np.abs(theirs))
    assert not out.numpy()[3].any()
    if normalise:
        assert np.allclose(np.linalg.norm(out.numpy()[:3], axis=1), 1, atol=1e-6)


def test_a_row_of_zeros_stays_zero_when_normalised() -> None:
    out = ops.Tensor(1, 8)
    ops.pool(ops.Tensor(2, 8), ops.Packed([0, 0], [0, 2]), 0, True, out)
    assert not out.numpy().any()
