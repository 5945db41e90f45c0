"""Who accepted which terms: what there is to accept, and whether somebody did.

Room: library. An acceptance is of a text, by its hash, and an event of the record; must not know
what a text allows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from freehold.library.identity import identity_of
from freehold.library.terms.judging import NO_ADVICE, Verdict
from freehold.library.terms.licences import Licence, licence_named, licence_text
from freehold.library.terms.subject import Subject
from freehold.library.terms.texts import recognise, text_digest

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.store import Event, Events

__all__ = ["Acceptance", "TermsText", "accepted_by", "terms_to_accept", "text_of"]

KIND = "licence_accepted"


@dataclass(frozen=True, kw_only=True)
class TermsText:
    """A text to accept; `where` says whose words it is made of.

    `exact`: no other text counts for it, since it is like none that is known.
    """

    licence: str
    text: str
    where: str
    exact: bool = False

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the text."""
        return text_digest(self.text)


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """Somebody accepted a text: who, when (UTC), and its hash."""

    licence: str
    by: str
    at: str
    digest: str


def text_of(subject: Subject, licence: Licence) -> TermsText:
    """The text of a licence as this model has it: its own file, else ours, else the clauses."""
    recognised = subject.recognised
    if recognised is not None and recognised.licence is licence and subject.evidence.text:
        where = f"the model's own {subject.evidence.text_where}"
        differs = bool(recognised.missing)
        text = subject.evidence.text
        return TermsText(licence=licence.id, text=text, where=where, exact=differs)
    carried = licence_text(licence)
    if carried is not None:
        return TermsText(licence=licence.id, text=carried, where="this program's copy")
    return TermsText(
        licence=licence.id,
        text=_clauses(licence),
        where="the clauses this program knows; the whole text comes with the model",
    )


def _clauses(licence: Licence) -> str:
    lines = [licence.name, f"known from: {licence.source}", ""]
    for clause in licence.clauses:
        words = f'"{clause.quote}"' if clause.quote else "(a summary; the words were not read)"
        lines += [f"section {clause.section}: {clause.says}", f"  {words}", ""]
    return "\n".join(lines)


def terms_to_accept(
    subject: Subject, verdict: Verdict, settings: Settings
) -> tuple[TermsText, ...]:
    """The texts whose acceptance turns this verdict from "accept" to "allow"."""
    asking = [reason for reason in verdict.reasons if reason.outcome == "accept"]
    by_policy = any(reason.source == "policy" for reason in asking)
    wanted = {reason.licence for reason in asking if reason.licence is not None}
    texts = [
        text_of(subject, licence)
        for licence in subject.licences
        if by_policy or licence.id in wanted
    ]
    if any(reason.source == "model" for reason in asking) or not texts:
        texts.append(_own_terms(subject, settings))
    return tuple(texts)


def _own_terms(subject: Subject, settings: Settings) -> TermsText:
    """What somebody takes upon themselves who uses a model under terms that nobody knows."""
    if subject.evidence.text is not None:
        where = f"the model's own {subject.evidence.text_where}"
        text = subject.evidence.text
        return TermsText(licence="unknown", text=text, where=where, exact=True)
    what = subject.ref
    if subject.path is not None:
        what = f"{subject.path.name}, {identity_of(subject.path, home=settings.home).digest}"
    named = f" It names {', '.join(subject.unread)}, whose text is not known here."
    return TermsText(
        licence="unknown",
        text=f"The terms of {what} could not be established.{named if subject.unread else ''} "
        f"Whoever accepts says that they may be used here. {NO_ADVICE}",
        where="nobody's words: no terms were found",
        exact=True,
    )


def accepted_by(
    events: Events, texts: Sequence[TermsText], names: Sequence[str]
) -> tuple[Acceptance, ...]:
    """The latest acceptance of each of these texts that has one, for this model or for any.

    Whoever accepted a licence in one of its forms, as a file or as its clauses, accepted it.
    """
    known = [event for event in reversed(events.all()) if event.kind == KIND]
    found = []
    for text in texts:
        for event in known:
            models = event.body.get("models") or names
            if set(models) & set(names) and _covers(event, text):
                found.append(
                    Acceptance(
                        licence=text.licence,
                        by=str(event.body.get("by", "")),
                        at=event.at,
                        digest=text.digest,
                    )
                )
                break
    return tuple(found)


def _covers(event: Event, text: TermsText) -> bool:
    if event.subject == text.digest:
        return True
    if text.exact or event.body.get("licence") != text.licence:
        return False
    licence = licence_named(text.licence)
    words = event.body.get("text")
    if licence is None or not isinstance(words, str):
        return False
    if words in (_clauses(licence), licence_text(licence)):
        return True
    recognised = recognise(words)
    return recognised is not None and recognised.licence is licence and not recognised.missing
