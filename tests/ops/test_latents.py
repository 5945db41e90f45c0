"""Attention over latent rows and the matrices of each head around it, against their NumPy twins.

| what           | bound                            | reason                                       |
|----------------|----------------------------------|----------------------------------------------|
| attention      | that of test_attention_twins     | the same sums, over one row for all heads    |
| project_heads  | 2^-23 K of the largest product's | float32 sums over K; roundings to int8 are   |
|                | sum of magnitudes                | the twin's own                               |
| norm_first     | 2^-21 of the largest             | a float32 sum of squares, a root, a quotient |
"""

from __future__ import annotations

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import LayerKv, Tensor, reference
from freehold.ops.reference import AttendRule, StepArrays
from tests.ops.grid import TYPES, floats, steps, tensor, weight
from tests.ops.test_attention_twins import Cache, seeded

SHAPES = [(576, 512), (48, 32), (40, 17), (17, 17), (9, 1), (64, 33), (130, 129)]


def part(places: range, pages: int) -> StepArrays:
    return StepArrays([0] * len(places), [*places], [0, len(places)], [[*range(pages)]], [])


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize(("key", "value"), SHAPES)
def test_latent_attention_matches_its_twin_for_every_width(
    isa: str, key: int, value: int, bits: int
) -> None:
    rng = seeded("latent", key, value)
    cache = Cache([LayerKv(1, key, value, latent=True)], 2, bits=bits)
    cache.write(rng, steps([0] * 70))
    q = floats(rng, 70, 4 * key)
    whole = cache.compare(q, part(range(70), 2))
    alone = cache.compare(q[69:], part(range(69, 70), 2))
    assert np.array_equal(alone, whole[69:])


@pytest.mark.parametrize("heads", [1, 2, 5, 6, 7, 16, 33, 64])
def test_latent_attention_matches_its_twin_for_every_number_of_heads(
    isa: str, thread_count: int, heads: int
) -> None:
    """A prompt, short chunks, and single tokens whose work is split, give the same bits."""
    length, pages = 290, 5
    rng = seeded("heads", heads)
    cache = Cache([LayerKv(1, 24, 16, latent=True)], pages)
    cache.write(rng, steps([0] * length))
    q = floats(rng, length, heads * 24)
    whole = cache.compare(q, part(range(length), pages))
    for places in (range(1), range(60, 67), range(255, 258), range(280, 290), range(289, 290)):
        rows = slice(places.start, places.stop)
        assert np.array_equal(cache.compare(q[rows], part(places, pages)), whole[rows]), places


@pytest.mark.parametrize(
    "rule", [AttendRule(window=100), AttendRule(chunk=90, softcap=2.0)], ids=str
)
def test_latent_attention_keeps_the_same_rules(isa: str, rule: AttendRule) -> None:
    rng = seeded("latent rules")
    cache = Cache([LayerKv(1, 40, 32, latent=True)], 5)
    cache.write(rng, steps([0] * 300))
    q, sinks = floats(rng, 300, 7 * 40), floats(rng, 7)
    with_sinks = AttendRule(rule.window, rule.chunk, rule.softcap, sinks)
    whole = cache.compare(q, part(range(300), 5), rule=with_sinks)
    alone = cache.compare(q[290:291], part(range(290, 291), 5), rule=with_sinks)
    assert np.array_equal(alone, whole[290:291])


