"""Llama in GGUF: keys, tensor names, and the order of the query and key rows.

Room: loading. Source: the conversion facts of the GGUF format for `general.architecture` llama.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.models.blocks import RopeScaling
from freehold.models.llama import Llama as Model
from freehold.models.llama import LlamaConfig

__all__ = ["Model", "file_name", "read_config", "row_order"]

_TOP = {
    "embed": "token_embd.weight",
    "head": "output.weight",
    "final_norm": "output_norm.weight",
    "rope_divisors": "rope_freqs.weight",
}
_LAYER = {
    "attn_norm": "attn_norm.weight",
    "attn.q": "attn_q.weight",
    "attn.k": "attn_k.weight",
    "attn.v": "attn_v.weight",
    "attn.out": "attn_output.weight",
    "attn.q_bias": "attn_q.bias",
    "attn.k_bias": "attn_k.bias",
    "attn.v_bias": "attn_v.bias",
    "attn.out_bias": "attn_output.bias",
    "mlp_norm": "ffn_norm.weight",
    "mlp.gate": "ffn_gate.weight",
    "mlp.up": "ffn_up.weight",
    "mlp.down": "ffn_down.weight",
}
_LAYER_NAME = re.compile(r"layers\.(\d+)\.(.+)")
_PERMUTED = re.compile(r"layers\.\d+\.attn\.([qk])(_bias)?")


def file_name(canonical: str) -> str:
    """The tensor's name in the file."""
    match = _LAYER_NAME.fullmatch(canonical)
    if match is None:
        return _TOP[canonical]
    return f"blk.{match[1]}.{_LAYER[match[2]]}"


def row_order(canonical: str, config: LlamaConfig) -> NDArray[np.int32] | None:
    """For each of our rows the file's row, where they differ.

    Files keep the two elements of a rotated pair side by side; we keep all first elements of a
    head, then all second ones, as the checkpoints do.
    """
    match = _PERMUTED.fullmatch(canonical)
    if match is None:
        return None
    heads = config.heads if match[1] == "q" else config.kv_heads
    rows = np.arange(heads * config.head_width, dtype=np.int32)
    pairs = rows.reshape(heads, config.head_width // 2, 2)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(-1))


def read_config(metadata: Mapping[str, object], vocabulary: int) -> LlamaConfig:
    """The configuration that the file's keys describe.

    Raises: BadConfig, UnknownConfigKey.
    """
    keys = Keys(metadata, "llama")
    width = keys.integer("embedding_length")
    heads = keys.integer("attention.head_count", most=1 << 12)
    kv_heads = keys.integer("attention.head_count_kv", default=heads, most=1 << 12)
    if heads % kv_heads:
        raise BadConfig(
            "attention.head_count is not a multiple of attention.head_count_kv",
            family="llama",
            expected=f"a divisor of {heads}",
            found=str(kv_heads),
        )
    if metadata.get("llama.attention.key_length") is None and width % heads:
        raise BadConfig(
            "embedding_length is not a multiple of attention.head_count",
            family="llama",
            expected=f"a multiple of {heads}, or attention.key_length",
            found=str(width),
        )
    head_width = keys.integer("attention.key_length", default=width // heads, least=2, most=4096)
    keys.absent_or("attention.value_length", head_width, "keys and values of one width")
    keys.absent_or("rope.dimension_count", head_width, "whole heads rotate in this family")
    keys.absent_or("vocab_size", vocabulary, "the tokenizer's own size")
    keys.absent_or("expert_count", 0, "mixtures of experts are not carried yet")
    keys.absent_or("expert_used_count", 0, "mixtures of experts are not carried yet")
    keys.absent_or("use_parallel_residual", False, "the residuals follow one another")
    keys.ignore("tensor_data_layout", "names a layout that every reader of the family knows")
    config = LlamaConfig(
        vocabulary=vocabulary,
        context_tokens=keys.integer("context_length"),
        layers=keys.integer("block_count", most=4096),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        mlp_width=keys.integer("feed_forward_length"),
        eps=keys.number("attention.layer_norm_rms_epsilon"),
        rope_base=keys.number("rope.freq_base", default=10000.0, above=1.0),
        rope_scaling=_scaling(keys),
    )
    if head_width % 2:
        raise BadConfig(
            "an odd head width cannot rotate",
            family="llama",
            expected="an even number",
            found=str(head_width),
        )
    keys.finish()
    return config


def _scaling(keys: Keys) -> RopeScaling:
    kind = keys.word(
        "rope.scaling.type", default="none", allowed=("none", "linear", "yarn", "llama3")
    )
    legacy = keys.number("rope.scale_linear", default=1.0)  # the key before rope.scaling existed
    factor = keys.number("rope.scaling.factor", default=legacy)
    original = keys.integer(
        "rope.scaling.original_context_length", default=0, least=0, most=1 << 30
    )
    fast = keys.number("rope.scaling.yarn_beta_fast", default=32.0)
    slow = keys.number("rope.scaling.yarn_beta_slow", default=1.0)
    keys.ignore("rope.scaling.finetuned", "says how the scaling came about, not what it is")
    attention = keys.number("rope.scaling.attn_factor", default=1.0)
    if legacy != 1.0 and kind == "none":
        kind = "linear"
    if kind == "llama3":
        kind = "none"  # the divisors are a tensor of their own
    if kind == "yarn":
        if original == 0:
            original = keys.integer("context_length")
        # Files multiply the usual 0.1 ln(factor) + 1 by their factor.
        usual = 0.1 * float(np.log(factor)) + 1.0 if factor > 1.0 else 1.0
        return RopeScaling("yarn", factor, original, usual * attention, fast, slow)
    keys.absent_or("rope.scaling.attn_factor", 1.0, "only yarn scales the rotation")
    return RopeScaling(kind, factor, original)
