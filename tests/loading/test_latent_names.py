"""Decoders of latent attention: matrices that lie the other way, layers left out, refused keys."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from freehold.errors import BadConfig, UnknownConfigKey
from freehold.formats.block_types import BlockType
from freehold.loading.matrices import read_parameter
from freehold.loading.names import deepseek, latent_decoder
from freehold.loading.sources import Source
from freehold.models.base import Slot
from freehold.models.latent import LatentConfig
from freehold.ops import Weight
from tests.ops.grid import Array, raw_weight

CONFIG: dict[str, Any] = {
    "model_type": "deepseek_v3",
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "moe_intermediate_size": 32,
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "kv_lora_rank": 32,
    "q_lora_rank": None,
    "qk_nope_head_dim": 24,
    "qk_rope_head_dim": 16,
    "v_head_dim": 48,
    "n_routed_experts": 8,
    "num_experts_per_tok": 3,
    "n_group": 4,
    "topk_group": 2,
    "rope_scaling": None,
}


@dataclass(frozen=True)
class Stored:
    """Rows of random blocks, as a file gives them."""

    block_type: int
    bytes: Array
    shape: tuple[int, ...]
    name: str = "w"
    is_view: bool = False

    @property
    def n_bytes(self) -> int:
        return int(self.bytes.size)

    def raw(self, start: int, count: int) -> Array:
        return self.bytes.reshape(self.shape[0], -1)[start : start + count]

    def release(self, start: int, count: int) -> None:
        """Nothing is mapped."""


@pytest.mark.parametrize(
    ("name", "kept"),
    [("F32", "F32"), ("F16", "F16"), ("BF16", "BF16"), ("Q8_0", "F32"), ("Q4_K", "F32")],
)
def test_turned_matrices_keep_every_value_exactly(name: str, kept: str) -> None:
    """Two matrices of 20 rows, of which each has its rows 3 to 18 turned."""
    raw, values = raw_weight(np.random.default_rng(5), name, 40, 256)
    order = np.array([*range(3, 19), *range(23, 39)])
    source = Source(("w",), order=order, turned=2)
    stored = Stored(int(BlockType[name]), raw, (40, 256))
    weight = read_parameter([stored], Slot((512, 16)), source)
    assert isinstance(weight, Weight)
    assert weight.type == BlockType[kept]
    expected = values[order].reshape(2, 16, 256).swapaxes(1, 2).reshape(512, 16)
    assert np.array_equal(weight.unpack(), expected)


def test_layers_that_predict_further_tokens_are_left_in_the_file() -> None:
    config = read()
    for name in ("model.layers.3.eh_proj.weight", "blk.3.nextn.eh_proj.weight"):
        assert latent_decoder.may_leave(name, config)
    for name in ("model.layers.2.eh_proj.weight", "blk.2.attn_q.weight", "model.norm.weight"):
        assert not latent_decoder.may_leave(name, config)


def test_the_row_that_pages_keep_is_the_latent_and_the_rotated_part() -> None:
    config = read()
    model = deepseek.Model.__new__(deepseek.Model)
    model.config = config
    assert {tuple(layer) for layer in model.kv_spec().layers} == {(1, 48, 32, True)}


def read(**changes: Any) -> LatentConfig:
    config = deepseek.HUB.read_config(CONFIG | changes)
    assert isinstance(config, LatentConfig)
    return config


@pytest.mark.parametrize(
    "changes",
    [
        {"kv_lora_rank": 40},
        {"v_head_dim": 40},
        {"qk_rope_head_dim": 15},
        {"attention_bias": True},
        {"hidden_act": "gelu"},
        {"moe_layer_freq": 2},
        {"scoring_func": "softmax"},
        {"topk_method": "greedy"},
        {"n_group": None},
        {"mlp_layer_types": ["dense", "sparse"]},
        {"partial_rotary_factor": 0.5},
        {"model_type": "deepseek_v2", "norm_topk_prob": True},
        {"model_type": "deepseek_v2", "topk_method": "noaux_tc"},
    ],
    ids=str,
)
def test_a_configuration_that_would_mean_another_network_is_refused(
    changes: dict[str, Any],
) -> None:
    read()
    with pytest.raises(BadConfig):
        read(**changes)


def test_a_key_that_nobody_knows_is_refused_by_name() -> None:
    with pytest.raises(UnknownConfigKey, match="index_topk"):
        read(index_topk=2048)


FILE: dict[str, Any] = {
    "context_length": 512,
    "embedding_length": 64,
    "feed_forward_length": 96,
    "attention.head_count": 4,
    "attention.key_length": 48,
    "attention.value_length": 32,
    "attention.key_length_mla": 40,
    "attention.value_length_mla": 48,
    "attention.kv_lora_rank": 32,
    "attention.layer_norm_rms_epsilon": 1e-6,
    "rope.dimension_count": 16,
    "expert_count": 8,
    "expert_used_count": 3,
    "expert_feed_forward_length": 32,
}


@pytest.mark.parametrize(
    ("layers", "tokens", "said", "scoring"),
    [
        (27, 102400, {}, "softmax"),
        (47, 154880, {}, "sigmoid"),
        (48, 154880, {}, "sigmoid"),
        (47, 102400, {}, "softmax"),
        (46, 154880, {}, "softmax"),
        (47, 154880, {"expert_gating_func": 1}, "softmax"),
        (61, 129280, {"expert_gating_func": 2}, "sigmoid"),
    ],
)
def test_a_file_that_leaves_the_rule_out_is_told_by_its_size(
    layers: int, tokens: int, said: dict[str, int], scoring: str
) -> None:
    keys = {
        f"deepseek2.{key}": value for key, value in {**FILE, "block_count": layers, **said}.items()
    }
    config = deepseek.GGUF.read_config(keys | {"tokenizer.ggml.tokens": ("",) * tokens})
    assert config.moe is not None
    assert (config.moe.scoring, config.moe.selection_bias) == (scoring, scoring == "sigmoid")
