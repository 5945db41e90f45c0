"""The names, row orders and configurations of llama files in our words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from freehold.loading.names import llama
from freehold.models.decoder import DecoderConfig
from tests.loading.small import Array, Dims, Value, metadata

DIMS = Dims()


def config_of(**changes: int) -> DecoderConfig:
    found = llama.GGUF.read_config(metadata(replace(DIMS, **changes)))  # type: ignore[arg-type]
    assert isinstance(found, DecoderConfig)
    return found


def row_order(canonical: str, config: DecoderConfig) -> Array | None:
    source = llama.GGUF.source(canonical, config)
    assert source is not None
    return source.order


def file_name(canonical: str) -> str:
    source = llama.GGUF.source(canonical, config_of())
    assert source is not None
    (name,) = source.names
    return name


def to_file_order(rows: Array, heads: int) -> Array:
    """What the converter does to a checkpoint's query and key rows.

    Source: halves of a head (first elements, then second ones) become pairs side by side.
    """
    width = rows.shape[0] // heads
    return rows.reshape(heads, 2, width // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


@pytest.mark.parametrize(
    ("heads", "kv_heads", "width"), [(8, 2, 32), (5, 1, 12), (1, 1, 2), (9, 3, 64)]
)
def test_row_order_undoes_the_converters_permutation(heads: int, kv_heads: int, width: int) -> None:
    config = config_of(H=heads, G=kv_heads, A=width)
    for name, count in (("q", heads), ("k", kv_heads), ("q_bias", heads), ("k_bias", kv_heads)):
        order = row_order(f"layers.3.attn.{name}", config)
        assert order is not None
        assert sorted(order.tolist()) == list(range(count * width))
        checkpoint = np.arange(count * width * 3).reshape(count * width, 3)
        assert np.array_equal(to_file_order(checkpoint, count)[order], checkpoint)


def test_row_order_is_that_of_a_head_of_six_written_out() -> None:
    """File rows hold pairs (0, 1), (2, 3), (4, 5); ours the firsts, then the seconds."""
    order = row_order("layers.0.attn.q", config_of(H=2, G=2, A=6))
    assert order is not None
    assert order.tolist() == [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]


@pytest.mark.parametrize(
    "name",
    ["embed", "head", "final_norm", "rope_divisors"]
    + [f"layers.0.{rest}" for rest in ("attn.v", "attn.out", "attn.v_bias", "attn.out_bias")]
    + [f"layers.0.{rest}" for rest in ("attn_norm", "mlp_norm", "mlp.gate", "mlp.up", "mlp.down")],
)
def test_other_rows_stay_where_they_are(name: str) -> None:
    assert row_order(name, config_of()) is None


def test_every_slot_has_a_file_name_of_its_own() -> None:
    slots = llama.Model.slots(config_of(L=12))
    names = [file_name(canonical) for canonical in slots]
    assert len(set(names)) == len(slots)
    required = {file_name(name) for name, slot in slots.items() if not slot.optional}
    assert required == set(replace(DIMS, L=12).shapes())


def test_slots_have_the_files_shapes() -> None:
    slots = llama.Model.slots(config_of())
    shapes = {file_name(name): slot.shape for name, slot in slots.items()}
    for name, shape in DIMS.shapes().items():
        assert shapes[name] == shape


def read(**keys: Value) -> DecoderConfig:
    """The configuration with `a__b` standing for the key llama.a.b."""
    changed = {"llama." + name.replace("__", "."): value for name, value in keys.items()}
    found = llama.GGUF.read_config(metadata(DIMS) | changed)
    assert isinstance(found, DecoderConfig)
    return found


def test_defaults_are_those_of_the_format() -> None:
    bare = metadata(DIMS)
    for name in ("attention.key_length", "attention.value_length", "attention.head_count_kv"):
        del bare["llama." + name]
    config = llama.GGUF.read_config(bare)
    assert (config.head_width, config.kv_heads) == (DIMS.D // DIMS.H, DIMS.H)
    assert config.rope_base == 10_000.0
    assert config.rope_scaling.kind == "none"


def test_scalings_are_read() -> None:
    linear = read(rope__scaling__type="linear", rope__scaling__factor=4.0).rope_scaling
    assert (linear.kind, linear.factor) == ("linear", 4.0)
    legacy = read(rope__scale_linear=2.0).rope_scaling
    assert (legacy.kind, legacy.factor) == ("linear", 2.0)
    yarn = read(
        rope__scaling__type="yarn",
        rope__scaling__factor=4.0,
        rope__scaling__original_context_length=256,
    ).rope_scaling
    assert (yarn.kind, yarn.factor, yarn.original_context) == ("yarn", 4.0, 256)
    assert yarn.attention_factor == pytest.approx(0.1 * np.log(4.0) + 1.0)
    assert read(rope__scaling__type="llama3").rope_scaling.kind == "none"
