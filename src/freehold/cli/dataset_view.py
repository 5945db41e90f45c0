"""How datasets look in a terminal and as JSON.

Room: cli. Words, tables and colours only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from freehold.cli.moments import utc
from freehold.cli.printing import error_lines, print_json, safe_text, say, table_console
from freehold.tune.datasets.splitting import as_line

if TYPE_CHECKING:
    from rich.table import Table

    from freehold.cli.dataset_source import Shown
    from freehold.store.datasets import Dataset
    from freehold.tune.datasets.checking import Lengths, Report
    from freehold.tune.datasets.registry import Taught

__all__ = [
    "print_added",
    "print_list",
    "print_previews",
    "print_report",
    "print_shown",
    "print_split",
    "print_withdrawn",
]

_MOST_SHOWN = 10


def print_added(found: Dataset, *, as_json: bool) -> None:
    """A data set that was taken in."""
    if as_json:
        print_json(_row(found))
        return
    say(f"took in {found.name}: {found.rows} examples, {_grounds(found)}")
    say(f"look at it:  freehold dataset show {found.name} --model REF --count 2")


def print_list(found: Sequence[Dataset], *, as_json: bool) -> None:
    """A line for each data set."""
    if as_json:
        for one in found:
            print_json(_row(one))
        return
    if not found:
        say("no data sets: `freehold dataset add FILE --name NAME --basis ...` takes one in")
        return
    from rich.table import Table

    heads = ("name", "examples", "basis", "licence", "state", "sha256", "added")
    table = Table(*heads, box=None, pad_edge=False)
    table.columns[1].justify = "right"
    for one in found:
        state = "admitted" if one.withdrawn_at is None else "withdrawn"
        table.add_row(
            one.name,
            str(one.rows),
            one.basis,
            safe_text(one.licence),
            state,
            one.digest.removeprefix("sha256:")[:12],
            (utc(one.created_at) or "")[:10],
        )
    table_console().print(table)


def print_shown(found: Dataset, taught: Sequence[Taught], *, as_json: bool) -> None:
    """What is recorded of a data set."""
    if as_json:
        print_json({**_row(found), "taught": [asdict(one) for one in taught]})
        return
    rows = [
        ("name", found.name),
        ("examples", str(found.rows)),
        ("sha256", found.digest.removeprefix("sha256:")),
        ("basis", found.basis + (f", {found.consent}" if found.consent else "")),
        ("licence", found.licence),
        ("provenance", found.provenance),
        ("added", utc(found.created_at) or ""),
    ]
    if found.facts.get("part_of"):
        rows.append(("part of", str(found.facts["part_of"])))
    if found.withdrawn_at is not None:
        rows.append(("withdrawn", f"{utc(found.withdrawn_at)}: nothing is trained on it any more"))
    table_console().print(_facts(rows))
    _print_taught(taught)


def print_withdrawn(found: Dataset, taught: Sequence[Taught], *, as_json: bool) -> None:
    """A data set that was withdrawn, and what had learned from it."""
    if as_json:
        print_json({**_row(found), "taught": [asdict(one) for one in taught]})
        return
    say(f"withdrew {found.name}: no job trains on it or its parts any more")
    if not taught:
        say("nothing on record has learned from it")
    _print_taught(taught)


def print_split(parts: tuple[Dataset, Dataset, int], *, as_json: bool) -> None:
    """Both parts of a data set."""
    train, heldout, together = parts
    if as_json:
        print_json({"train": _row(train), "heldout": _row(heldout), "together": together})
        return
    say(f"{train.name}: {train.rows} examples; {heldout.name}: {heldout.rows} examples")
    if together:
        say(f"{together} lines ask nearly the same as another and stayed on its side")


def print_previews(shown: Iterable[Shown], *, as_json: bool) -> None:
    """Examples as they are read, or as tokens: what is learned in colour."""
    from rich.text import Text

    console = table_console()
    for one in shown:
        if as_json:
            print_json(_preview_row(one))
            continue
        console.print(Text(f"line {one.line}", style="bold"))
        if not one.renderings:
            console.print(Text(safe_text(as_line(one.example))), soft_wrap=True)
        for pieces in one.renderings:
            text = Text()
            for piece in pieces:
                style = "bold green" if piece.learned else "dim"
                words = safe_text(piece.text)
                # Where there are no colours, brackets say it.
                said = f"⟦{words}⟧" if piece.learned and not console.is_terminal else words
                text.append(said, style)
            console.print(text, soft_wrap=True)
            learned = sum(len(piece.ids) for piece in pieces if piece.learned)
            every = sum(len(piece.ids) for piece in pieces)
            console.print(Text(f"{learned} of {every} tokens are learned", style="italic"))
        console.print()


def print_report(
    name: str, report: Report, *, heldout: str | None, model: str | None, as_json: bool
) -> None:
    """What was found in a data set: lines, kinds and counts, never a text."""
    if as_json:
        print_json(_report_row(name, report))
        return
    console = table_console()
    kinds = ", ".join(f"{count} {kind}" for kind, count in report.kinds.items()) or "nothing"
    console.print(_facts([("examples", kinds), *_lengths(report, model)]))
    for error in report.problems[:_MOST_SHOWN]:
        for line in error_lines(error):
            console.print(line)
    hidden = len(report.problems) - _MOST_SHOWN + report.more_problems
    if hidden > 0:
        console.print(f"… and {hidden} more lines that cannot be read")
    for words in _findings(report, heldout):
        console.print(words)
    verdict = "can be trained on" if report.trainable else "cannot be trained on as it is"
    if report.trainable and report.leaks:
        verdict += ", but what judges it would be learned"
    console.print(f"{safe_text(name)} {verdict}")


def _lengths(report: Report, model: str | None) -> Iterator[tuple[str, str]]:
    yield "characters", _length(report.characters)
    if report.tokens is not None:
        yield "tokens", f"{_length(report.tokens)}, as {model} has them"
        share = report.learned_tokens or 0
        yield "learned", f"{share} tokens, {share / max(1, report.tokens.total):.0%}"
        if report.renderings and report.renderings > len(report.problems) + report.rows:
            yield "renderings", f"{report.renderings}: the template rewrites earlier turns"


def _length(of: Lengths) -> str:
    return (
        f"{of.total}; {of.shortest} to {of.longest} an example, median {of.median}, 95 % {of.p95}"
    )


def _findings(report: Report, heldout: str | None) -> Iterator[str]:
    if report.over_long:
        lines = ", ".join(f"{line} ({n})" for line, n in report.over_long[:_MOST_SHOWN])
        yield f"too long: {len(report.over_long)} examples; lines with their tokens: {lines}"
    same = sum(pair.alike == 1 for pair in report.duplicates)
    if report.duplicates:
        near = len(report.duplicates) - same
        yield f"said before: {same} lines word for word, {near} nearly; {_pairs(report.duplicates)}"
    if heldout is not None:
        if report.leaks:
            yield (
                f"held out and learned: {len(report.leaks)} lines ask what {safe_text(heldout)} "
                f"asks; {_pairs(report.leaks)}"
            )
        else:
            yield f"nothing of {safe_text(heldout)} is learned, word for word or nearly"
    counts: Counter[str] = Counter()
    for one in report.personal:
        counts[one.kind] += one.count
    for kind, count in counts.items():
        found = [str(one.line) for one in report.personal if one.kind == kind]
        more = " …" if len(found) > _MOST_SHOWN else ""
        shown = ", ".join(found[:_MOST_SHOWN])
        yield f"looks personal: {kind} {count} times, in {len(found)} lines: {shown}{more}"
    if not counts:
        yield "nothing looks personal; patterns cannot see names"


def _pairs(pairs: Sequence[Any]) -> str:
    shown = ", ".join(f"{pair.line} like {pair.other}" for pair in pairs[:_MOST_SHOWN])
    return f"lines {shown}" + (" …" if len(pairs) > _MOST_SHOWN else "")


def _print_taught(taught: Sequence[Taught]) -> None:
    if not taught:
        return
    from rich.table import Table

    say(f"{len(taught)} on record learned from it:")
    table = Table("model", "sha256", "trained", "where", box=None, pad_edge=False)
    for one in taught:
        digest = one.digest.removeprefix("sha256:")[:12]
        table.add_row(safe_text(one.name), digest, one.at[:10], safe_text(one.location))
    table_console().print(table)


def _facts(rows: Iterable[tuple[str, str]]) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for key, value in rows:
        table.add_row(key, safe_text(value))
    return table


def _grounds(found: Dataset) -> str:
    return f"basis {found.basis}, licence {safe_text(found.licence)}"


def _row(found: Dataset) -> dict[str, object]:
    return {
        "name": found.name,
        "digest": found.digest,
        "rows": found.rows,
        "form": found.form,
        "basis": found.basis,
        "licence": found.licence,
        "provenance": found.provenance,
        "consent": found.consent,
        "created": utc(found.created_at),
        "withdrawn": utc(found.withdrawn_at),
        "part_of": found.facts.get("part_of"),
    }


def _preview_row(one: Shown) -> dict[str, object]:
    renderings = [
        {"ids": [i for piece in pieces for i in piece.ids], "pieces": [_piece(p) for p in pieces]}
        for pieces in one.renderings
    ]
    return {"line": one.line, "renderings": renderings, "example": as_line(one.example)}


def _piece(piece: Any) -> dict[str, object]:
    return {"text": piece.text, "learned": piece.learned, "tokens": len(piece.ids)}


def _report_row(name: str, report: Report) -> dict[str, object]:
    return {
        "data": name,
        "trainable": report.trainable,
        "rows": report.rows,
        "kinds": dict(report.kinds),
        "characters": asdict(report.characters),
        "tokens": None if report.tokens is None else asdict(report.tokens),
        "learned_tokens": report.learned_tokens,
        "renderings": report.renderings,
        "problems": [
            {
                "line": error.line,
                "code": error.code,
                "message": error.message,
                "expected": error.expected,
                "found": error.found,
            }
            for error in report.problems
        ],
        "more_problems": report.more_problems,
        "over_long": [{"line": line, "tokens": tokens} for line, tokens in report.over_long],
        "duplicates": [asdict(pair) for pair in report.duplicates],
        "leaks": [asdict(pair) for pair in report.leaks],
        "personal": [asdict(one) for one in report.personal],
    }
