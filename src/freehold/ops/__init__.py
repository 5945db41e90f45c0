"""The typed face of the compiled core: tensors, weights, pages, and the fused ops.

Room: ops. Knows shapes and block types; must not know files, models or requests. Each op has its
NumPy twin in `reference.py`. Dims: T tokens of a step, S rows wanted, D width, H query heads,
G KV heads, A head width, F MLP width, V vocabulary, P page tokens.
"""

from __future__ import annotations

from typing import NamedTuple

from freehold._core import (
    FIXED16,
    FP8_X32,
    FP8_X128,
    GROUP_ROWS,
    INT4_X32,
    INT4_X64,
    INT4_X128,
    INT8_X32,
    INT8_X128,
    MXFP4_PAIRS,
    NVFP4,
    PAGE_TOKENS,
    Deltas,
    Gating,
    KvPool,
    Packed,
    Rotation,
    RouterRule,
    Routing,
    StatePool,
    Step,
    Tensor,
    Thin,
    Weight,
    add_normed,
    attend,
    attend_packed,
    can_quantize_to,
    convolve,
    delta_floats,
    delta_rule,
    dequantize,
    diverge,
    embed,
    embed_packed,
    feedback_factor,
    force_isa,
    gate_rows,
    gate_up,
    head,
    isa_available,
    isa_name,
    keep_spare_memory,
    make_rotation,
    mask_logits,
    mean_products,
    mix_experts,
    multiply_part,
    norm_first,
    norm_gate,
    norm_heads,
    norm_project,
    open_rows,
    open_values,
    pool,
    project,
    project_add,
    project_add_norm,
    project_heads,
    quantize_rows,
    quantize_rows_with_feedback,
    rotate_write,
    route,
    sample,
    scale,
    scale_late,
    set_threads,
    softcap,
    supports_type,
    threads,
    usable_cores,
)
from freehold._core import measure_bandwidth as measure_bandwidth_bytes_per_s

__all__ = [
    "ACTIVATIONS",
    "FIXED16",
    "FP8_X32",
    "FP8_X128",
    "GATES",
    "GROUP_ROWS",
    "INT4_X32",
    "INT4_X64",
    "INT4_X128",
    "INT8_X32",
    "INT8_X128",
    "ISA_NAMES",
    "MXFP4_PAIRS",
    "NVFP4",
    "PAGE_TOKENS",
    "POOLINGS",
    "SCORINGS",
    "Deltas",
    "Gating",
    "KvPool",
    "LayerKv",
    "Packed",
    "Rotation",
    "RouterRule",
    "Routing",
    "StatePool",
    "Step",
    "Tensor",
    "Thin",
    "Weight",
    "add_normed",
    "attend",
    "attend_packed",
    "available_isas",
    "can_quantize_to",
    "convolve",
    "delta_floats",
    "delta_rule",
    "dequantize",
    "diverge",
    "embed",
    "embed_packed",
    "feedback_factor",
    "force_isa",
    "gate_rows",
    "gate_up",
    "head",
    "isa_name",
    "keep_spare_memory",
    "make_rotation",
    "mask_logits",
    "mean_products",
    "measure_bandwidth_bytes_per_s",
    "mix_experts",
    "multiply_part",
    "norm_first",
    "norm_gate",
    "norm_heads",
    "norm_project",
    "open_rows",
    "open_values",
    "pool",
    "project",
    "project_add",
    "project_add_norm",
    "project_heads",
    "quantize_rows",
    "quantize_rows_with_feedback",
    "rotate_write",
    "route",
    "sample",
    "scale",
    "scale_late",
    "set_threads",
    "softcap",
    "supports_type",
    "threads",
    "usable_cores",
]


class LayerKv(NamedTuple):
    """What a layer keeps of each token in pages, as `KvPool` takes it; 0 heads keep nothing.

    A latent layer has one head and keeps its key alone: the value is the first `value_width`
    columns of the key.
    """

    heads: int
    key_width: int
    value_width: int
    latent: bool = False


ISA_NAMES = ("generic", "avx2", "avx512")  # worst first
ACTIVATIONS = ("none", "gelu", "gelu_tanh", "relu")  # the core's numbers, as `project` takes them
POOLINGS = ("mean", "cls", "last", "max", "mean_sqrt")  # likewise, for `pool`
GATES = ("silu", "gelu_tanh", "clamped")  # likewise, for `Gating`
SCORINGS = ("softmax", "sigmoid")  # likewise, for `RouterRule`


def available_isas() -> tuple[str, ...]:
    """The instruction sets that are compiled in and that this processor has."""
    return tuple(name for name in ISA_NAMES if isa_available(name))
