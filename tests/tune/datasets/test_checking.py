"""A check finds what is twice, leaked, too long and personal, and never repeats it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadDataset
from freehold.tune.datasets import Example, read_examples
from freehold.tune.datasets.checking import Report, check
from freehold.tune.datasets.likeness import Common, Seen, normalised_text
from freehold.tune.datasets.masking import Renderer
from freehold.tune.datasets.personal import KINDS, personal_data
from freehold.tune.datasets.preview import preview
from freehold.tune.datasets.splitting import as_line, split, write_lines
from tests.tune.datasets.golden_turns import CONVERSATIONS, rendered, text_side
from tests.tune.datasets.lines import chat, few, jsonl

SECTION = Path(__file__).parents[2] / "data" / "section"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to jane.doe+x@mail.example.org.", "email"),
        ("DE89 3704 0044 0532 0130 00 is it", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("4111 1111 1111 1111", "card"),
        ("378282246310005", "card"),
        ("from 192.0.2.7, port 80", "ip address"),
        ("2001:db8::ff00:42:8329", "ipv6 address"),
        ("86095742719", "tax id"),
        ("12345678Z", "tax id"),
        ("RSSMRA85T10A562S", "tax id"),
        ("2 55 08 14 168 025 38", "tax id"),
        ("529.982.247-25", "tax id"),
        ("123-45-6789", "tax id"),
        ("+49 30 1234567", "phone"),
        ("(415) 555-2671", "phone"),
        ("0171-1234567", "phone"),
    ],
)
def test_personal_data_is_found_once(text: str, kind: str) -> None:
    assert personal_data(text) == {kind: 1}
    assert kind in KINDS


@pytest.mark.parametrize(
    "text",
    [
        "4111 1111 1111 1112",
        "DE89 3704 0044 0532 0130 01 x".replace("0044", "3344").replace("0532", "9532"),
        "86095742718",
        "12345678A",
        "RSSMRA85T10A562T",
        "529.982.247-26",
        "000-45-6789",
        "127.0.0.1 and 999.1.1.1",
        "2026-01-31 12:34:56, 1.2.3, 3.14159, 100,000",
        "ISBN 978-3-16-148410-0",
        "a@b and @name",
        "The year 2026 had 365 days.",
    ],
)
def test_what_fails_its_checksum_is_nothing(text: str) -> None:
    assert not personal_data(text)


def test_nearly_the_same_is_found_and_what_differs_is_not() -> None:
    seen = Seen()
    seen.add(1, "A small program that plays chess against you.")
    same = seen.look(2, "A small program that plays chess against you.")
    near = seen.look(3, "a small program, that plays  CHESS against you (2)!")
    typo = seen.look(4, "A small program that plays chess against yuo.")
    assert same is not None
    assert (same.other, same.alike) == (1, 1.0)
    assert near is not None
    assert 0.9 < near.alike < 1
    assert typo is not None
    assert seen.look(5, "A mail server that keeps what it gets.") is None
    assert normalised_text("  Größe, ÉTÉ 12 ") == "grosse ete"


def test_an_instruction_that_every_example_has_makes_nothing_alike(tmp_path: Path) -> None:
    begin = "Say in one word what this is, without a full stop and in small letters:\n"
    rows = few(40, begin=begin)
    path = jsonl(tmp_path / "a.jsonl", rows)
    assert check(path).duplicates == ()
    heldout = jsonl(tmp_path / "b.jsonl", [chat(f"{begin}a lighthouse", "no"), *rows[:1]])
    report = check(path, heldout=read_examples(heldout))
    assert [(pair.line, pair.other) for pair in report.leaks] == [(1, 2)]
    assert Common(["a\nb"] * 30).without("a\nc") == "c"
    assert Common(["a"] * 30).without("a") == "a"


def checked(tmp_path: Path, rows: list[Any], **more: Any) -> Report:
    return check(jsonl(tmp_path / "data.jsonl", rows), **more)


def test_a_report_names_lines_kinds_and_counts(tmp_path: Path) -> None:
    rows = [*few(12), few(1)[0], chat("Who?", "x@example.org, y@example.org"), "{", chat("a", "")]
    report = checked(tmp_path, rows)
    assert (report.rows, report.kinds) == (14, {"conversations": 14})
    assert [(pair.line, pair.other, pair.alike) for pair in report.duplicates] == [(13, 1, 1.0)]
    assert [(p.line, p.kind, p.count) for p in report.personal] == [(14, "email", 2)]
    assert [error.line for error in report.problems] == [15, 16]
    assert not report.trainable
    assert "example.org" not in repr(report)
    assert checked(tmp_path, few(12)).trainable
    assert not checked(tmp_path, few(9)).trainable


def test_tokens_are_counted_as_the_model_has_them(tmp_path: Path) -> None:
    template, tokens = text_side("plain")
    renderer = Renderer(template, tokens)
    rows = [*few(12), chat("word " * 50, "b")]
    report = checked(tmp_path, rows, renderer=renderer, most_tokens=100)
    path = tmp_path / "data.jsonl"
    made = [renderer.render(e)[0] for e in read_examples(path) if isinstance(e, Example)]
    lengths = [len(one.ids) for one in made]
    assert report.tokens is not None
    assert (report.tokens.total, report.tokens.longest) == (sum(lengths), max(lengths))
    assert report.learned_tokens == sum(int(one.learned.sum()) for one in made)
    assert report.over_long == ((13, max(lengths)),)
    thinking = chat("a", "b", reasoning_content="c")
    bad = checked(tmp_path, [*few(12), thinking], renderer=renderer)
    assert [error.line for error in bad.problems] == [13]


def test_a_split_keeps_alike_together_and_repeats_itself(tmp_path: Path) -> None:
    rows = few(60)
    rows += [chat(row["messages"][0]["content"].upper(), "again") for row in rows[:20]]
    examples = list(read_examples(jsonl(tmp_path / "data.jsonl", rows)))
    parts = split(examples, heldout=0.25, seed=3)
    assert len(parts.train) + len(parts.heldout) == 80
    assert abs(len(parts.heldout) - 20) <= 1
    assert parts.together >= 40
    train, heldout = tmp_path / "train.jsonl", tmp_path / "heldout.jsonl"
    write_lines(train, parts.train)
    write_lines(heldout, parts.heldout)
    assert check(train, heldout=read_examples(heldout)).leaks == ()
    again = split(examples, heldout=0.25, seed=3)
    assert [one.line for one in again.heldout] == [one.line for one in parts.heldout]
    assert [e.line for e in split(examples, heldout=0.25, seed=4).heldout] != [
        e.line for e in parts.heldout
    ]
    with pytest.raises(BadDataset, match="too few examples would be held out"):
        split(examples, heldout=3)


@pytest.mark.parametrize(
    "row",
    [
        chat("a", "b", reasoning_content="c", weight=1),
        {"text": "Once."},
        {"prompt": "Hi", "chosen": "good", "rejected": "bad"},
    ],
)
def test_a_written_line_is_read_as_the_same(tmp_path: Path, row: Any) -> None:
    (one,) = read_examples(jsonl(tmp_path / "a.jsonl", [row]))
    (again,) = read_examples(jsonl(tmp_path / "b.jsonl", [as_line(one)]))
    assert again == one


def test_a_preview_is_the_rendering_in_pieces() -> None:
    _, tokens = text_side("plain")
    (one,) = rendered("plain", "turns")
    pieces = preview(one, tokens)
    assert [piece.learned for piece in pieces] == [False, True, False, True]
    assert [i for piece in pieces for i in piece.ids] == one.ids.tolist()
    assert pieces[1].text == "Hello.<|im_end|>"
    assert CONVERSATIONS["turns"].messages[0]["content"] in pieces[0].text


def test_nothing_that_judges_the_section_task_is_taught_by_it() -> None:
    heldout = list(read_examples(SECTION / "heldout.jsonl"))
    report = check(SECTION / "train.jsonl", heldout=heldout)
    assert (report.rows, len(heldout)) == (600, 250)
    assert (report.problems, report.personal) == ((), ())
    assert [pair for pair in report.leaks if pair.alike > 0.9] == []
    # A package and a part of it, described alike.
    assert len(report.leaks) == 3
