"""Which family an architecture belongs to: literal tables, imported when asked.

Room: models. The only place, beside the families and their loading tables, that names them.
"""

from __future__ import annotations

__all__ = ["DECODERS", "ENCODERS", "FAMILIES", "PLAIN_LAYERS", "WRAPPERS"]

# general.architecture of a file -> family: models/<family>.py and loading/names/<family>.py
FAMILIES = {
    "deepseek2": "deepseek",
    "gemma3": "gemma3",
    "gemma4": "gemma4",
    "glm4moe": "glm4_moe",
    "gpt-oss": "gpt_oss",
    "llama": "llama",
    "llama4": "llama4",
    "mistral3": "ministral3",
    "mistral4": "mistral4",
    "olmo2": "olmo2",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3",
    "qwen3next": "qwen3_next",
    "qwen35": "qwen3_5",
    "qwen35moe": "qwen3_5",
    "seed_oss": "seed_oss",
    "smollm3": "smollm3",
}

# model_type of a directory's config.json -> family, likewise
DECODERS = {
    "deepseek_v2": "deepseek",
    "deepseek_v3": "deepseek",
    "gemma3_text": "gemma3",
    "gemma4_text": "gemma4",
    "glm4_moe": "glm4_moe",
    "glm4_moe_lite": "deepseek",
    "gpt_oss": "gpt_oss",
    "llama": "llama",
    "llama4_text": "llama4",
    "ministral": "llama",
    "ministral3": "ministral3",
    "mistral": "llama",
    "mistral4": "mistral4",
    "mixtral": "llama",
    "olmo2": "olmo2",
    "olmo3": "olmo2",
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3",
    "qwen3_next": "qwen3_next",
    "qwen3_5_text": "qwen3_5",
    "qwen3_5_moe_text": "qwen3_5",
    "seed_oss": "seed_oss",
    "smollm3": "smollm3",
}
ENCODERS = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert"}

# model_type of a model for several media, whose text_config names the decoder
WRAPPERS = frozenset({"gemma3", "gemma4", "llama4", "mistral3", "qwen3_5", "qwen3_5_moe"})

# Families whose layers are the plain decoder's, as far as the checkpoint has slots for its parts,
# and the gate of their MLPs: whoever builds the network anew needs to know no more.
PLAIN_LAYERS = {
    "gemma3": "gelu_tanh",
    "llama": "silu",
    "ministral3": "silu",
    "olmo2": "silu",
    "qwen2": "silu",
    "qwen3": "silu",
    "seed_oss": "silu",
    "smollm3": "silu",
}
