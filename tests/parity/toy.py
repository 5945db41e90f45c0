"""Toy models of the llama architecture: one random set of weights, as a GGUF file and as
transformers' own LlamaForCausalLM in float32 (transformers 5.23, torch 2.13, gguf 0.19).

The GGUF half follows what llama.cpp's converter does: rows of the query and key projections are
permuted from half-split to interleaved rotation pairs, llama3 scaling becomes a tensor of
frequency divisors, linear and yarn become metadata.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from benchmarks.random_shapes import add_byte_vocabulary, llama3_divisors

Array = np.ndarray[Any, Any]

_LAYER_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


@dataclass(frozen=True, kw_only=True)
class Toy:
    """Dimensions, one-letter as in the glossary of ARCHITECTURE, and a rotation kind."""

    name: str
    L: int = 2
    D: int = 64
    H: int = 4
    G: int = 2
    A: int = 32
    F: int = 160
    V: int = 301
    tied: bool = True
    bias: bool = False
    rope_base: float = 10_000.0
    rope: dict[str, Any] = field(default_factory=lambda: {"rope_type": "default"})
    context_tokens: int = 512

    def config(self) -> LlamaConfig:
        """The same model in transformers' words."""
        return LlamaConfig(
            num_hidden_layers=self.L,
            hidden_size=self.D,
            num_attention_heads=self.H,
            num_key_value_heads=self.G,
            head_dim=self.A,
            intermediate_size=self.F,
            vocab_size=self.V,
            tie_word_embeddings=self.tied,
            attention_bias=self.bias,
            max_position_embeddings=self.context_tokens,
            rms_norm_eps=1e-5,
            rope_parameters={"rope_theta": self.rope_base, **self.rope},
        )


_SCALED = {"factor": 4.0, "original_max_position_embeddings": 128}
TOYS = (
    Toy(name="default, tied, wide heads"),
    Toy(name="untied, odd vocabulary", A=16, G=4, V=277, tied=False),
    Toy(name="one KV head of 24", A=24, G=1),
    Toy(name="heads of 128", H=2, G=1, A=128, L=1),
    Toy(name="five heads a group, four layers", D=160, H=10, G=2, A=32, L=4, F=96),
    Toy(name="attention biases", bias=True, tied=False),
    Toy(name="rope linear", rope={"rope_type": "linear", "factor": 4.0}),
    Toy(
        name="rope llama3",
        rope={"rope_type": "llama3", "low_freq_factor": 1.0, "high_freq_factor": 4.0, **_SCALED},
    ),
    Toy(name="rope yarn", rope={"rope_type": "yarn", **_SCALED}),
)


def oracle(toy: Toy, *, seed: int = 0) -> LlamaForCausalLM:
    """The toy with random weights that make attention choose and every layer matter."""
    rng = np.random.default_rng(seed)
    model = LlamaForCausalLM(toy.config()).to(torch.float32).eval()
    for name, values in model.named_parameters():
        shape = tuple(values.shape)
        if name.endswith("norm.weight"):
            drawn = 1 + 0.2 * rng.standard_normal(shape)
        elif name.endswith("bias"):
            drawn = 0.3 * rng.standard_normal(shape)
        elif name == "model.embed_tokens.weight":
            drawn = rng.standard_normal(shape)
        else:
            drawn = 1.5 * rng.standard_normal(shape) / np.sqrt(shape[1])
        assign(values, drawn)
    return model


def assign(parameter: torch.Tensor, values: Array) -> None:
    """Put the values in the parameter's place. Mutates: parameter."""
    with torch.no_grad():
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values, np.float32)))


def _half_kv(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *rest: Any,
    **named: Any,
) -> Any:
    if not hasattr(module, "expand_kv"):  # which keeps latents, rounded before they are unpacked
        key, value = key.half().float(), value.half().float()
    return _SDPA(module, query, key, value, *rest, **named)


def _half_kv_eager(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *rest: Any,
    **named: Any,
) -> Any:
    own: Any = sys.modules[type(module).__module__]
    attend = own.eager_attention_forward
    return attend(module, query, key.half().float(), value.half().float(), *rest, **named)


