"""Rotation and attention over pages, against their NumPy twins, on every instruction set.

| what               | bound                          | reason                                     |
|--------------------|--------------------------------|--------------------------------------------|
| cos and sin        | through the rotation: 2^-22 of | float32 of the exact value, then one       |
| rotated q and k    | |pair|                         | product and one multiply-add               |
| attention          | of the largest value:          | keys and values are rounded alike on       |
|                    | 2^-20 + A 2^-24 * largest      | both sides; scores are float32 sums over A |
|                    | sum |q k| scale                | and move a weight by their absolute error  |

A value beside its slot, a key too many or a missed page moves a result by 10^3 bounds or more.
"""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from freehold import ops
from freehold.ops import PAGE_TOKENS, LayerKv, reference
from freehold.ops.reference import AttendRule, Pages, StepArrays
from tests.ops.grid import Array, floats, native, steps, tensor

WIDTHS = (2, 3, 5, 8, 15, 16, 17, 31, 32, 33, 48, 63, 64, 65, 66, 80, 96, 100, 127, 128, 129, 130)


def seeded(*what: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


def alike(layers: int, heads: int, width: int) -> list[LayerKv]:
    """Layers whose keys and values are equally wide."""
    return [LayerKv(heads, width, width)] * layers


class Cache:
    """The core's pages and the twin's, written and read side by side."""

    def __init__(self, layers: list[LayerKv], pages: int, *, bits: int = 16) -> None:
        self.kv = ops.KvPool(layers, pages, bits)
        self.twin = Pages.empty(layers, pages, PAGE_TOKENS, bits)
        self.layers = layers

    def write(self, rng: np.random.Generator, step: StepArrays, layer: int = 0) -> None:
        """Random keys and values for the step's tokens, on both sides."""
        count, kept = len(step.tokens), self.layers[layer]
        k = floats(rng, count, kept.heads * kept.key_width)
        v = None if kept.latent else floats(rng, count, kept.heads * kept.value_width)
        q, values = np.zeros_like(k), None if v is None else tensor(v)
        ops.rotate_write(tensor(q), tensor(k), values, None, native(step), self.kv, layer)
        reference.rotate_write((q, k, v), None, step, self.twin, layer)

    def bound(self, q: Array, layer: int = 0, softcap: float = 0.0) -> float:
        """How far the core may be from the twin; a cap adds its own rounding to each score."""
        width, keys = self.layers[layer].key_width, self.twin.keys[layer]
        scores = np.abs(q).max() * np.abs(keys).max() * width * width**-0.5
        largest = np.abs(self.twin.values[layer]).max()
        return float(largest * (2.0**-20 + width * 2.0**-24 * scores + softcap * 2.0**-21))

    def compare(
        self, q: Array, step: StepArrays, layer: int = 0, *, rule: AttendRule | None = None
    ) -> Array:
        """The core's attention, after holding it to the twin's."""
        kept = self.layers[layer]
        scale = kept.key_width**-0.5
        out = ops.Tensor(len(step.tokens) + 1, q.shape[1] // kept.key_width * kept.value_width)
        r = rule or AttendRule()
        sinks = None if r.sinks is None else tensor(r.sinks)
        ops.attend(
            tensor(q),
            self.kv,
            layer,
            native(step),
            scale,
            out,
            r.window,
            chunk=r.chunk,
            softcap=r.softcap,
            sinks=sinks,
        )
        ours = out.numpy()
        twin = reference.attend(q, self.twin, layer, step, scale, r)
        bound = self.bound(q, layer, r.softcap)
        assert np.isfinite(ours).all()
        assert np.abs(ours[:-1] - twin).max() <= bound
        assert not ours[-1].any(), "wrote past the tokens"
        return ours[:-1].copy()


@pytest.mark.parametrize("bits", [16, 8])
@pytest.mark.parametrize("width", WIDTHS)
def test_attention_matches_its_twin_for_every_head_width(isa: str, width: int, bits: int) -> None:
    """Odd widths put every head but the first at an odd address."""
    rng = seeded("width", width)
    cache = Cache(alike(1, 2, width), 3, bits=bits)
    step = steps([0] * 70)
    cache.write(rng, step)
    q = floats(rng, 70, 6 * width)
    whole = cache.compare(q, step)
    alone = StepArrays([0], [69], [0, 1], step.pages, [0])
    assert np.array_equal(cache.compare(q[69:], alone), whole[69:])


@pytest.mark.parametrize("group", range(1, 10))
@pytest.mark.parametrize(
    ("kv_heads", "bits"),
    [
        (3, 16),
        (1, 8),
        pytest.param(1, 16, marks=pytest.mark.slow),
        pytest.param(3, 8, marks=pytest.mark.slow),
    ],
)
def test_attention_matches_its_twin_for_every_group(
    isa: str, thread_count: int, group: int, kv_heads: int, bits: int
) -> None:
    rng = seeded("group", group, kv_heads)
    cache = Cache(alike(1, kv_heads, 20), 6, bits=bits)
    step = steps([0] * 300)
    cache.write(rng, step)
    q = 2 * floats(rng, 300, kv_heads * group * 20)
    part = StepArrays([0] * 33, list(range(267, 300)), [0, 33], step.pages, [])
    cache.compare(q[267:], part)


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 255, 256, 257, 511, 512, 513, 600])
def test_attention_matches_its_twin_at_the_edges_of_pages_and_segments(
    isa: str, thread_count: int, length: int
) -> None:
    """The last token alone, the last few, and all at once give the same bits."""
    rng = seeded("length", length)
    cache = Cache(alike(1, 2, 24), 10)
    step = steps([0] * length)
    cache.write(rng, step)
    q = floats(rng, length, 4 * 24)
    whole = cache.compare(q, step)
    for count in (1, 2, 3, 4, 5):
        if count < length:
            places = list(range(length - count, length))
            last = StepArrays([0] * count, places, [0, count], step.pages, [])
            assert np.array_equal(cache.compare(q[-count:], last), whole[-count:]), count


