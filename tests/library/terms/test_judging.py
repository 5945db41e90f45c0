"""A verdict assumes no answer: what is allowed or denied stays so whatever is answered later."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.library.terms import Licence, Profile, assess, known_licences, licence_named

ANSWERS: dict[str, st.SearchStrategy[Any]] = {
    "commercial": st.booleans(),
    "monthly_users": st.sampled_from([0, 100_000_000, 100_000_001, 700_000_001]),
    "annual_revenue_usd": st.sampled_from([0, 20_000_001, 50_000_001, 240_000_001, 20 * 10**9]),
    "hosts_for_others": st.booleans(),
    "sells_work_assistant": st.booleans(),
    "regions": st.sampled_from([("US",), ("DE",), ("GB",), ("US", "FR")]),
    "trains_on_outputs": st.booleans(),
}
WHOLE = st.fixed_dictionaries(ANSWERS)
LICENCES = st.sampled_from(known_licences())


def named(name: str) -> Licence:
    licence = licence_named(name)
    assert licence is not None
    return licence


@settings(deadline=None, max_examples=60)
@given(licence=LICENCES, answers=WHOLE, given_=st.sets(st.sampled_from(sorted(ANSWERS))))
def test_answering_more_never_turns_an_allow_or_a_deny_around(
    licence: Licence, answers: dict[str, Any], given_: set[str]
) -> None:
    whole = Profile(**answers)
    part = Profile(**{name: answers[name] for name in given_})
    early = assess((licence,), part, multimodal=True)
    late = assess((licence,), whole, multimodal=True)
    assert late.outcome != "accept" or early.outcome == "accept"
    if early.outcome != "accept":
        assert late.outcome == early.outcome
    if late.outcome == "deny":
        assert early.outcome == "deny" or early.open_questions
    assert not late.open_questions


@settings(deadline=None, max_examples=60)
@given(licence=LICENCES, answers=WHOLE)
def test_an_open_question_names_an_answer_of_the_profile(
    licence: Licence, answers: dict[str, Any]
) -> None:
    names = {field.name for field in fields(Profile)}
    for name in names:
        verdict = assess((licence,), replace(Profile(**answers), **{name: None}), multimodal=True)
        assert set(verdict.open_questions) <= {name}


@settings(deadline=None, max_examples=60)
@given(first=LICENCES, second=LICENCES, answers=WHOLE)
def test_a_model_under_two_licences_is_under_the_stricter(
    first: Licence, second: Licence, answers: dict[str, Any]
) -> None:
    profile = Profile(**answers)
    order = ["allow", "accept", "deny"]
    alone = [assess((one,), profile, multimodal=True).outcome for one in (first, second)]
    both = assess((first, second), profile, multimodal=True)
    assert both.outcome == max(alone, key=order.index)


def test_nothing_known_is_not_allowed() -> None:
    verdict = assess((), Profile())
    assert verdict.outcome == "accept"
    assert verdict.unknown
    assert verdict.reasons[0].quote is None


def test_a_clause_that_cannot_bind_is_not_shown() -> None:
    verdict = assess((named("kimi-k2"),), Profile(commercial=False))
    assert [reason.topic for reason in verdict.reasons] == ["grant"]


def test_whether_a_model_sees_is_asked_where_it_matters() -> None:
    profile = Profile(monthly_users=0, regions=("DE",), trains_on_outputs=False)
    unknown = assess((named("llama3.2"),), profile)
    assert unknown.open_questions == ("multimodal",)
    assert assess((named("llama3.2"),), profile, multimodal=True).outcome == "deny"
    assert assess((named("llama3.2"),), profile, multimodal=False).open_questions == ()


def test_a_member_state_is_in_the_union_and_switzerland_is_not() -> None:
    assert Profile(regions=("US", "MT")).is_in(("EU",))
    assert Profile(regions=("EU",)).is_in(("EU",))
    assert Profile(regions=("CH", "GB")).is_in(("EU",)) is False
    assert Profile().is_in(("EU",)) is None
