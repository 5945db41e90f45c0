"""The gate: whether a model may be used for something here, asked before it is.

Room: library. Puts the model's terms, the organisation's answers, the administrator's rules and
what was accepted together; must not know terminals.

    require("org/name", "pull", settings=settings)

What a verdict means for a use, where nobody accepted yet:

    use               accept (terms known)   accept (terms unknown)   deny
    run               said                   said                     LicenceDenied
    serve, only here  AcceptanceNeeded       said                     LicenceDenied
    serve, to others  AcceptanceNeeded       UnknownLicence           LicenceDenied
    quantize          AcceptanceNeeded       said                     LicenceDenied
    pull, tune        AcceptanceNeeded       UnknownLicence           LicenceDenied
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from freehold.config import Settings
from freehold.errors import AcceptanceNeeded, LicenceDenied, UnknownLicence
from freehold.library.catalogue import entries
from freehold.library.record import open_record
from freehold.library.terms import (
    Policy,
    Profile,
    Reason,
    Subject,
    Verdict,
    apply_policies,
    assess,
    licence_named,
    question_text,
    read_policy,
    read_profile,
    subject_of,
)
from freehold.library.terms.accepting import (
    Acceptance,
    TermsText,
    accepted_by,
    terms_to_accept,
)
from freehold.library.terms.judging import worst
from freehold.library.terms.lineage import has_record
from freehold.library.terms.subject import NOT_CONFIRMED

__all__ = ["Ruling", "Use", "require", "ruling_on"]

Use = Literal["pull", "run", "serve", "quantize", "tune"]

_LOG = logging.getLogger(__name__)

# What may be put into a line that people copy to a shell.
_PLAIN = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)

# Uses that go on, and say so, where nobody accepted the terms; and where nobody knows them.
_GOES_ON_UNACCEPTED = ("run",)
_GOES_ON_UNKNOWN = ("run", "quantize")


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A verdict and all that it rests on. `texts` are to be accepted, `acceptances` were."""

    subject: Subject
    profile: Profile
    policies: tuple[Policy, ...]
    verdict: Verdict
    texts: tuple[TermsText, ...] = ()
    acceptances: tuple[Acceptance, ...] = ()


