"""What decoders of latent attention share in both formats: names, row orders, dims.

Room: loading. Must not know any family by name. Source: the conversion facts of the GGUF format;
DeepseekV2Attention of transformers 5.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source
from freehold.models.blocks import Late, RopeScaling
from freehold.models.decoder import MoeConfig
from freehold.models.latent import LatentConfig

__all__ = ["gguf_config", "gguf_source", "hub_config", "hub_moe", "hub_source", "may_leave"]

_HUB = {
    "attn.q_a": "self_attn.q_a_proj.weight",
    "attn.q_a_norm": "self_attn.q_a_layernorm.weight",
    "attn.q_b": "self_attn.q_b_proj.weight",
    "attn.kv_a": "self_attn.kv_a_proj_with_mqa.weight",
    "attn.kv_a_norm": "self_attn.kv_a_layernorm.weight",
    "attn.kv_b": "self_attn.kv_b_proj.weight",
    "shared.gate": "mlp.shared_experts.gate_proj.weight",
    "shared.up": "mlp.shared_experts.up_proj.weight",
    "shared.down": "mlp.shared_experts.down_proj.weight",
}
_GGUF = {
    "attn.q_a": "attn_q_a.weight",
    "attn.q_a_norm": "attn_q_a_norm.weight",
    "attn.q_b": "attn_q_b.weight",
    "attn.kv_a": "attn_kv_a_mqa.weight",
    "attn.kv_a_norm": "attn_kv_a_norm.weight",
    "attn.kv_b": "attn_kv_b.weight",
    "attn.k_b": "attn_k_b.weight",
    "attn.v_b": "attn_v_b.weight",
}

# Gates with ups, and down projections, of all experts of a layer.
_HUB_MERGED = (
    "model.layers.{}.mlp.experts.gate_up_proj",
    "model.layers.{}.mlp.experts.down_proj",
)
_GGUF_MERGED = ("blk.{}.ffn_gate_up_exps.weight", "blk.{}.ffn_down_exps.weight")


def hub_source(canonical: str, config: LatentConfig) -> Source | None:
    """Where a slot lies in the checkpoint."""
    if canonical.endswith(("attn.k_b", "attn.v_b")):
        return _joined(canonical, config, hub_decoder.file_name(_joined_name(canonical), _HUB))
    if canonical.endswith(("attn.q", "attn.kv_a")):
        name = hub_decoder.file_name(_query_name(canonical, config), _HUB)
        return Source((name,), order=_order(canonical, config))
    source = hub_decoder.decoder_source(canonical, config, _HUB)
    if source is None or len(source.names) == 1:
        return source
    return replace(source, instead=_merged(canonical, config, _HUB_MERGED))


def gguf_source(canonical: str, config: LatentConfig) -> Source:
    """Where a slot lies in the file: keys' and values' matrices apart, in older files together."""
    c = config
    if canonical.endswith(("attn.k_b", "attn.v_b")):
        together = gguf_decoder.file_name(_joined_name(canonical), _GGUF)
        keys = canonical.endswith("k_b")
        shape = (c.heads, c.rank, c.plain_width) if keys else (c.heads, c.value_width, c.rank)
        name = gguf_decoder.file_name(canonical, _GGUF)
        return Source((name,), shape=shape, instead=_joined(canonical, config, together))
    name = gguf_decoder.file_name(_query_name(canonical, config), _GGUF)
    experts = gguf_decoder.stacked_experts(canonical, config)
    if experts is not None and not canonical.endswith("down"):
        return Source((name,), shape=experts, instead=_merged(canonical, config, _GGUF_MERGED))
    return Source((name,), shape=experts, order=_order(canonical, config))


def may_leave(name: str, config: LatentConfig) -> bool:
    """Whether a tensor belongs to layers that predict further tokens, or is computed anyway."""
    for prefix in ("model.layers.", "blk."):
        number = name.removeprefix(prefix).split(".", 1)[0]
        if name.startswith(prefix) and number.isdigit() and int(number) >= config.layers:
            return True
    return name.endswith("rotary_emb.inv_freq")


def _joined_name(canonical: str) -> str:
    return canonical.rsplit(".", 1)[0] + ".kv_b"


def _query_name(canonical: str, config: LatentConfig) -> str:
    low = config.query_rank and canonical.endswith("attn.q")
    return canonical + "_b" if low else canonical


def _joined(canonical: str, config: LatentConfig, name: str) -> Source:
    """Keys' or values' rows of a tensor that has both, head by head; keys lie the other way."""
    c = config
    rows = np.arange(c.heads * (c.plain_width + c.value_width)).reshape(c.heads, -1)
    shape = (rows.size, c.rank)
    if canonical.endswith("v_b"):
        return Source((name,), shape=shape, order=rows[:, c.plain_width :].reshape(-1))
    return Source((name,), shape, rows[:, : c.plain_width].reshape(-1), turned=c.heads)


def _merged(canonical: str, config: LatentConfig, names: tuple[str, str]) -> Source:
    """A matrix of all experts: down projections, or the half that is wanted of gates and ups."""
    moe, (_layers, layer, _moe, part) = config.moe, canonical.split(".")
    assert moe is not None, "a plain decoder has no experts"
    if part == "down":
        shape = (moe.experts, config.width, moe.expert_width)
        return Source((names[1].format(layer),), shape=shape)
    rows = np.arange(moe.experts * 2 * moe.expert_width).reshape(moe.experts, 2, -1)
    order = rows[:, 0 if part == "gate" else 1].reshape(-1)
    shape = (moe.experts, 2 * moe.expert_width, config.width)
    return Source((names[0].format(layer),), shape=shape, order=order)


def _order(canonical: str, config: LatentConfig) -> NDArray[np.int64] | None:
    """Rows whose last part rotates, halves apart; None where they stay as they are."""
    if not config.interleaved:
        return None
    if canonical.endswith("attn.q"):
        return _halves_last(config.heads, config.plain_width, config.head_width)
    if canonical.endswith("attn.kv_a"):
        return _halves_last(1, config.rank, config.head_width)
    return None


def _halves_last(heads: int, plain: int, rotated: int) -> NDArray[np.int64]:
    rows = np.arange(heads * (plain + rotated)).reshape(heads, -1)
    pairs = rows[:, plain:].reshape(heads, rotated // 2, 2).swapaxes(1, 2).reshape(heads, -1)
    return np.concatenate([rows[:, :plain], pairs], axis=1).reshape(-1)


def hub_config(keys: Keys, *, late: bool = False) -> LatentConfig:
    """The configuration but for its mixture of experts. Raises: BadConfig, UnknownConfigKey."""
    heads = keys.integer("num_attention_heads", most=1 << 12)
    keys.ignore("num_key_value_heads", "all heads share a token's row")
    keys.ignore("head_dim", "follows from the parts of a head")
    keys.ignore("qk_head_dim", "follows from the parts of a head")
    plain, rotated = keys.integer("qk_nope_head_dim"), keys.integer("qk_rope_head_dim", most=4096)
    keys.absent_or("hidden_act", "silu", "the gated MLP of this family")
    keys.absent_or("attention_bias", False, "no projection has a bias")
    keys.truth("tie_word_embeddings", default=False)  # a head beside the embedding is taken
    context = keys.integer("max_position_embeddings")
    also = ("llama_4_scaling_beta",) if late else ()
    base, scaling, share = hub_decoder.rope_of(keys, "rope_parameters", context, 10000.0, also=also)
    if abs(share - 1.0) > 1e-6 and abs(share - rotated / (plain + rotated)) > 1e-6:
        raise BadConfig(
            "the rotated share of a head differs from its parts",
            family=keys.architecture,
            expected=str(rotated / (plain + rotated)),
            found=str(share),
        )
    rope = hub_decoder.rope_section(keys, "rope_parameters")
    all_dims = rope.number("mscale_all_dim", default=0.0)
    beta = rope.number("llama_4_scaling_beta", default=0.0) if late else 0.0
    return _checked(
        keys,
        LatentConfig(
            vocabulary=keys.integer("vocab_size"),
            context_tokens=context,
            layers=keys.integer("num_hidden_layers", most=4096),
            width=keys.integer("hidden_size"),
            heads=heads,
            kv_heads=1,
            head_width=rotated,
            mlp_width=keys.integer("intermediate_size"),
            eps=keys.number("rms_norm_eps"),
            rope_base=base,
            rope_scaling=scaling,
            rank=keys.integer("kv_lora_rank", most=4096 - rotated),
            query_rank=keys.integer("q_lora_rank", default=0),
            plain_width=plain,
            value_width=keys.integer("v_head_dim", most=4096),
            scale=_scale(plain + rotated, scaling, all_dims),
            late=Late(scaling.original_context, beta) if beta else None,
            interleaved=keys.truth("rope_interleave", default=True),
        ),
    )


def hub_moe(keys: Keys) -> MoeConfig:
    """The shapes of a mixture of experts; the family sets its rule."""
    width = keys.integer("moe_intermediate_size")
    for key, reason in _TRAINING.items():
        keys.ignore(key, reason)
    return MoeConfig(
        experts=keys.integer(keys.either("n_routed_experts", "num_local_experts"), most=1 << 14),
        chosen=keys.integer("num_experts_per_tok", most=1 << 10),
        expert_width=width,
        shared_width=width * keys.integer("n_shared_experts", default=0, least=0, most=1 << 10),
        scale=keys.number("routed_scaling_factor", default=1.0),
        epsilon=1e-20,
    )


_TRAINING = {
    "aux_loss_alpha": "training only",
    "seq_aux": "training only",
    "ep_size": "how to compute, not what",
    "num_nextn_predict_layers": "layers that predict further tokens are left out",
    "num_mtp_layers": "layers that predict further tokens are left out",
}


def gguf_config(keys: Keys) -> LatentConfig:
    """The configuration with its mixture of experts. Raises: BadConfig."""
    vocabulary = gguf_decoder.vocabulary_of(keys.metadata)
    heads = keys.integer("attention.head_count", most=1 << 12)
    rotated, rank = (
        keys.integer("rope.dimension_count", most=2048),
        keys.integer("attention.kv_lora_rank", most=2048),
    )
    # Files whose keys and values are apart say the widths of a row here, and a head's elsewhere.
    keys.integer("attention.head_count_kv", default=1, most=1 << 12)
    key = keys.integer("attention.key_length", most=1 << 13)
    value = keys.integer("attention.value_length", most=1 << 13)
    key = keys.integer("attention.key_length_mla", default=key, least=rotated + 1, most=1 << 13)
    value = keys.integer("attention.value_length_mla", default=value, most=4096)
    keys.absent_or("vocab_size", vocabulary, "the tokenizer's own size")
    scaling = gguf_decoder.rope_scaling(keys)
    # Files keep a tenth of what the configuration calls mscale_all_dim.
    all_dims = 10.0 * keys.number("rope.scaling.yarn_log_multiplier", default=0.0, above=-1e-9)
    if scaling.kind == "yarn":  # a factor of the rotation is in the scale of scores
        scaling = RopeScaling(
            "yarn",
            scaling.factor,
            scaling.original_context,
            1.0,
            scaling.beta_fast,
            scaling.beta_slow,
        )
    beta = keys.number("attention.temperature_scale", default=0.0, above=-1e-9)
    trained = keys.integer("attention.temperature_length", default=scaling.original_context or 1)
    further = keys.integer("nextn_predict_layers", default=0, least=0, most=64)
    return _checked(
        keys,
        LatentConfig(
            vocabulary=vocabulary,
            context_tokens=keys.integer("context_length"),
            layers=keys.integer("block_count", least=further + 1, most=4096) - further,
            width=keys.integer("embedding_length"),
            heads=heads,
            kv_heads=1,
            head_width=rotated,
            mlp_width=keys.integer("feed_forward_length"),
            eps=keys.number("attention.layer_norm_rms_epsilon"),
            rope_base=keys.number("rope.freq_base", default=10000.0, above=1.0),
            rope_scaling=scaling,
            moe=_gguf_moe(keys),
            rank=rank,
            query_rank=keys.integer("attention.q_lora_rank", default=0, least=0),
            plain_width=key - rotated,
            value_width=value,
            scale=_scale(key, scaling, all_dims),
            late=Late(trained, beta) if beta > 0.0 else None,
        ),
    )


def _gguf_moe(keys: Keys) -> MoeConfig:
    width = keys.integer("expert_feed_forward_length")
    sigmoid = keys.integer("expert_gating_func", default=1, most=2) == 2
    shared = keys.integer("expert_shared_count", default=0, least=0, most=1 << 10)
    return MoeConfig(
        experts=keys.integer("expert_count", most=1 << 14),
        chosen=keys.integer("expert_used_count", most=1 << 10),
        expert_width=width,
        scoring="sigmoid" if sigmoid else "softmax",
        renormalise=keys.truth("expert_weights_norm", default=False),
        epsilon=1e-20,
        scale=keys.number("expert_weights_scale", default=1.0),
        groups=keys.integer("expert_group_count", default=1, most=1 << 10),
        groups_kept=keys.integer("expert_group_used_count", default=1, most=1 << 10),
        group_top=2 if sigmoid else 1,
        selection_bias=sigmoid,
        shared_width=shared * width,
        dense_layers=frozenset(
            range(keys.integer("leading_dense_block_count", default=0, least=0, most=4096))
        ),
    )


def _scale(width: int, scaling: RopeScaling, all_dims: float) -> float:
    """What multiplies scores: stretched positions sharpen them."""
    sharper = hub_decoder.magnitude(scaling.factor, all_dims) if scaling.kind != "none" else 1.0
    return float(width**-0.5 * sharper**2)


def _checked(keys: Keys, config: LatentConfig) -> LatentConfig:
    c = config
    if c.rank % 16 or c.value_width % 16 or c.head_width % 2:
        raise BadConfig(
            "the widths of latent attention do not suit the kernels",
            family=keys.architecture,
            expected="latents and values multiples of 16, an even rotated width",
            found=f"{c.rank}, {c.value_width} and {c.head_width}",
        )
    return config
