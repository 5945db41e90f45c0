"""The verdict: what licences allow an organisation to do with a model, each reason with its clause.

Room: library. Pure: licences, answers and rules in, a verdict out. It helps to decide; it is not
legal advice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from freehold.library.terms.licences import Clause, Condition, Licence, Outcome
from freehold.library.terms.profile import QUESTIONS, Profile

__all__ = ["NO_ADVICE", "Reason", "Verdict", "assess", "question_text", "worst"]

NO_ADVICE = "This helps to decide. It is not legal advice."

_ORDER: tuple[Outcome, ...] = ("allow", "accept", "deny")


@dataclass(frozen=True, kw_only=True)
class Reason:
    """One ground of a verdict.

    `outcome` is what it asks for by itself, None for a duty that decides nothing. `quote` are the
    licence's words; without them `says` is a summary. `question` names the profile's answer that
    would settle it.
    """

    outcome: Outcome | None
    topic: str
    says: str
    source: Literal["licence", "policy", "model"] = "licence"
    licence: str | None = None
    section: str = ""
    quote: str | None = None
    question: str | None = None
    decides: Outcome | None = None
    """What it would ask for once the question is answered against it."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """allow, accept (allowed after acceptance), or deny, with every reason for it.

    `unknown` when nothing known covers the model. `accepted` says who accepted, once somebody has.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    unknown: bool = False
    accepted: str | None = None

    @property
    def deciding(self) -> tuple[Reason, ...]:
        """The reasons that made the outcome what it is."""
        return tuple(reason for reason in self.reasons if reason.outcome == self.outcome)

    @property
    def duties(self) -> tuple[Reason, ...]:
        """What binds without deciding: notices, names."""
        return tuple(reason for reason in self.reasons if reason.outcome is None)

    @property
    def open_questions(self) -> tuple[str, ...]:
        """The profile's answers that could still forbid the use, each once."""
        asked = [r.question for r in self.reasons if r.question and r.decides == "deny"]
        return tuple(dict.fromkeys(asked))


def worst(outcomes: Iterable[Outcome]) -> Outcome:
    """The strictest of some outcomes; "allow" of none."""
    return max(outcomes, key=_ORDER.index, default="allow")


def assess(
    licences: tuple[Licence, ...], profile: Profile, *, multimodal: bool | None = None
) -> Verdict:
    """What the licences together allow this organisation; a model with several is under all.

    `multimodal`: whether the model takes images or sound, None where that is not known.
    """
    if not licences:
        return Verdict(outcome="accept", reasons=(_unknown(),), unknown=True)
    reasons = [
        reason
        for licence in licences
        for clause in licence.clauses
        for reason in _reasons(licence, clause, profile, multimodal)
    ]
    outcome = worst(reason.outcome for reason in reasons if reason.outcome is not None)
    return Verdict(outcome=outcome, reasons=tuple(reasons))


def _unknown() -> Reason:
    return Reason(
        outcome="accept",
        topic="unknown",
        source="model",
        says="nothing says under which terms the weights are offered",
    )


def _reasons(
    licence: Licence, clause: Clause, profile: Profile, multimodal: bool | None
) -> list[Reason]:
    """A clause's reason if it binds or may bind, else nothing."""
    outcome = None if clause.effect == "note" else clause.effect
    asked: list[str] = []
    bound = not clause.when
    for condition in clause.when:
        unanswered = _unanswered(condition, profile, multimodal)
        if unanswered == []:
            bound = True
        elif unanswered is not None:
            asked += unanswered
    if not bound and not asked:
        return []
    question = None if bound else asked[0]
    return [
        Reason(
            outcome="accept" if question and outcome is not None else outcome,
            topic=clause.topic,
            says=clause.says,
            licence=licence.id,
            section=clause.section,
            quote=clause.quote,
            question=question,
            decides=outcome,
        )
    ]


def _unanswered(
    condition: Condition, profile: Profile, multimodal: bool | None
) -> list[str] | None:
    """The questions left until a condition is known to hold; None when it does not hold."""
    questions = []
    for name, holds in _parts(condition, profile, multimodal):
        if holds is False:
            return None
        if holds is None:
            questions.append(name)
    return questions


def _parts(
    condition: Condition, profile: Profile, multimodal: bool | None
) -> list[tuple[str, bool | None]]:
    """(the answer it rests on, whether it holds) of each part that the condition has."""
    parts: list[tuple[str, bool | None]] = []
    for name in ("commercial", "hosts_for_others", "sells_work_assistant", "trains_on_outputs"):
        wanted, given = getattr(condition, name), getattr(profile, name)
        if wanted is not None:
            parts.append((name, None if given is None else given == wanted))
    revenue = profile.annual_revenue_usd
    amounts = (
        ("monthly_users", condition.monthly_users_above, profile.monthly_users),
        ("annual_revenue_usd", condition.annual_revenue_above, revenue),
        (
            "annual_revenue_usd",
            condition.monthly_revenue_above,
            None if revenue is None else revenue / 12,
        ),
    )
    for name, above, amount in amounts:
        if above is not None:
            parts.append((name, None if amount is None else amount > above))
    if condition.regions:
        parts.append(("regions", profile.is_in(condition.regions)))
    if condition.multimodal is not None:
        known = None if multimodal is None else multimodal == condition.multimodal
        parts.append(("multimodal", known))
    return parts


def question_text(name: str) -> str:
    """A question of the profile, or about the model, in words."""
    return QUESTIONS.get(name, "does the model take images or sound?")
