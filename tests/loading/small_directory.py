"""A directory as transformers saves it: a small decoder of random weights, and its text side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.tokenizer import tokenizer_json as made

VOCABULARY = 300
WIDTH, HEADS, MLP = 64, 4, 128
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": VOCABULARY,
    "hidden_size": WIDTH,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "num_hidden_layers": 1,
    "intermediate_size": MLP,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
    "eos_token_id": 7,
}
TOKENIZER_CONFIG: dict[str, Any] = {
    "bos_token": "<|begin|>",
    "eos_token": {"__type": "AddedToken", "content": "<|im_end|>", "lstrip": False},
    "chat_template": TEMPLATE,
    "tokenizer_class": "PreTrainedTokenizerFast",
    "model_max_length": 1000000000000000019884624838656,
}


def write_directory(folder: Path, files: dict[str, Any] | None = None) -> Path:
    """The directory; `files` are further or other ones, None leaves one out."""
    folder.mkdir(parents=True, exist_ok=True)
    texts: dict[str, Any] = {
        "config.json": CONFIG,
        "tokenizer.json": made.byte_level(),
        "tokenizer_config.json": TOKENIZER_CONFIG,
        **(files or {}),
    }
    for name, value in texts.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        if isinstance(value, bytes):
            path.write_bytes(value)
        elif value is not None:
            path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
    return folder


def write_weights(folder: Path) -> None:
    """Random weights for CONFIG."""
    rng = np.random.default_rng(5)
    shapes = {
        "self_attn.q_proj": (WIDTH, WIDTH),
        "self_attn.k_proj": (WIDTH, WIDTH),
        "self_attn.v_proj": (WIDTH, WIDTH),
        "self_attn.o_proj": (WIDTH, WIDTH),
        "mlp.gate_proj": (MLP, WIDTH),
        "mlp.up_proj": (MLP, WIDTH),
        "mlp.down_proj": (WIDTH, MLP),
        "input_layernorm": (WIDTH,),
        "post_attention_layernorm": (WIDTH,),
    }
    tensors = {f"model.layers.0.{name}.weight": shape for name, shape in shapes.items()}
    tensors |= {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    values = {name: rng.standard_normal(shape).astype("f4") for name, shape in tensors.items()}
    save_file(values, folder / "model.safetensors")
