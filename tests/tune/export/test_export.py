"""Claims about what is handed on after training, in each form, on toys of random weights.

Oracle: the base with the adapter beside it, in float16, by the engine; an export in F32 may be off
by the rounding of the adapter's matrices (2^-11) and of attention's keys and values.
"""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from freehold.config import resolve_settings
from freehold.errors import (
    AnswersDrift,
    BadDataset,
    BadExport,
    BadRecipe,
    DiskFull,
    RenderingDiffers,
)
from freehold.formats.gguf import open_gguf
from freehold.formats.safetensors import open_safetensors
from freehold.library.identity import identity_of
from freehold.library.progress import silent
from freehold.library.record import open_record
from freehold.library.terms import subject_of
from freehold.loading.text import read_text_side
from freehold.local import load_chat
from freehold.quantize import TextChoice
from freehold.tune.export import merged
from freehold.tune.export.drift import Bound
from freehold.tune.provenance import PROVENANCE, read_provenance
from tests.loading.small_adapter import small_adapter
from tests.tune.export.conftest import DIMS, Trained, checkpoint

IDS = list(range(10, 90))
KEY = "tokenizer.chat_template"
TEXTS = TextChoice(calibration_tokens=300, held_out_tokens=100)


def error_of(trained: Trained, made: Path) -> float:
    """The rms error of an export's logits, of what the adapter changes."""
    base = load_chat(trained.base, adapters={"one": trained.adapter}, adapter_bits=16)
    wanted, plain = base.logits(IDS, adapter="one"), base.logits(IDS)
    found = load_chat(made).logits(IDS)
    change = np.sqrt(np.mean(np.square(wanted - plain)))
    assert change > 0.1, "an adapter so weak that its loss would not show"
    return float(np.sqrt(np.mean(np.square(found - wanted))) / change)


@pytest.mark.parametrize(
    ("form", "name", "kind", "bound"),
    [
        ("gguf", "m.gguf", "F32", 5e-3),
        ("gguf", "m.gguf", "F16", 5e-3),
        ("gguf", "m.gguf", "BF16", 2e-2),
        ("safetensors", "m", "F32", 5e-3),
        ("safetensors", "m", "BF16", 2e-2),
    ],
)
def test_a_merged_model_answers_as_the_adapter(
    trained: Trained, form: str, name: str, kind: str, bound: float
) -> None:
    made = trained.export(form, name, kind=kind)
    assert error_of(trained, made.path) < bound
    assert made.drift.mean_kl < 1e-3
    assert made.rendering == "as trained"
    assert read_text_side(made.path).templates == read_text_side(trained.base).templates


def test_what_was_not_adapted_keeps_its_values(trained: Trained) -> None:
    made = trained.export("gguf", "m.gguf", kind="F32")
    with open_gguf(made.path) as file, open_gguf(trained.base) as base:
        norm = "blk.0.attn_norm.weight"
        assert np.array_equal(file.tensors[norm].data(), base.tensors[norm].data())
        assert file.metadata["general.license"] == "apache-2.0"
        assert file.metadata["general.base_model.0.name"] == "toy"
        assert str(file.metadata["freehold.merge.adapter.digest"]).startswith("sha256:")
        assert file.metadata["general.file_type"] == 0


