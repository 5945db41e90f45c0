"""Licences as data: what each one grants, and which clauses bind whom.

Room: library. Plain data, read once from the package; must not know models, files or people.
A clause holds the licence's own words where they were read, and says so where they were not.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, get_args

from freehold.library.terms.tables import Table

__all__ = [
    "Clause",
    "Condition",
    "Kind",
    "Licence",
    "Outcome",
    "Topic",
    "known_licences",
    "licence_named",
    "licence_text",
]

_EFFECTS = ("allow", "accept", "deny", "note")
_FLAGS = (
    "commercial",
    "hosts_for_others",
    "sells_work_assistant",
    "trains_on_outputs",
    "multimodal",
)
_AMOUNTS = ("monthly_users_above", "annual_revenue_above", "monthly_revenue_above")

Outcome = Literal["allow", "accept", "deny"]
Kind = Literal["open-source", "open-weight", "research-only"]
Topic = Literal[
    "grant",
    "agreement",
    "monthly-users",
    "revenue",
    "hosting",
    "naming",
    "use-policy",
    "region",
    "output-training",
    "non-commercial",
    "notice",
    "termination",
]


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What must hold of an organisation and a model, all of it, for a clause to bind.

    Units: revenue in US dollars, users in a month.
    """

    commercial: bool | None = None
    hosts_for_others: bool | None = None
    sells_work_assistant: bool | None = None
    trains_on_outputs: bool | None = None
    monthly_users_above: int | None = None
    annual_revenue_above: int | None = None
    monthly_revenue_above: int | None = None
    regions: tuple[str, ...] = ()
    multimodal: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Clause:
    """One clause: `says` in plain words, `quote` the licence's own, None where nobody read them.

    `when` holds alternatives: any of them makes the clause bind; with none it always does.
    `effect` is what a binding clause asks for; "note" is a duty that decides nothing.
    """

    topic: Topic
    section: str
    says: str
    effect: Literal["allow", "accept", "deny", "note"]
    quote: str | None = None
    when: tuple[Condition, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Licence:
    """One licence. `id` is the one that model hubs use; `revision` counts changes of our data.

    `read`: the whole text was read, or only clauses that others quote, or nothing but summaries.
    `source` says where. A text with one of the `titles` and every quote is this licence.
    """

    id: str
    name: str
    kind: Kind
    revision: int
    read: Literal["whole", "clauses", "summaries"]
    source: str
    clauses: tuple[Clause, ...]
    spdx: str | None = None
    aliases: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()

    @property
    def is_open_source(self) -> bool:
        """Whether the Open Source Initiative approved it."""
        return self.kind == "open-source"


@cache
def known_licences() -> tuple[Licence, ...]:
    """Every licence of the package's data, by id."""
    folder = files(__package__) / "data"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return tuple(_read((folder / name).read_bytes(), name=name) for name in names)


def licence_named(name: str) -> Licence | None:
    """The licence of this id, SPDX id or other name, in any case; None if the data lack it."""
    return _by_name().get(name.strip().lower())


@cache
def _by_name() -> dict[str, Licence]:
    table: dict[str, Licence] = {}
    for licence in known_licences():
        for name in (licence.id, licence.spdx or licence.id, *licence.aliases):
            assert table.setdefault(name.lower(), licence) is licence, f"two licences named {name}"
    return table


def licence_text(licence: Licence) -> str | None:
    """The whole text, where the package carries it."""
    path = files(__package__) / "data" / f"{licence.id}.txt"
    return path.read_text("utf-8") if path.is_file() else None


def _read(raw: bytes, *, name: str) -> Licence:
    """One licence from its file `<id>.toml`. Raises: BadSetting for anything unknown or missing."""
    table = Table.parsed(raw, where=name)
    revision = table.amount("revision")
    licence = Licence(
        id=table.text("id"),
        name=table.text("name"),
        kind=table.word("kind", get_args(Kind)),
        revision=revision or 0,
        read=table.word("read", ("whole", "clauses", "summaries")),
        source=table.text("source"),
        spdx=table.text_or_none("spdx"),
        aliases=table.words("aliases"),
        titles=table.words("titles"),
        clauses=table.tables("clause", _clause),
    )
    table.done()
    if f"{licence.id}.toml" != name:
        raise table.wrong("id", expected=name.removesuffix(".toml"), found=licence.id)
    if not revision:
        raise table.wrong("revision", expected="a number from 1", found=revision)
    if [clause.topic for clause in licence.clauses][:1] != ["grant"]:
        raise table.wrong("clause", expected="the grant first", found=licence.clauses[:1])
    return licence


def _clause(table: Table) -> Clause:
    return Clause(
        topic=table.word("topic", get_args(Topic)),
        section=table.text("section"),
        says=table.text("says"),
        effect=table.word("effect", _EFFECTS),
        quote=table.text_or_none("quote"),
        when=table.tables("when", _condition),
    )


def _condition(table: Table) -> Condition:
    values: dict[str, Any] = {key: table.flag(key) for key in _FLAGS}
    values |= {key: table.amount(key) for key in _AMOUNTS}
    condition = Condition(**values, regions=table.words("regions"))
    if condition == Condition():
        raise table.wrong("when", expected="at least one condition", found={})
    return condition
