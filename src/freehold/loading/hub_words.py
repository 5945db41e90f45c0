"""What a directory says of a decoder that was a GGUF file: config.json, and the text side's files.

Room: loading. The inverse of the families' tables for directories. Whatever is said is read again
by the family's own table, and refused unless it means what the file means.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from freehold.errors import BadConfig
from freehold.loading.generation import generation_keys
from freehold.loading.plan import Plan
from freehold.loading.sources import Source, Table
from freehold.loading.text import TextSide
from freehold.models.blocks import RopeScaling
from freehold.models.decoder import DecoderConfig
from freehold.models.registry import DECODERS
from freehold.tokenizer import Tokenizer, tokenizer_json

__all__ = ["hub_config", "hub_model_type", "hub_places", "hub_text"]

# general.architecture -> model_type and transformers' class
_TYPES = {
    "llama": ("llama", "LlamaForCausalLM"),
    "qwen2": ("qwen2", "Qwen2ForCausalLM"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM"),
}


def hub_model_type(architecture: str) -> str:
    """What directories call a file's family. Raises: BadConfig for one that is not written yet."""
    if architecture not in _TYPES:
        raise _unwritten(architecture)
    return _TYPES[architecture][0]


def hub_config(plan: Plan, architecture: str, tokenizer: Tokenizer, dtype: str) -> dict[str, Any]:
    """config.json. Raises: BadConfig for a family, or a configuration, that is not written yet."""
    config: DecoderConfig = plan.config
    if architecture not in _TYPES or config.moe is not None or "rope_divisors" in plan.found:
        raise _unwritten(architecture)
    model_type, kind = _TYPES[architecture]
    said: dict[str, Any] = {
        "architectures": [kind],
        "model_type": model_type,
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context_tokens,
        "hidden_size": config.width,
        "intermediate_size": config.mlp_width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "head_dim": config.head_width,
        "hidden_act": "silu",
        "rms_norm_eps": float(config.eps),
        "rope_theta": float(config.rope_base),
        "tie_word_embeddings": "head" not in plan.found,
        "dtype": dtype,
        "bos_token_id": tokenizer.bos_id,
        "eos_token_id": sorted(tokenizer.eos_ids),
    }
    if model_type == "llama":
        said["attention_bias"] = "layers.0.attn.q_bias" in plan.found
    said |= _scaling(config.rope_scaling)
    _check(said, config)
    return said


def hub_places(plan: Plan, model_type: str) -> dict[str, Source]:
    """Where each slot that the model fills lies in a directory, by canonical name."""
    table = _table(model_type)
    return table.sources(plan.found, plan.config)


def hub_text(metadata: Mapping[str, object], text: TextSide) -> dict[str, dict[str, Any]]:
    """tokenizer.json, tokenizer_config.json and generation_config.json, by their names.

    Raises: UnknownTokenizer, BadTokenizer for a vocabulary that is not written yet.
    """
    tokenizer = text.tokenizer
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_bos_token": tokenizer.adds_bos,
        "add_eos_token": tokenizer.adds_eos,
    }
    for role, token_id in (("bos_token", tokenizer.bos_id), ("eos_token", tokenizer.eos_id)):
        if token_id is not None:
            config[role] = tokenizer.token(token_id)
    ends: dict[str, Any] = {"eos_token_id": sorted(tokenizer.eos_ids)} if tokenizer.eos_ids else {}
    return {
        "tokenizer.json": tokenizer_json(metadata),
        "tokenizer_config.json": config,
        "generation_config.json": ends | generation_keys(text.suggested),
    }


def _unwritten(architecture: str) -> BadConfig:
    return BadConfig(
        "this model's file cannot be written as a directory of safetensors yet",
        family=architecture,
        expected="one of " + ", ".join(_TYPES) + ", dense, with plain rotary frequencies",
        found=architecture,
        hint="export it as GGUF, or start from the model's own directory",
    )


def _scaling(scaling: RopeScaling) -> dict[str, Any]:
    if scaling.kind == "linear":
        return {"rope_scaling": {"rope_type": "linear", "factor": float(scaling.factor)}}
    if scaling.kind != "yarn":
        return {}
    return {
        "rope_scaling": {
            "rope_type": "yarn",
            "factor": float(scaling.factor),
            "original_max_position_embeddings": scaling.original_context,
            "beta_fast": float(scaling.beta_fast),
            "beta_slow": float(scaling.beta_slow),
        }
    }


def _table(model_type: str) -> Table:
    table: Table = import_module(f"freehold.loading.names.{DECODERS[model_type]}").HUB
    return table


def _check(said: Mapping[str, Any], wanted: DecoderConfig) -> None:
    """Raises: BadConfig unless the keys, read again, give the file's own configuration."""
    again = _table(str(said["model_type"])).read_config(said)
    if again == wanted:
        return
    differs = [key for key in vars(wanted) if getattr(again, key) != getattr(wanted, key)]
    raise BadConfig(
        "this configuration cannot be said in a config.json yet",
        family=str(said["model_type"]),
        expected=", ".join(f"{key} {getattr(wanted, key)!r}" for key in differs)[:200],
        found=", ".join(f"{getattr(again, key)!r}" for key in differs)[:200],
        hint="export it as GGUF, or start from the model's own directory",
    )
