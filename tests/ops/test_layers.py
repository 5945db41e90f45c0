"""Layers of one pool that keep unlike things: other heads, other widths, nothing at all.

Bounds and their reasons: those of test_attention_twins.
"""

from __future__ import annotations

import numpy as np
import pytest

from freehold import ops
from freehold.errors import ContractBroken
from freehold.ops import PAGE_TOKENS, KvPool, LayerKv, reference
from tests.ops.grid import floats, native, steps, tensor
from tests.ops.test_attention_twins import Cache, seeded

UNLIKE = [LayerKv(2, 24, 24), LayerKv(0, 0, 0), LayerKv(1, 40, 17), LayerKv(3, 8, 130)]


@pytest.mark.parametrize("bits", [16, 8])
def test_layers_of_other_heads_and_widths_share_pages_and_nothing_else(
    isa: str, thread_count: int, bits: int
) -> None:
    """Each layer matches its twin after all have been written, the first ones too."""
    rng = seeded("unlike", bits)
    cache, step = Cache(UNLIKE, 5, bits=bits), steps([0] * 270)
    kept = [i for i, layer in enumerate(UNLIKE) if layer.heads]
    for layer in kept:
        cache.write(rng, step, layer)
    for layer in kept:
        q = floats(rng, 270, 2 * UNLIKE[layer].heads * UNLIKE[layer].key_width)
        cache.compare(q, step, layer)


@pytest.mark.parametrize(
    ("key", "value"), [(2, 1), (17, 16), (16, 17), (192, 128), (33, 96), (64, 256)]
)
@pytest.mark.parametrize("bits", [16, 8])
def test_values_may_be_wider_or_narrower_than_keys(
    isa: str, key: int, value: int, bits: int
) -> None:
    rng = seeded("widths", key, value)
    cache, step = Cache([LayerKv(2, key, value)], 2, bits=bits), steps([0] * 70)
    cache.write(rng, step)
    cache.compare(floats(rng, 70, 6 * key), step)


def test_queries_alone_turn_and_write_nothing(isa: str) -> None:
    """For layers that look at the keys of another one."""
    rng = seeded("queries")
    cache, step = Cache([LayerKv(2, 24, 24)], 2), steps([0] * 70)
    cache.write(rng, step)
    q = floats(rng, 70, 4 * 24)
    before = cache.compare(q, step)
    frequencies = np.array([1, 0.5, 0.25, 0.125], np.float32)
    rotation, turned = ops.Rotation(), tensor(q)
    ops.make_rotation(native(step), frequencies, 1.0, rotation)
    ops.rotate_write(turned, None, None, rotation, native(step), cache.kv, 0)
    twin = reference.make_rotation(step.positions, frequencies, 1.0)
    expected, nothing = reference.rotate_write((q, None, None), twin, step, cache.twin, 0)
    assert nothing is None
    assert np.abs(turned.numpy() - expected).max() <= 2.0**-22 * np.abs(q).max() * 2
    assert np.array_equal(cache.compare(q, step), before)


@pytest.mark.parametrize("start", [0, 1, 16, 40])
def test_a_rotation_may_start_inside_a_head(isa: str, start: int) -> None:
    rng = seeded("start", start)
    step, half, width = steps([0] * 20, list(range(7, 27))), 4, 48
    rotation, pool = ops.Rotation(), KvPool([LayerKv(1, width, width)], 1)
    frequencies = (0.5 ** np.arange(half)).astype(np.float32)
    ops.make_rotation(native(step), frequencies, 1.0, rotation)
    given = floats(rng, 20, 2 * width), floats(rng, 20, width), floats(rng, 20, width)
    q, k, v = (tensor(values) for values in given)
    ops.rotate_write(q, k, v, rotation, native(step), pool, 0, start)
    twin = reference.make_rotation(step.positions, frequencies, 1.0)
    pages = reference.Pages.empty([LayerKv(1, width, width)], 1, PAGE_TOKENS)
    turned = reference.rotate_write(given, twin, step, pages, 0, start)
    for ours, expected, before in zip((q, k), turned, given[:2], strict=True):
        assert expected is not None
        assert np.abs(ours.numpy() - expected).max() <= 2.0**-22 * np.abs(expected).max() * 2
        heads, still = ours.numpy().reshape(-1, width), before.reshape(-1, width)
        assert np.array_equal(heads[:, :start], still[:, :start])
        assert np.array_equal(heads[:, start + 2 * half :], still[:, start + 2 * half :])


def test_a_page_has_the_bytes_that_its_layers_need() -> None:
    """Widths in whole 16s, two bytes or one and a scale for 32; an odd number of 4 KiB."""
    latent = [LayerKv(1, 576, 512, latent=True)] * 27
    assert KvPool(latent, 1).page_bytes == 27 * 64 * 576 * 2 + 4096  # 1,990,656 is 486 of them
    assert KvPool(latent, 1, 8).page_bytes == 27 * 64 * (576 + 18 * 2) + 4096 - 768
    assert KvPool([LayerKv(8, 128, 128)] * 4, 1).page_bytes == 4 * 8 * 64 * 256 * 2 + 4096
    assert KvPool([LayerKv(1, 24, 24), LayerKv(0, 0, 0)], 1).page_bytes == 3 * 4096
    assert KvPool([LayerKv(0, 0, 0)], 1).page_bytes == 4096


BAD = {
    "negative heads": LayerKv(-1, 8, 8),
    "too many heads": LayerKv(4097, 8, 8),
    "a key of one": LayerKv(1, 1, 8),
    "no value": LayerKv(1, 8, 0),
    "a value too wide": LayerKv(1, 8, 4097),
    "a latent layer of two heads": LayerKv(2, 8, 8, latent=True),
    "a latent value wider than its key": LayerKv(1, 8, 9, latent=True),
}


@pytest.mark.parametrize("name", BAD)
def test_a_layer_that_cannot_be_kept_is_refused(name: str) -> None:
    with pytest.raises(ContractBroken, match="kv pool"):
        KvPool([LayerKv(1, 8, 8), BAD[name]], 1)


def test_a_layer_without_pages_is_neither_written_nor_read() -> None:
    pool, step = KvPool([LayerKv(0, 0, 0)], 1), native(steps([0]))
    with pytest.raises(ContractBroken, match="keeps nothing"):
        ops.rotate_write(ops.Tensor(1, 8), None, None, None, step, pool, 0)
    with pytest.raises(ContractBroken, match="keeps nothing"):
        ops.attend(ops.Tensor(1, 8), pool, 0, step, 1.0, ops.Tensor(1, 8))


def test_keys_and_values_come_together_except_in_latent_layers() -> None:
    layers = [LayerKv(1, 8, 8), LayerKv(1, 8, 6, latent=True)]
    pool, step, row = KvPool(layers, 1), native(steps([0])), ops.Tensor(1, 8)
    for layer, k, v in ((0, row, None), (0, None, row), (1, row, row), (1, None, row)):
        with pytest.raises(ContractBroken, match="values"):
            ops.rotate_write(ops.Tensor(1, 8), k, v, None, step, pool, layer)
    turn = ops.Rotation()
    ops.make_rotation(step, np.ones(2, np.float32), 1.0, turn)
    for start in (-1, 5):
        with pytest.raises(ContractBroken, match="rotation"):
            ops.rotate_write(ops.Tensor(1, 8), row, row, turn, step, pool, 0, start)
