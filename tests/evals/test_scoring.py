"""Each way to judge an answer, by what must pass and what must not."""

from __future__ import annotations

import pytest

from freehold.errors import BadTask
from freehold.evals import Answer, Item
from freehold.evals.likeness import MEASURES, measure_named
from freehold.evals.scoring import (
    Scorer,
    contains_scorer,
    exact_scorer,
    normalised,
    number_in,
    numeric_scorer,
    regex_scorer,
    schema_scorer,
    similarity_scorer,
)

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


def value(scorer: Scorer, answer: str, *references: str) -> float:
    (score,) = scorer.score([(Item(id="0", references=references), Answer(text=answer))])
    (found,) = score.values.values()
    return found


@pytest.mark.parametrize(
    ("scorer", "answer", "references", "passes"),
    [
        (exact_scorer(), " net\n", ("net",), True),
        (exact_scorer(), "Net", ("net",), False),
        (exact_scorer(), "net.", ("net",), False),
        (exact_scorer(), "b", ("a", "b"), True),
        (exact_scorer(strict=False), "The  Eiffel tower!", ("eiffel tower",), True),
        (exact_scorer(strict=False), "a tower", ("eiffel tower",), False),
        (contains_scorer(), "It is PARIS.", ("Paris",), True),
        (contains_scorer(any_case=False), "It is PARIS.", ("Paris",), False),
        (regex_scorer(r"\d{4}-\d\d"), "on 2026-01-31", (), True),
        (regex_scorer(r"^\d+$", whole=True), "12a", (), False),
        (regex_scorer(r"answer: (\w+)"), "answer: no. answer: yes", ("yes",), True),
        (regex_scorer(r"answer: (\w+)"), "answer: yes. answer: no", ("yes",), False),
        (numeric_scorer(), "so it costs $1,234.50.", ("1234.5",), True),
        (numeric_scorer(), "12 or 13", ("12",), False),
        (numeric_scorer(), "none", ("12",), False),
        (numeric_scorer(tolerance=0.01), "3.14", ("3.1416",), True),
        (schema_scorer(SCHEMA), '{"n": 3}', (), True),
        (schema_scorer(SCHEMA), '```json\n{"n": 3}\n```', (), True),
        (schema_scorer(SCHEMA), '{"n": "3"}', (), False),
        (schema_scorer(SCHEMA), '{"n": 3, "m": 1}', (), False),
        (schema_scorer(SCHEMA), "n is 3", (), False),
        (schema_scorer(SCHEMA), "[" * 100_000, (), False),
    ],
)
def test_an_answer_passes_or_not(
    scorer: Scorer, answer: str, references: tuple[str, ...], passes: bool
) -> None:
    assert value(scorer, answer, *references) == float(passes)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("-5", -5), ("1,000,000", 1e6), ("about 50%", 50), ("3.", 3), ("x", None), (".5", 0.5),
        ("1e3", 1000), ("1e999", None), ("12,34", 34),
    ],
)  # fmt: skip
def test_the_last_number_is_read_as_people_write_them(text: str, number: float | None) -> None:
    assert number_in(text) == number


def test_an_items_own_schema_goes_before_the_tasks() -> None:
    item = Item(id="0", fields={"schema": {"type": "string"}})
    (score,) = schema_scorer(SCHEMA).score([(item, Answer(text='"x"'))])
    assert score.values == {"schema": 1.0}


def test_what_cannot_be_judged_by_is_refused_before_any_answer() -> None:
    with pytest.raises(BadTask):
        regex_scorer("(")
    with pytest.raises(BadTask):
        regex_scorer("x" * 2000)
    with pytest.raises(BadTask):
        schema_scorer({"type": "no such type"})
    with pytest.raises(BadTask, match="no such measure"):
        similarity_scorer("cosine")


def test_a_reference_without_a_number_is_an_error_and_no_wrong_answer() -> None:
    with pytest.raises(BadTask):
        value(numeric_scorer(), "12", "twelve")


@pytest.mark.parametrize("name", sorted(MEASURES))
def test_likeness_is_one_for_the_same_and_nothing_for_strangers(name: str) -> None:
    alike = measure_named(name)
    same = "the quick brown fox jumps over the lazy dog"
    assert alike(same, same) == pytest.approx(1.0)
    assert alike("zzz", "the") == 0.0
    assert 0 <= alike("the quick red fox", same) <= 1
    assert alike("", "") in (0.0, 1.0)


def test_likeness_counts_what_its_definition_counts() -> None:
    text, reference = "police killed the gunman", "police kill the gunman"
    assert measure_named("rouge_1")(text, reference) == pytest.approx(0.75)
    assert measure_named("rouge_2")(text, reference) == pytest.approx(1 / 3)
    assert measure_named("rouge_l")(text, reference) == pytest.approx(0.75)
    # Lin 2004, section 3: the words in another order share a shorter run.
    assert measure_named("rouge_l")("the gunman kill police", reference) == pytest.approx(0.5)
    assert measure_named("f1")("a b", "b c") == pytest.approx(0.5)
    assert measure_named("gleu")("a b", "a c") == pytest.approx(1 / 3)


def test_the_nearest_reference_counts() -> None:
    assert value(similarity_scorer("f1"), "b c", "x", "b c") == 1.0


def test_normalising_is_squads() -> None:
    assert normalised("  The U.S.  government, an ally ") == "us government ally"
