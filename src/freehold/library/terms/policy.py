"""An administrator's rules: which licences and models are used here, and who may accept terms.

Room: library. Reads a TOML file and adds its reasons to a verdict; must not know where a verdict
comes from. Rules only tighten, except for an override, which has a reason that is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from freehold.errors import BadSetting
from freehold.library.terms.judging import Reason, Verdict, worst
from freehold.library.terms.licences import Licence, Outcome, licence_named
from freehold.library.terms.openness import Openness
from freehold.library.terms.tables import Table
from freehold.library.terms.texts import text_digest

__all__ = ["Policy", "Rule", "apply_policies", "may_accept", "read_policy"]

_MOST_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What holds for the models whose names fit `pattern`, in any case: `meta-llama/*`."""

    pattern: str
    reason: str
    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Policy:
    """One file of rules, and its text's hash. `accepting` names who may accept; empty: anybody.

    `require`: "open-source-licence" asks for licences that the Open Source Initiative approved,
    "open-source" for models that are open source by its definition for AI.
    """

    path: Path
    digest: str
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    require: Literal["open-source-licence", "open-source"] | None = None
    unknown: Outcome = "accept"
    accepting: tuple[str, ...] = ()
    rules: tuple[Rule, ...] = ()
    overrides: tuple[Rule, ...] = ()


def read_policy(path: Path) -> Policy:
    """The rules of a file. Raises: BadSetting for a file that is missing, or any unknown key."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BadSetting(
            f"cannot read the policy {path}",
            value=str(path),
            expected="a TOML file of rules",
            found=error.strerror or type(error).__name__,
            hint="without its rules nothing is allowed; correct the path",
        ) from error
    if len(raw) > _MOST_BYTES:
        raise BadSetting(
            f"the policy {path} is too long", value=len(raw), expected=f"{_MOST_BYTES} bytes"
        )
    table = Table.parsed(raw, where=str(path))
    policy = Policy(
        path=path,
        digest=text_digest(raw.decode("utf-8", errors="replace")),
        allowed=_ids(table, "allow_licences"),
        denied=_ids(table, "deny_licences"),
        require=table.word("require", ("open-source-licence", "open-source", None)),
        unknown=table.word("unknown", ("accept", "deny"), "accept"),
        accepting=table.words("accepting"),
        rules=table.tables("model", _rule),
        overrides=table.tables("override", _override),
    )
    table.done()
    return policy


def _ids(table: Table, key: str) -> tuple[str, ...]:
    """Licence ids that exist: a rule about a misspelt one would silently do nothing."""
    found = []
    for name in table.words(key):
        licence = licence_named(name)
        if licence is None:
            raise table.wrong(key, expected="ids of known licences", found=name)
        found.append(licence.id)
    return tuple(found)


def _rule(table: Table) -> Rule:
    return Rule(
        pattern=table.text("pattern").lower(),
        outcome=table.word("outcome", ("deny", "accept")),
        reason=table.text("reason"),
    )


def _override(table: Table) -> Rule:
    return Rule(
        pattern=table.text("pattern").lower(),
        outcome=table.word("outcome", ("allow", "accept"), "allow"),
        reason=table.text("reason"),
    )


def may_accept(policies: Iterable[Policy], name: str) -> bool:
    """Whether every policy lets this person accept terms."""
    return all(not policy.accepting or name in policy.accepting for policy in policies)


def apply_policies(
    policies: tuple[Policy, ...],
    verdict: Verdict,
    *,
    names: tuple[str, ...],
    licences: tuple[Licence, ...],
    openness: Openness,
) -> Verdict:
    """The verdict under these rules as well; `names` are all that the model is known by.

    An override lifts what the licences and its own file say, never what another file says, and
    only the first file may hold one that counts: whoever adds a file can but tighten.
    """
    outcome, reasons = verdict.outcome, list(verdict.reasons)
    for number, policy in enumerate(policies):
        added = [
            *_about_licences(policy, licences),
            *_about_openness(policy, licences, openness),
            *(_reason(rule, policy) for rule in policy.rules if _fits(rule, names)),
        ]
        if verdict.unknown and policy.unknown == "deny":
            added.append(_asks(policy, "unknown", "models under unknown terms are not used here"))
        reasons += added
        outcome = worst([outcome, *(one.outcome for one in added if one.outcome is not None)])
        lifting = [rule for rule in policy.overrides if _fits(rule, names)]
        if number == 0 and lifting and outcome != "allow":
            outcome = lifting[0].outcome
            reasons.append(replace(_reason(lifting[0], policy), topic="override"))
    return replace(verdict, outcome=outcome, reasons=tuple(reasons))


def _about_licences(policy: Policy, licences: tuple[Licence, ...]) -> list[Reason]:
    found = []
    for licence in licences:
        if licence.id in policy.denied:
            found.append(_asks(policy, "licence", f"{licence.name} is not used here"))
        elif policy.allowed and licence.id not in policy.allowed:
            found.append(_asks(policy, "licence", f"{licence.name} is not among the allowed ones"))
    return found


def _about_openness(
    policy: Policy, licences: tuple[Licence, ...], openness: Openness
) -> list[Reason]:
    free = bool(licences) and all(licence.is_open_source for licence in licences)
    if policy.require == "open-source-licence" and not free:
        return [_asks(policy, "openness", "only weights under an open source licence are used")]
    if policy.require == "open-source" and openness.level != "open-source":
        return [_asks(policy, "openness", "only open source AI by OSAID 1.0 is used")]
    return []


def _fits(rule: Rule, names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name.lower(), rule.pattern) for name in names)


def _asks(policy: Policy, topic: str, says: str) -> Reason:
    return Reason(outcome="deny", topic=topic, says=says, source="policy", section=str(policy.path))


def _reason(rule: Rule, policy: Policy) -> Reason:
    return Reason(
        outcome=rule.outcome,
        topic="model",
        says=rule.reason,
        source="policy",
        section=f"{policy.path}, {rule.pattern}",
    )
