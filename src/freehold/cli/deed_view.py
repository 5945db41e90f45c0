"""How a deed looks in a terminal.

Room: cli. Words and places only; must not decide what is true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text
from rich.tree import Tree

from freehold.cli.printing import safe_text, table_console
from freehold.library.terms import licence_named

if TYPE_CHECKING:
    from rich.console import Console

    from freehold.library.deed import Deed
    from freehold.library.deed_verify import Check
    from freehold.store import Event, Head

__all__ = ["event_words", "print_deed", "print_deeds"]

_MOST_FILES = 8


def print_deed(deed: Deed, head: Head, checks: Sequence[Check] | None) -> None:
    """Write the whole deed to stdout."""
    console = table_console()
    console.print(Text(f"Deed of {safe_text(deed.name)}", style="bold"))
    console.print()
    console.print(_facts(deed))
    console.print()
    console.print(_heading("What happened (times in UTC)"))
    console.print(_history(deed))
    if deed.parents:
        console.print()
        console.print(_heading("Made from"))
        tree = Tree(Text(safe_text(deed.name), style="bold"), guide_style="dim")
        for parent in deed.parents:
            _add_ancestry(tree, parent)
        console.print(tree)
    console.print()
    _print_proof(console, head, checks)


def print_deeds(deeds: Sequence[Deed], head: Head, checks: Sequence[Check] | None) -> None:
    """Write a line for each model on record to stdout."""
    console = table_console()
    if not deeds:
        console.print("No model is on record yet: `freehold pull starter` brings a first one.")
    else:
        columns = ("model", "sha256", "size", "licence", "made from")
        table = Table(*columns, box=None, pad_edge=False)
        table.add_column("where", overflow="fold")
        for deed in deeds:
            parents = ", ".join(parent.name for parent in deed.parents) or "-"
            digest = deed.digest.removeprefix("sha256:")[:12]
            licence = "; ".join(deed.licences) or "none on record"
            cells = (deed.name, digest, _size(deed.size_bytes), licence, parents, _where(deed))
            table.add_row(*map(safe_text, cells))
        console.print(table)
    console.print()
    _print_proof(console, head, checks)


def _print_proof(console: Console, head: Head, checks: Sequence[Check] | None) -> None:
    if checks is None:
        console.print("Not verified: --verify reads every byte of the files and the record again.")
    else:
        proven = all(check.error is None for check in checks)
        console.print(_heading("Verified" if proven else "NOT VERIFIED"))
        console.print(_findings(checks))
    console.print(f"Head: {head}")


def _heading(words: str) -> Text:
    return Text(words, style="bold red" if words.isupper() else "bold")


def _facts(deed: Deed) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")

    def row(label: str, value: str | None) -> None:
        if value:
            table.add_row(f"  {label}", safe_text(value))

    row("sha256", deed.digest.removeprefix("sha256:"))
    for number, file in enumerate(deed.files[:_MOST_FILES]):
        label = "" if number else "files" if len(deed.files) > 1 else "file"
        digest = f", sha256 {file.sha256[:16]}…" if len(deed.files) > 1 else ""
        row(label or " ", f"{file.name}, {_size(file.size_bytes)}{digest}")
    if len(deed.files) > _MOST_FILES:
        rest = len(deed.files) - _MOST_FILES
        row(" ", f"and {rest} more, {_size(deed.size_bytes)} in all")
    row("at", _where(deed))
    row("from", None if deed.origin is None else _source(deed.origin.body))
    row("licence", "; ".join(map(_licence, deed.licences)) or "none on record")
    for event in deed.acceptances[-1:]:
        row("accepted", f"by {event.body.get('by')}, {_time(event)}, {_text_hash(event.body)}")
    for event in deed.of_kind("quantized")[-1:]:
        for number, words in enumerate(_loss(event.body.get("loss"))):
            row(" " if number else "loss", words)
    row("served", _served(deed.of_kind("served")))
    return table


def _licence(name: str) -> str:
    known = licence_named(name)
    return name if known is None else f"{known.spdx or known.name}, {known.kind}"


def _where(deed: Deed) -> str:
    if deed.location is None:
        return "no longer on this machine" if deed.events else "not on this machine"
    return str(deed.location)


def _history(deed: Deed) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", style="dim")
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    events = sorted((*deed.events, *deed.acceptances), key=lambda event: event.seq)
    served = deed.of_kind("served")
    for event in events:
        # A server that starts every night would fill the page: the first and last are enough.
        if event in served[1:-1]:
            if event is served[1] and len(served) > 3:
                table.add_row("…", "", "served", f"{len(served) - 2} more times")
                continue
            if len(served) > 3:
                continue
        table.add_row(f"  {event.seq}", _time(event), _kind(event), safe_text(event_words(event)))
    return table


def _add_ancestry(tree: Tree, deed: Deed) -> None:
    branch = tree.add(_ancestor(deed))
    for parent in deed.parents:
        _add_ancestry(branch, parent)


def _ancestor(deed: Deed) -> Text:
    text = Text(safe_text(deed.name), style="bold")
    lines = [f"{_size(deed.size_bytes)}, "] if deed.files else [""]
    lines[0] += deed.licence or "no licence on record"
    lines.append(deed.digest)
    events = sorted((*deed.events, *deed.acceptances), key=lambda event: event.seq)
    lines += [
        f"{_time(event)}  {_kind(event)}  {event_words(event)}"
        for event in events
        if event.kind != "served"
    ]
    for event in deed.of_kind("quantized")[-1:]:
        lines += _loss(event.body.get("loss"))
    if deed.origin is None:
        lines.append("known by its digest alone")
    return text.append(safe_text("".join(f"\n{line}" for line in lines)), style="not bold")


def _findings(checks: Sequence[Check]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for check in checks:
        mark = (
            Text("  ok", style="green") if check.error is None else Text("  NO", style="bold red")
        )
        table.add_row(mark, safe_text(check.what), safe_text(check.finding))
    return table


def event_words(event: Event) -> str:
    """What an event says, in a line."""
    body = event.body
    who = f"by {body.get('by')}"
    match event.kind:
        case "obtained" | "imported":
            words = [f"from {_source(body)}", who]
        case "licence_accepted":
            uses = body.get("uses") or []
            words = [f"{body.get('licence')} {who}", _text_hash(body)]
            words += [f"for {', '.join(map(str, uses))}"] if uses else []
        case "quantized":
            words = [f"to {_type(body)} {who}", _calibration(body)]
        case "merged" | "exported":
            words = [f"{_form(body)} {who}", _drift(body.get("drift"))]
        case "promoted" | "rolled_back":
            words = [f"as {body.get('alias')}", _decision(body), who]
        case "evaluated":
            words = [_measured(body.get("run")), who]
        case "served":
            words = [f"as {body.get('name')}", _server(body.get("server"))]
        case "dataset_admitted":
            words = [f"{body.get('rows')} examples on the basis {body.get('basis')}", who]
        case "consent_withdrawn":
            words = [str(body.get("reason") or ""), who]
        case "removed":
            words = [f"{body.get('location')}", who]
        case _:
            words = [who]
    return ", ".join(word for word in words if word)


def _kind(event: Event) -> str:
    return "accepted" if event.kind == "licence_accepted" else event.kind.replace("_", " ")


def _source(body: Mapping[str, Any]) -> str:
    source = body.get("source")
    if not isinstance(source, dict):
        return ""
    kinds = {"package": "the package ", "bundle": "the bundle ", "hub": "", "file": ""}
    words = f"{kinds.get(str(source.get('kind')), '')}{source.get('reference')}"
    if source.get("revision"):
        words += f" at {str(source['revision'])[:12]}"
    if source.get("signed_by"):
        words += f", signed by {source['signed_by']}"
    return words


def _type(body: Mapping[str, Any]) -> str:
    recipe = body.get("recipe")
    return str(recipe.get("type", "another type")) if isinstance(recipe, dict) else "another type"


def _loss(loss: object) -> list[str]:
    """The measured loss, in three lines."""
    if not isinstance(loss, dict):
        return []
    try:
        return [
            f"mean KL {loss['mean_kl']:.4g} nats, 99th percentile {loss['p99_kl']:.3g}",
            f"same next token {100 * loss['agreement']:.1f} %, "
            f"perplexity {loss['perplexity']:.4g} where the source has "
            f"{loss['source_perplexity']:.4g}",
            f"measured on {loss['tokens']:,} tokens of {loss['text']}",
        ]
    except (KeyError, TypeError, ValueError):
        return ["a loss that cannot be read"]


def _measured(run: Any) -> str:
    """What a run found: its task and the main figure with its interval."""
    try:
        found = run["metrics"][run["main"]]
        edges = f"{found['low']:.3f} to {found['high']:.3f}"
        return f"{run['task']}: {run['main']} {found['value']:.3f} ({edges}), {found['n']} items"
    except (KeyError, TypeError, ValueError):
        return "a result that cannot be read"


def _form(body: Mapping[str, Any]) -> str:
    kind = f" in {body['type']}" if body.get("type") else ""
    return f"with {body.get('adapter')} as {body.get('form')}{kind}"


def _drift(drift: object) -> str:
    """How far the answers are from the adapter's."""
    if not isinstance(drift, dict):
        return ""
    try:
        return f"mean KL {drift['mean_kl']:.3g} from the adapter on {drift['tokens']:,} tokens"
    except (KeyError, TypeError, ValueError):
        return "a drift that cannot be read"


