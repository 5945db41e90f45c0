"""Who uses the models: the organisation's answers to what licences ask.

Room: library. Keeps answers in a TOML file; must not know licences. An answer that was not given
is None, and nothing is assumed in its place.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path

from freehold.config import config_path
from freehold.errors import BadSetting
from freehold.library.terms.tables import Table

__all__ = [
    "INDIVIDUAL",
    "QUESTIONS",
    "Profile",
    "check_name",
    "parse_answer",
    "profile_path",
    "read_profile",
    "write_profile",
]

QUESTIONS: Mapping[str, str] = {
    "commercial": "are the models used for business?",
    "monthly_users": "how many people use your products in a month, all products together?",
    "annual_revenue_usd": "how many US dollars did your whole group take in the last 12 months?",
    "hosts_for_others": "do you offer models to others as a service?",
    "sells_work_assistant": "do you sell an assistant for coding or office work?",
    "regions": "in which countries are you at home?",
    "trains_on_outputs": "do you train other models on what these ones write?",
}

_COUNTRIES_OF_THE_EU = re.compile(
    "AT|BE|BG|CY|CZ|DE|DK|EE|ES|FI|FR|GR|HR|HU|IE|IT|LT|LU|LV|MT|NL|PL|PT|RO|SE|SI|SK"
)
_AMOUNT = re.compile(r"(\d{1,15})(?:\.(\d{1,6}))? ?([kmb]?)", re.ASCII)
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}
_YES = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """An organisation's answers; None where none was given. Regions are codes: DE, US, EU."""

    commercial: bool | None = None
    monthly_users: int | None = None
    annual_revenue_usd: int | None = None
    hosts_for_others: bool | None = None
    sells_work_assistant: bool | None = None
    regions: tuple[str, ...] | None = None
    trains_on_outputs: bool | None = None

    def is_in(self, regions: tuple[str, ...]) -> bool | None:
        """Whether the organisation is at home in one of these; None while it has not said."""
        if self.regions is None:
            return None
        mine = set(self.regions)
        if any(_COUNTRIES_OF_THE_EU.fullmatch(one) for one in mine):
            mine.add("EU")
        return bool(mine & set(regions))

    def answers(self) -> dict[str, object]:
        """What was answered, as it goes into JSON."""
        values = ((f.name, getattr(self, f.name)) for f in fields(self))
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in values
            if value is not None
        }


INDIVIDUAL = Profile(
    commercial=False,
    monthly_users=0,
    annual_revenue_usd=0,
    hosts_for_others=False,
    sells_work_assistant=False,
    trains_on_outputs=False,
)
"""One person and no business; where they live is still asked."""


def profile_path(environment: Mapping[str, str] | None = None) -> Path:
    """Where the answers are kept: `profile.toml` beside the settings file."""
    return config_path(os.environ if environment is None else environment).with_name("profile.toml")


def read_profile(path: Path | None = None) -> Profile:
    """The answers in the file; none where there is no file. Raises: BadSetting."""
    path = profile_path() if path is None else path
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Profile()
    except OSError as error:
        raise BadSetting(
            f"cannot read {path}", value=str(path), found=error.strerror or type(error).__name__
        ) from error
    table = Table.parsed(raw, where=str(path))
    profile = Profile(
        commercial=table.flag("commercial"),
        monthly_users=table.amount("monthly_users"),
        annual_revenue_usd=table.amount("annual_revenue_usd"),
        hosts_for_others=table.flag("hosts_for_others"),
        sells_work_assistant=table.flag("sells_work_assistant"),
        regions=tuple(_region(one) for one in table.words("regions")) or None,
        trains_on_outputs=table.flag("trains_on_outputs"),
    )
    table.done()
    return profile


def write_profile(profile: Profile, path: Path | None = None) -> Path:
    """Keeps the answers, in one rename, and returns where."""
    path = profile_path() if path is None else path
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = ["# What licences ask about; `freehold config profile` reads and writes it.\n"]
    lines += [f"{name} = {_toml(value)}\n" for name, value in profile.answers().items()]
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, delete=False) as file:
        file.writelines(lines)
    Path(file.name).replace(path)
    return path


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(f'"{one}"' for one in value) + "]"
    return f"{value:_}"


def check_name(name: str) -> None:
    """Raises: BadSetting for a name that no answer has."""
    if name not in QUESTIONS:
        raise BadSetting(
            f"the profile has no {name!r}",
            value=name,
            expected="one of: " + ", ".join(QUESTIONS),
            found=repr(name),
        )


def parse_answer(name: str, text: str) -> object:
    """An answer as a person types it: yes, 200M, DE,FR. Raises: BadSetting."""
    check_name(name)
    word = text.strip().lower()
    if name == "regions":
        return tuple(_region(part.strip()) for part in text.split(","))
    if name in ("monthly_users", "annual_revenue_usd"):
        matched = _AMOUNT.fullmatch(word.lstrip("$").replace("_", ""))
        if matched is None:
            raise _unusable(name, text, "a number such as 200000 or 1.5M")
        whole, part, unit = matched.groups()
        return int(Decimal(f"{whole}.{part or 0}") * _UNITS[unit])
    if word not in _YES:
        raise _unusable(name, text, "yes or no")
    return _YES[word]


def _region(text: str) -> str:
    code = text.upper()
    if re.fullmatch(r"[A-Z]{2}", code) is None:
        raise _unusable("regions", text, "codes of two letters: DE, US, EU")
    return "GB" if code == "UK" else code


def _unusable(name: str, found: str, expected: str) -> BadSetting:
    return BadSetting(
        f"{name!r} of the profile is not usable", value=name, expected=expected, found=repr(found)
    )
