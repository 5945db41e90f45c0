"""Matrices in the forms of GPTQ, AWQ, FP8 and ModelOpt, and what they stand for.

Oracles: for AWQ the converter of compressed-tensors 0.20; for FP8 transformers 5; GPTQ has no
library that runs on a processor, so its packing is written out from gptqmodel's, and the values
come from the codes before they are packed. ModelOpt's NVFP4 is that of compressed-tensors with the
inverse of its second scale; it multiplies, so the values are made here, by E2M1's eight levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from compressed_tensors.entrypoints.convert.converters import AutoAWQConverter
from transformers.integrations.finegrained_fp8 import _dequantize_fp8_weight

from tests.parity.checkpoint_blocks import E2M1, e4m3, pairs
from tests.parity.compressed import COMPRESSED, Compressed, Tensors

Array = np.ndarray[Any, Any]

__all__ = ["FORMS", "Awq", "Fp8", "Gptq", "ModelOpt", "dequantised"]


def _groups(weight: torch.Tensor, size: int) -> Array:
    grouped: Array = weight.numpy().reshape(len(weight), -1, weight.shape[1] if size < 0 else size)
    return grouped


def _affine(weight: torch.Tensor, bits: int, size: int) -> tuple[Array, Array, Array]:
    """Codes (out, in), zero points and float16 scales (out, groups) of the usual rounding."""
    grouped, top = _groups(weight, size), 2**bits - 1
    low, high = np.minimum(grouped.min(2), 0), np.maximum(grouped.max(2), 0)
    scales = ((high - low) / top).astype(np.float16)
    zeros = np.clip(np.rint(-low / scales.astype(np.float32)), 1, top)
    spread = scales[:, :, None].astype(np.float32)
    codes = np.clip(np.rint(grouped / spread) + zeros[:, :, None], 0, top)
    return codes.reshape(weight.shape).astype(np.uint32), zeros.astype(np.uint32), scales


def _values(codes: Array, zeros: Array, scales: Array) -> torch.Tensor:
    grouped = codes.reshape(*scales.shape, -1).astype(np.float32)
    values = scales.astype(np.float32)[:, :, None] * (grouped - zeros[:, :, None])
    return torch.from_numpy(values.astype(np.float32).reshape(codes.shape))


def _words(codes: Array, bits: int) -> torch.Tensor:
    """Codes along the last dim into words of 32 bits, the first one lowest."""
    each = codes.reshape(*codes.shape[:-1], -1, 32 // bits)
    places = np.arange(0, 32, bits, dtype=np.uint32)
    packed = np.bitwise_or.reduce(each.astype(np.uint32) << places, axis=-1)
    return torch.from_numpy(np.ascontiguousarray(packed).view(np.int32))


@dataclass(frozen=True, kw_only=True)
class Gptq:
    """Either version of the format."""

    bits: int
    size: int
    version: str = "gptq"

    def config(self) -> dict[str, Any]:
        return {
            "quant_method": "gptq",
            "bits": self.bits,
            "group_size": self.size,
            "desc_act": False,
            "sym": False,
            "lm_head": False,
            "checkpoint_format": self.version,
            "meta": {"quantizer": ["gptqmodel:4.0.0"]},
            "pack_dtype": "int32",
        }

    def make(self, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
        codes, zeros, scales = _affine(weight, self.bits, self.size)
        kept = zeros - 1 if self.version == "gptq" else zeros
        group = weight.shape[1] // scales.shape[1]
        parts = {
            "qweight": _words(codes, self.bits).T.contiguous(),
            "qzeros": _words(kept.T, self.bits),
            "scales": torch.from_numpy(np.ascontiguousarray(scales.T)),
            "g_idx": torch.arange(weight.shape[1], dtype=torch.int32) // group,
            "bias": torch.zeros(len(weight), dtype=torch.float16),
        }
        return parts, _values(codes, zeros, scales)


@dataclass(frozen=True, kw_only=True)
class Awq:
    """The gemm version."""

    size: int

    def config(self) -> dict[str, Any]:
        return {
            "quant_method": "awq",
            "bits": 4,
            "group_size": self.size,
            "version": "gemm",
            "zero_point": True,
            "modules_to_not_convert": None,
        }

    def make(self, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
        codes, zeros, scales = _affine(weight, 4, self.size)
        order = np.arange(len(weight)).reshape(-1, 8)[:, [0, 2, 4, 6, 1, 3, 5, 7]].reshape(-1)
        parts = {
            "qweight": _words(codes.T[:, order], 4),
            "qzeros": _words(zeros.T[:, order], 4),
            "scales": torch.from_numpy(np.ascontiguousarray(scales.T)),
        }
        return parts, self._converted(parts, weight.shape)

    def _converted(self, parts: Tensors, shape: torch.Size) -> torch.Tensor:
        converter = AutoAWQConverter(group_size=self.size)
        made = converter.process({f"m.{part}": tensor for part, tensor in parts.items()})
        local = {name.removeprefix("m."): tensor for name, tensor in made.items()}
        args = {"num_bits": 4, "type": "int", "symmetric": False}
        group = shape[1] if self.size < 0 else self.size
        form = Compressed(
            format="pack-quantized", args=args | {"strategy": "group", "group_size": group}
        )
        return form.values(local)


@dataclass(frozen=True, kw_only=True)
class Fp8:
    """E4M3 with a scale for each block, or one."""

    block: tuple[int, int] | None
    dtype: torch.dtype = torch.float32
    part: str = "weight_scale_inv"

    def config(self) -> dict[str, Any]:
        block = None if self.block is None else list(self.block)
        scheme = "dynamic" if block else "static"
        named = {"quant_method": "fp8", "activation_scheme": scheme, "weight_block_size": block}
        if self.dtype is torch.float8_e8m0fnu:
            named |= {"fmt": "e4m3", "scale_fmt": "ue8m0"}
        return named | {"modules_to_not_convert": ["lm_head"]}

    def make(self, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
        rows, cols = weight.shape
        height, width = self.block or (rows, cols)
        padded = torch.nn.functional.pad(weight, (0, -cols % width, 0, -rows % height))
        blocks = padded.unflatten(0, (-1, height)).unflatten(2, (-1, width))
        scale = blocks.abs().amax((1, 3)) / 448
        if self.dtype is torch.float8_e8m0fnu:
            scale = torch.exp2(torch.ceil(torch.log2(scale)))
        scale = scale.to(self.dtype)
        wide = scale.float()[:, None, :, None]
        codes = (blocks / wide).flatten(2).flatten(0, 1)[:rows, :cols].to(torch.float8_e4m3fn)
        kept = scale if self.block else scale.reshape(())
        block = list(self.block) if self.block else None
        values = _dequantize_fp8_weight(codes, kept.float(), block, torch.float32)
        parts = {"weight": codes, self.part: kept}
        if self.block is None:
            parts["activation_scale"] = torch.tensor(0.5)
        return parts, values


@dataclass(frozen=True)
class ModelOpt:
    """NVFP4 whose second scale multiplies."""

    def config(self) -> dict[str, Any]:
        return {
            "quant_method": "modelopt",
            "quant_algo": "NVFP4",
            "group_size": 16,
            "ignore": ["lm_head"],
            "producer": {"name": "modelopt", "version": "0.33.0"},
            "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
        }

    def make(self, weight: torch.Tensor) -> tuple[Tensors, torch.Tensor]:
        grouped = _groups(weight, 16)
        second = np.float32(np.abs(grouped).max() / (6 * 448))
        wanted = torch.from_numpy(np.abs(grouped).max(2) / (6 * second))
        scale = wanted.to(torch.float8_e4m3fn)
        wide = e4m3(scale.view(torch.uint8).numpy()) * second
        ratio = np.divide(grouped, wide[:, :, None])
        codes = np.abs(ratio[..., None] - E2M1).argmin(-1).astype(np.uint8)
        parts = {
            "weight": torch.from_numpy(pairs(codes.reshape(weight.shape))),
            "weight_scale": scale,
            "weight_scale_2": torch.tensor(second),
            "input_scale": torch.tensor(0.01),
        }
        values = E2M1[codes] * wide[:, :, None]
        return parts, torch.from_numpy(values.reshape(weight.shape))


Form = Compressed | Gptq | Awq | Fp8 | ModelOpt
FORMS: dict[str, Form] = {
    "gptq, 4 bits, groups of 128": Gptq(bits=4, size=128),
    "gptq_v2, 4 bits, groups of 64": Gptq(bits=4, size=64, version="gptq_v2"),
    "gptq, 4 bits, a scale a row": Gptq(bits=4, size=-1),
    "gptq, 8 bits, groups of 32": Gptq(bits=8, size=32),
    "awq, groups of 128": Awq(size=128),
    "awq, groups of 32": Awq(size=32),
    "fp8, blocks of 128": Fp8(block=(128, 128)),
    "fp8, blocks of 64 by 32, bfloat16 scales": Fp8(block=(64, 32), dtype=torch.bfloat16),
    "fp8, blocks of 128, scales of powers of two": Fp8(
        block=(128, 128), dtype=torch.float8_e8m0fnu
    ),
    "fp8, one scale": Fp8(block=None, dtype=torch.bfloat16),
    "fp8, one scale, as Mistral says it": Fp8(block=None, part="qscale_weight"),
    "modelopt nvfp4": ModelOpt(),
    **{f"compressed-tensors {name}": form for name, form in COMPRESSED.items()},
}


def dequantised(form: Form, weights: dict[str, torch.Tensor]) -> tuple[Tensors, Tensors]:
    """A checkpoint's tensors, the matrices of its layers in the form; and the float checkpoint."""
    quantized: Tensors = {}
    floats: Tensors = {}
    for name, weight in weights.items():
        if not name.endswith("proj.weight"):
            quantized[name] = floats[name] = weight
            continue
        parts, floats[name] = form.make(weight)
        stem = name.removesuffix("weight")
        quantized |= {stem + part: tensor for part, tensor in parts.items()}
    return quantized, floats
