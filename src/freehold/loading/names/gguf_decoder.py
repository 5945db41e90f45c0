"""What decoders share in GGUF: keys, tensor names, and the order of rotated rows.

Room: loading. Must not know any family by name. Source: docs/gguf.md of the format, and the names
of the gguf package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.sources import Source
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig, MoeConfig

__all__ = [
    "decoder_config",
    "decoder_source",
    "file_name",
    "half_split",
    "rope_scaling",
    "rotated_source",
    "scored_experts",
    "stacked_experts",
    "vocabulary_of",
    "windows_of",
]

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
    "attn.q_norm": "attn_q_norm.weight",
    "attn.k_norm": "attn_k_norm.weight",
    "attn_post_norm": "post_attention_norm.weight",
    "mlp_norm": "ffn_norm.weight",
    "mlp_post_norm": "post_ffw_norm.weight",
    "mlp.gate": "ffn_gate.weight",
    "mlp.up": "ffn_up.weight",
    "mlp.down": "ffn_down.weight",
    "moe.router": "ffn_gate_inp.weight",
    "moe.bias": "exp_probs_b.bias",
    "moe.gate": "ffn_gate_exps.weight",
    "moe.up": "ffn_up_exps.weight",
    "moe.down": "ffn_down_exps.weight",
    "shared.opening": "ffn_gate_inp_shexp.weight",
    "shared.gate": "ffn_gate_shexp.weight",
    "shared.up": "ffn_up_shexp.weight",
    "shared.down": "ffn_down_shexp.weight",
}
_LAYER_NAME = re.compile(r"layers\.(\d+)\.(.+)")
_ROTATED = re.compile(r"layers\.\d+\.attn\.([qk])(_bias)?")


def file_name(canonical: str, renamed: Mapping[str, str] | None = None) -> str:
    """The tensor's name in the file; `renamed` has a family's own names of a layer's parts."""
    match = _LAYER_NAME.fullmatch(canonical)
    if match is None:
        return _TOP[canonical]
    return f"blk.{match[1]}.{((renamed or {}).get(match[2])) or _LAYER[match[2]]}"


def decoder_source(
    canonical: str, config: DecoderConfig, renamed: Mapping[str, str] | None = None
) -> Source:
    """Where a plain decoder's slot lies in the file, rows as they are."""
    shape = stacked_experts(canonical, config)
    if canonical.endswith("shared.opening"):
        shape = (config.width,)
    return Source((file_name(canonical, renamed),), shape=shape)


def stacked_experts(canonical: str, config: DecoderConfig) -> tuple[int, ...] | None:
    """The file's three dims of experts' matrices, (X, out, in); None for other slots."""
    moe, part = config.moe, canonical.rsplit(".", 2)[-2:]
    if moe is None or part[0] != "moe" or part[1] not in ("gate", "up", "down"):
        return None
    if part[1] == "down":
        return (moe.experts, config.width, moe.expert_width)
    return (moe.experts, moe.expert_width, config.width)


def rotated_source(canonical: str, config: DecoderConfig) -> Source:
    """The same for files that keep the two elements of a rotated pair side by side."""
    source = decoder_source(canonical, config)
    match = _ROTATED.fullmatch(canonical)
    if match is None:
        return source
    heads = config.heads if match[1] == "q" else config.kv_heads
    return Source(source.names, order=half_split(heads, config.head_width))


