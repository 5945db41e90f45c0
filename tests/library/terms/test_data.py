"""The licences' data are whole, and nothing in them is silently left unread."""

from __future__ import annotations

from importlib.resources import files

import pytest

from freehold.errors import BadSetting
from freehold.library.terms import Licence, known_licences, licence_named, licence_text
from freehold.library.terms.licences import _read

SOUND = """
id = "x"
revision = 1
name = "X"
kind = "open-weight"
read = "whole"
source = "here"
[[clause]]
topic = "grant"
section = "1"
effect = "allow"
says = "may"
quote = "you may"
[[clause]]
topic = "revenue"
section = "2"
effect = "deny"
says = "may not"
quote = "you may not"
when = [{ annual_revenue_above = 5 }]
"""


def by_id(licence: Licence) -> str:
    return licence.id


@pytest.mark.parametrize("licence", known_licences(), ids=by_id)
def test_what_was_read_whole_is_quoted_and_what_was_not_read_is_not(licence: Licence) -> None:
    quoted = [clause.quote is not None for clause in licence.clauses]
    if licence.read == "whole":
        assert all(quoted)
    elif licence.read == "summaries":
        assert not any(quoted)
    else:
        assert any(quoted)


@pytest.mark.parametrize("licence", known_licences(), ids=by_id)
def test_an_open_source_licence_asks_for_nothing_but_notices(licence: Licence) -> None:
    effects = {clause.effect for clause in licence.clauses}
    assert (effects <= {"allow", "note"}) == licence.is_open_source
    assert (licence.kind == "research-only") == any(
        clause.topic == "non-commercial" for clause in licence.clauses
    )


@pytest.mark.parametrize("licence", known_licences(), ids=by_id)
def test_a_licence_is_found_by_each_of_its_names_in_any_case(licence: Licence) -> None:
    for name in (licence.id, licence.spdx or licence.id, *licence.aliases):
        assert licence_named(f" {name.upper()} ") is licence


def test_nothing_is_found_by_a_name_that_several_use() -> None:
    assert licence_named("modified-mit") is None
    assert licence_named("other") is None


def test_a_text_that_is_carried_holds_the_quotes() -> None:
    carried = [licence for licence in known_licences() if licence_text(licence)]
    assert {licence.id for licence in carried} == {"apache-2.0", "mit"}
    for licence in carried:
        words = " ".join((licence_text(licence) or "").split())
        assert all(clause.quote in words for clause in licence.clauses if clause.quote)


def test_the_data_stay_small() -> None:
    folder = files("freehold.library.terms") / "data"
    assert sum(len(entry.read_bytes()) for entry in folder.iterdir()) < 100_000


def test_sound_data_are_read() -> None:
    assert _read(SOUND.encode(), name="x.toml").clauses[1].when[0].annual_revenue_above == 5


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('id = "x"', 'id = "y"'),
        ("revision = 1", "revision = 0"),
        ("revision = 1", ""),
        ('kind = "open-weight"', 'kind = "free"'),
        ('source = "here"', 'source = "here"\ncolour = "red"'),
        ('topic = "grant"', 'topic = "gift"'),
        ('effect = "deny"', 'effect = "forbid"'),
        ("annual_revenue_above = 5", "annual_revenue_over = 5"),
        ("annual_revenue_above = 5", "annual_revenue_above = -5"),
        ("annual_revenue_above = 5", "annual_revenue_above = 5.5"),
        ("{ annual_revenue_above = 5 }", "{}"),
        ('quote = "you may"', 'quote = ""'),
        ('id = "x"', 'id = "x'),
    ],
)
def test_a_mistake_in_the_data_is_refused(old: str, new: str) -> None:
    assert old in SOUND
    with pytest.raises(BadSetting):
        _read(SOUND.replace(old, new, 1).encode(), name="x.toml")


def test_the_grant_comes_first() -> None:
    head, grant, rest = SOUND.split("[[clause]]")
    with pytest.raises(BadSetting, match="clause"):
        _read(f"{head}[[clause]]{rest}[[clause]]{grant}".encode(), name="x.toml")
