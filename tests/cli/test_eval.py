"""`freehold eval`: tables, comparisons, files, the record, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.evals import evaluations_of
from freehold.library.identity import identity_of
from freehold.library.record import open_record
from tests.cli.conftest import Run
from tests.loading.small import Dims, small

DIMS = Dims(L=1, D=64, H=4, G=2, A=16, F=96, V=300, kind="BF16", context_tokens=512)
WORDS = {"games": ("chess", "dice"), "mail": ("inbox", "letter")}


@pytest.fixture
def toys(tmp_path: Path) -> list[Path]:
    made = []
    for seed in (0, 1):
        file = small(DIMS, seed=seed)
        file.keys["general.license"] = "apache-2.0"
        made.append(file.write(tmp_path / f"toy{seed}.gguf"))
    return made


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "held-out.jsonl"
    lines = [
        {"prompt": f"{word} {i} is", "answer": label}
        for label, words in WORDS.items()
        for word in words
        for i in range(9)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_models_stand_beside_the_first_and_naive_bayes(
    freehold: Run, toys: list[Path], rows: Path, tmp_path: Path
) -> None:
    page, lines = tmp_path / "report.html", tmp_path / "items.jsonl"
    ran = freehold(
        "eval", *map(str, toys), "--data", str(rows), "--score", "label", "--bayes", str(rows),
        "--html", str(page), "--items", str(lines),
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert "held-out: 36 items of held-out.jsonl" in ran.out
    assert "naive Bayes" in ran.out
    assert f"{toys[1]}beside{toys[0]}" in "".join(ran.out.split())  # wherever lines were broken
    html = page.read_text("utf-8")
    assert html.count("<circle") == 5  # three figures and two differences
    assert "http" not in html.replace("http-equiv", "")
    kept = [json.loads(line) for line in lines.read_text("utf-8").splitlines()]
    assert len(kept) == 3 * 36
    assert {line["model"] for line in kept} == {*map(str, toys), "naive Bayes"}


def test_a_second_run_knows_what_the_first_measured(
    freehold: Run, toys: list[Path], rows: Path
) -> None:
    command = ("eval", str(toys[0]), "--data", str(rows), "--max-tokens", "3", "--json")
    first, second = freehold(*command), freehold(*command)
    assert first.out == second.out
    assert "36 items were known already" in second.err
    with open_record(resolve_settings()) as events:
        (kept,) = evaluations_of(events, identity_of(toys[0]).digest)
    assert kept.estimate.as_dict() == {
        key: json.loads(first.out)["results"][0]["metrics"]["exact"][key]
        for key in ("value", "low", "high", "n", "method", "few")
    }
    assert "known already" not in freehold(*command, "--again").err


def test_the_known_sets_are_listed_with_their_terms(freehold: Run) -> None:
    shown = freehold("eval", "--list").out
    assert "arc-easy" in shown
    assert "CC-BY-SA-4.0" in shown
    sets = json.loads(freehold("eval", "--list", "--json").out)["sets"]
    assert all(one["install"].startswith("pip install") for one in sets)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((), "name a model"),
        (("toy",), "say on what"),
        (("toy", "--task", "arc-easy", "--score", "exact"), "go with --data"),
        (("toy", "--data", "x", "--prefer"), "--judge"),
        (("toy", "--task", "arc-medium"), "no such task"),
        (("toy", "--task", "arc-easy", "--isolation", "none"), "no such isolation"),
        (("toy", "--data", "/absent"), "no such file"),
        (("http://127.0.0.1:1/v1", "--data", "README.md"), "not JSON"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is_loaded(
    freehold: Run, flags: tuple[str, ...], said: str
) -> None:
    ran = freehold("eval", *flags)
    assert ran.status != 0
    assert said in ran.err


def test_ways_to_judge_are_named_when_there_is_no_such_one(
    freehold: Run, toys: list[Path], rows: Path
) -> None:
    ran = freehold("eval", str(toys[0]), "--data", str(rows), "--score", "vibes")
    assert ran.status == 2
    assert "regex:PATTERN" in ran.err
    ran = freehold("eval", str(toys[0]), "--data", str(rows), "--score", "rubric:polite")
    assert "--judge MODEL" in ran.err