def test_a_large_directory_is_cut_into_files_with_an_index(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained.export("safetensors", "whole", kind="F32")
    monkeypatch.setattr(merged, "MOST_FILE_BYTES", 100_000)
    made = trained.export("safetensors", "cut", kind="F32")
    names = sorted(path.name for path in made.path.glob("*.safetensors"))
    assert len(names) > 2
    assert names[0].startswith("model-00001-of-000")
    with (
        open_safetensors(made.path / "model.safetensors.index.json") as parts,
        open_safetensors(whole.path / "model.safetensors") as one,
    ):
        assert parts.tensors.keys() == one.tensors.keys()
        for name, tensor in one.tensors.items():
            assert np.array_equal(parts.tensors[name].data(), tensor.data()), name


def test_a_quantized_export_says_what_it_lost(trained: Trained) -> None:
    made = trained.export("gguf", "q.gguf", recipe="Q8_0", texts=TEXTS, bound=Bound(mean_kl=1.0))
    assert made.quantized is not None
    with open_gguf(made.path) as file:
        said = file.metadata
        assert said["freehold.loss.mean_kl"] == pytest.approx(made.quantized.loss.mean_kl)
        assert said["freehold.quantize.recipe"] == "Q8_0"
        assert str(said["freehold.quantize.adapter.digest"]).startswith("sha256:")
    assert 0 < made.quantized.loss.mean_kl < 0.1
    assert error_of(trained, made.path) < 0.2


@pytest.mark.parametrize(("form", "name"), [("peft", "p"), ("gguf-lora", "p.gguf")])
def test_an_adapter_in_another_form_is_the_same_adapter(
    trained: Trained, form: str, name: str
) -> None:
    made = trained.export(form, name)
    adapters: dict[str, str | Path] = {"own": trained.adapter, "other": made.path}
    base = load_chat(trained.base, adapters=adapters, adapter_bits=16)
    own, other = (base.logits(IDS, adapter=each) for each in adapters)
    assert np.array_equal(own, other)
    assert made.drift.mean_kl == 0.0
    if form == "peft":
        assert read_provenance(made.path) == read_provenance(trained.adapter)


def test_a_file_of_an_adapter_merges_into_the_same_values(trained: Trained) -> None:
    once = trained.export("gguf-lora", "once.gguf")
    wanted = merged.open_merged(trained.base, trained.adapter)
    again = merged.open_merged(trained.base, once.path)
    with wanted, again:
        for name, tensor in wanted.tensors.items():
            rows = tensor.rows(0, tensor.row_count)
            assert np.array_equal(rows, again.tensors[name].rows(0, tensor.row_count)), name


def test_an_altered_template_is_caught_and_nothing_is_left(trained: Trained) -> None:
    altered = checkpoint()
    altered.keys[KEY] = str(altered.keys[KEY]).replace("<|end|>", "<|begin|>")
    other = altered.write(trained.folder / "altered.gguf")
    body = json.loads((trained.adapter / PROVENANCE).read_text())
    body["base"]["digest"] = identity_of(other).digest
    (trained.adapter / PROVENANCE).write_text(json.dumps(body))
    before = sorted(trained.folder.iterdir())
    with pytest.raises(RenderingDiffers, match=r"the probe 'one turn, turn 1' at token \d+"):
        trained.export("gguf", "m.gguf", base=other)
    assert sorted(trained.folder.iterdir()) == before


def test_an_export_that_changes_the_template_is_caught(
    trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As converters do that write a template of their own."""

    def writes(target: Path, name: str, template: str) -> None:
        del name
        (target / "chat_template.jinja").write_text(template.replace("\\n", " "))

    monkeypatch.setattr(merged, "_write_template", writes)
    with pytest.raises(RenderingDiffers, match="the export renders conversations otherwise"):
        trained.export("safetensors", "m")
    assert not (trained.folder / "m").exists()


def test_answers_that_drift_are_refused_and_nothing_is_left(trained: Trained) -> None:
    before = sorted(trained.folder.iterdir())
    with pytest.raises(AnswersDrift) as caught:
        trained.export("gguf", "m.gguf", recipe="Q4_0", texts=TEXTS, bound=Bound(mean_kl=1e-4))
    assert isinstance(caught.value.value, float)
    assert caught.value.value > 1e-4
    strict = Bound(mean_kl=9, agreement=1.0)
    with pytest.raises(AnswersDrift, match="of the places at least"):
        trained.export("gguf", "m.gguf", recipe="Q4_0", texts=TEXTS, bound=strict)
    assert sorted(trained.folder.iterdir()) == before


def test_an_adapter_of_unknown_training_needs_a_word(trained: Trained) -> None:
    (trained.adapter / PROVENANCE).unlink()
    with pytest.raises(RenderingDiffers, match="nothing says how"):
        trained.export("gguf", "m.gguf")
    assert trained.export("gguf", "m.gguf", unproven=True).rendering == "not known"


def test_another_base_than_the_adapter_s_is_refused(trained: Trained) -> None:
    changed = checkpoint()
    changed.keys["general.name"] = "another"
    other = changed.write(trained.folder / "other.gguf")
    with pytest.raises(BadExport, match="trained on other weights"):
        trained.export("gguf", "m.gguf", base=other)


def test_the_record_has_parents_drift_and_the_licence(trained: Trained) -> None:
    made = trained.export("gguf", "m.gguf")
    folder = trained.export("peft", "p")
    with open_record(resolve_settings()) as events:
        merge, export = events.all()
        assert (merge.kind, export.kind) == ("merged", "exported")
        assert len(merge.parents) == 2
        assert merge.parents == export.parents
        assert merge.body["licence"] == "apache-2.0"
        assert merge.body["drift"]["mean_kl"] == made.drift.mean_kl
        assert merge.body["rendering"] == "as trained"
        assert str(trained.folder) not in json.dumps(merge.body["base"])
    licences = subject_of(made.path, settings=resolve_settings()).licences
    assert [one.id for one in licences] == ["apache-2.0"]
    card = (folder.path / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\nbase_model: base.gguf\n")


REFUSED = {
    "a place that is taken": ({"name": "base.gguf"}, BadExport),
    "no such form": ({"form": "onnx"}, BadExport),
    "a recipe for a directory": ({"form": "safetensors", "recipe": "Q8_0"}, BadExport),
    "no such recipe": ({"recipe": "Q9_9"}, BadRecipe),
    "no such type": ({"kind": "F64"}, BadExport),
}


@pytest.mark.parametrize(("asked", "error"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_had_is_refused(
    trained: Trained, asked: dict[str, str], error: type[Exception]
) -> None:
    how = {"form": "gguf", "name": "m.gguf"} | asked
    with pytest.raises(error):
        trained.export(how.pop("form"), how.pop("name"), **how)


def test_a_full_disk_leaves_nothing(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    before = sorted(trained.folder.iterdir())
    for form, name in (("gguf", "m.gguf"), ("safetensors", "m")):
        with pytest.raises(DiskFull):
            trained.export(form, name)
    assert sorted(trained.folder.iterdir()) == before


def test_what_was_there_is_replaced_only_when_asked(trained: Trained) -> None:
    for form, name in (("safetensors", "m"), ("gguf", "m.gguf")):
        trained.export(form, name)
        with pytest.raises(BadExport, match="something already"):
            trained.export(form, name)
        trained.export(form, name, replace=True)
    with pytest.raises(BadExport):
        trained.export("gguf", "m", replace=True)


def test_lines_without_answers_are_refused_by_their_number(trained: Trained) -> None:
    path = trained.folder / "bad.jsonl"
    path.write_text('{"messages": []}\n{"prompt": 1}\n')
    with pytest.raises(BadDataset, match="line"):
        trained.export("gguf", "m.gguf", held_out=path)


@pytest.mark.parametrize(("form", "name"), [("gguf", "m.gguf"), ("safetensors", "m")])
def test_a_merge_holds_one_tensor_at_a_time(trained: Trained, form: str, name: str) -> None:
    """The largest matrix here, in float32, takes 2 MB; the whole model 34."""
    dims = replace(DIMS, L=12, D=256, F=2048, V=300)
    base = checkpoint(dims).write(trained.folder / "large.gguf")
    adapter = small_adapter(dims).write(trained.folder / "large")
    target = trained.folder / name
    tracemalloc.start()
    try:
        if form == "gguf":
            with merged.open_merged(base, adapter) as source:
                merged.write_gguf(source, target, "F16", {}, silent)
        else:
            target.mkdir()
            merged.write_directory(base, adapter, target, "F16", silent)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    sizes = [path.stat().st_size for path in ([target] if form == "gguf" else target.iterdir())]
    assert sum(sizes) > 15e6
    assert peak < (adapter / "adapter_model.safetensors").stat().st_size * 2 + 10e6


def test_a_system_message_of_the_training_is_handed_on(trained: Trained) -> None:
    path = trained.adapter / PROVENANCE
    body = json.loads(path.read_text())
    path.write_text(json.dumps(body | {"training": {"system": "Be brief."}}))
    assert trained.export("safetensors", "m").system == "Be brief."
    assert "> Be brief." in (trained.folder / "m" / "README.md").read_text()
    made = trained.export("gguf", "m.gguf")
    with open_gguf(made.path) as file:
        assert file.metadata["freehold.merge.system"] == "Be brief."
