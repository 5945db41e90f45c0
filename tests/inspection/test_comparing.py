"""What differs between two models is found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from freehold.errors import BadRequest
from freehold.inspection import Comparison, compare_models
from tests.cli.conftest import Run, freehold  # noqa: F401 - a fixture
from tests.loading.small import Checkpoint, Dims, small
from tests.parity.blocks import reference
from tests.quantize.test_checkpoint import copy, directory


def compared(tmp_path: Path, before: Checkpoint, after: Checkpoint) -> Comparison:
    first, second = before.write(tmp_path / "a.gguf"), after.write(tmp_path / "b.gguf")
    return compare_models(first, second, names=("a", "b"), progress=lambda *_: None)


def test_a_model_does_not_differ_from_itself(tmp_path: Path) -> None:
    found = compared(tmp_path, small(), small())
    assert found.relative == 0.0
    assert {change.same for change in found.tensors} == {1.0}
    assert (found.keys, found.template, found.only_before, found.only_after) == ((), (), (), ())


def test_the_change_of_a_tensor_is_its_rms_over_what_was(tmp_path: Path) -> None:
    before, after = small(), small()
    name = "blk.1.ffn_up.weight"
    kind, shape, raw = after.tensors[name]
    values = np.frombuffer(raw, np.float32).astype(np.float64)
    changed = values.copy()
    changed[::7] *= 1.5
    after.tensors[name] = (kind, shape, changed.astype(np.float32).tobytes())
    found = compared(tmp_path, before, after)
    (change,) = (one for one in found.tensors if one.relative)
    assert change.name == name
    expected = np.sqrt(((changed - values) ** 2).sum() / (values**2).sum())
    assert change.relative == pytest.approx(expected, rel=1e-6)
    assert change.largest == pytest.approx(np.abs(changed - values).max(), rel=1e-6)


def test_a_quantization_shows_types_and_loss(tmp_path: Path) -> None:
    before = small()
    after = small(Dims(kind="Q8_0"))
    name = "blk.0.attn_q.weight"
    _, shape, raw = after.tensors[name]
    values = reference("Q8_0", np.frombuffer(raw, np.uint8))
    before.tensors[name] = ("F32", shape, (values * 1.01).astype(np.float32).tobytes())
    change = next(c for c in compared(tmp_path, before, after).tensors if c.name == name)
    assert (change.before_type, change.after_type) == ("F32", "Q8_0")
    assert change.relative == pytest.approx(0.01 / 1.01, rel=1e-4)


def test_settings_templates_and_lone_tensors_are_told(tmp_path: Path) -> None:
    before, after = small(), small()
    before.keys["tokenizer.chat_template"] = "{{ messages }}\nold"
    after.keys["tokenizer.chat_template"] = "{{ messages }}\nnew"
    after.keys["llama.context_length"] = 77
    after.keys["general.author"] = "somebody"
    after.reshape("extra.weight", 2, 32)
    del after.tensors["output_norm.weight"]
    found = compared(tmp_path, before, after)
    keys = {change.key: (change.before, change.after) for change in found.keys}
    assert keys["llama.context_length"] == ("1024", "77")
    assert keys["general.author"] == (None, "somebody")
    assert {"-old", "+new"} <= set(found.template)
    assert (found.only_before, found.only_after) == (("output_norm.weight",), ("extra.weight",))


def test_another_token_is_told_by_its_place(tmp_path: Path) -> None:
    before, after = small(), small()
    tokens = [str(t) for t in after.keys["tokenizer.ggml.tokens"]]  # type: ignore[union-attr]
    tokens[40] = "<other>"
    after.keys["tokenizer.ggml.tokens"] = tokens
    (change,) = compared(tmp_path, before, after).keys
    assert "at 40" in str(change.after)
    assert "<other>" in str(change.after)


def test_another_shape_is_not_compared(tmp_path: Path) -> None:
    after = small()
    after.reshape("blk.0.ffn_up.weight", 3, 256)
    change = next(c for c in compared(tmp_path, small(), after).tensors if "blk.0.ffn_up" in c.name)
    assert change.relative is None


def test_models_without_a_common_tensor_are_refused(tmp_path: Path) -> None:
    after = small()
    after.tensors = {"other.weight": after.tensors["output_norm.weight"]}
    with pytest.raises(BadRequest):
        compared(tmp_path, small(), after)


def test_the_command_compares(freehold: Run, tmp_path: Path) -> None:  # noqa: F811
    before, after = small().write(tmp_path / "a.gguf"), small(seed=1).write(tmp_path / "b.gguf")
    page = tmp_path / "change.html"
    ran = freehold("inspect", str(before), str(after), "--html", str(page), "--json")
    assert ran.status == 0
    assert json.loads(ran.out)["relative"] > 1
    assert "What changed" in page.read_text("utf-8")
    assert "Change by layer" in freehold("inspect", str(before), str(after)).out


def test_a_directory_and_a_file_of_the_same_model_do_not_differ(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    file = copy(folder, tmp_path / "copy.gguf")
    for pair in ((folder, file), (file, folder)):
        found = compare_models(*pair, names=("a", "b"), progress=lambda *_: None)
        assert found.relative == 0.0
        assert {change.same for change in found.tensors} == {1.0}
        assert (found.keys, found.template, found.only_before, found.only_after) == (
            (),
            (),
            (),
            (),
        )


def test_what_differs_between_a_directory_and_a_file_is_told_by_its_name(tmp_path: Path) -> None:
    folder = directory(tmp_path / "model")
    file = copy(folder, tmp_path / "copy.gguf")
    weights = load_file(folder / "model.safetensors")
    # A matrix whose rows lie otherwise there, and a setting.
    weights["model.layers.0.self_attn.q_proj.weight"] = weights[
        "model.layers.0.self_attn.q_proj.weight"
    ] * np.float32(1.5)
    save_file(weights, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"rope_theta": 20000.0}))
    found = compare_models(file, folder, names=("a", "b"), progress=lambda *_: None)
    changed = {change.name: change.relative for change in found.tensors if change.relative}
    assert changed == {"blk.0.attn_q.weight": pytest.approx(0.5)}
    assert [(k.key, k.before, k.after) for k in found.keys] == [
        ("llama.rope.freq_base", "10000.0", "20000.0")
    ]
