"""FP8, MXFP4 and NVFP4 without compressed-tensors: configuration and tensors -> rows.

Room: loading. Must not know any family. Sources: transformers 5, integrations/finegrained_fp8.py
and integrations/mxfp4.py; ModelOpt's NVFP4 as compressed-tensors 0.20 converts it.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.errors import BadConfig, ShapeMismatch
from freehold.formats.safetensors import Dtype, SafetensorsTensor
from freehold.loading.keys import Keys
from freehold.loading.quantized.parts import FLOATS, Parts, check_shape
from freehold.loading.quantized.rows import (
    BlockScales,
    Fp4Rows,
    Fp8Rows,
    QuantizedRows,
    global_scale,
)

__all__ = [
    "ACTIVATIONS",
    "Fp8Reader",
    "ModelOptReader",
    "Mxfp4Reader",
    "block_of",
    "fp8_rows",
    "nvfp4_rows",
    "read_fp8",
    "read_modelopt",
    "read_mxfp4",
]

# Parts that say how others round activations and caches; here both keep more bits.
ACTIVATIONS = (
    "input_scale",
    "input_zero_point",
    "input_global_scale",
    "output_scale",
    "output_zero_point",
    "activation_scale",
    "qscale_act",
    "k_scale",
    "v_scale",
    "q_scale",
)
_ACTIVATIONS_STAY = "activations keep more bits than the checkpoint asks for"
_BY_NAME = "tensors are matched by name"


@dataclass(frozen=True)
class Fp8Reader:
    """E4M3 matrices; scales of blocks (height, width), or one number for a matrix."""

    block: tuple[int, int] | None

    @property
    def label(self) -> str:
        """The format in words."""
        return (
            "fp8, one scale"
            if self.block is None
            else "fp8, blocks of {} by {}".format(*self.block)
        )

    def split(self, name: str) -> tuple[str, str]:
        """The matrix a tensor is part of, and which part; whole experts have no `.weight`."""
        stem, _, part = name.rpartition(".")
        if part in ACTIVATIONS:
            return f"{stem}.weight", part
        if part in ("weight_scale_inv", "weight_scale", "qscale_weight"):
            return f"{stem}.weight", "scale"
        for suffix, named in (("_activation_scale", "input_scale"), ("_scale_inv", "scale")):
            if name.endswith(suffix):
                return name.removesuffix(suffix), named
        return name, "weight"

    def rows(self, parts: Parts) -> QuantizedRows | None:
        """None for floats. Raises: MissingTensor, UnsupportedType, ShapeMismatch."""
        if _floats_only(parts, ("scale",)):
            return None
        weight = parts.need("weight", (Dtype.F8_E4M3,))
        scale = parts.need("scale", (*FLOATS, Dtype.F8_E8M0))
        return fp8_rows(parts.name, weight, scale, self.block)


@dataclass(frozen=True)
class Mxfp4Reader:
    """`*_blocks` (..., in / 32, 16) and `*_scales` (..., in / 32)."""

    label: str = "mxfp4"

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part."""
        for part in ("blocks", "scales"):
            if name.endswith(f"_{part}"):
                return name.removesuffix(f"_{part}"), part
        return None

    def rows(self, parts: Parts) -> QuantizedRows:
        """Raises: MissingTensor, UnsupportedType, ShapeMismatch."""
        blocks = parts.need("blocks", (Dtype.U8,))
        scales = parts.need("scales", (Dtype.U8, Dtype.F8_E8M0))
        if len(blocks.shape) < 3 or blocks.shape[-1] != 16 or 0 in blocks.shape:
            raise ShapeMismatch(
                f"{blocks.name} holds no blocks of 32",
                tensor=blocks.name,
                expected="(..., in / 32, 16)",
                found=str(blocks.shape),
            )
        check_shape(scales, blocks.shape[:-1])
        shape = (*blocks.shape[:-2], 32 * blocks.shape[-2])
        return Fp4Rows(parts.name, shape, (blocks, scales))


