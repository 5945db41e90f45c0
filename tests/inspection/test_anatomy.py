"""Parts are told by their names, in every format's spelling."""

from __future__ import annotations

from pathlib import Path

import pytest

from freehold.inspection.anatomy import Branch, anatomy, part_of, runs
from freehold.inspection.weights import open_model
from tests.loading.small import Dims, small

SPELLINGS = {
    "attention q": ["blk.3.attn_q.weight", "model.layers.3.self_attn.q_proj.weight"],
    "attention k bias": ["blk.3.attn_k.bias", "encoder.layer.3.attention.self.key.bias"],
    "attention out": [
        "blk.3.attn_output.weight",
        "model.layers.3.self_attn.o_proj.weight",
        "encoder.layer.3.attention.output.dense.weight",
    ],
    "mlp gate": ["blk.3.ffn_gate.weight", "model.layers.3.mlp.gate_proj.weight"],
    "mlp down": ["blk.3.ffn_down.weight", "encoder.layer.3.output.dense.weight"],
    "mlp router": ["blk.3.ffn_gate_inp.weight", "model.layers.3.mlp.gate.weight"],
    "experts up": ["blk.3.ffn_up_exps.weight", "model.layers.3.mlp.experts.7.up_proj.weight"],
    "shared expert down": [
        "blk.3.ffn_down_shexp.weight",
        "model.layers.3.mlp.shared_expert.down_proj.weight",
    ],
    "norms q": ["blk.3.attn_q_norm.weight", "model.layers.3.self_attn.q_norm.weight"],
    "norms attn": ["blk.3.attn_norm.weight", "model.layers.3.input_layernorm.weight"],
    "norms mlp": ["blk.3.ffn_norm.weight", "model.layers.3.post_attention_layernorm.weight"],
}


@pytest.mark.parametrize(
    ("role", "name"), [(role, name) for role, names in SPELLINGS.items() for name in names]
)
def test_a_part_has_one_role_in_every_spelling(role: str, name: str) -> None:
    part = part_of(name)
    assert (part.role, part.layer, part.stack) == (role, 3, "")


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("token_embd.weight", "embedding"),
        ("model.embed_tokens.weight", "embedding"),
        ("output.weight", "head"),
        ("lm_head.weight", "head"),
        ("model.norm.weight", "head"),
        ("rope_freqs.weight", "other"),
        ("something.else", "other"),
    ],
)
def test_what_stands_outside_layers(name: str, group: str) -> None:
    assert (part_of(name).group, part_of(name).layer) == (group, None)


def test_another_stack_keeps_its_name() -> None:
    assert part_of("vision_tower.encoder.layers.2.mlp.fc1.weight").stack == "vision_tower.encoder"


def test_layers_of_the_same_shapes_are_one_branch(tmp_path: Path) -> None:
    checkpoint = small(Dims(L=5))
    checkpoint.reshape("blk.2.ffn_up.weight", 7, 256)
    with open_model(checkpoint.write(tmp_path / "m.gguf")) as model:
        tensors = list(model.tensors.values())
        tree = anatomy(tensors)
    layers = [branch for branch in tree.branches if "layer" in branch.name]
    assert [(branch.name, branch.times) for branch in layers] == [
        ("layer 0-1, 3-4", 4),
        ("layer 2", 1),
    ]
    assert tree.parameters == sum(tensor.elements for tensor in tensors)
    assert tree.n_bytes == sum(tensor.n_bytes for tensor in tensors)
    assert_sums(tree)


def assert_sums(branch: Branch) -> None:
    if branch.branches:
        assert branch.parameters == sum(inner.parameters for inner in branch.branches)
        assert branch.n_bytes == sum(inner.n_bytes for inner in branch.branches)
    for inner in branch.branches:
        assert_sums(inner)


def test_runs_of_numbers() -> None:
    assert runs([0, 1, 2, 5, 7, 8]) == "0-2, 5, 7-8"


def test_weights_alone_are_inspected_and_what_is_missing_is_said(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from freehold.inspection import inspect_model

    save_file({"blk.0.attn_q.weight": np.ones((4, 4), np.float32)}, tmp_path / "m.safetensors")
    report = inspect_model(tmp_path / "m.safetensors", home=tmp_path / "home")
    assert not report.refused
    assert report.parameters == 16
    assert "weights alone" in report.unread["tokenizer"]
