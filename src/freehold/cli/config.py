"""`freehold config profile`: the organisation's answers to what licences ask.

Room: cli. Shows and keeps answers; what they mean is the library's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.library.terms import Profile

__all__ = ["config", "profile"]

config = typer.Typer(name="config", help="Say who you are, where licences ask.")


@config.callback()
def _group() -> None:
    """Say who you are, where licences ask."""


@config.command()
def profile(
    *,
    put: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=ANSWER",
            help="commercial=yes, monthly_users=200M, regions=DE,US; may be repeated.",
        ),
    ] = None,
    unset: Annotated[
        list[str] | None,
        typer.Option("--unset", metavar="NAME", help="Take an answer back; may be repeated."),
    ] = None,
    individual: Annotated[
        bool,
        typer.Option("--individual", help="One person, no business; where they live stays open."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show or change the answers that licences ask for.

    They are kept beside the settings file and sent nowhere. An answer that is missing is asked
    for, never assumed. `freehold config profile --set commercial=yes --set monthly_users=20k`
    """
    from dataclasses import replace

    from freehold.cli.printing import print_json
    from freehold.library.terms import INDIVIDUAL, profile_path, read_profile, write_profile

    answers, path = read_profile(), profile_path()
    changes: dict[str, Any] = dict(INDIVIDUAL.answers()) if individual else {}
    changes |= _changes(put or (), unset or ())
    if changes:
        answers = replace(answers, **changes)
        path = write_profile(answers)
    if as_json:
        print_json({"path": str(path), "answers": answers.answers()})
    else:
        _print(answers, path)


def _changes(put: Iterable[str], unset: Iterable[str]) -> dict[str, Any]:
    """The answers that the flags give, each parsed for its name. Raises: BadSetting."""
    from freehold.errors import BadSetting
    from freehold.library.terms import check_name, parse_answer

    changes: dict[str, Any] = {}
    for text in put:
        name, equals, answer = text.partition("=")
        if not equals:
            raise BadSetting(
                "an answer has a name", value=text, expected="NAME=ANSWER", found=repr(text)
            )
        changes[name.strip()] = parse_answer(name.strip(), answer)
    for name in unset:
        check_name(name)
        changes[name] = None
    return changes


def _print(answers: Profile, path: Path) -> None:
    from rich.table import Table

    from freehold.cli.printing import say, table_console
    from freehold.library.terms import QUESTIONS

    table = Table("name", "answer", "question", box=None, pad_edge=False)
    for name, question in QUESTIONS.items():
        table.add_row(name, _shown(getattr(answers, name)), question)
    table_console().print(table)
    say(f"  {path}")


def _shown(value: object) -> str:
    if value is None:
        return "not answered"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(value) if isinstance(value, tuple) else f"{value:,}"
