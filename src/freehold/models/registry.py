"""Which family an architecture belongs to: literal tables, imported when asked.

Room: models. The only place, beside the families and their loading tables, that names them.
"""

from __future__ import annotations

__all__ = ["DECODERS", "ENCODERS", "FAMILIES", "WRAPPERS"]

# general.architecture of a file -> family: models/<family>.py and loading/names/<family>.py
FAMILIES = {
    "llama": "llama",
    "qwen2": "qwen2",
    "qwen2moe": "qwen2",
    "qwen3": "qwen3",
    "qwen3moe": "qwen3",
}

# model_type of a directory's config.json -> family, likewise
DECODERS = {
    "llama": "llama",
    "mistral": "llama",
    "mixtral": "llama",
    "qwen2": "qwen2",
    "qwen2_moe": "qwen2",
    "qwen3": "qwen3",
    "qwen3_moe": "qwen3",
}
ENCODERS = {"bert": "bert", "roberta": "bert", "xlm-roberta": "bert"}

# model_type of a model for several media, whose text_config names the decoder
WRAPPERS = frozenset({"mistral3"})
