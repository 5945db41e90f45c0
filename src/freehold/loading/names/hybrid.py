"""What hybrid decoders share in both formats: keys and tensor names of layers with a state, and the
parts of rows that files keep together.

Room: loading. Must not know any family by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
from numpy.typing import NDArray

from freehold.errors import BadConfig
from freehold.loading.keys import Keys
from freehold.loading.names import gguf_decoder, hub_decoder
from freehold.loading.sources import Source
from freehold.models.decoder import DecoderConfig
from freehold.models.hybrid import DeltaConfig, HybridConfig

__all__ = [
    "GGUF_NAMES",
    "HUB_NAMES",
    "gguf_source",
    "hub_delta",
    "hub_source",
    "hybrid",
    "may_leave_gguf",
    "may_leave_hub",
    "parts_of_rows",
    "read_gguf",
]

GGUF_NAMES: Mapping[str, str] = {
    "mlp_norm": "post_attention_norm.weight",
    "attn.gate": "attn_q.weight",
    "delta.qkv": "attn_qkv.weight",
    "delta.z": "attn_gate.weight",
    "delta.a": "ssm_alpha.weight",
    "delta.b": "ssm_beta.weight",
    "delta.taps": "ssm_conv1d.weight",
    "delta.decay": "ssm_a",
    "delta.dt_bias": "ssm_dt.bias",
    "delta.norm": "ssm_norm.weight",
    "delta.out": "ssm_out.weight",
}
HUB_NAMES: Mapping[str, str] = {
    "attn.gate": "self_attn.q_proj.weight",
    "delta.qkv": "linear_attn.in_proj_qkv.weight",
    "delta.z": "linear_attn.in_proj_z.weight",
    "delta.a": "linear_attn.in_proj_a.weight",
    "delta.b": "linear_attn.in_proj_b.weight",
    "delta.taps": "linear_attn.conv1d.weight",
    "delta.decay_log": "linear_attn.A_log",
    "delta.dt_bias": "linear_attn.dt_bias",
    "delta.norm": "linear_attn.norm.weight",
    "delta.out": "linear_attn.out_proj.weight",
}
# Kept as w where 1 + w is meant: all norms but that of what a state gives.
_NORMS = ("attn_norm", "mlp_norm", "attn.q_norm", "attn.k_norm", "final_norm")


def hybrid(config: DecoderConfig, delta: DeltaConfig) -> HybridConfig:
    """The decoder's configuration with that of its layers with a state."""
    return HybridConfig(
        **{item.name: getattr(config, item.name) for item in fields(config)}, delta=delta
    )


def _interval_layers(layers: int, interval: int) -> frozenset[int]:
    """Every layer but each `interval`-th."""
    return frozenset(i for i in range(layers) if (i + 1) % interval)


def hub_delta(keys: Keys, layers: int) -> DeltaConfig:
    """The layers with a state, as config.json describes them. Raises: BadConfig."""
    interval = keys.integer("full_attention_interval", default=4, most=4096)
    kinds = keys.words("layer_types", allowed=("linear_attention", "full_attention"))
    if kinds and len(kinds) != layers:
        raise BadConfig(
            "layer_types does not list every layer",
            family=keys.architecture,
            expected=f"{layers} layers",
            found=str(len(kinds)),
        )
    listed = frozenset(i for i, kind in enumerate(kinds) if kind == "linear_attention")
    keys.absent_or("attention_bias", False, "the norms of heads take its place")
    keys.absent_or("attn_output_gate", True, "attention has its gate")
    keys.absent_or("mamba_ssm_dtype", "float32", "states are float32")
    for key in ("mtp_num_hidden_layers", "mtp_use_dedicated_embeddings"):
        keys.ignore(key, "layers that guess further tokens are not run")
    return _checked(
        keys,
        DeltaConfig(
            layers=listed if kinds else _interval_layers(layers, interval),
            key_heads=keys.integer("linear_num_key_heads", default=16, most=4096),
            value_heads=keys.integer("linear_num_value_heads", default=32, most=4096),
            key_width=keys.integer("linear_key_head_dim", default=128, most=4096),
            value_width=keys.integer("linear_value_head_dim", default=128, most=4096),
            taps=keys.integer("linear_conv_kernel_dim", default=4, least=2, most=16),
        ),
    )


