"""A quantized checkpoint that lies is refused before a weight is read, by what it lies about."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from freehold.errors import (
    BadConfig,
    BadValue,
    FreeholdError,
    MissingTensor,
    ShapeMismatch,
    UnexpectedTensor,
    UnknownConfigKey,
    UnsupportedType,
)
from freehold.formats.safetensors import open_safetensors
from freehold.loading.directory import weights_file
from freehold.loading.quantized import Gathered, read_scheme

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
Change = Callable[[dict[str, Any], Tensors], object]

ROWS, COLS = 64, 256


def gptq() -> tuple[dict[str, Any], Tensors]:
    return {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False}, {
        "m.qweight": np.zeros((COLS // 8, ROWS), np.int32),
        "m.qzeros": np.zeros((2, ROWS // 8), np.int32),
        "m.scales": np.ones((2, ROWS), np.float16),
        "m.g_idx": np.arange(COLS, dtype=np.int32) // 128,
    }


def awq() -> tuple[dict[str, Any], Tensors]:
    return {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}, {
        "m.qweight": np.zeros((COLS, ROWS // 8), np.int32),
        "m.qzeros": np.zeros((2, ROWS // 8), np.int32),
        "m.scales": np.ones((2, ROWS), np.float16),
    }


def packed() -> tuple[dict[str, Any], Tensors]:
    weights = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 128}
    weights["symmetric"] = False
    config = {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
    }
    return config, {
        "m.weight_packed": np.zeros((ROWS, COLS // 8), np.int32),
        "m.weight_scale": np.ones((ROWS, 2), np.float16),
        "m.weight_shape": np.array([ROWS, COLS], np.int64),
        "m.weight_zero_point": np.zeros((ROWS // 8, 2), np.int32),
    }


def mxfp4() -> tuple[dict[str, Any], Tensors]:
    return {"quant_method": "mxfp4"}, {
        "m_blocks": np.zeros((2, ROWS, 4, 16), np.uint8),
        "m_scales": np.zeros((2, ROWS, 4), np.uint8),
    }


def modelopt() -> tuple[dict[str, Any], Tensors]:
    return {"quant_method": "modelopt", "quant_algo": "NVFP4"}, {
        "m.weight": np.zeros((ROWS, COLS // 2), np.uint8),
        "m.weight_scale_2": np.ones((), np.float32),
    }


def gather(config: dict[str, Any], tensors: Tensors, path: Path) -> Gathered:
    save_file(tensors, path / "m.safetensors")
    scheme = read_scheme({"quantization_config": config})
    assert scheme is not None
    with open_safetensors(path / "m.safetensors") as file:
        gathered = scheme.gather(file.tensors, ())
        for rows in gathered.rows.values():
            rows.raw(0, rows.rows)
        return gathered


def put(name: str, value: Array) -> Change:
    return lambda config, tensors: tensors.update({name: value})


def drop(name: str) -> Change:
    return lambda config, tensors: tensors.pop(name)


def say(**keys: Any) -> Change:
    return lambda config, tensors: config.update(keys)


def say_weights(**keys: Any) -> Change:
    return lambda config, tensors: config["config_groups"]["group_0"]["weights"].update(keys)


def last_nan(name: str, value: object) -> Change:
    def change(config: dict[str, Any], tensors: Tensors) -> None:
        tensors[name].reshape(-1)[-1] = value

    return change


NEGATIVE = np.arange(COLS, dtype=np.int32)[::-1] // 128
LIES: dict[str, tuple[Any, Change, type[FreeholdError], str]] = {
    "gptq, another group size": (gptq, say(group_size=64), ShapeMismatch, "m.scales"),
    "gptq, groups that do not divide": (gptq, say(group_size=96), ShapeMismatch, "divide"),
    "gptq, groups of 16": (gptq, say(group_size=0), BadConfig, "no columns"),
    "gptq, three bits": (gptq, say(bits=3), BadConfig, "bits"),
    "gptq, bits as text": (gptq, say(bits="4"), BadConfig, "bits"),
    "gptq, marlin": (gptq, say(checkpoint_format="marlin"), BadConfig, "checkpoint_format"),
    "gptq, several kinds": (gptq, say(dynamic={"a": {}}), BadConfig, "dynamic"),
    "gptq, an unknown key": (gptq, say(rotate=True), UnknownConfigKey, "rotate"),
    "gptq, no scales": (gptq, drop("m.scales"), MissingTensor, "scales"),
    "gptq, no zero points": (gptq, drop("m.qzeros"), MissingTensor, "qzeros"),
    "gptq, no codes": (gptq, drop("m.qweight"), MissingTensor, "qweight"),
    "gptq, act-order": (gptq, put("m.g_idx", NEGATIVE.copy()), UnsupportedType, "desc_act"),
    "gptq, short order": (gptq, put("m.g_idx", np.zeros(8, np.int32)), ShapeMismatch, "g_idx"),
    "gptq, one row of scales": (
        gptq,
        put("m.scales", np.ones((1, ROWS), np.float16)),
        ShapeMismatch,
        "m.scales",
    ),
    "gptq, zero points of another width": (
        gptq,
        put("m.qzeros", np.zeros((2, ROWS), np.int32)),
        ShapeMismatch,
        "m.qzeros",
    ),
    "gptq, scales of whole numbers": (
        gptq,
        put("m.scales", np.ones((2, ROWS), np.int32)),
        UnsupportedType,
        "m.scales",
    ),
    "gptq, a flat matrix": (gptq, put("m.qweight", np.zeros(64, np.int32)), ShapeMismatch, "dims"),
    "gptq, and as floats": (
        gptq,
        put("m.weight", np.zeros((ROWS, COLS), np.float32)),
        UnexpectedTensor,
        "m.weight",
    ),
    "gptq, an endless scale": (gptq, last_nan("m.scales", np.inf), BadValue, "m.scales"),
    "awq, gemv": (awq, say(version="gemv"), BadConfig, "version"),
    "awq, eight bits": (awq, say(bits=8), BadConfig, "bits"),
    "awq, no zero points": (awq, drop("m.qzeros"), MissingTensor, "qzeros"),
    "awq, another group size": (awq, say(group_size=64), ShapeMismatch, "m.scales"),
    "packed, a shape that lies": (
        packed,
        put("m.weight_shape", np.array([ROWS, 2 * COLS], np.int64)),
        ShapeMismatch,
        "weight_packed",
    ),
    "packed, a negative shape": (
        packed,
        put("m.weight_shape", np.array([-ROWS, COLS], np.int64)),
        ShapeMismatch,
        "weight_shape",
    ),
    "packed, no shape": (packed, drop("m.weight_shape"), MissingTensor, "weight_shape"),
    "packed, no scales": (packed, drop("m.weight_scale"), MissingTensor, "weight_scale"),
    "packed, no zero points": (
        packed,
        drop("m.weight_zero_point"),
        MissingTensor,
        "weight_zero_point",
    ),
    "packed, zero points of fewer rows": (
        packed,
        put("m.weight_zero_point", np.zeros((ROWS // 16, 2), np.int32)),
        ShapeMismatch,
        "weight_zero_point",
    ),
    "packed, other groups": (packed, say_weights(group_size=64), ShapeMismatch, "weight_scale"),
    "packed, two bits": (packed, say_weights(num_bits=2), BadConfig, "bits"),
    "packed, an unknown strategy": (packed, say_weights(strategy="head"), BadConfig, "strategy"),
    "packed, an unknown key": (packed, say_weights(rank=2), UnknownConfigKey, "rank"),
    "packed, an unknown form": (packed, say(format="marlin-24"), BadConfig, "format"),
    "packed, rotated": (packed, say(transform_config={"a": 1}), BadConfig, "transform_config"),
    "packed, for nobody": (
        packed,
        lambda config, tensors: config["config_groups"]["group_0"].update(targets=["other"]),
        BadConfig,
        "config_groups",
    ),
    "mxfp4, no scales": (mxfp4, drop("m_scales"), MissingTensor, "scales"),
    "mxfp4, fewer scales": (
        mxfp4,
        put("m_scales", np.zeros((2, ROWS, 2), np.uint8)),
        ShapeMismatch,
        "m_scales",
    ),
    "mxfp4, blocks of 8": (
        mxfp4,
        put("m_blocks", np.zeros((2, ROWS, 8, 8), np.uint8)),
        ShapeMismatch,
        "m_blocks",
    ),
    "mxfp4, a scale that is no number": (mxfp4, last_nan("m_scales", 255), BadValue, "m_scales"),
    "modelopt, no scales": (modelopt, lambda c, t: None, MissingTensor, "weight_scale"),
    "modelopt, an unknown algorithm": (modelopt, say(quant_algo="W4A8"), BadConfig, "quant_algo"),
    "modelopt, no algorithm": (modelopt, lambda c, t: c.pop("quant_algo"), BadConfig, "algo"),
    "fp8, codes without a scale": (modelopt, say(quant_algo="FP8"), UnsupportedType, "m.weight"),
    "an unknown method": (gptq, say(quant_method="bitsandbytes"), BadConfig, "not carried"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_refused_by_name(name: str, tmp_path: Path) -> None:
    made, change, kind, word = LIES[name]
    config, tensors = made()
    change(config, tensors)
    with pytest.raises(kind) as caught:
        gather(config, tensors, tmp_path)
    assert word in str(caught.value)


@pytest.mark.parametrize("made", [gptq, awq, packed, mxfp4], ids=lambda made: made.__name__)
def test_the_same_without_the_lie_is_read(made: Any, tmp_path: Path) -> None:
    config, tensors = made()
    assert len(gather(config, tensors, tmp_path).rows) == 1


def test_floats_beside_quantized_matrices_stay_as_they_are(tmp_path: Path) -> None:
    config, tensors = packed()
    tensors["lm_head.weight"] = np.zeros((4, 32), np.float16)
    gathered = gather(config, tensors, tmp_path)
    assert list(gathered.rows) == ["m.weight"]
    assert list(gathered.plain) == ["lm_head.weight"]


def test_only_biases_of_zeros_that_have_no_place_are_left_out(tmp_path: Path) -> None:
    config, tensors = gptq()
    tensors["m.bias"] = np.zeros(ROWS, np.float16)
    assert "m.bias" not in gather(config, tensors, tmp_path).plain
    tensors["m.bias"] = np.ones(ROWS, np.float16)
    assert "m.bias" in gather(config, tensors, tmp_path).plain


@pytest.mark.parametrize("name", ["pytorch_model.bin", "consolidated.00.pth", "model.pt"])
def test_pickles_are_refused_by_name(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(BadConfig) as caught:
        weights_file(tmp_path)
    assert name in str(caught.value)
    assert "unpickled" in str(caught.value)
