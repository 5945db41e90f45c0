"""Accepting a model's terms: into the record go who, when, and the text by its hash.

Room: library. Decides whether there is something to accept and who may; must not know terminals.
"""

from __future__ import annotations

from freehold.config import Settings
from freehold.errors import AcceptanceNeeded, LicenceDenied
from freehold.library.gate import Ruling, ruling_on
from freehold.library.record import open_record, record_acceptance, whoever_asks
from freehold.library.terms import may_accept, question_text
from freehold.library.terms.accepting import Acceptance

__all__ = ["accept_terms"]


def accept_terms(
    ref: str, *, settings: Settings, by: str | None = None, declared: str | None = None
) -> tuple[Acceptance, ...]:
    """Record that the terms of a model are accepted, and return what now is; empty if none ask.

    Raises: LicenceDenied where they forbid the use, or this person may not accept;
    AcceptanceNeeded while they depend on an answer that the profile lacks; and as `ruling_on`.
    """
    by = whoever_asks() if by is None else by.strip()
    ruling = ruling_on(ref, settings=settings, declared=declared)
    _check(ruling, ref, by)
    have = {one.digest for one in ruling.acceptances}
    missing = [text for text in ruling.texts if text.digest not in have]
    found = list(ruling.acceptances)
    if missing:
        with open_record(settings) as events:
            for text in missing:
                event = record_acceptance(events, licence=text.licence, text=text.text, by=by)
                found.append(
                    Acceptance(licence=text.licence, by=by, at=event.at, digest=text.digest)
                )
    return tuple(found)


def _check(ruling: Ruling, ref: str, by: str) -> None:
    verdict = ruling.verdict
    if verdict.outcome == "deny":
        reason = verdict.deciding[0]
        raise LicenceDenied(
            f"accepting the terms of {ref!r} would not help: {reason.says}",
            value=ref,
            found=reason.quote or reason.says,
            hint=f"`freehold license {ref}` shows every clause and your answers",
        )
    if not by or not may_accept(ruling.policies, by):
        raise LicenceDenied(
            f"{by!r} may not accept terms here",
            value=by,
            expected="a name that the policy lists under `accepting`",
            found=by,
            hint="ask one of those people, or pass --as NAME if you are one",
        )
    if verdict.open_questions:
        name = verdict.open_questions[0]
        raise AcceptanceNeeded(
            f"whether {ref!r} may be used here depends on who you are",
            value=ref,
            expected="an answer in the profile",
            found=f"not answered: {question_text(name)}",
            hint=f"`freehold config profile --set {name}=...`, then accept",
        )