_SDPA = ALL_ATTENTION_FUNCTIONS["sdpa"]
ALL_ATTENTION_FUNCTIONS.register("half_kv", _half_kv)
ALL_MASK_ATTENTION_FUNCTIONS.register("half_kv", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
ALL_ATTENTION_FUNCTIONS.register("half_kv_eager", _half_kv_eager)
ALL_MASK_ATTENTION_FUNCTIONS.register("half_kv_eager", ALL_MASK_ATTENTION_FUNCTIONS["eager"])


def oracle_logits(model: LlamaForCausalLM, ids: list[int], *, half_kv: bool = False) -> Array:
    """Logits of a whole prompt, (T, V) float32, without a cache.

    With `half_kv`, rotated keys and values pass through float16 on the way to attention.
    """
    sinks = any(hasattr(module, "sinks") for module in model.modules())  # sdpa knows none
    kind = "eager" if sinks else "sdpa"
    halved = "half_kv_eager" if sinks else "half_kv"
    model.config._attn_implementation = halved if half_kv else kind
    with torch.inference_mode():
        logits: Array = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return logits


def write_gguf(toy: Toy, model: LlamaForCausalLM, path: Path) -> Path:
    """The model as a GGUF file with F32 tensors; returns the path."""
    tensors = {gguf_name(name): values for name, values in gguf_values(toy, model).items()}
    return write_tensors(toy, tensors, path)


def gguf_values(toy: Toy, model: LlamaForCausalLM) -> dict[str, Array]:
    """Every parameter, by transformers' name, with the converter's row order."""
    values = {}
    for name, parameter in model.named_parameters():
        array = parameter.detach().numpy()
        if "q_proj" in name:
            array = interleaved(array, toy.H)
        elif "k_proj" in name:
            array = interleaved(array, toy.G)
        values[name] = np.ascontiguousarray(array)
    return values


def interleaved(values: Array, heads: int) -> Array:
    """The converter's permutation: rows of two halves -> rows of rotation pairs."""
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)


def gguf_name(name: str) -> str:
    """The GGUF name of a transformers parameter."""
    top = {
        "model.embed_tokens.weight": "token_embd.weight",
        "model.norm.weight": "output_norm.weight",
        "lm_head.weight": "output.weight",
    }
    if name in top:
        return top[name]
    _model, _layers, layer, rest = name.split(".", 3)
    part, kind = rest.rsplit(".", 1)
    return f"blk.{layer}.{_LAYER_NAMES[part]}.{kind}"


def write_tensors(
    toy: Toy, tensors: dict[str, Array], path: Path, types: dict[str, str] | None = None
) -> Path:
    """A GGUF file of the toy's metadata and these tensors.

    A tensor named in `types` is raw bytes (rows, row bytes) of that block type.
    """
    writer = gguf.GGUFWriter(path, "llama")
    _write_metadata(writer, toy)
    if toy.rope["rope_type"] == "llama3":
        divisors = llama3_divisors(
            toy.A,
            base=toy.rope_base,
            factor=toy.rope["factor"],
            original=toy.rope["original_max_position_embeddings"],
        )
        writer.add_tensor("rope_freqs.weight", divisors)
    for name, values in tensors.items():
        raw = gguf.GGMLQuantizationType[types[name]] if types and name in types else None
        writer.add_tensor(name, values, raw_dtype=raw)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_metadata(writer: Any, toy: Toy) -> None:
    writer.add_name("toy")
    writer.add_block_count(toy.L)
    writer.add_context_length(toy.context_tokens)
    writer.add_embedding_length(toy.D)
    writer.add_feed_forward_length(toy.F)
    writer.add_head_count(toy.H)
    writer.add_head_count_kv(toy.G)
    writer.add_key_length(toy.A)
    writer.add_value_length(toy.A)
    writer.add_rope_dimension_count(toy.A)
    writer.add_rope_freq_base(toy.rope_base)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(toy.V)
    kind = toy.rope["rope_type"]
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(toy.rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(toy.rope["original_max_position_embeddings"])
    add_byte_vocabulary(writer, toy.V)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
