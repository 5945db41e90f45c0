"""What decoders share as transformers saves them: keys of config.json, tensor names.

Room: loading. Must not know any family by name. Source: configuration_utils.py and
modeling_rope_utils.py of transformers 5, which also reads what version 4 wrote.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.sources import Source
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig, MoeConfig

__all__ = [
    "IGNORED",
    "SANDWICH",
    "decoder_config",
    "decoder_source",
    "deep_windows_of",
    "dense_layers",
    "file_name",
    "hub_keys",
    "magnitude",
    "rope_of",
    "rope_section",
    "scored_experts",
    "windows_of",
]

# What layers call their norms where each half has one before it and one after.
SANDWICH = {
    "attn_post_norm": "post_attention_layernorm.weight",
    "mlp_norm": "pre_feedforward_layernorm.weight",
    "mlp_post_norm": "post_feedforward_layernorm.weight",
}

IGNORED = {
    "_name_or_path": "where the checkpoint came from",
    "architectures": "the class it was saved from; tensors are matched by name",
    "model_type": "chose this table",
    "transformers_version": "who wrote the file",
    "auto_map": "names code of the checkpoint, which is never run",
    "torch_dtype": "the tensors carry their types",
    "dtype": "the tensors carry their types",
    "attention_dropout": "training only",
    "hidden_dropout": "training only",
    "initializer_range": "training only",
    "output_router_logits": "what to return besides",
    "router_aux_loss_coef": "training only",
    "router_jitter_noise": "training only",
    "use_cache": "the engine decides",
    "pretraining_tp": "how to compute, not what",
    "output_attentions": "what to return besides",
    "output_hidden_states": "what to return besides",
    "return_dict": "what to return besides",
    "chunk_size_feed_forward": "how to compute, not what",
    "is_encoder_decoder": "there is one stack of layers",
    "bos_token_id": "the tokenizer's files say",
    "eos_token_id": "generation_config.json says, and the text side reads it here else",
    "pad_token_id": "nothing is padded",
    "tokenizer_class": "the tokenizer's own file says",
    "id2label": "of a classifier's head",
    "label2id": "of a classifier's head",
    "problem_type": "of a classifier's head",
    "quantization_config": "read with the tensors",
}

_TOP = {
    "embed": "model.embed_tokens.weight",
    "head": "lm_head.weight",
    "final_norm": "model.norm.weight",
}
_LAYER = {
    "attn_norm": "input_layernorm.weight",
    "attn.q": "self_attn.q_proj.weight",
    "attn.k": "self_attn.k_proj.weight",
    "attn.v": "self_attn.v_proj.weight",
    "attn.out": "self_attn.o_proj.weight",
    "attn.q_bias": "self_attn.q_proj.bias",
    "attn.k_bias": "self_attn.k_proj.bias",
    "attn.v_bias": "self_attn.v_proj.bias",
    "attn.out_bias": "self_attn.o_proj.bias",
    "attn.q_norm": "self_attn.q_norm.weight",
    "attn.k_norm": "self_attn.k_norm.weight",
    "mlp_norm": "post_attention_layernorm.weight",
    "mlp.gate": "mlp.gate_proj.weight",
    "mlp.up": "mlp.up_proj.weight",
    "mlp.down": "mlp.down_proj.weight",
    "moe.router": "mlp.gate.weight",
    "moe.bias": "mlp.gate.e_score_correction_bias",
    "moe.gate": "mlp.experts.{}.gate_proj.weight",
    "moe.up": "mlp.experts.{}.up_proj.weight",
    "moe.down": "mlp.experts.{}.down_proj.weight",
    "shared.opening": "mlp.shared_expert_gate.weight",
    "shared.gate": "mlp.shared_expert.gate_proj.weight",
    "shared.up": "mlp.shared_expert.up_proj.weight",
    "shared.down": "mlp.shared_expert.down_proj.weight",
}
_LAYER_NAME = re.compile(r"layers\.(\d+)\.(.+)")


def file_name(canonical: str, renamed: Mapping[str, str] | None = None) -> str:
    """The tensor's name in the checkpoint; "{}" stands for an expert's number."""
    match = _LAYER_NAME.fullmatch(canonical)
    if match is None:
        return _TOP[canonical]
    return f"model.layers.{match[1]}.{((renamed or {}).get(match[2])) or _LAYER[match[2]]}"


def decoder_source(
    canonical: str, config: DecoderConfig, renamed: Mapping[str, str] | None = None
) -> Source | None:
    """Where a slot lies in the checkpoint; experts are stacked in their order."""
    if canonical == "rope_divisors":
        return None  # computed from the configuration
    name = file_name(canonical, renamed)
    if "{}" not in name:
        return Source((name,))
    assert config.moe is not None, "a plain decoder has no experts"
    return Source(tuple(name.format(expert) for expert in range(config.moe.experts)))


def hub_keys(
    metadata: Mapping[str, object],
    model_type: str,
    defaults: Mapping[str, object] | None = None,
) -> Keys:
    """The configuration's keys, with those that no family needs already accounted for.

    `defaults` are the family's own, for what its released files leave out.
    """
    said = {**(defaults or {}), **metadata}
    keys = Keys({f"{model_type}.{key}": value for key, value in said.items()}, model_type)
    for key, reason in IGNORED.items():
        keys.ignore(key, reason)
    return keys


def decoder_config(
    keys: Keys,
    *,
    rope_base: float = 10000.0,
    rotated_share: float | None = None,
    near_base: float | None = None,
    rope_also: tuple[str, ...] = (),
    gate: str = "silu",
) -> DecoderConfig:
    """The configuration of a plain decoder; `rope_base` is the family's own default.

    So are `rotated_share`, where a part of each head may rotate, and `near_base`, where layers with
    a window rotate otherwise. `rope_also` are keys among those of the rotation that the family
    reads itself.

    Raises: BadConfig, UnknownConfigKey.
    """
    width, heads = keys.integer("hidden_size"), keys.integer("num_attention_heads", most=1 << 12)
    kv_heads = keys.integer("num_key_value_heads", default=heads, most=1 << 12)
    head_width = keys.integer("head_dim", default=width // heads, least=2, most=4096)
    if heads % kv_heads or head_width % 2:
        raise BadConfig(
            "the heads do not suit one another",
            family=keys.architecture,
            expected="query heads a multiple of KV heads, of an even width",
            found=f"{heads}, {kv_heads} and {head_width}",
        )
    named = keys.either("hidden_activation", "hidden_act")
    keys.absent_or(named, gate, "the gated MLP of this family")
    keys.truth("tie_word_embeddings", default=False)  # a head beside the embedding is taken
    context = keys.integer("max_position_embeddings")
    near = None if near_base is None else _near_rope(keys, context, near_base)
    nested = near is not None and keys.section("rope_parameters").has("full_attention")
    base, scaling, share = rope_of(
        keys.section("rope_parameters") if nested else keys,
        "full_attention" if nested else "rope_parameters",
        context,
        rope_base,
        rotated_share or 1.0,
        rope_also,
    )
    return DecoderConfig(
        vocabulary=keys.integer("vocab_size"),
        context_tokens=context,
        layers=keys.integer("num_hidden_layers", most=4096),
        width=width,
        heads=heads,
        kv_heads=kv_heads,
        head_width=head_width,
        mlp_width=keys.integer("intermediate_size"),
        eps=keys.number("rms_norm_eps"),
        rope_base=base,
        rope_scaling=scaling,
        rotated_width=_rotated(keys, share, head_width, whole=rotated_share is None),
        near_rope=near,
    )


def _near_rope(keys: Keys, context: int, base: float) -> tuple[float, RopeScaling]:
    """How layers with a window rotate, from either form of the configuration."""
    base = keys.number("rope_local_base_freq", default=base)
    both = keys.section("rope_parameters")
    if not both.has("full_attention"):
        return base, RopeScaling()
    keys.ignore("rope_theta", "the older form of what is read here")
    keys.ignore("rope_scaling", "the older form of what is read here")
    both.section("full_attention")
    base, scaling, _share = rope_of(both, "sliding_attention", context, base)
    both.finish()
    return base, scaling


def _rotated(keys: Keys, share: float, head_width: int, *, whole: bool) -> int:
    width = int(head_width * share)
    if share > 1.0 or width < 2 or width % 2 or (whole and share != 1.0):
        raise BadConfig(
            "whole heads rotate in this family" if whole else "this part of a head cannot rotate",
            family=keys.architecture,
            expected="partial_rotary_factor 1.0" if whole else "an even number of columns",
            found=str(share),
        )
    return 0 if width == head_width else width


def windows_of(keys: Keys, layers: int, kinds: tuple[str, ...] | None = None) -> tuple[int, ...]:
    """Per layer how many tokens a query sees, 0 for all; empty when all layers see everything.

    `kinds` are the layers' where the file does not list `layer_types`. Raises: BadConfig.
    """
    window = keys.integer("sliding_window", default=0, least=0, most=1 << 30)
    listed = keys.words("layer_types", allowed=("full_attention", "sliding_attention"))
    kinds = listed or kinds or (("sliding_attention",) * layers if window else ())
    if kinds and len(kinds) != layers:
        raise BadConfig(
            "layer_types does not list every layer",
            family=keys.architecture,
            expected=f"{layers} layers",
            found=str(len(kinds)),
        )
    if "sliding_attention" not in kinds:
        return ()
    if window == 0:
        raise BadConfig(
            "a sliding layer has no window", family=keys.architecture, expected="sliding_window"
        )
    return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)


def deep_windows_of(keys: Keys, layers: int) -> tuple[int, ...]:
    """The same where `use_sliding_window` bounds the layers from `max_window_layers` on."""
    sliding = keys.truth("use_sliding_window", default=False)
    full = min(keys.integer("max_window_layers", default=layers, least=0), layers)
    rest = "sliding_attention" if sliding else "full_attention"
    return windows_of(keys, layers, ("full_attention",) * full + (rest,) * (layers - full))


def dense_layers(keys: Keys, layers: int) -> frozenset[int]:
    """Layers with a plain MLP: those listed, and all but every n-th. Raises: BadConfig."""
    every = keys.integer("decoder_sparse_step", default=1, most=1 << 12)
    listed = keys.integers("mlp_only_layers", most=layers - 1)
    return frozenset(i for i in range(layers) if i in listed or (i + 1) % every)


def scored_experts(keys: Keys) -> MoeConfig:
    """Experts chosen by sigmoid scores with a bias, after the first layers, beside shared ones.

    Raises: BadConfig.
    """
    width = keys.integer("moe_intermediate_size")
    dense = keys.integer("first_k_dense_replace", default=0, least=0, most=1 << 12)
    return MoeConfig(
        experts=keys.integer(keys.either("n_routed_experts", "num_local_experts"), most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", most=1 << 10),
        expert_width=width,
        scoring="sigmoid",
        renormalise=keys.truth("norm_topk_prob", default=True),
        epsilon=1e-20,
        scale=keys.number("routed_scaling_factor", default=1.0),
        groups=keys.integer("n_group", default=1, most=1 << 10),
        groups_kept=keys.integer("topk_group", default=1, most=1 << 10),
        group_top=2,
        selection_bias=True,
        shared_width=width * keys.integer("n_shared_experts", default=0, least=0, most=1 << 10),
        dense_layers=frozenset(range(dense)),
    )


def rope_of(
    keys: Keys,
    name: str,
    context_tokens: int,
    default_base: float,
    default_share: float = 1.0,
    also: tuple[str, ...] = (),
) -> tuple[float, RopeScaling, float]:
    """Base, scaling, and the rotated share of a head, from either form of the configuration.

    `also` are keys that the family reads itself. Raises: BadConfig, UnknownConfigKey.
    """
    rope = rope_section(keys, name)
    base = rope.number("rope_theta", default=keys.number("rope_theta", default=default_base))
    share = rope.number(
        "partial_rotary_factor", default=keys.number("partial_rotary_factor", default=default_share)
    )
    rope.ignore("max_position_embeddings", "the context, which the file says once more")
    for key in also:
        rope.ignore(key, "the family asks for it")
    rope.ignore("type", "the older name of rope_type")
    for key in ("mrope_section", "mrope_interleaved"):
        rope.ignore(key, "the sections count a picture's places; of text they all count the same")
    older = rope.metadata.get(f"{rope.architecture}.type") or "default"
    kind = rope.word("rope_type", default=str(older), allowed=("default", *_SCALINGS))
    if kind not in ("default", *_SCALINGS):
        raise BadConfig(
            "this way of stretching positions is not carried",
            family=keys.architecture,
            expected=" or ".join(("default", *_SCALINGS)),
            found=kind[:80],
        )
    scaling = RopeScaling() if kind == "default" else _SCALINGS[kind](rope, context_tokens)
    rope.finish()
    return base, scaling, share


def rope_section(keys: Keys, name: str = "rope_parameters") -> Keys:
    """The keys of the rotation, from either form of the configuration. Raises: BadConfig."""
    rope = keys.section(name)
    if not rope.metadata:
        return keys.section("rope_scaling")
    keys.ignore("rope_scaling", "the older form of what was read")
    return rope


def _linear(rope: Keys, _context_tokens: int) -> RopeScaling:
    rope.ignore("original_max_position_embeddings", "a plain factor needs no trained context")
    return RopeScaling("linear", rope.number("factor"))


def _banded(rope: Keys, _context_tokens: int) -> RopeScaling:
    return RopeScaling(
        "banded",
        rope.number("factor"),
        rope.integer("original_max_position_embeddings"),
        low_turns=rope.number("low_freq_factor"),
        high_turns=rope.number("high_freq_factor"),
    )


def _yarn(rope: Keys, context_tokens: int) -> RopeScaling:
    original = rope.integer("original_max_position_embeddings", default=context_tokens)
    factor = rope.number("factor", default=context_tokens / original)
    own, all_dims = rope.number("mscale", default=0.0), rope.number("mscale_all_dim", default=0.0)
    scale = rope.number("attention_factor", default=0.0)
    if scale == 0.0:
        both = own != 0.0 and all_dims != 0.0
        scale = magnitude(factor, own) / magnitude(factor, all_dims) if both else 0.0
    return RopeScaling(
        "yarn",
        factor,
        original,
        scale or magnitude(factor, 1.0),
        rope.number("beta_fast", default=32.0),
        rope.number("beta_slow", default=1.0),
        truncate=rope.truth("truncate", default=True),
    )


def magnitude(factor: float, times: float) -> float:
    """By how much yarn raises scores, or their root, for a stretch by `factor`."""
    return 0.1 * times * math.log(factor) + 1.0 if factor > 1.0 else 1.0


def _proportional(rope: Keys, _context_tokens: int) -> RopeScaling:
    return RopeScaling("proportional", rope.number("factor", default=1.0))


_SCALINGS = {"linear": _linear, "yarn": _yarn, "llama3": _banded, "proportional": _proportional}