def ruling_on(
    ref: str | Path,
    *,
    settings: Settings,
    declared: str | None = None,
    profile: Profile | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Ruling:
    """The verdict on a model here, with every reason; nothing is recorded.

    `declared` is the licence that a model's source states, for one that is not here yet; "unknown"
    where it states none. `metadata` are those of its file, where that is open already.
    Raises: UnknownModel, BadSetting for an unusable profile or policy, FormatError.
    """
    subject = subject_of(ref, settings=settings, declared=declared, metadata=metadata)
    profile = read_profile() if profile is None else profile
    policies = tuple(read_policy(path) for path in settings.policy)
    verdict = _with_own_reasons(subject, profile)
    if policies:
        verdict = apply_policies(
            policies,
            verdict,
            names=subject.names,
            licences=subject.licences,
            openness=subject.openness,
        )
    ruling = Ruling(subject=subject, profile=profile, policies=policies, verdict=verdict)
    return ruling if verdict.outcome != "accept" else _with_acceptances(ruling, settings)


def require(
    ref: str | Path,
    use: Use,
    *,
    settings: Settings,
    declared: str | None = None,
    name: str | None = None,
    metadata: Mapping[str, object] | None = None,
) -> Verdict:
    """Passes when the model may be used for this, by the table at the top of this file.

    What is said, where a use goes on regardless, goes to this module's logger as a warning. `name`
    stands for the model in what is said to others, who need not see a path; `metadata` are those of
    its file, where that is open already.
    Raises: LicenceDenied, AcceptanceNeeded, UnknownLicence; and as `ruling_on`.
    """
    plain = _plainly_allowed(ref, settings)
    if plain is not None:
        return plain
    ruling = ruling_on(ref, settings=settings, declared=declared, metadata=metadata)
    verdict = ruling.verdict
    if verdict.outcome == "deny":
        raise _denied(ruling, name, declared)
    if verdict.outcome == "allow":
        _keep_overrides(ruling, use, settings)
        return verdict
    error = _needed(ruling, name, declared)
    if isinstance(error, UnknownLicence):
        goes_on = use in _GOES_ON_UNKNOWN or (use == "serve" and _only_here(settings.host))
    else:
        goes_on = use in _GOES_ON_UNACCEPTED
    if not goes_on:
        raise error
    _LOG.warning("%s: %s (%s)", error.message, error.found, error.hint)
    return verdict


def _plainly_allowed(ref: str | Path, settings: Settings) -> Verdict | None:
    """The verdict on the catalogue's own models where no rule could change it: a fresh machine."""
    if settings.policy:
        return None
    for entry in entries():
        here = settings.models_dir / entry.name
        if str(ref) == entry.name or (isinstance(ref, Path) and ref.is_relative_to(here)):
            licence = licence_named(entry.licence)
            if licence is not None and licence.is_open_source:
                return assess((licence,), Profile())
    return None


def _with_own_reasons(subject: Subject, profile: Profile) -> Verdict:
    """The licences' verdict, and what the model's own words add to it."""
    verdict = assess(subject.licences, profile, multimodal=subject.multimodal)
    added = [_asks(f"it names {name}, which is not known here") for name in subject.unread]
    namesake = subject.namesake if verdict.unknown else None
    if namesake is not None and namesake.licence != NOT_CONFIRMED:
        added.append(
            _asks(
                f"its name is that of {namesake.hub}, which is under {namesake.licence}; nothing "
                "shows that these are its weights"
            )
        )
    evidence, recognised = subject.evidence, subject.recognised
    if evidence.text is not None and recognised is None:
        added.append(_asks(f"its own {evidence.text_where} is none of the texts known here"))
    elif recognised is not None and recognised.missing:
        sections = ", ".join(recognised.missing)
        added.append(
            _asks(
                f"its own {evidence.text_where} says it is the {recognised.licence.name}, but "
                f"differs from it in section {sections}"
            )
        )
    if not added:
        return verdict
    return replace(
        verdict,
        outcome=worst((verdict.outcome, "accept")),
        reasons=(*verdict.reasons, *added),
        unknown=verdict.unknown or bool(subject.unread),
    )


def _asks(says: str) -> Reason:
    return Reason(outcome="accept", topic="text", says=says, source="model")


def _with_acceptances(ruling: Ruling, settings: Settings) -> Ruling:
    verdict = ruling.verdict
    texts = terms_to_accept(ruling.subject, verdict, settings)
    acceptances = _acceptances(texts, ruling.subject.names, settings)
    done = {one.digest for one in acceptances} >= {text.digest for text in texts}
    if done and not verdict.open_questions:
        who = ", ".join(dict.fromkeys(f"{one.by} on {one.at[:10]}" for one in acceptances))
        verdict = replace(verdict, outcome="allow", accepted=who)
    return replace(ruling, verdict=verdict, texts=texts, acceptances=acceptances)


def _acceptances(
    texts: Sequence[TermsText], names: Sequence[str], settings: Settings
) -> tuple[Acceptance, ...]:
    if not has_record(settings):
        return ()
    with open_record(settings) as events:
        return accepted_by(events, texts, names)


def _denied(ruling: Ruling, name: str | None, declared: str | None) -> LicenceDenied:
    reason = ruling.verdict.deciding[0]
    by = "a rule of this place" if reason.source == "policy" else "its terms"
    shown = ruling.subject.ref if name is None else name
    return LicenceDenied(
        f"{shown!r} may not be used here, by {by}: {reason.says}",
        value=shown,
        found=_words(reason),
        hint=_hint(
            f"`freehold license {_typed(shown, declared)}` shows every clause and your answers",
            name,
        ),
    )


def _needed(
    ruling: Ruling, name: str | None, declared: str | None
) -> AcceptanceNeeded | UnknownLicence:
    verdict = ruling.verdict
    ref = ruling.subject.ref if name is None else name
    typed = _typed(ref, declared)
    if verdict.unknown:
        return UnknownLicence(
            f"the terms of {ref!r} are not known",
            value=ref,
            expected="a licence that is known here, or somebody's word for it",
            found="; ".join(one.says for one in verdict.reasons if one.source == "model"),
            hint=_hint(f"if they may be used here: `freehold license accept {typed}`", name),
        )
    questions = verdict.open_questions
    if questions:
        hint = f"`freehold config profile --set {questions[0]}=...`; `freehold license {typed}`"
        return AcceptanceNeeded(
            f"whether {ref!r} may be used here depends on who you are",
            value=ref,
            expected="an answer in the profile",
            found="not answered: " + " ".join(question_text(one) for one in questions),
            hint=_hint(hint, name),
        )
    licences = ", ".join(text.licence for text in ruling.texts)
    hint = f"`freehold license {typed}` shows them, `freehold license accept {typed}` accepts"
    return AcceptanceNeeded(
        f"nobody here has accepted the terms of {ref!r} ({licences})",
        value=ref,
        expected="an acceptance in the record",
        found=_words(verdict.deciding[0]),
        hint=_hint(hint, name),
    )


def _typed(ref: str, declared: str | None) -> str:
    """What to type for a model: one that is not here is looked up by what its source declares."""
    if declared is None or not _PLAIN.fullmatch(declared):
        return ref
    return f"{ref} --declared {declared}"


def _hint(for_owner: str, name: str | None) -> str:
    return for_owner if name is None else "whoever runs this server sees to it: `freehold license`"


def _words(reason: Reason) -> str:
    """A reason as the licence says it, or as far as we know it."""
    where = " ".join(part for part in (reason.licence, reason.section) if part)
    if reason.quote is not None:
        return f'{where}: "{reason.quote}"'
    return f"{where}: {reason.says}" if where else reason.says


def _only_here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _keep_overrides(ruling: Ruling, use: Use, settings: Settings) -> None:
    """Writes down, once for each model and use, that a rule let through what terms did not."""
    for reason in ruling.verdict.reasons:
        if reason.topic != "override":
            continue
        body = {
            "model": ruling.subject.ref,
            "use": use,
            "reason": reason.says,
            "rule": reason.section,
            "licences": [licence.id for licence in ruling.subject.licences],
        }
        subject = ruling.policies[0].digest  # the only file whose override counts
        with open_record(settings) as events:
            if body not in [dict(event.body) for event in events.about(subject)]:
                events.append(kind="policy_override", subject=subject, body=body)
