"""Lines as tokens to learn: what is too long, refused or split as was asked, and counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from freehold.errors import BadTraining
from freehold.tune.training import lessons
from freehold.tune.training.lessons import Lessons, read_lessons
from freehold.tune.training.spec import TrainSpec
from tests.tune.datasets.lines import chat, jsonl
from tests.tune.test_fingerprint import text_side

CONTEXT, LIMIT = 512, 32
SHORT, LONG = chat("a?", "b"), chat("Which?", "so it is " * 12)


@pytest.fixture(autouse=True)
def _toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lessons, "read_text_side", lambda _path: text_side())


def read(tmp_path: Path, rows: list[Any], **settings: Any) -> Lessons:
    data = str(jsonl(tmp_path / "lines.jsonl", rows))
    settings = {"max_tokens": LIMIT} | settings
    return read_lessons(TrainSpec(base="toy", data=data, **settings), CONTEXT)


def test_an_example_that_is_too_long_is_refused_by_its_line(tmp_path: Path) -> None:
    with pytest.raises(BadTraining, match="line 3 is longer") as failed:
        read(tmp_path, [SHORT, SHORT, LONG])
    assert failed.value.expected == f"at most {LIMIT} tokens"
    assert "--on-long split" in failed.value.hint


def test_a_split_is_counted_and_loses_no_token(tmp_path: Path) -> None:
    ((whole,),) = read(tmp_path, [LONG], max_tokens=CONTEXT).bundles
    found = read(tmp_path, [SHORT, LONG], on_long="split")
    pieces = [piece for (piece,) in found.bundles[1:]]
    assert found.split == len(pieces) - 1 > 1
    assert all(len(piece.ids) <= LIMIT for piece in pieces)
    assert np.array_equal(np.concatenate([piece.ids for piece in pieces]), whole.ids)
    learned = np.concatenate([piece.learned for piece in pieces])
    unlearned = np.flatnonzero(whole.learned & ~learned)
    assert set(unlearned) <= {LIMIT * n for n in range(len(pieces))}, "nothing stands before those"


def test_preferences_are_never_split(tmp_path: Path) -> None:
    said = LONG["messages"]
    pair = {"prompt": said[:1], "chosen": said[1:], "rejected": SHORT["messages"][1:]}
    with pytest.raises(BadTraining, match="line 1 is longer") as failed:
        read(tmp_path, [pair], method="dpo", on_long="split")
    assert failed.value.hint == "pairs are never split"


def test_a_limit_beyond_the_models_context_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadTraining, match="longer than the model's context"):
        read(tmp_path, [SHORT], max_tokens=CONTEXT + 1)


def test_lines_of_another_method_are_refused_by_their_number(tmp_path: Path) -> None:
    with pytest.raises(BadTraining, match="line 1 is not what dpo learns from"):
        read(tmp_path, [SHORT], method="dpo")
