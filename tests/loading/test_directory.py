"""Directories of decoders: what is wrong with one is named before memory is spent."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.errors import (
    BadConfig,
    FreeholdError,
    MissingShard,
    MissingTensor,
    ShapeMismatch,
    UnexpectedTensor,
    UnknownConfigKey,
    UnknownFamily,
    UnsupportedType,
)
from freehold.loading import is_encoder, load_directory
from freehold.models.registry import DECODERS, ENCODERS, WRAPPERS
from tests.formats.safetensors_build import content, entry

D, F, V = 32, 48, 40
_NAMES = {np.dtype("<f4"): "F32", np.dtype("<f2"): "F16", np.dtype("<i4"): "I32"}


def _tensors() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    layer = "model.layers.0."
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (V, D),
        "model.norm.weight": (D,),
        "lm_head.weight": (V, D),
        layer + "input_layernorm.weight": (D,),
        layer + "post_attention_layernorm.weight": (D,),
        layer + "self_attn.q_proj.weight": (D, D),
        layer + "self_attn.k_proj.weight": (16, D),
        layer + "self_attn.v_proj.weight": (16, D),
        layer + "self_attn.o_proj.weight": (D, D),
        layer + "mlp.gate_proj.weight": (F, D),
        layer + "mlp.up_proj.weight": (F, D),
        layer + "mlp.down_proj.weight": (D, F),
    }
    return {name: rng.standard_normal(shape).astype("<f4") for name, shape in shapes.items()}


@dataclass
class SmallDirectory:
    """A sound directory as Python values; a test changes some and writes it."""

    tensors: dict[str, Any] = field(default_factory=_tensors)
    config: dict[str, Any] = field(
        default_factory=lambda: {
            "model_type": "llama",
            "vocab_size": V,
            "hidden_size": D,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "intermediate_size": F,
            "max_position_embeddings": 64,
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": False,
        }
    )

    def write(self, folder: Path) -> Path:
        """Writes config.json and model.safetensors; returns the directory."""
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "model.safetensors").write_bytes(_safetensors(self.tensors))
        return folder


def _safetensors(tensors: dict[str, Any]) -> bytes:
    table, data = {}, bytearray()
    for name, values in tensors.items():
        start = len(data)
        data += values.tobytes()
        table[name] = entry(_NAMES[values.dtype], list(values.shape), start, len(data))
    return content(table, bytes(data))


def test_a_sound_directory_loads_and_ties_its_head_only_when_told(tmp_path: Path) -> None:
    small = SmallDirectory()
    loaded = load_directory(small.write(tmp_path / "untied"))
    assert loaded.architecture == "llama"
    assert loaded.model.vocabulary == V
    small.config["tie_word_embeddings"] = True
    del small.tensors["lm_head.weight"]
    assert load_directory(small.write(tmp_path / "tied")).model.vocabulary == V


def _set(name: str, value: object) -> Callable[[SmallDirectory], None]:
    return lambda small: small.config.__setitem__(name, value)


def _drop(name: str) -> Callable[[SmallDirectory], None]:
    return lambda small: small.tensors.__delitem__(name)


def _put(name: str, *shape: int, dtype: str = "<f4") -> Callable[[SmallDirectory], None]:
    return lambda small: small.tensors.__setitem__(name, np.zeros(shape, dtype))


Q = "model.layers.0.self_attn.q_proj.weight"
WRONG: dict[str, tuple[Callable[[SmallDirectory], None], type[FreeholdError], str]] = {
    "unknown family": (_set("model_type", "mamba9"), UnknownFamily, "qwen3_moe"),
    "no family": (_set("model_type", None), UnknownFamily, "llama"),
    "unknown key": (_set("num_wings", 3), UnknownConfigKey, "num_wings"),
    "unknown rope key": (
        _set("rope_parameters", {"rope_theta": 1e4, "wobble": 2}),
        UnknownConfigKey,
        "wobble",
    ),
    "unknown rope kind": (
        _set("rope_parameters", {"rope_type": "dynamic", "factor": 2.0}),
        BadConfig,
        "dynamic",
    ),
    "heads that do not divide": (_set("num_key_value_heads", 3), BadConfig, "multiple"),
    "negative width": (_set("hidden_size", -32), BadConfig, "hidden_size"),
    "width as text": (_set("hidden_size", "32"), BadConfig, "hidden_size"),
    "another activation": (_set("hidden_act", "relu"), BadConfig, "hidden_act"),
    "partial rotation": (_set("partial_rotary_factor", 0.5), BadConfig, "whole heads"),
    "missing tensor": (_drop(Q), MissingTensor, "q_proj"),
    "missing head": (_drop("lm_head.weight"), MissingTensor, "lm_head"),
    "surplus tensor": (_put("model.layers.0.mlp.extra", 4), UnexpectedTensor, "extra"),
    "surplus layer": (_put("model.layers.1.self_attn.q_proj.weight", D, D), UnexpectedTensor, "1"),
    "transposed": (_put("model.layers.0.mlp.gate_proj.weight", D, F), ShapeMismatch, "gate_proj"),
    "integers": (_put(Q, D, D, dtype="<i4"), UnsupportedType, "I32"),
}


@pytest.mark.parametrize(("change", "kind", "words"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_named(
    tmp_path: Path,
    change: Callable[[SmallDirectory], None],
    kind: type[FreeholdError],
    words: str,
) -> None:
    small = SmallDirectory()
    change(small)
    with pytest.raises(kind) as caught:
        load_directory(small.write(tmp_path / "model"))
    told = f"{caught.value} {caught.value.expected} {caught.value.found}"
    assert words in told


def test_an_unknown_model_type_lists_the_known_ones(tmp_path: Path) -> None:
    small = SmallDirectory()
    small.config["model_type"] = "mamba9"
    with pytest.raises(UnknownFamily) as caught:
        is_encoder(small.write(tmp_path / "model"))
    assert caught.value.expected is not None
    assert {*DECODERS, *ENCODERS, *WRAPPERS} <= set(caught.value.expected.split(" or "))


def test_a_pickle_is_refused_by_name(tmp_path: Path) -> None:
    folder = SmallDirectory().write(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(BadConfig, match="no weights") as caught:
        load_directory(folder)
    assert caught.value.found == "pytorch_model.bin"
    assert caught.value.hint is not None
    assert "unpickled" in caught.value.hint


def test_a_missing_shard_and_a_lying_index_are_refused(tmp_path: Path) -> None:
    folder = SmallDirectory().write(tmp_path / "model")
    shard = folder / "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(shard)
    index = folder / "model.safetensors.index.json"
    names = dict.fromkeys(SmallDirectory().tensors, shard.name)
    index.write_text(json.dumps({"metadata": {}, "weight_map": names}))
    assert load_directory(folder).model.vocabulary == V
    index.write_text(json.dumps({"weight_map": names | {"model.ghost": shard.name}}))
    with pytest.raises(MissingShard, match="index"):
        load_directory(folder)
    index.write_text(json.dumps({"weight_map": dict.fromkeys(names, "model-9.safetensors")}))
    with pytest.raises(MissingShard, match=r"model-9\.safetensors"):
        load_directory(folder)


def test_a_wrapper_without_a_text_part_is_refused(tmp_path: Path) -> None:
    small = SmallDirectory(config={"model_type": "mistral3"})
    with pytest.raises(BadConfig, match="text part"):
        load_directory(small.write(tmp_path / "model"))


def test_the_text_part_of_a_wrapper_loads_and_other_media_are_left(tmp_path: Path) -> None:
    small = SmallDirectory()
    inner = small.config | {"model_type": "mistral"}
    renamed = {
        name
        if name.startswith("lm_head")
        else name.replace("model.", "model.language_model.", 1): v
        for name, v in small.tensors.items()
    }
    renamed["model.vision_tower.conv.weight"] = np.zeros((2, 2), "<f4")
    wrapped = SmallDirectory(
        tensors=renamed, config={"model_type": "mistral3", "text_config": inner}
    )
    assert load_directory(wrapped.write(tmp_path / "model")).architecture == "mistral"