def _gguf_delta(keys: Keys, layers: int, *, tiled: bool) -> DeltaConfig:
    """The layers with a state, as a file's metadata describes them. Raises: BadConfig."""
    interval = keys.integer("full_attention_interval", default=4, most=4096)
    flags = keys.truths("attention.recurrent_layers")
    heads = keys.integer("ssm.time_step_rank", most=4096)
    inner = keys.integer("ssm.inner_size")
    listed = frozenset(i for i, flag in enumerate(flags[:layers]) if flag)
    return _checked(
        keys,
        DeltaConfig(
            layers=listed if flags else _interval_layers(layers, interval),
            key_heads=keys.integer("ssm.group_count", most=4096),
            value_heads=heads,
            key_width=keys.integer("ssm.state_size", most=4096),
            value_width=max(inner // heads, 1),
            taps=keys.integer("ssm.conv_kernel", least=2, most=16),
            tiled=tiled,
        ),
    )


def _checked(keys: Keys, config: DeltaConfig) -> DeltaConfig:
    if config.value_heads % config.key_heads:
        raise BadConfig(
            "the heads of layers with a state do not suit one another",
            family=keys.architecture,
            expected="value heads a multiple of key heads",
            found=f"{config.value_heads} and {config.key_heads}",
        )
    return config


def read_gguf(keys: Keys, *, tiled: bool) -> HybridConfig:
    """The configuration of a hybrid decoder, dense or with experts whose weights sum to one.

    Raises: BadConfig, UnknownConfigKey.
    """
    expert_width = keys.integer("expert_feed_forward_length", default=0, least=0)
    shared = keys.integer("expert_shared_feed_forward_length", default=0, least=0)
    config = gguf_decoder.decoder_config(keys, partial=True, mlp_width=expert_width or None)
    guessing = keys.integer("nextn_predict_layers", default=0, least=0, most=config.layers - 1)
    config = replace(config, layers=config.layers - guessing)
    if config.moe is not None:
        moe = replace(config.moe, renormalise=True, shared_width=shared, shared_opening=shared > 0)
        config = replace(config, moe=moe)
    keys.ignore("rope.dimension_sections", "of text, all sections count the same positions")
    made = hybrid(config, _gguf_delta(keys, config.layers, tiled=tiled))
    keys.finish()
    return made


def may_leave_gguf(name: str, config: HybridConfig) -> bool:
    """Whether a tensor is of a layer that guesses further tokens, which is not run."""
    parts = name.split(".")
    return parts[0] == "blk" and parts[1].isdecimal() and int(parts[1]) >= config.layers


def may_leave_hub(name: str, _config: object) -> bool:
    """The same in a checkpoint."""
    return name.removeprefix("model.").startswith("mtp.")


def hub_source(
    canonical: str, config: HybridConfig, renamed: Mapping[str, str] = HUB_NAMES
) -> Source | None:
    """Where a slot lies in a checkpoint."""
    part = canonical.split(".", 2)[-1]
    if part == "delta.decay":
        return None  # the checkpoint has its logarithm
    source = hub_decoder.decoder_source(canonical, config, renamed)
    assert source is not None, "every other slot is in the checkpoint"
    if part in _NORMS or canonical in _NORMS:
        return Source(source.names, add=1.0)
    if part == "delta.taps":
        return Source(source.names, shape=(config.delta.columns, 1, config.delta.taps))
    return _gated_query(part, source.names, config) or source


def gguf_source(canonical: str, config: HybridConfig) -> Source | None:
    """Where a slot lies in a file."""
    part = canonical.split(".", 2)[-1]
    if part == "delta.decay_log":
        return None  # the file has the decay itself
    if part in GGUF_NAMES:
        names = (gguf_decoder.file_name(canonical, GGUF_NAMES),)
        return _gated_query(part, names, config) or Source(names)
    source = gguf_decoder.decoder_source(canonical, config)
    return _gated_query(part, source.names, config) or source


def _gated_query(part: str, names: tuple[str, ...], config: HybridConfig) -> Source | None:
    """Queries and gates, which lie head by head in one matrix."""
    if part not in ("attn.q", "attn.gate"):
        return None
    heads, width = config.heads, config.head_width
    order = parts_of_rows(heads, (width, width))[0 if part == "attn.q" else 1]
    return Source(names, shape=(2 * heads * width, config.width), order=order)


def parts_of_rows(groups: int, widths: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """The rows of each part, where every group has its rows of all parts one after another."""
    rows = np.arange(groups * sum(widths)).reshape(groups, -1)
    ends = np.cumsum(widths)
    return [np.ascontiguousarray(part.reshape(-1)) for part in np.split(rows, ends[:-1], axis=1)]
