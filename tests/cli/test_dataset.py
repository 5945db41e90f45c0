"""`freehold dataset`: what is taken in, shown, checked, split and withdrawn at the command line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.store import open_store
from tests.cli.conftest import Ran, Run
from tests.tune.datasets.lines import chat, few, jsonl

GROUNDS = ("--basis", "own", "--licence", "proprietary", "--provenance", "our help desk")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return jsonl(tmp_path / "data.jsonl", few(40))


def added(freehold: Run, data: Path, *args: str) -> Ran:
    return freehold("dataset", "add", str(data), "--name", "tickets", *args)


def row(ran: Ran) -> dict[str, Any]:
    assert ran.status == 0, ran.err
    made: dict[str, Any] = json.loads(ran.out)
    return made


def test_nothing_is_taken_in_without_a_basis(freehold: Run, data: Path) -> None:
    ran = added(freehold, data)
    assert ran.status != 0
    assert "error[tune.not_admitted]" in ran.err
    assert "consent, contract, own, public, legitimate-interest" in ran.err
    assert "no data sets" in freehold("dataset", "list").err


def test_what_was_taken_in_is_listed_shown_and_removed(freehold: Run, data: Path) -> None:
    made = row(added(freehold, data, *GROUNDS, "--json"))
    assert (made["rows"], made["basis"], made["withdrawn"]) == (40, "own", None)
    listed = freehold("dataset", "list")
    assert "tickets" in listed.out
    assert "admitted" in listed.out
    shown = freehold("dataset", "show", "tickets")
    assert "our help desk" in shown.out
    assert row(freehold("dataset", "show", "tickets", "--json"))["digest"] == made["digest"]
    assert freehold("dataset", "rm", "tickets").status == 0
    assert "tickets" not in freehold("dataset", "list").out


def test_a_bad_line_is_named_and_nothing_is_taken_in(freehold: Run, tmp_path: Path) -> None:
    bad = jsonl(tmp_path / "bad.jsonl", [*few(12), chat("Secret?", "")])
    ran = added(freehold, bad, *GROUNDS)
    assert "error[tune.bad_dataset]: line 13: messages.1: is an empty turn" in ran.err
    assert "Secret" not in ran.err + ran.out


def test_a_check_lists_what_is_wrong_and_ends_with_1(freehold: Run, tmp_path: Path) -> None:
    rows = [*few(12), "{", chat("Mail a@example.org", "yes"), few(1)[0]]
    bad = jsonl(tmp_path / "bad.jsonl", rows)
    judge = jsonl(tmp_path / "judge.jsonl", few(2))
    ran = freehold("dataset", "check", str(bad), "--heldout", str(judge))
    assert ran.status == 1
    for words in (
        "line 13: the line is no JSON",
        "said before: 1 lines word for word",
        "held out and learned: 3 lines",
        "email 1 times, in 1 lines: 14",
        "cannot be trained on as it is",
    ):
        assert words in ran.out
    assert "example.org" not in ran.out
    as_json = freehold("dataset", "check", str(bad), "--json")
    found = json.loads(as_json.out)
    assert (as_json.status, found["trainable"]) == (1, False)
    assert [problem["line"] for problem in found["problems"]] == [13]
    assert found["personal"] == [{"line": 14, "kind": "email", "count": 1}]


def test_a_split_is_two_sets_of_which_neither_repeats_the_other(freehold: Run, data: Path) -> None:
    added(freehold, data, *GROUNDS)
    made = row(freehold("dataset", "split", "tickets", "--heldout", "10", "--json"))
    assert (made["train"]["rows"], made["heldout"]["rows"]) == (30, 10)
    assert made["train"]["part_of"] == "tickets"
    ran = freehold("dataset", "check", "tickets-train", "--heldout", "tickets-heldout")
    assert ran.status == 0, ran.out
    assert "nothing of tickets-heldout is learned" in ran.out


def test_withdrawing_lists_what_learned_it(freehold: Run, data: Path, home: Path) -> None:
    digest = row(added(freehold, data, *GROUNDS, "--json"))["digest"]
    store = open_store(None, home)
    body = {"name": "poet", "location": "/models/poet"}
    store.events.append(kind="tuned", subject="sha256:" + "1" * 64, body=body, parents=[digest])
    store.close()
    ran = freehold("dataset", "withdraw", "tickets", "--reason", "asked")
    assert ran.status == 0
    assert "poet" in ran.out
    assert "withdrawn" in freehold("dataset", "list").out
    again = freehold("dataset", "add", str(data), "--name", "again", *GROUNDS)
    assert "these very bytes were withdrawn" in again.err


def test_examples_are_shown_as_they_are_read_and_columns_are_mapped(
    freehold: Run, tmp_path: Path
) -> None:
    table = tmp_path / "data.csv"
    table.write_text("q,a,id\nOne?,1,x\nTwo?,2,y\n")
    mapping = ("--map", "prompt=q", "--map", "completion=a", "--map", "system==Count.")
    ran = freehold("dataset", "show", str(table), *mapping, "--line", "3")
    assert '"content": "Two?"' in ran.out
    assert '"content": "Count."' in ran.out
    assert "One?" not in ran.out
    wrong = freehold("dataset", "show", str(table), "--map", "prompt")
    assert "FIELD=COLUMN" in wrong.err


@pytest.mark.weights
def test_what_is_learned_is_shown_for_a_model(
    freehold: Run, data: Path, starter_path: Path
) -> None:
    args = ("dataset", "show", str(data), "--model", str(starter_path), "--line", "1")
    assert "⟦harbour<|im_end|>⟧" in freehold(*args).out
    found = json.loads(freehold(*args, "--json").out)
    (rendering,) = found["renderings"]
    assert [piece["learned"] for piece in rendering["pieces"]] == [False, True]
    assert len(rendering["ids"]) == sum(piece["tokens"] for piece in rendering["pieces"])
