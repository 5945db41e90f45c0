"""Adapters whose files lie, are for another model, or want what is not carried: each is refused by
name, with what was expected and found, before a matrix is read.

`peft_0_18_config.json` is what peft 0.18.0 saves for LoraConfig(r=4, lora_alpha=8,
target_modules="all-linear", task_type="CAUSAL_LM", rank_pattern={"q_proj": 2}).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.errors import (
    BadConfig,
    BadValue,
    FormatError,
    FreeholdError,
    MissingTensor,
    ShapeMismatch,
    UnexpectedTensor,
    UnknownConfigKey,
    UnknownFamily,
    UnsupportedType,
)
from freehold.loading import Loaded, load_adapter, load_gguf
from freehold.loading.adapter_config import MAX_RANK, Scaling, gguf_scaling, peft_scaling
from freehold.models.adapting import Adapter
from tests.formats.gguf_build import F32, STRING, U32, Gguf, pair, tensor
from tests.loading.small import Dims, small
from tests.loading.small_adapter import PREFIX, AdapterFiles, module_shapes, small_adapter

DIMS = Dims(D=64, H=2, G=1, A=32, F=64)
Lie = Callable[[AdapterFiles], object]
Q, DOWN = "self_attn.q_proj", "mlp.down_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    return load_gguf(small(DIMS).write(tmp_path_factory.mktemp("m") / "m.gguf"))


def told(**config: Any) -> Lie:
    return lambda files: files.config.update(config)


def put(module: str, half: str, *shape: int) -> Lie:
    def lie(files: AdapterFiles) -> None:
        files.tensors[files.name(module, half)] = np.ones(shape, np.float32)

    return lie


def also(name: str, *shape: int) -> Lie:
    return lambda files: files.tensors.update({PREFIX + name: np.ones(shape, np.float32)})


def without(module: str, half: str) -> Lie:
    return lambda files: files.tensors.pop(files.name(module, half))


def poisoned(files: AdapterFiles) -> None:
    files.tensors[files.name(Q, "A")][1, 3] = np.inf


def whole_numbers(files: AdapterFiles) -> None:
    files.tensors[files.name(Q, "A")] = np.ones((4, 64), np.int32)


LIES: dict[str, tuple[Lie, type[FreeholdError], str]] = {
    "an unknown key": (told(use_magic=True), UnknownConfigKey, "use_magic"),
    "another kind": (told(peft_type="LOHA"), BadConfig, "peft_type"),
    "no kind": (lambda f: f.config.pop("peft_type"), BadConfig, "peft_type"),
    "DoRA": (told(use_dora=True), BadConfig, "use_dora"),
    "biases": (told(bias="lora_only"), BadConfig, "bias"),
    "a bias of B": (told(lora_bias=True), BadConfig, "lora_bias"),
    "transposed": (told(fan_in_fan_out=True), BadConfig, "fan_in_fan_out"),
    "whole modules": (told(modules_to_save=["lm_head"]), BadConfig, "modules_to_save"),
    "experts": (told(target_parameters=["experts.up"]), BadConfig, "target_parameters"),
    "replication": (told(layer_replication=[[0, 2]]), BadConfig, "layer_replication"),
    "a changed base": (told(init_lora_weights="pissa"), BadConfig, "init_lora_weights"),
    "aLoRA": (told(alora_invocation_tokens=[1]), BadConfig, "alora_invocation_tokens"),
    "a classifier": (told(task_type="SEQ_CLS"), BadConfig, "task_type"),
    "no rank": (lambda f: f.config.pop("r"), BadConfig, "of r "),
    "rank 0": (told(r=0), BadConfig, "of r "),
    "a truth for a rank": (told(r=True), BadConfig, "of r "),
    "a huge rank": (told(r=1 << 40), BadConfig, "of r "),
    "no alpha": (lambda f: f.config.pop("lora_alpha"), BadConfig, "lora_alpha"),
    "a huge alpha": (told(lora_alpha=1e300), BadConfig, "lora_alpha"),
    "a word for a root": (told(use_rslora="yes"), BadConfig, "use_rslora"),
    "a rank that lies": (told(r=8), ShapeMismatch, "rank"),
    "a pattern that lies": (told(rank_pattern={"q_proj": 2}), ShapeMismatch, "q_proj"),
    "a pattern to run": (told(rank_pattern={"(a+)+$": 2}), BadConfig, "rank_pattern"),
    "a list of patterns": (told(alpha_pattern=[1]), BadConfig, "alpha_pattern"),
    "A alone": (without(Q, "B"), MissingTensor, "lora_B"),
    "B alone": (without(DOWN, "A"), MissingTensor, "lora_A"),
    "another width": (put(Q, "A", 4, 96), ShapeMismatch, "another one"),
    "other rows": (put(Q, "B", 96, 4), ShapeMismatch, "another one"),
    "ranks that differ": (put(Q, "B", 64, 5), ShapeMismatch, "another one"),
    "a vector": (put(Q, "A", 64), ShapeMismatch, "another one"),
    "three dims": (put(Q, "A", 1, 4, 64), ShapeMismatch, "another one"),
    "one layer more": (also(f"2.{Q}.lora_A.weight", 4, 64), UnexpectedTensor, "carried"),
    "a magnitude": (
        also(f"0.{Q}.lora_magnitude_vector", 64),
        UnexpectedTensor,
        "magnitude of DoRA",
    ),
    "an expert": (
        also("0.mlp.experts.3.up_proj.lora_A.weight", 4, 64),
        UnexpectedTensor,
        "experts.3",
    ),
    "an unknown module": (also("0.mlp.fc1.lora_A.weight", 4, 64), UnexpectedTensor, "fc1"),
    "numbers that are none": (poisoned, BadValue, "finite"),
    "whole numbers": (whole_numbers, UnsupportedType, "floats"),
}


@pytest.mark.parametrize(("lie", "kind", "words"), LIES.values(), ids=LIES.keys())
def test_a_directory_that_does_not_suit_is_refused(
    base: Loaded, tmp_path: Path, lie: Lie, kind: type[FreeholdError], words: str
) -> None:
    files = small_adapter(DIMS)
    lie(files)
    with pytest.raises(kind, match=words) as caught:
        load_adapter(files.write(tmp_path / "a"), base)
    assert caught.value.expected


def test_heads_and_embeddings_are_refused_by_name(base: Loaded, tmp_path: Path) -> None:
    for name in ("lm_head.lora_A.weight", "model.embed_tokens.lora_embedding_A"):
        files = small_adapter(DIMS)
        files.tensors["base_model.model." + name] = np.ones((4, 64), np.float32)
        with pytest.raises(UnexpectedTensor, match=name.split(".lora")[0]):
            load_adapter(files.write(tmp_path / name), base)


def test_an_adapter_of_nothing_is_refused(base: Loaded, tmp_path: Path) -> None:
    files = AdapterFiles({"peft_type": "LORA", "r": 4, "lora_alpha": 8})
    files.tensors = {}
    with pytest.raises(FreeholdError):
        load_adapter(files.write(tmp_path / "a"), base)


def test_pickles_and_absent_files_are_refused(base: Loaded, tmp_path: Path) -> None:
    files = small_adapter(DIMS)
    path = files.write(tmp_path / "a")
    (path / "adapter_model.safetensors").rename(path / "adapter_model.bin")
    with pytest.raises(FormatError, match="cannot be read"):
        load_adapter(tmp_path / "nothing", base)
    with pytest.raises(BadConfig, match="no adapter") as caught:
        load_adapter(path, base)
    assert caught.value.found == "adapter_model.bin"
    for junk in (b"", b"\0" * 64, b"GGUF" + b"\xff" * 60):
        file = tmp_path / "junk.gguf"
        file.write_bytes(junk)
        with pytest.raises(FormatError):
            load_adapter(file, base)


def test_a_directory_of_the_reference_is_understood() -> None:
    config = json.loads((Path(__file__).parent / "peft_0_18_config.json").read_text())
    scaling = peft_scaling(config)
    assert scaling.of("model.layers.0.mlp.up_proj", 4) == 2.0
    assert scaling.of("model.layers.0.self_attn.q_proj", 2) == 4.0
    with pytest.raises(ShapeMismatch):
        scaling.of("model.layers.0.self_attn.q_proj", 4)


def test_scales_follow_roots_and_the_longest_pattern() -> None:
    scaling = Scaling(
        alpha=8.0, rooted=True, alphas={"up_proj": 2.0, "layers.1.mlp.up_proj": 4.0, "^x": 9.0}
    )
    assert scaling.of("model.layers.0.mlp.up_proj", 16) == 0.5
    assert scaling.of("model.layers.1.mlp.up_proj", 16) == 1.0
    assert scaling.of("model.layers.1.mlp.x", 16) == 2.0
    assert scaling.of("x", 9) == 3.0
    assert Scaling(alpha=8.0).of("any", 16) == 0.5
    assert Scaling(alpha=None).of("any", 16) == 1.0
    with pytest.raises(BadConfig):
        Scaling(alpha=1.0).of("any", MAX_RANK + 1)


def gguf_adapter(path: Path, **changes: bytes | None) -> Path:
    """An adapter of one matrix; a change replaces a pair, None leaves it out."""
    pairs = {
        "architecture": pair("general.architecture", STRING, "llama"),
        "kind": pair("general.type", STRING, "adapter"),
        "adapter": pair("adapter.type", STRING, "lora"),
        "alpha": pair("adapter.lora.alpha", F32, 8.0),
    }
    given = [value for value in {**pairs, **changes}.values() if value is not None]
    rows, cols = module_shapes(DIMS)[Q]
    infos = [
        tensor("blk.0.attn_q.weight.lora_a", (cols, 4), 0, 0),
        tensor("blk.0.attn_q.weight.lora_b", (4, rows), 0, 16 * cols),
    ]
    data = np.ones(4 * (rows + cols), np.float32).tobytes()
    path.write_bytes(Gguf(pairs=given, tensors=infos, data=data).content())
    return path


def test_a_gguf_file_says_what_it_is(base: Loaded, tmp_path: Path) -> None:
    file = tmp_path / "a.gguf"
    assert isinstance(load_adapter(gguf_adapter(file), base), Adapter)
    for changes, kind, words in (
        ({"kind": pair("general.type", STRING, "model")}, BadConfig, "general.type"),
        ({"kind": None}, BadConfig, "general.type"),
        ({"adapter": pair("adapter.type", STRING, "control")}, BadConfig, "adapter.type"),
        ({"alpha": pair("adapter.lora.alpha", STRING, "8")}, BadConfig, "alpha"),
        ({"more": pair("adapter.lora.magic", U32, 1)}, UnknownConfigKey, "magic"),
        (
            {"architecture": pair("general.architecture", STRING, "qwen3")},
            UnknownFamily,
            "another architecture",
        ),
    ):
        with pytest.raises(kind, match=words):
            load_adapter(gguf_adapter(file, **changes), base)
    assert gguf_scaling({"general.type": "adapter", "adapter.type": "lora"}).of("x", 4) == 1.0


def test_a_model_s_own_file_is_no_adapter(base: Loaded) -> None:
    with pytest.raises(BadConfig, match=r"general\.type"):
        load_adapter(base.path, base)