def test_sequences_on_scattered_pages_of_several_layers_match_their_twin(
    isa: str, thread_count: int
) -> None:
    """A decode, a short chunk and a prompt in one step; pages in no order; two layers."""
    rng = seeded("scattered")
    cache = Cache(alike(2, 2, 40), 12, bits=8)
    pages = [[7, 2, 9, 0, 11, 5], [3], [10, 1]]
    before = StepArrays([0] * 340, list(range(340)), [0, 340], pages[:1], [])
    places = [340, *range(3), *range(100)]
    step = StepArrays([0] * 104, places, [0, 1, 4, 104], pages, [])
    for layer in (0, 1):
        cache.write(rng, before, layer)
        cache.write(rng, step, layer)
    q = floats(rng, 104, 8 * 40)
    first, second = (cache.compare(q, step, layer) for layer in (0, 1))
    assert not np.array_equal(first, second)


def test_sharp_and_flat_softmax_match_their_twin(isa: str) -> None:
    """Scores a hundred apart leave one key; a zero query weighs all alike."""
    rng = seeded("sharp")
    cache = Cache(alike(1, 1, 16), 5)
    step = steps([0] * 290)
    cache.write(rng, step)
    q = 100 * floats(rng, 290, 16)
    q[:100] = 0
    cache.compare(q, step)


def test_keys_and_values_are_rounded_to_the_nearest_half(isa: str) -> None:
    """With one key its value comes back as it was kept."""
    values = np.array([1 + 2.0**-11, 1 + 3 * 2.0**-11, -3e-8, 2e-8, 1e-5, 65504, 0.1, -7], "f4")
    kv, step, out = ops.KvPool(alike(1, 1, 8), 1), native(steps([0])), ops.Tensor(1, 8)
    row = tensor(values)
    ops.rotate_write(tensor(values), tensor(values), row, None, step, kv, 0)
    ops.attend(tensor(np.zeros(8)), kv, 0, step, 1.0, out)
    assert out.numpy()[0].tolist() == values.astype(np.float16).tolist()


@pytest.mark.parametrize(
    ("width", "half"), [(2, 1), (8, 4), (34, 17), (64, 32), (65, 20), (130, 65)]
)
@pytest.mark.parametrize("scale", [1.0, 1.3])
def test_rotation_matches_its_twin(isa: str, width: int, half: int, scale: float) -> None:
    """Whole heads and parts of them; q and k change in place, v does not."""
    rng = seeded("rotation", width, half)
    frequencies = (10_000.0 ** -(np.arange(half) / half)).astype(np.float32)
    places = [*range(5), *range(40, 60)]
    step = StepArrays([0] * 25, places, [0, 5, 25], [[1], [0]], [])
    given = [floats(rng, 25, heads * width) for heads in (6, 2, 2)]
    q, k, v = (tensor(values) for values in given)
    rotation = ops.Rotation()
    ops.make_rotation(native(step), frequencies, scale, rotation)
    ops.rotate_write(q, k, v, rotation, native(step), ops.KvPool(alike(1, 2, width), 2), 0)
    twin = reference.make_rotation(places, frequencies, scale)
    pages = Pages.empty(alike(1, 2, width), 2, PAGE_TOKENS)
    turned = reference.rotate_write((given[0], given[1], given[2]), twin, step, pages, 0)
    for ours, expected in zip((q, k), turned, strict=True):
        assert expected is not None
        largest = np.abs(expected).max() * 2
        assert np.abs(ours.numpy() - expected).max() <= 2.0**-22 * largest
        heads = ours.numpy().reshape(25, -1, width)
        before = given[0 if ours is q else 1].reshape(25, -1, width)
        assert np.array_equal(heads[..., 2 * half :], before[..., 2 * half :])
    assert np.array_equal(v.numpy(), given[2])


def test_rotation_holds_at_long_positions(isa: str) -> None:
    """At a million tokens the angle is the rounded float32 product, as in the checkpoints' code."""
    place = 1_000_003
    frequencies = np.array([1.0, 0.7, 0.001], np.float32)
    step = StepArrays([0], [place], [0, 1], [[0] * (place // PAGE_TOKENS + 1)], [])
    given = np.array([[1, 1, 1, 0, 0, 0]], np.float32)
    q, k = tensor(given), tensor(given)
    rotation = ops.Rotation()
    ops.make_rotation(native(step), frequencies, 1.0, rotation)
    ops.rotate_write(q, k, tensor(given), rotation, native(step), ops.KvPool(alike(1, 1, 6), 1), 0)
    cosine, sine = reference.make_rotation([place], frequencies, 1.0)
    assert np.abs(q.numpy()[0] - np.concatenate([cosine[0], sine[0]])).max() <= 2.0**-23
    assert np.array_equal(q.numpy(), k.numpy())
