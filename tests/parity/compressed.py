"""Matrices in the forms of compressed-tensors, made and dequantised by it.

Oracle: compressed-tensors 0.20 on torch 2.13. Scales are widened to float32, exactly, before it
dequantises, so that its arithmetic is float32's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

pytest.importorskip("compressed_tensors", reason="the oracle of these formats: the extra `test`")

from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
from compressed_tensors.quantization import (
    QuantizationArgs,
    QuantizationConfig,
    QuantizationScheme,
)
from compressed_tensors.quantization.lifecycle.forward import dequantize
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Compressed:
    """One form: its name, how weights are rounded, and the type of scales."""

    format: str
    args: dict[str, Any]
    scales: torch.dtype = torch.bfloat16
    method: str = field(default="compressed-tensors", init=False)

    @property
    def scheme(self) -> QuantizationScheme:
        weights = QuantizationArgs(**self.args)
        return QuantizationScheme(targets=["Linear"], weights=weights, format=self.format)

    def config(self) -> dict[str, Any]:
        """`quantization_config` as the library writes it."""
        whole = QuantizationConfig(
            config_groups={"group_0": self.scheme},
            format=self.format,
            quantization_status="compressed",
            ignore=["lm_head"],
        )
        written: dict[str, Any] = whole.model_dump(mode="json")
        return written

    def make(self, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
        """The parts of a matrix (out, in), and its values in float32."""
        scheme = self.scheme
        whole = generate_gparam(*torch.aminmax(weight)) if "nvfp4" in self.format else None
        scale, zero = _qparams(weight, scheme.weights, whole)
        state = {"weight": weight, "weight_scale": scale, "weight_zero_point": zero}
        if whole is None and "mxfp4" not in self.format:
            state["weight_scale"] = scale.to(self.scales)
        if whole is not None:
            state["weight_global_scale"] = whole
        if scheme.weights.symmetric:
            del state["weight_zero_point"]
        compressor = BaseCompressor.get_value_from_registry(self.format)
        parts = compressor.compress(state, scheme)
        return parts, self.values(parts)

    def values(self, parts: Tensors) -> torch.Tensor:
        """What the parts of a matrix stand for."""
        compressor = BaseCompressor.get_value_from_registry(self.format)
        if "fp4" not in self.format:
            wide = {**parts, "weight_scale": parts["weight_scale"].float()}
            values: torch.Tensor = compressor.decompress(wide, self.scheme)["weight"]
            return values
        rows, half = parts["weight_packed"].shape
        levels = unpack_fp4_from_uint8(parts["weight_packed"], rows, 2 * half, torch.float32)
        scale = compressor._decompress_scale(parts["weight_scale"], torch.float32)
        made: torch.Tensor = dequantize(
            x_q=levels,
            scale=scale,
            args=self.scheme.weights,
            global_scale=parts.get("weight_global_scale"),
            dtype=torch.float32,
        )
        return made


def _qparams(
    weight: torch.Tensor, args: QuantizationArgs, whole: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    rows, cols = weight.shape
    if args.strategy == "block":
        height, width = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
        blocks = padded.unflatten(0, (-1, height)).unflatten(2, (-1, width))
        low, high = blocks.amin((1, 3)), blocks.amax((1, 3))
    else:
        group = {"tensor": None, "channel": cols}.get(args.strategy, args.group_size)
        groups = weight.reshape(1, -1) if group is None else weight.reshape(rows, -1, group)
        low, high = groups.amin(-1), groups.amax(-1)
    scale, zero = calculate_qparams(low, high, args, global_scale=whole)
    return scale, zero


def _ints(bits: int, **more: Any) -> dict[str, Any]:
    return {"num_bits": bits, "type": "int", "symmetric": True, **more}


_GROUP = {"strategy": "group"}
_FLOAT8 = {"num_bits": 8, "type": "float", "symmetric": True}
COMPRESSED = {
    "packed int4, groups of 128": Compressed(
        format="pack-quantized", args=_ints(4, **_GROUP, group_size=128)
    ),
    "packed int4, zero points, groups of 32": Compressed(
        format="pack-quantized",
        args=_ints(4, **_GROUP, group_size=32) | {"symmetric": False},
        scales=torch.float16,
    ),
    "packed int4, zero points, a scale a row": Compressed(
        format="pack-quantized",
        args=_ints(4, strategy="channel") | {"symmetric": False},
        scales=torch.float32,
    ),
    "packed int8, groups of 128": Compressed(
        format="pack-quantized", args=_ints(8, **_GROUP, group_size=128)
    ),
    "packed int8, zero points, groups of 64": Compressed(
        format="pack-quantized", args=_ints(8, **_GROUP, group_size=64) | {"symmetric": False}
    ),
    "int8, a scale a row": Compressed(
        format="int-quantized", args=_ints(8, strategy="channel"), scales=torch.float32
    ),
    "int8, zero points, a scale a row": Compressed(
        format="int-quantized", args=_ints(8, strategy="channel") | {"symmetric": False}
    ),
    "int8, one scale": Compressed(format="int-quantized", args=_ints(8, strategy="tensor")),
    "fp8, one scale": Compressed(format="float-quantized", args=_FLOAT8 | {"strategy": "tensor"}),
    "fp8, a scale a row": Compressed(
        format="float-quantized", args=_FLOAT8 | {"strategy": "channel"}
    ),
    "fp8, blocks": Compressed(
        format="float-quantized",
        args=_FLOAT8 | {"strategy": "block", "block_structure": [128, 128]},
        scales=torch.float32,
    ),
    "nvfp4": Compressed(
        format="nvfp4-pack-quantized",
        args={
            "num_bits": 4,
            "type": "float",
            "strategy": "tensor_group",
            "group_size": 16,
            "scale_dtype": torch.float8_e4m3fn,
        },
    ),
    "mxfp4": Compressed(
        format="mxfp4-pack-quantized",
        args={
            "num_bits": 4,
            "type": "float",
            "strategy": "group",
            "group_size": 32,
            "scale_dtype": torch.uint8,
        },
    ),
}
