"""Toy models of any family: random weights, as transformers' own class in float32, as the directory
that it saves, and as a GGUF file (transformers 5, torch 2.13, gguf 0.19).

The GGUF half starts from the saved directory, takes names from the gguf package's own table, stacks
experts as llama.cpp's converter does, and applies what the toy says the converter changes besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors.numpy import load_file
from transformers import AutoModelForCausalLM, PretrainedConfig

from benchmarks.random_shapes import add_byte_vocabulary
from tests.parity.toy import Array, assign, oracle_logits

__all__ = ["FamilyToy", "family_oracle", "oracle_logits", "write_directory", "write_family_gguf"]

Flip = Callable[[Any], Any]
_EXPERT = re.compile(r"(.+\.experts)\.(\d+)\.(.+)")


def _as_it_is(name: str, values: Array) -> dict[str, Array]:
    return {name: values}


@dataclass(frozen=True, kw_only=True)
class FamilyToy:
    """A configuration of transformers, how GGUF says it, and switches whose flip must show.

    `keys` are GGUF's, without the architecture. `change` maps a saved tensor (experts stacked) to
    those that the converter writes, still under transformers' names; `renamed` has GGUF names that
    the package's table lacks. A flip changes our configuration; the logits must then leave bounds.
    """

    name: str
    config: PretrainedConfig
    arch: str = ""  # GGUF's name, or none
    keys: Mapping[str, Any] = field(default_factory=dict)
    change: Callable[[str, Array], dict[str, Array]] = _as_it_is
    renamed: Mapping[str, str] = field(default_factory=dict)
    flips: Mapping[str, Flip] = field(default_factory=dict)
    drawn: Callable[[str, tuple[int, ...], np.random.Generator], Array | None] | None = None
    tokens: int = 150
    model: Callable[[Any], Any] = AutoModelForCausalLM.from_config

    @property
    def vocabulary(self) -> int:
        """V, of the decoder inside whatever wraps it."""
        size = self.config.get_text_config().vocab_size
        assert isinstance(size, int)
        return size


def family_oracle(toy: FamilyToy, *, seed: int = 0) -> Any:
    """The toy with random weights that make attention choose and every layer matter."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    model = toy.model(toy.config).to(torch.float32).eval()
    for name, values in [*model.named_parameters(), *model.named_buffers()]:
        shape = tuple(values.shape)
        drawn = toy.drawn(name, shape, rng) if toy.drawn is not None else None
        if drawn is None and name.endswith(("inv_freq", "embed_scale")):
            continue
        assign(values, _usual(name, shape, rng) if drawn is None else drawn)
    for module in model.modules():
        if hasattr(module, "expand_kv"):
            module.expand_kv = _rounding(module.expand_kv)
    return model


def _rounding(unpack: Callable[..., Any]) -> Callable[..., Any]:
    """The unpacking of latents that passed through float16, as pages keep them."""
    return lambda latents, rotated: unpack(latents.half().float(), rotated.half().float())


def _usual(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    if "norm" in name.rsplit(".", 2)[-2]:
        return np.asarray(1 + 0.2 * rng.standard_normal(shape))
    if name.endswith(("bias", "sinks")):
        return np.asarray(0.3 * rng.standard_normal(shape))
    if "embed_tokens" in name:
        return np.asarray(rng.standard_normal(shape))
    return np.asarray(1.5 * rng.standard_normal(shape) / np.sqrt(shape[-1]))


def write_directory(model: Any, path: Path) -> Path:
    """config.json and model.safetensors, as transformers saves them; returns the directory."""
    model.save_pretrained(path)
    return path


def write_family_gguf(toy: FamilyToy, directory: Path, path: Path) -> Path:
    """The saved model as a GGUF file with F32 tensors; returns the path."""
    writer = gguf.GGUFWriter(path, toy.arch)
    for key, value in toy.keys.items():
        _add(writer, f"{toy.arch}.{key}", value)
    add_byte_vocabulary(writer, toy.vocabulary)
    writer.add_chat_template("{% for message in messages %}{{ message['content'] }}{% endfor %}")
    arch = next(a for a, name in gguf.MODEL_ARCH_NAMES.items() if name == toy.arch)
    names = gguf.get_tensor_name_map(arch, int(toy.keys["block_count"]))
    for saved, values in _stacked(load_file(directory / "model.safetensors")).items():
        for name, changed in toy.change(saved, values).items():
            found = toy.renamed.get(name) or names.get_name(name, try_suffixes=(".weight", ".bias"))
            assert found is not None, f"the gguf package has no name for {name}"
            writer.add_tensor(found, np.ascontiguousarray(changed, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _stacked(tensors: Mapping[str, Array]) -> dict[str, Array]:
    """Experts that were saved one by one, as one array of each kind, (X, out, in)."""
    found: dict[str, Array] = {}
    experts: dict[str, dict[int, Array]] = {}
    for name, values in tensors.items():
        match = _EXPERT.fullmatch(name)
        if match is None:
            found[name] = values
        else:
            experts.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = values
    for name, parts in experts.items():
        found[name] = np.stack([parts[i] for i in range(len(parts))])
    return found


def _add(writer: Any, key: str, value: Any) -> None:
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, list(value))


def plain_keys(config: PretrainedConfig) -> dict[str, Any]:
    """GGUF's keys of a plain decoder."""
    rope = config.rope_parameters
    return {
        "block_count": config.num_hidden_layers,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": config.head_dim,
        "attention.value_length": config.head_dim,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": rope["rope_theta"],
        "vocab_size": config.vocab_size,
    }
