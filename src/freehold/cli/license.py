"""`freehold license`: a model's terms, the verdict on them, and their acceptance.

Room: cli. Shows what the library found and records what a person accepts.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from freehold.cli.options import AsJson, PolicyFile

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.library.gate import Ruling
    from freehold.library.terms import Reason

__all__ = ["accept", "license_group", "show"]


class _ShowsByDefault(TyperGroup):
    """`freehold license REF` is `freehold license show REF`."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of the first word, or `show` for a word that is none."""
        if args and args[0] not in self.commands:
            args = ["show", *args]
        return super().resolve_command(ctx, args)


license_group = typer.Typer(
    name="license",
    cls=_ShowsByDefault,
    help="Show the terms of a model, what they allow you, and accept them.",
)

Reference = Annotated[
    str,
    typer.Argument(metavar="REF", help="A short name, org/name of the catalogue, or a path."),
]
Declared = Annotated[
    str | None,
    typer.Option(
        "--declared",
        metavar="ID",
        help='The licence a model\'s source states, for one that is not here; "unknown" for none.',
    ),
]


@license_group.command()
def show(
    ref: Reference,
    *,
    text: Annotated[bool, typer.Option("--text", help="Print the licence's whole text.")] = False,
    declared: Declared = None,
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Show under which terms a model is, and what they allow you.

    Every reason quotes its clause, or says that it is a summary. This helps to decide; it is not
    legal advice. `freehold license starter`, or `freehold license show starter`
    """
    from freehold.cli.printing import print_json
    from freehold.library.gate import ruling_on

    ruling = ruling_on(ref, settings=_settings(policy), declared=declared)
    if text:
        _print_texts(ruling)
    elif as_json:
        print_json(_record(ruling))
    else:
        _print_ruling(ruling)


@license_group.command()
def accept(
    ref: Reference,
    *,
    name: Annotated[
        str | None,
        typer.Option("--as", metavar="NAME", help="Who accepts; unset: this user@machine."),
    ] = None,
    declared: Declared = None,
    policy: PolicyFile = None,
    as_json: AsJson = False,
) -> None:
    """Accept a model's terms: who, when and the text's hash go into the record.

    An acceptance holds for every model that comes with the same text. It is refused while the
    terms depend on an answer that the profile lacks, and where they forbid the use.
    `freehold license accept org/name --as "Legal, A. Person"`
    """
    from freehold.cli.printing import print_json, say
    from freehold.library.accepting import accept_terms

    accepted = accept_terms(ref, by=name, settings=_settings(policy), declared=declared)
    if as_json:
        print_json(
            {
                "ref": ref,
                "accepted": [
                    {"licence": one.licence, "sha256": one.digest[7:], "by": one.by, "at": one.at}
                    for one in accepted
                ],
            }
        )
        return
    if not accepted:
        say(f"{ref}: its terms ask nobody to accept them")
    for one in accepted:
        say(f"accepted: {one.licence} by {one.by} on {one.at[:10]}")
        say(f"  {one.digest}")


def _settings(policy: Path | None) -> Settings:
    from freehold.cli.options import with_policy
    from freehold.config import resolve_settings

    return with_policy(resolve_settings(), policy)


def _print_texts(ruling: Ruling) -> None:
    from freehold.cli.printing import safe_text, say
    from freehold.library.terms.accepting import text_of

    for licence in ruling.subject.licences:
        terms = text_of(ruling.subject, licence)
        say(f"{licence.name}, {terms.where}, {terms.digest}")
        typer.echo(safe_text(terms.text))
    if not ruling.subject.licences and ruling.subject.evidence.text is not None:
        typer.echo(safe_text(ruling.subject.evidence.text))


def _print_ruling(ruling: Ruling) -> None:
    """The page: what it is, how open, the verdict, then clause by clause."""
    from freehold.cli.printing import safe_text
    from freehold.library.terms import NO_ADVICE

    lines = [*_head(ruling), "", *_grounds(ruling), NO_ADVICE]
    typer.echo(safe_text("\n".join(lines)))


def _head(ruling: Ruling) -> list[str]:
    from freehold.library.terms.accepting import text_of

    subject, verdict = ruling.subject, ruling.verdict
    openness = subject.openness
    lines = [f"model     {subject.ref}"]
    for licence in subject.licences:
        spdx = f" ({licence.spdx})" if licence.spdx else f" ({licence.id})"
        lines.append(f"licence   {licence.name}{spdx}")
        says = [claim.where for claim in subject.claims if _is(claim.name, licence.id)]
        lines.append(f"          says {', '.join(dict.fromkeys(says))}")
        terms = text_of(subject, licence)
        lines.append(f"text      {terms.digest[:19]}…, {terms.where}")
    lines += [f"licence   {name}, which is not known here" for name in subject.unread]
    if not subject.licences and not subject.unread:
        lines.append("licence   unknown: nothing names one")
    lines.append(f"openness  {_LEVELS[openness.level]}")
    lines += _wrapped("; ".join(openness.evidence))
    reached = openness.framework_class
    grade = f"class {_ROMAN[reached]}" if reached else "below class III"
    missing = f"; for the next lacks {', '.join(openness.missing)}" if openness.missing else ""
    if openness.known:
        lines += _wrapped(f"Model Openness Framework: {grade}{missing}")
    lines.append(f"verdict   {_OUTCOMES[verdict.outcome]}")
    if verdict.accepted:
        lines.append(f"          accepted by {verdict.accepted}")
    lines += [f"          not answered: {question}" for question in _questions(verdict)]
    return lines


_LEVELS = {
    "closed": "closed: no weights are published",
    "open-weight": "open weight, not open source AI by OSAID 1.0",
    "open-source": "open source AI by OSAID 1.0",
}
_ROMAN = {1: "I (open science)", 2: "II (open tooling)", 3: "III (open model)"}
_OUTCOMES = {"allow": "allow", "accept": "allow after acceptance", "deny": "deny"}
_MARKS = {"allow": "allows", "accept": "asks", "deny": "bans", None: "duty"}


def _is(name: str, licence_id: str) -> bool:
    from freehold.library.terms import licence_named

    licence = licence_named(name)
    return licence is not None and licence.id == licence_id


def _questions(verdict: Any) -> list[str]:
    from freehold.library.terms import question_text

    asked = [reason.question for reason in verdict.reasons if reason.question]
    return [f"{name}: {question_text(name)}" for name in dict.fromkeys(asked)]


def _wrapped(text: str, mark: str = "") -> list[str]:
    import textwrap

    margin = " " * 10 + mark
    return textwrap.wrap(text, 98, initial_indent=margin, subsequent_indent=margin)


def _grounds(ruling: Ruling) -> list[str]:
    """Each reason: what it does, where it stands, in plain words, then the licence's own."""
    order = ("deny", "accept", "allow", None)
    lines = []
    for reason in sorted(ruling.verdict.reasons, key=lambda one: order.index(one.outcome)):
        mark = _MARKS[reason.outcome]
        if reason.question is not None:
            mark = "may ban" if reason.decides == "deny" else "may ask"
        lines.append(f"{mark:<10}{_where(reason)}")
        lines += _wrapped(reason.says)
        if reason.quote is not None:
            lines += _wrapped(reason.quote, "| ")
        elif reason.licence is not None:
            lines += _wrapped("(a summary: the licence's own words were not read)")
        lines.append("")
    return lines


def _where(reason: Reason) -> str:
    from freehold.library.terms import licence_named

    if reason.source == "policy":
        return f"a rule of this place, {reason.section}"
    licence = licence_named(reason.licence) if reason.licence else None
    return "the model itself" if licence is None else f"{licence.name}, section {reason.section}"


def _record(ruling: Ruling) -> dict[str, object]:
    """The same as JSON."""
    from freehold.library.terms.accepting import text_of

    subject, verdict, openness = ruling.subject, ruling.verdict, ruling.subject.openness
    return {
        "ref": subject.ref,
        "licences": [
            {
                "id": licence.id,
                "spdx": licence.spdx,
                "name": licence.name,
                "kind": licence.kind,
                "read": licence.read,
                "sha256": text_of(subject, licence).digest[7:],
                "text_from": text_of(subject, licence).where,
            }
            for licence in subject.licences
        ],
        "unread_licences": list(subject.unread),
        "claims": [{"licence": claim.name, "by": claim.where} for claim in subject.claims],
        "openness": {
            "level": openness.level,
            "framework_class": openness.framework_class,
            "missing": list(openness.missing),
            "evidence": list(openness.evidence),
        },
        "verdict": verdict.outcome,
        "unknown": verdict.unknown,
        "accepted": verdict.accepted,
        "open_questions": list(verdict.open_questions),
        "reasons": [
            {
                "outcome": reason.outcome,
                "topic": reason.topic,
                "from": reason.source,
                "licence": reason.licence,
                "section": reason.section,
                "says": reason.says,
                "quote": reason.quote,
                "question": reason.question,
            }
            for reason in verdict.reasons
        ],
        "profile": ruling.profile.answers(),
    }