def _calibration(body: Mapping[str, Any]) -> str:
    text = body.get("calibration")
    return f"importance from {text.get('name')}" if isinstance(text, dict) else ""


def _decision(body: Mapping[str, Any]) -> str:
    """What a promotion rests on, in a line: each task with both figures' difference."""
    decision = body.get("decision")
    if not isinstance(decision, dict):
        return str(body.get("why") or "")
    evidence = decision.get("evidence")
    compared = evidence.get("comparisons", ()) if isinstance(evidence, dict) else ()
    try:
        found = [f"{one['verdict']} on {one['task']} ({one['value']:+.3g})" for one in compared]
    except (KeyError, TypeError, ValueError):
        found = ["evidence that cannot be read"]
    words = found or ["nothing stood there before"]
    return ", ".join(
        [*words, *([f"despite: {decision['despite']}"] if decision.get("despite") else [])]
    )


def _text_hash(body: Mapping[str, Any]) -> str:
    return f"text sha256 {str(body.get('text_sha256'))[:12]}…"


def _server(server: object) -> str:
    if not isinstance(server, dict):
        return ""
    where = server.get("url") or server.get("socket") or ""
    return f"at {where}" if where else ""


def _served(events: Sequence[Event]) -> str:
    if not events:
        return ""
    times = "once" if len(events) == 1 else f"{len(events)} times"
    return f"{times}, last {_time(events[-1])}"


def _time(event: Event) -> str:
    return event.at[:16].replace("T", " ")


def _size(size_bytes: int) -> str:
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size_bytes >= unit:
            return f"{size_bytes / unit:.1f} {name}"
    return f"{size_bytes} bytes"