def half_split(heads: int, width: int) -> NDArray[np.int64]:
    """For each of our rows the file's: all first elements of a head, then all second ones."""
    pairs = np.arange(heads * width).reshape(heads, width // 2, 2)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(-1))


def decoder_config(
    keys: Keys, *, partial: bool = False, mlp_width: int | None = None
) -> DecoderConfig:
    """The configuration of a plain decoder, of whose heads a part may rotate. Raises: BadConfig.

    `mlp_width` is the family's default.

    A mixture of experts is read where the file names experts; the family sets its rule.
    """
    vocabulary = vocabulary_of(keys.metadata)
    heads, kv_heads, head_width = _heads(keys)
    keys.absent_or("attention.value_length", head_width, "keys and values of one width")
    if not partial:
        keys.absent_or("rope.dimension_count", head_width, "whole heads rotate in this family")
    rotated = keys.integer("rope.dimension_count", default=head_width, least=2, most=head_width)
    keys.absent_or("vocab_size", vocabulary, "the tokenizer's own size")
    keys.absent_or("use_parallel_residual", False, "the residuals follow one another")
    keys.ignore("tensor_data_layout", "names a layout that every reader of the family knows")
    keys.ignore("pooling_type", "how an embedder pools; asked for where vectors are wanted")
    experts = keys.integer("expert_count", default=0, least=0, most=1 << 14)
    chosen = keys.integer("expert_used_count", default=0, least=0, most=1 << 10)
    mlp_width = keys.integer("feed_forward_length", default=mlp_width)
    return DecoderConfig(
        vocabulary=vocabulary,
        context_tokens=keys.integer("context_length"),
        layers=keys.integer("block_count", most=4096),
        width=keys.integer("embedding_length"),
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        mlp_width=mlp_width,
        eps=keys.number("attention.layer_norm_rms_epsilon"),
        rope_base=keys.number("rope.freq_base", default=10000.0, above=1.0),
        rope_scaling=rope_scaling(keys),
        rotated_width=0 if rotated == head_width else rotated,
        moe=_moe(keys, experts, chosen, mlp_width),
    )


def _moe(keys: Keys, experts: int, chosen: int, mlp_width: int) -> MoeConfig | None:
    width = keys.integer("expert_feed_forward_length", default=mlp_width)
    if experts == chosen == 0:
        return None
    if not 1 <= chosen <= experts:
        raise BadConfig(
            "expert_used_count does not suit expert_count",
            family=keys.architecture,
            expected=f"1 to {experts}" if experts else "no experts used where there are none",
            found=str(chosen),
        )
    return MoeConfig(experts=experts, chosen=chosen, expert_width=width)


def scored_experts(keys: Keys, moe: MoeConfig) -> MoeConfig:
    """The same mixture, its experts chosen by sigmoid scores with a bias. Raises: BadConfig."""
    shared = keys.integer("expert_shared_count", default=0, least=0, most=1 << 10)
    dense = keys.integer("leading_dense_block_count", default=0, least=0, most=1 << 12)
    keys.absent_or("expert_gating_func", 2, "scores are sigmoids in this family")
    return replace(
        moe,
        scoring="sigmoid",
        renormalise=keys.truth("expert_weights_norm", default=False),
        epsilon=1e-20,
        scale=keys.number("expert_weights_scale", default=1.0),
        groups=keys.integer("expert_group_count", default=1, most=1 << 10),
        groups_kept=keys.integer("expert_group_used_count", default=1, most=1 << 10),
        group_top=2,
        selection_bias=True,
        shared_width=moe.expert_width * shared,
        dense_layers=frozenset(range(dense)),
    )


def windows_of(keys: Keys, layers: int, *, period: int) -> tuple[int, ...]:
    """Per layer how many tokens a query sees, 0 for all; empty when all layers see everything.

    Every `period`-th layer sees everything where the file does not list them. Raises: BadConfig.
    """
    window = keys.integer("attention.sliding_window", default=0, least=0, most=1 << 30)
    listed = keys.truths("attention.sliding_window_pattern")
    if not listed:
        period = keys.integer("attention.sliding_window_pattern", default=period, most=1 << 12)
        listed = tuple((i + 1) % period != 0 for i in range(layers))
    if len(listed) != layers:
        raise BadConfig(
            "attention.sliding_window_pattern does not list every layer",
            family=keys.architecture,
            expected=f"{layers} layers",
            found=str(len(listed)),
        )
    return tuple(window if slides else 0 for slides in listed) if window else ()


def vocabulary_of(metadata: Mapping[str, object]) -> int:
    """How many tokens the file's tokenizer has. Raises: BadConfig."""
    tokens = metadata.get("tokenizer.ggml.tokens")
    if not isinstance(tokens, tuple | list) or not tokens:
        raise BadConfig(
            "the file has no vocabulary",
            expected="tokenizer.ggml.tokens",
            found="nothing" if tokens is None else type(tokens).__name__,
        )
    return len(tokens)


def _heads(keys: Keys) -> tuple[int, int, int]:
    """Query heads, KV heads and their width."""
    width, heads = keys.integer("embedding_length"), keys.integer("attention.head_count", most=4096)
    kv_heads = keys.integer("attention.head_count_kv", default=heads, most=1 << 12)
    if heads % kv_heads:
        raise BadConfig(
            "attention.head_count is not a multiple of attention.head_count_kv",
            family=keys.architecture,
            expected=f"a divisor of {heads}",
            found=str(kv_heads),
        )
    if keys.metadata.get(f"{keys.architecture}.attention.key_length") is None and width % heads:
        raise BadConfig(
            "embedding_length is not a multiple of attention.head_count",
            family=keys.architecture,
            expected=f"a multiple of {heads}, or attention.key_length",
            found=str(width),
        )
    head_width = keys.integer("attention.key_length", default=width // heads, least=2, most=4096)
    if head_width % 2:
        raise BadConfig(
            "an odd head width cannot rotate",
            family=keys.architecture,
            expected="an even number",
            found=str(head_width),
        )
    return heads, kv_heads, head_width


def rope_scaling(keys: Keys) -> RopeScaling:
    """How the file stretches rotary frequencies. Raises: BadConfig."""
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
    named = keys.either("rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor")
    attention = keys.number(named, default=1.0)
    keys.absent_or("rope.scaling.yarn_ext_factor", 1.0, "all of yarn's ramp, or none")
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
    keys.absent_or(named, 1.0, "only yarn scales the rotation")
    return RopeScaling(kind, factor, original)
