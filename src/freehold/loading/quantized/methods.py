"""GPTQ and AWQ: `quantization_config` and the tensors of a matrix -> rows.

Room: loading. Must not know any family. Sources: the configurations of gptqmodel and AutoAWQ as
transformers 5 reads them (utils/quantization_config.py); tensors as in `packed.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from freehold.errors import BadConfig, ShapeMismatch, UnsupportedType
from freehold.formats.safetensors import Dtype, SafetensorsTensor
from freehold.loading.keys import Keys
from freehold.loading.quantized.packed import AwqGemm, Gptq
from freehold.loading.quantized.parts import FLOATS, Parts, as_array, check_shape
from freehold.loading.quantized.rows import AffineRows, QuantizedRows

__all__ = ["AwqReader", "GptqReader", "check_order", "read_awq", "read_gptq"]

_MAKING = "how the checkpoint was made"
_RUNNING = "how another library would run it"
_IGNORED = {
    "damp_percent": _MAKING,
    "damp_auto_increment": _MAKING,
    "static_groups": _MAKING,
    "true_sequential": _MAKING,
    "act_group_aware": _MAKING,
    "mse": _MAKING,
    "sym": "zero points say it",
    "desc_act": "g_idx says it",
    "lm_head": "tensors are matched by name",
    "modules_to_not_convert": "tensors are matched by name",
    "modules_in_block_to_quantize": "tensors are matched by name",
    "block_name_to_quantize": _MAKING,
    "module_name_preceding_first_block": _MAKING,
    "dataset": _MAKING,
    "tokenizer": _MAKING,
    "batch_size": _MAKING,
    "pad_token_id": _MAKING,
    "model_seqlen": _MAKING,
    "max_input_length": _RUNNING,
    "cache_block_outputs": _MAKING,
    "model_name_or_path": "where it came from",
    "model_file_base_name": "where it came from",
    "is_marlin_format": "the format says it",
    "quantizer": "who made it",
    "meta": "who made it",
    "backend": _RUNNING,
    "use_exllama": _RUNNING,
    "disable_exllama": _RUNNING,
    "exllama_config": _RUNNING,
    "use_cuda_fp16": _RUNNING,
    "do_fuse": _RUNNING,
    "fuse_max_seq_len": _RUNNING,
    "modules_to_fuse": _RUNNING,
    "modules_to_fuse_config": _RUNNING,
}
_WORDS = (Dtype.I32, Dtype.U32)


def _group_size(keys: Keys, name: str = "group_size") -> int:
    """-1 is one group for a whole row. Raises: BadConfig."""
    size = keys.integer(name, least=-1)
    if size == 0:
        raise BadConfig("groups of no columns", expected="-1 or more than 0", found="0")
    return size


def _ignore(keys: Keys) -> None:
    for key, reason in _IGNORED.items():
        keys.ignore(key, reason)


@dataclass(frozen=True)
class GptqReader:
    """Matrices as GPTQ packs them."""

    bits: int
    group_size: int
    plus: int

    @property
    def label(self) -> str:
        """The format in words."""
        return f"gptq, {self.bits} bits, groups of {_words(self.group_size)}"

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part."""
        return _by_suffix(name, ("qweight", "qzeros", "scales", "g_idx"))

    def rows(self, parts: Parts) -> QuantizedRows:
        """Raises: MissingTensor, UnsupportedType, ShapeMismatch."""
        qweight = parts.need("qweight", (Dtype.I32,))
        scales = parts.need("scales", FLOATS)
        qzeros = parts.need("qzeros", (Dtype.I32,))
        _check_matrix(qweight)
        per = 32 // self.bits
        cols, rows = qweight.shape[0] * per, qweight.shape[1]
        groups, group = _groups(parts.name, cols, self.group_size)
        check_shape(scales, (groups, rows))
        _check_multiple(parts.name, rows, per)
        check_shape(qzeros, (groups, rows // per))
        check_order(parts.get("g_idx", (Dtype.I32,)), cols, group)
        source = Gptq(self.bits, group, self.plus, qweight, qzeros, scales)
        return AffineRows(parts.name, (rows, cols), (qweight, qzeros, scales), source)


@dataclass(frozen=True)
class AwqReader:
    """Matrices as AutoAWQ packs them for its gemm kernel."""

    group_size: int
    zero_point: bool

    @property
    def label(self) -> str:
        """The format in words."""
        return f"awq, 4 bits, groups of {_words(self.group_size)}"

    def split(self, name: str) -> tuple[str, str] | None:
        """The matrix a tensor is part of, and which part."""
        return _by_suffix(name, ("qweight", "qzeros", "scales"))

    def rows(self, parts: Parts) -> QuantizedRows:
        """Raises: MissingTensor, UnsupportedType, ShapeMismatch."""
        qweight = parts.need("qweight", (Dtype.I32,))
        scales = parts.need("scales", FLOATS)
        get = parts.need if self.zero_point else parts.get
        qzeros = get("qzeros", (Dtype.I32,))
        _check_matrix(qweight)
        cols, rows = qweight.shape[0], 8 * qweight.shape[1]
        groups, group = _groups(parts.name, cols, self.group_size)
        check_shape(scales, (groups, rows))
        if qzeros is not None:
            check_shape(qzeros, (groups, rows // 8))
        tensors = tuple(tensor for tensor in (qweight, qzeros, scales) if tensor is not None)
        return AffineRows(
            parts.name, (rows, cols), tensors, AwqGemm(group, qweight, qzeros, scales)
        )


def read_gptq(keys: Keys) -> GptqReader:
    """Raises: BadConfig."""
    _ignore(keys)
    bits = keys.integer("bits", least=1, most=16)
    if bits not in (4, 8):
        raise _bits(bits, "4 or 8")
    known = ("gptq", "gptq_v2")
    older = keys.word("checkpoint_format", default="gptq", allowed=known)
    version = keys.word("format", default=older, allowed=known)
    keys.word("pack_dtype", default="int32", allowed=("int32",))
    keys.absent_or("dynamic", {}, "matrices of several kinds in one checkpoint are not read")
    return GptqReader(bits, _group_size(keys), 1 if version == "gptq" else 0)


def read_awq(keys: Keys) -> AwqReader:
    """Raises: BadConfig."""
    _ignore(keys)
    for name in ("bits", "w_bit"):
        if (bits := keys.integer(name, default=4, least=1, most=16)) != 4:
            raise _bits(bits, "4")
    older = keys.word("version", default="gemm", allowed=("gemm", "GEMM"))
    keys.word("format", default=older, allowed=("gemm", "GEMM"))
    keys.word("checkpoint_format", default=older, allowed=("gemm", "GEMM"))
    keys.word("pack_dtype", default="int32", allowed=("int32",))
    keys.absent_or("dynamic", {}, "matrices of several kinds in one checkpoint are not read")
    short = keys.integer("q_group_size", default=128, least=-1)
    size = keys.integer("group_size", default=short, least=-1)
    if size == 0:
        raise BadConfig("groups of no columns", expected="-1 or more than 0", found="0")
    return AwqReader(size, keys.truth("zero_point", default=True))


def check_order(order: SafetensorsTensor | None, cols: int, group: int) -> None:
    """Accepts groups that lie one after another. Raises: ShapeMismatch, UnsupportedType."""
    if order is None:
        return
    check_shape(order, (cols,))
    if not np.array_equal(as_array(order), np.arange(cols) // group):
        raise UnsupportedType(
            f"{order.name} spreads the groups over the columns (desc_act, act-order)",
            field=order.name,
            expected="groups of neighbouring columns",
            found="columns in another order",
            hint="choose the checkpoint that was made with desc_act=False",
        )


def _by_suffix(name: str, parts: tuple[str, ...]) -> tuple[str, str] | None:
    stem, _, part = name.rpartition(".")
    return (f"{stem}.weight", part) if part in parts else None


def _groups(name: str, cols: int, size: int) -> tuple[int, int]:
    """How many groups a row has, and of how many columns. Raises: ShapeMismatch."""
    group = cols if size == -1 else size
    _check_multiple(name, cols, group)
    return cols // group, group


def _check_multiple(name: str, count: int, of: int) -> None:
    if count % of:
        raise ShapeMismatch(
            f"{name} does not divide into its groups",
            tensor=name,
            expected=f"a multiple of {of}",
            found=str(count),
        )


def _check_matrix(tensor: SafetensorsTensor) -> None:
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        raise ShapeMismatch(
            f"{tensor.name} is no matrix",
            tensor=tensor.name,
            expected="two dims",
            found=str(tensor.shape),
        )


def _bits(found: int, known: str) -> BadConfig:
    return BadConfig(
        "no kernel for codes of so many bits", value=found, expected=known, found=str(found)
    )


def _words(group_size: int) -> str:
    return "a row" if group_size == -1 else str(group_size)