@dataclass(frozen=True)
class ModelOptReader:
    """ModelOpt's NVFP4, whose second scale multiplies, and its FP8 of one scale a matrix."""

    algorithm: str

    @property
    def label(self) -> str:
        """The format in words."""
        return f"modelopt {self.algorithm.lower()}"

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part."""
        stem, _, part = name.rpartition(".")
        known = ("weight", "weight_scale", "weight_scale_2", *ACTIVATIONS)
        return (f"{stem}.weight", part) if part in known else None

    def rows(self, parts: Parts) -> QuantizedRows | None:
        """None for floats. Raises: MissingTensor, UnsupportedType, ShapeMismatch."""
        if _floats_only(parts, ("weight_scale", "weight_scale_2")):
            return None
        if self.algorithm == "FP8":
            weight = parts.need("weight", (Dtype.F8_E4M3,))
            return fp8_rows(parts.name, weight, parts.need("weight_scale", FLOATS), None)
        packed = parts.need("weight", (Dtype.U8,))
        scale = parts.need("weight_scale", (Dtype.F8_E4M3,))
        second = parts.need("weight_scale_2", FLOATS)
        return nvfp4_rows(parts.name, (packed, scale, second), factor=global_scale(second))


def fp8_rows(
    name: str, weight: SafetensorsTensor, scale: SafetensorsTensor, block: tuple[int, int] | None
) -> Fp8Rows:
    """A matrix (out, in), or several (X, out, in). Raises: ShapeMismatch, UnsupportedType."""
    if len(weight.shape) not in (2, 3) or 0 in weight.shape:
        raise ShapeMismatch(
            f"{name} is no matrix", tensor=name, expected="2 or 3 dims", found=str(weight.shape)
        )
    rows, cols = weight.shape[-2:]
    height, width = block or (rows, cols)
    whole = (weight.shape[0] if len(weight.shape) == 3 else 1, rows, cols)
    scales = BlockScales(scale, whole, min(height, rows), width if block else cols)
    scales.check()
    return Fp8Rows(name, weight.shape, (weight, scale), scales)


def nvfp4_rows(
    name: str,
    tensors: tuple[SafetensorsTensor, SafetensorsTensor, SafetensorsTensor],
    *,
    factor: float = 1.0,
    divisor: float = 1.0,
) -> Fp4Rows:
    """Packed (..., in / 2) with scales of 16 columns. Raises: ShapeMismatch, UnsupportedType."""
    packed, scale, _ = tensors
    if len(packed.shape) < 2 or 0 in packed.shape or packed.shape[-1] % 8:
        raise ShapeMismatch(
            f"{packed.name} holds no groups of 16",
            tensor=packed.name,
            expected="(..., in / 2), whole groups",
            found=str(packed.shape),
        )
    cols = 2 * packed.shape[-1]
    check_shape(scale, (*packed.shape[:-1], cols // 16))
    return Fp4Rows(name, (*packed.shape[:-1], cols), tensors, factor, divisor)


def read_fp8(keys: Keys) -> Fp8Reader:
    """Raises: BadConfig."""
    keys.ignore("activation_scheme", _ACTIVATIONS_STAY)
    for name in ("modules_to_not_convert", "ignored_layers", "modules_to_convert"):
        keys.ignore(name, _BY_NAME)
    keys.ignore("scale_fmt", "the scales carry their type")
    keys.ignore("dequantize", "how another library would run it")
    keys.word("fmt", default="e4m3", allowed=("e4m3", "float8_e4m3fn"))
    keys.word("expert_dtype", default="fp8", allowed=("fp8",))
    return Fp8Reader(block_of(keys, "weight_block_size"))


def block_of(keys: Keys, name: str) -> tuple[int, int] | None:
    """Height and width of blocks, or None when there are none. Raises: BadConfig."""
    found = keys.anything(name)
    if found is None:
        return None
    if (
        isinstance(found, list)
        and len(found) == 2
        and all(type(size) is int and 0 < size <= 1 << 20 for size in found)
    ):
        return found[0], found[1]
    raise BadConfig(
        f"bad value of {keys.architecture}.{name}",
        value=str(found)[:80],
        expected="a list of two numbers of rows and columns",
        found=str(found)[:80],
    )


def read_mxfp4(keys: Keys) -> Mxfp4Reader:
    """Raises: BadConfig."""
    keys.ignore("modules_to_not_convert", _BY_NAME)
    keys.ignore("dequantize", "how another library would run it")
    return Mxfp4Reader()


def read_modelopt(keys: Keys) -> ModelOptReader:
    """Raises: BadConfig."""
    for name in ("ignore", "exclude_modules", "config_groups", "targets"):
        keys.ignore(name, _BY_NAME)
    for name in ("kv_cache_scheme", "kv_cache_quant_algo"):
        keys.ignore(name, "the engine chooses how it keeps keys and values")
    keys.ignore("producer", "who made it")
    keys.ignore("quant_method", "chose this reader")
    keys.integer("group_size", default=16, least=16, most=16)
    algorithm = keys.word("quant_algo", default="", allowed=("NVFP4", "FP8"))
    if not algorithm:
        raise BadConfig("ModelOpt's algorithm is missing", expected="quant_algo", found="nothing")
    return ModelOptReader(algorithm)


def _floats_only(parts: Parts, scales: tuple[str, ...]) -> bool:
    """Whether a weight is of floats and has no scale; the scales of activations do not count."""
    weight = parts.found.get("weight")
    if any(part in parts.found for part in scales):
        return False
    return weight is None or weight.dtype in (*FLOATS, Dtype.F64)
