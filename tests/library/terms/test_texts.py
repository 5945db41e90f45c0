"""A licence file is recognised by its words, and a changed one is not taken for the original."""

from __future__ import annotations

import time

import pytest

from freehold.library.terms import known_licences, licence_named, licence_text
from freehold.library.terms.licences import Licence
from freehold.library.terms.texts import MAX_TEXT_BYTES, recognise

MIT = licence_text(next(one for one in known_licences() if one.id == "mit")) or ""
APACHE = licence_text(next(one for one in known_licences() if one.id == "apache-2.0")) or ""
AGREEMENTS = [
    one
    for one in known_licences()
    if not one.is_open_source and one.read != "summaries" and one.id != "minimax-m3"
]


def as_published(licence: Licence) -> str:
    """A text as a maker might publish it: a title, the clauses, more words between."""
    quotes = [clause.quote for clause in licence.clauses if clause.quote]
    return "\n\n".join([f"**{licence.titles[0]}**", "Preamble.", *quotes, "Governing law."])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (MIT, "mit"),
        (MIT.replace("<year> <holders>", "2025 Somebody and others"), "mit"),
        (MIT.upper(), "mit"),
        (APACHE, "apache-2.0"),
        (APACHE.replace("[yyyy] [name of copyright owner]", "2024 A Cloud"), "apache-2.0"),
        (APACHE.replace("\n", "\r\n"), "apache-2.0"),
        (APACHE[: APACHE.index("APPENDIX")], "apache-2.0"),
    ],
    ids=["mit", "holders", "case", "apache", "filled in", "line ends", "no appendix"],
)
def test_an_open_source_licence_is_known_by_its_whole_text(text: str, name: str) -> None:
    found = recognise(text)
    assert found is not None
    assert (found.licence.id, found.exact) == (name, True)


@pytest.mark.parametrize("text", [MIT, APACHE], ids=["mit", "apache"])
def test_one_more_condition_and_it_is_not_that_licence(text: str) -> None:
    found = recognise(text + "\nCompanies above $1 of revenue need another licence.\n")
    assert found is None or not found.licence.is_open_source


@pytest.mark.parametrize("licence", AGREEMENTS, ids=lambda one: one.id)
def test_an_agreement_is_known_by_its_title_and_clauses(licence: Licence) -> None:
    found = recognise(as_published(licence))
    assert found is not None
    assert found.licence is licence
    assert not found.missing
    assert not found.exact


def test_a_clause_that_was_taken_out_or_changed_is_named() -> None:
    licence = licence_named("llama3.1")
    assert licence is not None
    found = recognise(as_published(licence).replace("700 million", "7 million"))
    assert found is not None
    assert found.licence is licence
    assert found.missing == ("2",)


@pytest.mark.parametrize("text", ["", "All rights reserved.", "x" * 100_000])
def test_other_texts_are_no_licence(text: str) -> None:
    assert recognise(text) is None


@pytest.mark.parametrize(
    "text",
    ["\n", " ", "(", "copyright ", "appendix: how to apply ", "*\n", "“", "a\n#copyright\n"],
)
def test_no_text_takes_long(text: str) -> None:
    hostile = text * (MAX_TEXT_BYTES // len(text))
    start = time.perf_counter()
    assert recognise(hostile) is None
    # Some hundred times what an honest text takes, and far from what a blow-up takes.
    assert time.perf_counter() - start < 5
