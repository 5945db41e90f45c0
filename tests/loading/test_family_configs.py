"""What families refuse to guess, and what they take where released files say nothing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest

from freehold.errors import BadConfig, UnknownConfigKey
from freehold.loading.sources import Table
from freehold.models.registry import DECODERS

PLAIN: dict[str, object] = {
    "vocab_size": 32,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "num_hidden_layers": 6,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
}
EXPERTS: dict[str, object] = {
    "n_routed_experts": 8,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}


def read(model_type: str, **said: object) -> Any:
    table: Table = import_module(f"freehold.loading.names.{DECODERS[model_type]}").HUB
    keys = PLAIN | {"model_type": model_type} | said
    if model_type == "glm4_moe":
        keys = {k: v for k, v in (keys | EXPERTS).items() if k != "num_local_experts"}
    if model_type in ("gpt_oss", "llama4_text"):
        keys |= {"num_local_experts": 8, "num_experts_per_tok": 2}
    return table.read_config(keys)


FAMILIES = (
    "gemma3_text",
    "gemma4_text",
    "glm4_moe",
    "gpt_oss",
    "llama4_text",
    "ministral",
    "ministral3",
    "olmo2",
    "olmo3",
    "seed_oss",
    "smollm3",
)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_key_that_the_family_does_not_understand_is_refused(model_type: str) -> None:
    assert read(model_type).layers == 6
    with pytest.raises(UnknownConfigKey, match="surprise"):
        read(model_type, surprise=1)


REFUSED: dict[str, tuple[str, dict[str, object]]] = {
    "growth from nowhere": ("ministral3", {"rope_parameters": {"llama_4_scaling_beta": 0.1}}),
    "a layer short": ("smollm3", {"no_rope_layers": [1, 0]}),
    "an odd part of a head": ("glm4_moe", {"partial_rotary_factor": 0.2}),
    "scores capped": ("gemma3_text", {"attn_logit_softcapping": 50.0}),
    "both directions": ("gemma3_text", {"use_bidirectional_attention": True}),
    "all directions": ("gemma4_text", {"use_bidirectional_attention": "all"}),
    "another gate": ("gemma3_text", {"hidden_activation": "silu"}),
    "biases": ("gemma4_text", {"attention_bias": True}),
    "layers of their own": (
        "gemma4_text",
        {
            "num_hidden_layers": 12,
            "per_layer_config": {"5": {"head_dim": 32}, "11": {"head_dim": 64}},
        },
    ),
    "a sliding layer of its own": ("gemma4_text", {"per_layer_config": {"0": {"head_dim": 32}}}),
    "a kind of layers": ("llama4_text", {"layer_types": ["sliding_attention"] * 6}),
}


@pytest.mark.parametrize(("model_type", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_carried_is_refused(model_type: str, said: dict[str, Any]) -> None:
    with pytest.raises((BadConfig, UnknownConfigKey)):
        read(model_type, **said)


def test_released_files_may_say_little() -> None:
    """A text part of Gemma 3 names few keys; Scout says its temperature tuning as a number."""
    table: Table = import_module("freehold.loading.names.gemma3").HUB
    said = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 34}
    scaling = {"factor": 8.0, "rope_type": "linear"}
    config = table.read_config(
        said | {"model_type": "gemma3_text", "rope_scaling": scaling, "sliding_window": 1024}
    )
    assert (config.heads, config.kv_heads, config.head_width) == (8, 4, 256)
    assert (config.rope_base, config.rope_scaling.factor) == (1e6, 8.0)
    assert config.near_rope is not None
    assert config.near_rope[0] == 1e4
    assert config.windows[:6] == (1024,) * 5 + (0,)
    assert read("llama4_text", attn_temperature_tuning=4).late is not None
    assert read("llama4_text", attn_temperature_tuning=0).late is None
    assert read("olmo3", rope_scaling={"rope_type": "linear", "factor": 8.0}).near_rope is not None
