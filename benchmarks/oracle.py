"""The float32 oracle: a GGUF file's dequantised weights in transformers' own Llama or Qwen2.

Room: benchmarks. Uses gguf, torch and transformers; must not use freehold or llama.cpp.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM

_LAYER_NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_TOP_NAMES = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}


Oracle: TypeAlias = LlamaForCausalLM | Qwen2ForCausalLM


def load_oracle(path: Path, *, attention: str = "sdpa") -> Oracle:
    """The file as a float32 transformers model; rotations may carry rope_freqs divisors.

    Raises: ValueError for another architecture, rope scaling in metadata, or surplus tensors.
    """
    import gguf

    reader = gguf.GGUFReader(path)
    config = _config(reader)
    config._attn_implementation = attention
    paired = isinstance(config, LlamaConfig)  # whose rotated rows the converter pairs
    model = (LlamaForCausalLM if paired else Qwen2ForCausalLM)(config).to(torch.float32).eval()
    state = model.state_dict()
    unseen = set(state)
    divisors: torch.Tensor | None = None
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if tensor.name == "rope_freqs.weight":
            divisors = torch.from_numpy(values)
            continue
        name = hf_name(tensor.name)
        if paired and name.endswith(("q_proj.weight", "q_proj.bias")):
            values = half_split(values, config.num_attention_heads)
        elif paired and name.endswith(("k_proj.weight", "k_proj.bias")):
            values = half_split(values, config.num_key_value_heads)
        state[name].copy_(torch.from_numpy(np.ascontiguousarray(values)))
        unseen.discard(name)
    if config.tie_word_embeddings:
        unseen.discard("lm_head.weight")
    if unseen:
        raise ValueError(f"{path.name} lacks {sorted(unseen)}")
    if divisors is not None:
        model.model.rotary_emb.inv_freq /= divisors
    return model


def _config(reader: Any) -> LlamaConfig | Qwen2Config:
    fields = {name: field.contents() for name, field in reader.fields.items()}
    arch = fields["general.architecture"]
    kinds = {"llama": LlamaConfig, "qwen2": Qwen2Config}
    if arch not in kinds or f"{arch}.rope.scaling.type" in fields:
        raise ValueError("this oracle is for llama and qwen2 without rope scaling keys")
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    heads = fields[f"{arch}.attention.head_count"]
    width = fields[f"{arch}.embedding_length"]
    config = kinds[arch](
        hidden_size=width,
        num_hidden_layers=fields[f"{arch}.block_count"],
        num_attention_heads=heads,
        num_key_value_heads=fields[f"{arch}.attention.head_count_kv"],
        intermediate_size=fields[f"{arch}.feed_forward_length"],
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        rms_norm_eps=fields[f"{arch}.attention.layer_norm_rms_epsilon"],
        max_position_embeddings=fields[f"{arch}.context_length"],
        tie_word_embeddings="output.weight" not in tensors,
        rope_parameters={"rope_type": "default", "rope_theta": fields[f"{arch}.rope.freq_base"]},
    )
    config.head_dim = fields.get(f"{arch}.attention.key_length", width // heads)
    return config


def hf_name(name: str) -> str:
    """The transformers name of a GGUF tensor of the llama architecture."""
    if name in _TOP_NAMES:
        return _TOP_NAMES[name]
    _blk, layer, part, kind = name.split(".")
    return f"model.layers.{layer}.{_LAYER_NAMES[part]}.{kind}"


def half_split(values: np.ndarray[Any, Any], heads: int) -> np.ndarray[Any, Any]:
    """Undo the converter's row permutation: interleaved rotation pairs -> two halves.

    Shapes: (H * A, ...) -> the same.
    """
    head_width = values.shape[0] // heads
    pairs = values.reshape(heads, head_width // 2, 2, *values.shape[1:])
    return pairs.swapaxes(1, 2).reshape(values.shape)


def oracle_logits(model: Oracle, ids: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Logits of one prompt.

    Shapes: (T,) -> (T, V) float32.
    """
    with torch.inference_mode():
        out = model(input_ids=torch.as_tensor(ids, dtype=torch.long)[None], use_cache=False)
    logits: np.ndarray[Any, Any] = out.logits[0].float().numpy()
    return logits
