"""A person's own rows become a task; a row that cannot be one is told by its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadTask
from freehold.evals import run_task
from freehold.evals.bayes import BayesTarget, NaiveBayes, text_of
from freehold.evals.own import Asking, labelled, own_task
from tests.evals.scripted_target import ScriptedTarget


def written(tmp_path: Path, *rows: dict[str, Any]) -> Path:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


CHAT = {
    "messages": [
        {"role": "user", "content": "Which section? a game of chess"},
        {"role": "assistant", "content": "games"},
    ]
}
OTHER = {"question": "Which section? a mail reader", "answer": ["mail", "net"]}


def test_conversations_and_questions_are_asked_as_messages(tmp_path: Path) -> None:
    task = own_task(written(tmp_path, CHAT, OTHER), Asking())
    assert [item.references for item in task.items] == [("games",), ("mail", "net")]
    assert [text_of(item.prompt) for item in task.items] == [
        "Which section? a game of chess",
        "Which section? a mail reader",
    ]
    found = run_task(task, ScriptedTarget(lambda p: "mail" if "mail" in text_of(p) else "Games"))
    assert [item.values["exact"] for item in found.items] == [0, 1]


def test_labels_are_weighed_against_each_other(tmp_path: Path) -> None:
    task = own_task(written(tmp_path, CHAT, OTHER), Asking(how="label"))
    assert [pair.continuation for pair in task.items[0].choices] == ["games", "mail", "net"]
    assert [item.gold for item in task.items] == [0, 1]
    named = own_task(written(tmp_path, CHAT), Asking(how="label", labels=("net", "games")))
    assert named.items[0].gold == 1


def test_after_a_text_a_choice_is_a_word_of_its_own(tmp_path: Path) -> None:
    row = {"prompt": "The sky is", "choices": ["blue", "red"], "gold": 0, "group": "colours"}
    item = own_task(written(tmp_path, row), Asking()).items[0]
    assert [pair.continuation for pair in item.choices] == [" blue", " red"]
    assert item.group == "colours"


def test_texts_are_read_for_their_perplexity(tmp_path: Path) -> None:
    task = own_task(written(tmp_path, {"text": "once upon a time"}), Asking())
    assert (task.asks, task.main) == ("text", "perplexity")


@pytest.mark.parametrize(
    "row",
    [
        {"messages": []},
        {"messages": [{"role": "user", "content": "only a question"}]},
        {"messages": [{"role": "user", "content": "q"}, {"role": "assistant"}]},
        {"prompt": "no answer"},
        {"prompt": 3, "answer": "x"},
        {"prompt": "q", "answer": []},
        {"prompt": "q", "answer": {"a": 1}},
        {"prompt": "q", "choices": ["one"], "gold": 0},
        {"prompt": "q", "choices": ["a", "b"], "gold": 2},
        {"prompt": "q", "choices": ["a", "b"], "gold": True},
    ],
)
def test_a_row_that_asks_nothing_is_told_by_its_number(tmp_path: Path, row: dict[str, Any]) -> None:
    with pytest.raises(BadTask, match="row 2"):
        own_task(written(tmp_path, OTHER, row), Asking())


def test_a_file_that_is_no_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match="no such file"):
        own_task(tmp_path / "absent", Asking())
    with pytest.raises(BadTask, match="no rows"):
        own_task(written(tmp_path), Asking())
    broken = tmp_path / "broken"
    broken.write_text('{"question": "a", "answer": "b"}\n{"question": \n')
    with pytest.raises(BadTask, match="line 2"):
        own_task(broken, Asking())


def test_an_answer_that_is_no_label_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadTask, match="row 1"):
        own_task(written(tmp_path, CHAT), Asking(how="label", labels=("net", "mail")))


def test_naive_bayes_learns_words_by_label(tmp_path: Path) -> None:
    rows = [
        {"question": f"{word} number {i}", "answer": label}
        for label, words in (("games", ("chess", "dice")), ("mail", ("inbox", "letter")))
        for word in words
        for i in range(5)
    ]
    bayes = NaiveBayes.fit(*labelled(written(tmp_path, *rows)))
    assert bayes.label("a chess set") == "games"
    assert bayes.label("the INBOX") == "mail"
    held_out = own_task(
        written(tmp_path, {"question": "dice", "answer": "games"}, {"question": "a letter",
                "answer": "mail"}), Asking(how="label"),
    )  # fmt: skip
    target = BayesTarget(bayes, trained_on="rows")
    assert run_task(held_out, target).estimate.value == 1.0
    written_out = own_task(written(tmp_path, {"question": "dice", "answer": "games"}), Asking())
    assert run_task(written_out, target).estimate.value == 1.0


def test_naive_bayes_gives_the_probabilities_of_the_textbook() -> None:
    # Manning, Raghavan and Schuetze, example 13.1: the test document is China, by 0.0003 to 0.0001.
    texts = ["Chinese Beijing Chinese", "Chinese Chinese Shanghai", "Chinese Macao",
             "Tokyo Japan Chinese"]  # fmt: skip
    bayes = NaiveBayes.fit(texts, ["yes", "yes", "yes", "no"])
    told = bayes.weigh("Chinese Chinese Chinese Tokyo Japan")
    yes = 3 / 4 * (3 / 7) ** 3 * (1 / 14) ** 2
    no = 1 / 4 * (2 / 9) ** 3 * (2 / 9) ** 2
    assert dict(zip(bayes.labels, 2.718281828**told, strict=True)) == {
        "yes": pytest.approx(yes / (yes + no)),
        "no": pytest.approx(no / (yes + no)),
    }


def test_naive_bayes_without_rows_is_refused() -> None:
    with pytest.raises(BadTask):
        NaiveBayes.fit([], [])
