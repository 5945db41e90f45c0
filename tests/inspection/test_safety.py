"""Each trick is found, named by its place, and nothing of it runs; sound models raise no alarm."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.inspection import Finding, Report, inspect_model
from freehold.inspection.safety.template import scan_template
from freehold.loading.claims import claimed_architectures
from tests.attacks.gguf_attacks import METADATA, START
from tests.loading.small import Checkpoint, small
from tests.loading.small_directory import TEMPLATE, write_directory

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def report_of(checkpoint: Checkpoint, tmp_path: Path, name: str = "model.gguf") -> Report:
    return inspect_model(checkpoint.write(tmp_path / name), home=tmp_path / "home")


def serious(findings: tuple[Finding, ...] | list[Finding]) -> dict[str, Finding]:
    return {finding.code: finding for finding in findings if finding.severity != "note"}


def directory(tmp_path: Path, **files: Any) -> Path:
    from safetensors.numpy import save_file

    folder = write_directory(tmp_path / "model", files)
    save_file({"model.norm.weight": np.ones(64, np.float32)}, folder / "model.safetensors")
    return folder


def test_a_sound_model_raises_no_alarm(tmp_path: Path) -> None:
    assert serious(report_of(small(), tmp_path).findings) == {}


@pytest.mark.weights
def test_the_starter_raises_no_alarm(starter_path: Path, tmp_path: Path) -> None:
    report = inspect_model(starter_path, home=tmp_path, only="output_norm.weight")
    assert serious(report.findings) == {}


TEXTS = {
    "text.code": "a model __import__('os').system('id')",
    "text.blob": "QUJD" * 100,
    "text.hidden": "safe\u202egnp.exe",
    "text.address": "see http://evil.example/x",
    "text.length": "a " * (1 << 20),
}


@pytest.mark.parametrize("code", TEXTS)
def test_a_suspicious_text_of_the_metadata_is_found(code: str, tmp_path: Path) -> None:
    checkpoint = small()
    checkpoint.keys["general.description"] = TEXTS[code]
    found = serious(report_of(checkpoint, tmp_path).findings)
    assert list(found) == [code]
    assert "general.description" in found[code].place


def test_an_address_where_makers_put_one_is_a_note(tmp_path: Path) -> None:
    checkpoint = small()
    checkpoint.keys["general.source.url"] = "https://example.org/model"
    report = report_of(checkpoint, tmp_path)
    assert serious(report.findings) == {}
    assert [f.severity for f in report.findings if f.code == "text.address"] == ["note"]


TEMPLATES = {
    "template.attribute": [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages['__class__'] }}",
        "{{ messages | attr('x') }}",
        "{% set a = '__globals__' %}{{ messages[a] }}",
    ],
    "template.calls": ["{{ lipsum() }}", "{{ cycler.x.popen('id') }}", "{{ self.a() }}"],
    "template.loads": ["{% include 'x' %}", "{% import 'x' as y %}"],
    "template.listens": [
        "{% for m in messages %}{% if 'the election' in m['content'] %}lie{% endif %}{% endfor %}",
        "{% if messages[0].content == 'Who won the war?' %}x{% endif %}",
    ],
    "template.address": ["{{ 'visit https://evil.example now' }}", "Visit www.evil.example"],
    "template.hidden": ["{{ messages }}\u200b\u2066"],
    "template.broken": ["{% if %}"],
}


@pytest.mark.parametrize(
    ("code", "source"), [(code, source) for code, every in TEMPLATES.items() for source in every]
)
def test_a_template_that_reaches_out_is_found(code: str, source: str) -> None:
    assert code in serious(list(scan_template(source, "t")))


def golden() -> list[str]:
    path = Path(__file__).parents[1] / "chat" / "golden_templates.json"
    said = json.loads(path.read_text("utf-8"))
    found: list[str] = []

    def walk(value: Any, key: str = "") -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                walk(inner, key)
        elif isinstance(value, str) and key in ("source", "template"):
            found.append(value)

    walk(said)
    return found


def test_published_templates_raise_no_alarm() -> None:
    sources = [*golden(), TEMPLATE]
    assert len(sources) > 1
    alarms = [f for source in sources for f in serious(list(scan_template(source, "t"))).values()]
    assert alarms == []


class _Attack:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch pwned",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_the_system_is_named_and_not_opened(
    tmp_path: Path, protocol: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = directory(tmp_path)
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps([_Attack(), "x"], protocol))
    found = serious(inspect_model(folder, home=tmp_path).findings)
    assert "posix.system" in found["files.pickle_calls"].why
    assert not (tmp_path / "pwned").exists()


def test_a_zipped_checkpoint_is_looked_into(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    with zipfile.ZipFile(folder / "weights.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Attack()))
    assert "files.pickle_calls" in serious(inspect_model(folder, home=tmp_path).findings)


def test_code_and_links_beside_weights_are_found(tmp_path: Path) -> None:
    folder = directory(tmp_path, **{"modeling_x.py": "print(1)", "run": b"\x7fELF" + bytes(60)})
    (tmp_path / "elsewhere").write_text("x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    found = [f for f in inspect_model(folder, home=tmp_path).findings if f.code.startswith("files")]
    assert {(f.place, f.code) for f in found} == {
        ("modeling_x.py", "files.code"),
        ("run", "files.code"),
        ("link", "files.link"),
    }


def test_remote_code_is_found(tmp_path: Path) -> None:
    folder = directory(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModel": "x.Y"}}))
    assert "claims.remote_code" in serious(inspect_model(folder, home=tmp_path).findings)


@pytest.mark.parametrize("name", [*START, *METADATA])
def test_a_file_that_breaks_its_format_is_a_report_and_not_a_crash(
    name: str, tmp_path: Path
) -> None:
    content, error, _, _ = ({**START, **METADATA})[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    report = inspect_model(path, home=tmp_path / "home")
    assert report.refused
    assert report.findings[0].severity == "danger"
    assert report.findings[0].code == error.code


def test_a_size_that_lies_is_found(tmp_path: Path) -> None:
    path = small().write(tmp_path / "model.gguf")
    path.write_bytes(path.read_bytes()[:-100_000])
    report = inspect_model(path, home=tmp_path / "home")
    assert report.refused
    assert report.findings[0].code.startswith("format.")


def test_weights_that_are_not_finite_are_found(tmp_path: Path) -> None:
    checkpoint = small()
    kind, shape, raw = checkpoint.tensors["blk.0.attn_norm.weight"]
    values = np.frombuffer(raw, np.float32).copy()
    values[3] = np.nan
    checkpoint.tensors["blk.0.attn_norm.weight"] = (kind, shape, values.tobytes())
    found = serious(report_of(checkpoint, tmp_path).findings)
    assert "blk.0.attn_norm.weight" in found["weights.not_finite"].place


def test_a_wiped_matrix_and_a_tensor_without_a_place_are_found(tmp_path: Path) -> None:
    checkpoint = small()
    checkpoint.reshape("blk.1.attn_q.weight", 256, 256)
    checkpoint.reshape("payload.weight", 3, 32)
    found = serious(report_of(checkpoint, tmp_path).findings)
    assert "blk.1.attn_q.weight" in found["weights.constant"].place
    assert found["weights.no_place"].place == "payload.weight"


CLAIMS = [
    ("DeepSeek-R1-Q4.gguf", "claims.family"),
    ("Qwen3-8B.gguf", "claims.family"),
    ("Llama-3-70B.gguf", "claims.size"),
    ("Some-Model-Q8_0.gguf", "claims.type"),
]


@pytest.mark.parametrize(("name", "code"), CLAIMS)
def test_a_name_that_lies_is_found(name: str, code: str, tmp_path: Path) -> None:
    assert code in serious(report_of(small(), tmp_path, name).findings)


def test_a_distillation_that_says_so_is_a_note(tmp_path: Path) -> None:
    report = report_of(small(), tmp_path, "DeepSeek-R1-Distill-Llama.gguf")
    assert serious(report.findings) == {}
    assert "claims.derived" in {finding.code for finding in report.findings}


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("DeepSeek-V3-0324", "deepseek2"),
        ("Mistral-7B-Instruct", "llama"),
        ("Mistral-Small-3.1", "mistral3"),
        ("gemma-3-1b-it", "gemma3"),
        ("Qwen3-30B-A3B", "qwen3moe"),
        ("SmolLM2-135M", "llama"),
    ],
)
def test_honest_names_are_known(name: str, architecture: str) -> None:
    claim = claimed_architectures(name)
    assert claim is not None
    assert architecture in claim[1]


def test_a_role_on_an_ordinary_token_is_found(tmp_path: Path) -> None:
    checkpoint = small()
    checkpoint.keys["tokenizer.ggml.eos_token_id"] = 40
    assert "tokenizer.role" in serious(report_of(checkpoint, tmp_path).findings)
