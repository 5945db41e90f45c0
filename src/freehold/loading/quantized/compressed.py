"""compressed-tensors: config groups and the tensors of a matrix -> rows.

Room: loading. Must not know any family. Source: compressed-tensors 0.20, `quantization/` and
`compressors/`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from freehold.errors import BadConfig, ShapeMismatch, UnknownConfigKey
from freehold.formats.safetensors import Dtype, SafetensorsTensor
from freehold.loading.keys import Keys
from freehold.loading.quantized.methods import check_order
from freehold.loading.quantized.minifloats import ACTIVATIONS, block_of, fp8_rows, nvfp4_rows
from freehold.loading.quantized.packed import Bytes8, PackedInts
from freehold.loading.quantized.parts import FLOATS, Parts, as_array, check_shape
from freehold.loading.quantized.rows import (
    AffineRows,
    Fp4Rows,
    QuantizedRows,
    global_scale,
)

__all__ = ["CompressedReader", "Group", "read_compressed"]

_FORMATS = {
    "pack-quantized": ("int", (4, 8)),
    "int-quantized": ("int", (8,)),
    "float-quantized": ("float", (8,)),
    "naive-quantized": ("", (8,)),
    "nvfp4-pack-quantized": ("float", (4,)),
    "mxfp4-pack-quantized": ("float", (4,)),
}
_PARTS = (
    "weight_packed",
    "weight_scale",
    "weight_shape",
    "weight_zero_point",
    "weight_g_idx",
    "weight_global_scale",
)
_MAKING = "how the checkpoint was made"
_STAY = "activations and caches keep more bits than the checkpoint asks for"


@dataclass(frozen=True)
class Group:
    """How the matrices that `targets` name are kept; `block` is (height, width) of a scale."""

    targets: tuple[str, ...]
    format: str
    floating: bool
    bits: int
    symmetric: bool
    strategy: str
    size: int
    block: tuple[int, int] | None

    @property
    def label(self) -> str:
        """The format in words."""
        kind = "float" if self.floating else "int"
        size = f" of {self.size}" if self.strategy in ("group", "tensor_group") else ""
        return f"{self.format}, {kind}{self.bits}, a scale for each {self.strategy}{size}"

    def matches(self, module: str, *, by_name: bool) -> bool:
        """Whether a target is this module's name or a pattern of it; else, any class."""
        if not by_name:
            return any(re.fullmatch(r"[A-Z]\w*", target) for target in self.targets)
        return any(_matches(target, module) for target in self.targets)

    def extent(self, shape: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of what one scale is for, in a matrix of this shape."""
        if self.block is not None:
            return self.block
        rows, cols = shape
        width = self.size if self.strategy in ("group", "tensor_group") else cols
        return (rows if self.strategy == "tensor" else 1), width


@dataclass(frozen=True)
class CompressedReader:
    """Matrices of one or several groups."""

    groups: tuple[Group, ...]

    @property
    def label(self) -> str:
        """The formats in words."""
        return "compressed-tensors " + "; ".join(group.label for group in self.groups)

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part."""
        stem, _, part = name.rpartition(".")
        return (f"{stem}.weight", part) if part in ("weight", *_PARTS, *ACTIVATIONS) else None

    def rows(self, parts: Parts) -> QuantizedRows | None:
        """None for floats. Raises: MissingTensor, UnsupportedType, ShapeMismatch, BadConfig."""
        weight = parts.found.get("weight")
        scaled = any(part in parts.found for part in _PARTS)
        if not scaled and (weight is None or weight.dtype in (*FLOATS, Dtype.F64)):
            return None
        group = self._group(parts.name.removesuffix(".weight"))
        if group.floating:
            return _float_rows(parts, group)
        return _packed_rows(parts, group) if "packed" in _codes(group) else _byte_rows(parts, group)

    def _group(self, module: str) -> Group:
        for by_name in (True, False):
            found = [group for group in self.groups if group.matches(module, by_name=by_name)]
            if len(found) > 1 and not by_name:
                break
            if found:
                return found[0]
        raise BadConfig(
            f"{module} is quantized, but config_groups do not say how",
            value=module,
            expected="one group that targets it",
            found=f"{len(found)} groups",
        )


def read_compressed(keys: Keys) -> CompressedReader:
    """Raises: BadConfig, UnknownConfigKey."""
    for name in ("version", "global_compression_ratio", "quantization_status"):
        keys.ignore(name, _MAKING)
    keys.ignore("ignore", "tensors are matched by name")
    keys.ignore("kv_cache_scheme", _STAY)
    for name in ("sparsity_config", "transform_config", "moe_sparsity_config"):
        found = keys.anything(name)
        if found not in (None, {}):
            raise BadConfig(
                f"{name} is not carried", value=name, expected="nothing", found=str(found)[:80]
            )
    default = keys.word("format", default="", allowed=("", "mixed-precision", "dense", *_FORMATS))
    groups = keys.anything("config_groups")
    if not isinstance(groups, Mapping) or not groups:
        raise BadConfig(
            "config_groups are missing", expected="an object", found=type(groups).__name__
        )
    return CompressedReader(
        tuple(
            _read_group(f"{keys.architecture}.config_groups.{name}", group, default)
            for name, group in groups.items()
        )
    )


def _read_group(at: str, found: object, default: str) -> Group:
    keys = _keys(at, found)
    for name in ("input_activations", "output_activations"):
        keys.ignore(name, _STAY)
    chosen = keys.word("format", default=default, allowed=(default, *_FORMATS))
    targets, weights = keys.anything("targets"), _keys(f"{at}.weights", keys.anything("weights"))
    keys.finish()
    if not isinstance(targets, list) or not all(isinstance(each, str) for each in targets):
        raise BadConfig(f"bad value of {at}.targets", expected="a list of names")
    if chosen not in _FORMATS:
        raise BadConfig(
            "this form of compressed-tensors is not carried",
            value=chosen,
            expected=" or ".join(_FORMATS),
            found=chosen or "nothing",
        )
    for name in ("observer", "observer_kwargs", "actorder", "scale_dtype", "zp_dtype"):
        weights.ignore(name, _MAKING if name != "actorder" else "weight_g_idx says it")
    weights.absent_or("dynamic", False, "weights are kept, not made anew")
    kind, bits = _FORMATS[chosen]
    allowed = (kind,) if kind else ("int", "float")
    number = weights.integer("num_bits", default=8, most=16)
    if number not in bits:
        raise BadConfig(
            f"no kernel for {chosen} of so many bits",
            value=number,
            expected=" or ".join(map(str, bits)),
            found=str(number),
        )
    floating = weights.word("type", default="int", allowed=allowed) == "float"
    group = Group(
        tuple(targets),
        chosen,
        floating,
        number,
        weights.truth("symmetric", default=True),
        *_strategy(weights),
    )
    weights.finish()
    return group


def _strategy(weights: Keys) -> tuple[str, int, tuple[int, int] | None]:
    """Strategy, group size and block. Raises: BadConfig."""
    size = weights.integer("group_size", default=-1, least=-1)
    implied = "tensor" if size == -1 else "group"
    known = ("tensor", "channel", "group", "tensor_group", "block")
    strategy = weights.word("strategy", default=implied, allowed=known)
    block = block_of(weights, "block_structure")
    if strategy in ("group", "tensor_group") and size < 1:
        raise BadConfig("groups without a size", expected="group_size", found=str(size))
    if (strategy == "block") != (block is not None):
        raise BadConfig(
            "blocks and their strategy contradict each other",
            expected="both or neither",
            found=f"strategy {strategy}, block_structure {block}",
        )
    return strategy, size, block


def _keys(at: str, found: object) -> Keys:
    if not isinstance(found, Mapping):
        raise BadConfig(f"bad value of {at}", expected="an object", found=type(found).__name__)
    return Keys({f"{at}.{key}": value for key, value in found.items()}, at)


def _matches(target: str, module: str) -> bool:
    if not target.startswith("re:"):
        return target == module
    try:
        return re.match(target.removeprefix("re:"), module) is not None
    except re.error as error:
        raise UnknownConfigKey(
            "a target's pattern cannot be read",
            value=target[:80],
            expected="a regular expression",
            found=str(error),
        ) from error


def _codes(group: Group) -> str:
    return "weight_packed" if "pack" in group.format else "weight"


def _packed_rows(parts: Parts, group: Group) -> QuantizedRows:
    packed = parts.need("weight_packed", (Dtype.I32,))
    scale = parts.need("weight_scale", FLOATS)
    rows, cols = shape = _claimed_shape(parts.need("weight_shape", (Dtype.I64, Dtype.I32)))
    check_shape(packed, (rows, -(-cols * group.bits // 32)))
    width = _check_scale(scale, shape, group)
    zero = None
    if not group.symmetric:
        zero = parts.need("weight_zero_point", (Dtype.I32, Dtype.I8))
        per = 32 // group.bits
        groups = cols // width
        check_shape(zero, (-(-rows // per), groups) if zero.dtype is Dtype.I32 else (rows, groups))
    check_order(parts.get("weight_g_idx", (Dtype.I32,)), cols, width)
    source = PackedInts(group.bits, width, packed, scale, zero, cols)
    tensors = (packed, scale) if zero is None else (packed, scale, zero)
    return AffineRows(parts.name, shape, tensors, source)


def _byte_rows(parts: Parts, group: Group) -> QuantizedRows:
    weight = parts.need("weight", (Dtype.I8,))
    scale = parts.need("weight_scale", FLOATS)
    shape = _matrix_shape(weight)
    width = _check_scale(scale, shape, group)
    zero = None if group.symmetric else parts.need("weight_zero_point", (Dtype.I8,))
    if zero is not None:
        check_shape(zero, scale.shape)
    tensors = (weight, scale) if zero is None else (weight, scale, zero)
    return AffineRows(parts.name, shape, tensors, Bytes8(width, weight, scale, zero))


def _float_rows(parts: Parts, group: Group) -> QuantizedRows:
    if group.format == "nvfp4-pack-quantized":
        packed = parts.need("weight_packed", (Dtype.U8,))
        scale = parts.need("weight_scale", (Dtype.F8_E4M3,))
        whole = parts.need("weight_global_scale", FLOATS)
        return nvfp4_rows(parts.name, (packed, scale, whole), divisor=global_scale(whole))
    if group.format == "mxfp4-pack-quantized":
        packed = parts.need("weight_packed", (Dtype.U8,))
        scale = parts.need("weight_scale", (Dtype.U8, Dtype.F8_E8M0))
        rows, half = _matrix_shape(packed)
        check_shape(scale, (rows, half // 16))
        return Fp4Rows(parts.name, (rows, 2 * half), (packed, scale))
    weight = parts.need("weight", (Dtype.F8_E4M3,))
    scale = parts.need("weight_scale", FLOATS)
    block = None if group.strategy == "tensor" else group.extent(_matrix_shape(weight))
    return fp8_rows(parts.name, weight, scale, block)


def _check_scale(scale: SafetensorsTensor, shape: tuple[int, int], group: Group) -> int:
    """How many columns share a scale. Raises: ShapeMismatch, BadConfig."""
    rows, cols = shape
    if group.strategy == "block":
        raise BadConfig("whole numbers in blocks are not carried", expected="groups of columns")
    _, width = group.extent(shape)
    if cols % width:
        raise ShapeMismatch(
            f"{scale.name} is for groups that do not divide the row",
            tensor=scale.name,
            expected=f"columns in groups of {width}",
            found=str(cols),
        )
    if group.strategy == "tensor":
        check_shape(scale, (), (1,), (1, 1))
    elif width == cols:
        check_shape(scale, (rows, 1), (rows,))
    else:
        check_shape(scale, (rows, cols // width))
    return width


def _claimed_shape(tensor: SafetensorsTensor) -> tuple[int, int]:
    check_shape(tensor, (2,))
    rows, cols = (int(size) for size in as_array(tensor))
    if not (0 < rows <= 1 << 31 and 0 < cols <= 1 << 31):
        raise ShapeMismatch(
            f"{tensor.name} claims a shape that no matrix has",
            tensor=tensor.name,
            expected="two sizes above 0",
            found=f"({rows}, {cols})",
        )
    return rows, cols


def _matrix_shape(tensor: SafetensorsTensor) -> tuple[int, int]:
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise ShapeMismatch(
            f"{tensor.name} is no matrix",
            tensor=tensor.name,
            expected="two dims",
            found=str(tensor.shape),
        )
    return tensor.shape[0], tensor.shape[1]