def test_sequences_and_layers_keep_their_latents_apart(isa: str, thread_count: int) -> None:
    """Latent layers beside a plain one; a decode, a chunk and a prompt; pages in no order."""
    rng = seeded("apart")
    layers = [LayerKv(1, 40, 32, latent=True), LayerKv(2, 16, 16), LayerKv(1, 24, 24, latent=True)]
    cache = Cache(layers, 12, bits=8)
    pages = [[7, 2, 9, 0, 11, 5], [3], [10, 1]]
    before = StepArrays([0] * 340, list(range(340)), [0, 340], pages[:1], [])
    step = StepArrays([0] * 104, [340, *range(3), *range(100)], [0, 1, 4, 104], pages, [])
    for layer in range(3):
        cache.write(rng, before, layer)
        cache.write(rng, step, layer)
    for layer, kept in enumerate(layers):
        cache.compare(floats(rng, 104, 4 * kept.key_width), step, layer)


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("count", [1, 2, 5, 16, 19])
def test_a_matrix_for_each_head_matches_its_twin(
    isa: str, thread_count: int, name: str, count: int
) -> None:
    """In each form that weights have; what follows the projected columns comes along."""
    heads, rows, cols, rest = 3, 48, 256, 7
    rng = seeded("project", name)
    packed, matrix = weight(rng, name, heads * rows, cols)
    x = floats(rng, 19, heads * (cols + rest))[:count]
    out = Tensor(count + 1, heads * (rows + rest))
    ops.project_heads(tensor(x), packed, heads, count, out)
    twin = reference.project_heads(x, matrix, heads)
    sums = np.abs(x).max() * np.abs(matrix.values).sum(axis=1).max()
    assert np.abs(out.numpy()[:count] - twin).max() <= cols * 2.0**-23 * sums
    assert not out.numpy()[count].any()
    kept = x.reshape(count, heads, -1)[:, :, cols:]
    assert np.array_equal(out.numpy()[:count].reshape(count, heads, -1)[:, :, rows:], kept)
    first = Tensor(1, heads * (rows + rest))
    ops.project_heads(tensor(x[:1]), packed, heads, 1, first)
    assert np.array_equal(first.numpy()[0], out.numpy()[0])


def test_heads_of_a_small_matrix_are_those_of_the_plain_product(isa: str) -> None:
    """Head h of the result is x's head h times the same rows in a projection of their own."""
    rng = seeded("plain")
    packed, matrix = weight(rng, "F32", 2 * 16, 8)
    x = floats(rng, 5, 2 * 8)
    out = Tensor(5, 2 * 16)
    ops.project_heads(tensor(x), packed, 2, 5, out)
    for h in range(2):
        expected = x[:, 8 * h : 8 * h + 8] @ matrix.values[16 * h : 16 * h + 16].T
        assert np.abs(out.numpy()[:, 16 * h : 16 * h + 16] - expected).max() < 1e-5


@pytest.mark.parametrize("width", [1, 5, 16, 33, 40])
def test_only_the_first_columns_are_normed(isa: str, width: int) -> None:
    rng = seeded("norm", width)
    x, norm = floats(rng, 20, 40), floats(rng, width)
    ours = tensor(x)
    ops.norm_first(ours, tensor(norm), 1e-6, 19)
    twin = reference.norm_first(x, norm, 1e-6)
    assert np.abs(ours.numpy()[:19] - twin[:19]).max() <= 2.0**-21 * np.abs(twin).max()
    assert np.array_equal(ours.numpy()[:, width:], x[:, width:])
    assert np.array_equal(ours.numpy()[19], x[19])


BAD = {
    "heads that do not divide": (16, 40, 5, 3),
    "no head": (16, 40, 0, 3),
    "too many tokens": (16, 40, 2, 4),
    "no token": (16, 40, 2, 0),
    "an output too narrow": (16, 38, 2, 3),
    "an input too narrow": (14, 32, 2, 3),
}


@pytest.mark.parametrize("name", BAD)
def test_matrices_that_do_not_fit_are_refused(name: str) -> None:
    given, made, heads, count = BAD[name]
    packed, _ = weight(seeded("bad"), "F32", 32, 8)
    ops.project_heads(Tensor(3, 24), packed, 2, 3, Tensor(3, 40))
    with pytest.raises(ContractBroken, match="project_heads"):
        ops.project_heads(Tensor(3, given + 8), packed, heads, count, Tensor(3, made))
    odd, _ = weight(seeded("bad"), "F32", 30, 8)
    with pytest.raises(ContractBroken, match="multiple of 16"):
        ops.project_heads(Tensor(3, 16), odd, 2, 3, Tensor(3, 30))


def test_a_norm_wider_than_its_rows_is_refused() -> None:
    for x, norm, count in ((8, Tensor(1, 9), 1), (8, Tensor(2, 4), 1), (8, Tensor(1, 4), 3)):
        with pytest.raises(ContractBroken, match="norm_first"):
            ops.norm_first(Tensor(2, x), norm, 1e-6, count)
