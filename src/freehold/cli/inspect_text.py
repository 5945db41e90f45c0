"""A report as text for a terminal: tables, a tree, and rows of blocks that show layers.

Room: cli. Everything a file says is made safe before it is printed.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from freehold.cli.printing import safe_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from freehold.inspection import Comparison, Finding, Lens, Report, TensorReport
    from freehold.inspection.anatomy import Branch
    from freehold.inspection.layers import Grid

__all__ = [
    "print_comparison",
    "print_lens",
    "print_report",
    "print_tensor",
    "seen",
    "size",
    "table_of",
]

_BLOCKS = "▁▂▃▄▅▆▇█"
_HIDDEN = frozenset({"Cc", "Cf", "Co"})
_STYLES = {"danger": "bold red", "warning": "yellow", "note": "dim"}


def seen(text: str, most: int = 200) -> str:
    """A file's text on one line, with every character visible that hides, moves or drives."""
    shown = "".join(
        f"\\u{ord(c):04x}" if unicodedata.category(c) in ("Cf", "Co", "Cc") else c
        for c in text[:most]
    )
    return safe_text(shown) + ("…" if len(text) > most else "")


def size(n_bytes: float) -> str:
    """Bytes in the unit that fits."""
    for unit, bound in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= bound:
            return f"{n_bytes / bound:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def table_of(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A plain table; columns whose name begins with > stand right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left")
    for row in rows:
        table.add_row(*row)
    return table


def print_report(console: Console, report: Report) -> None:
    """Everything, the findings first."""
    _head(console, report)
    _findings(console, report.findings)
    if report.tree is not None:
        _title(console, "Parts")
        console.print(
            table_of(("part", ">parameters", ">size", "shape and type"), _tree(report.tree, 0))
        )
    _types(console, report)
    _memory(console, report)
    _tokenizer(console, report)
    _chat(console, report)
    if report.suggested:
        _title(console, "Recommended sampling")
        told = (f"{name.replace('_', ' ')} {value:g}" for name, value in report.suggested.items())
        console.print(", ".join(told))
    _statistics(console, report)
    for what, why in report.unread.items():
        console.print(f"not read: {what}: {seen(why)}", style="yellow")


def _title(console: Console, text: str) -> None:
    console.print(f"\n{text}", style="bold")


def _head(console: Console, report: Report) -> None:
    console.print(seen(report.title or report.path.name), style="bold")
    if not report.refused:
        console.print(
            f"{report.parameters:,} parameters in {len(report.tensors)} tensors, "
            f"{size(report.size_bytes)}, {report.format}, architecture "
            f"{seen(report.architecture) or 'not said'}"
        )
    if report.identity is not None:
        console.print(report.identity.digest, style="dim")
        if len(report.identity.files) > 1:
            for file in report.identity.files:
                console.print(f"  {file.sha256[:16]}…  {seen(file.name)}  {size(file.size_bytes)}")


def _findings(console: Console, findings: Sequence[Finding]) -> None:
    _title(console, "Safety")
    if not findings:
        console.print("nothing found")
    for finding in findings:
        console.print(
            f"{finding.severity:<8} {seen(finding.place, 120)}: {seen(finding.why, 400)}",
            style=_STYLES[finding.severity],
        )
        if finding.severity != "note":
            console.print(f"         {finding.advice}")


def _tree(branch: Branch, depth: int) -> Iterable[tuple[str, str, str, str]]:
    times = f" x {branch.times}" if branch.times > 1 and "layer" in branch.name else ""
    name = "  " * depth + seen(branch.name) + times
    yield name, f"{branch.parameters:,}", size(branch.n_bytes), seen(branch.detail)
    for inner in branch.branches:
        yield from _tree(inner, depth + 1)


def _types(console: Console, report: Report) -> None:
    from freehold.inspection.anatomy import runs
    from freehold.inspection.layers import types_by_role

    mixed = [(role, types) for role, types in types_by_role(report.tensors) if len(types) > 1]
    totals: dict[str, tuple[int, int, int]] = {}
    for tensor in report.tensors:
        count, elements, n_bytes = totals.get(tensor.type, (0, 0, 0))
        totals[tensor.type] = count + 1, elements + tensor.elements, n_bytes + tensor.n_bytes
    if not totals:
        return
    _title(console, "Types")
    rows = [
        (kind, str(n), f"{elements:,}", size(n_bytes), f"{8 * n_bytes / max(elements, 1):.2f}")
        for kind, (n, elements, n_bytes) in sorted(totals.items(), key=lambda item: -item[1][2])
    ]
    console.print(table_of(("type", ">tensors", ">parameters", ">size", ">bits each"), rows))
    for role, types in mixed:
        told = ";  ".join(f"{kind} in {runs(sorted(set(at)))}" for kind, at in types.items() if at)
        if told:
            console.print(f"{seen(role)}: {told}")


def _memory(console: Console, report: Report) -> None:
    if report.memory is None:
        return
    memory = report.memory
    _title(console, "Memory")
    rows = [
        (
            f"{at.context_tokens:,}",
            size(at.kv_bytes + memory.state_bytes),
            size(memory.weights_bytes + at.kv_bytes + memory.state_bytes),
            size(memory.weights_bytes + at.kv_8bit_bytes + memory.state_bytes),
        )
        for at in memory.at
    ]
    columns = (">context", ">keys and values", ">with weights", ">with 8-bit keys and values")
    console.print(table_of(columns, rows))


def _tokenizer(console: Console, report: Report) -> None:
    facts = report.tokenizer
    if facts is None:
        return
    _title(console, "Tokenizer")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in facts.kinds.items())
    merges = f", {facts.merges:,} merges" if facts.merges else ""
    console.print(
        f"{seen(facts.kind)}, {facts.size:,} tokens{merges}" + (f" ({kinds})" if kinds else "")
    )
    roles = [f"{' and '.join(s.roles)}: {seen(s.text)} ({s.id})" for s in facts.specials if s.roles]
    if roles:
        console.print("; ".join(roles))
    rows = [
        (
            cut.language,
            str(cut.count),
            "" if cut.per_word is None else f"{cut.per_word:.2f}",
            f"{cut.bytes_per_token:.1f}",
            {True: "yes", False: "NO", None: ""}[cut.whole],
        )
        for cut in facts.cuts
    ]
    columns = ("the same sentence in", ">tokens", ">a word", ">bytes a token", "comes back whole")
    console.print(table_of(columns, rows))


def _chat(console: Console, report: Report) -> None:
    if report.chat is None:
        return
    from rich.text import Text

    chat = report.chat
    _title(console, "Chat template")
    thinking = f", thinks between {seen(chat.reasoning)}" if chat.reasoning else ""
    console.print(f"{chat.characters:,} characters, calls tools as {chat.dialect}{thinking}")
    for sample in chat.samples:
        console.print(f"{sample.title}: {sample.tokens} tokens", style="dim")
        if sample.refused:
            console.print(f"  refused: {seen(sample.refused)}", style="yellow")
            continue
        shown = Text()
        for piece in sample.pieces:
            shown.append(safe_text(piece.text), style="reverse" if piece.control else "")
        console.print(shown)


def _statistics(console: Console, report: Report) -> None:
    from freehold.inspection.layers import grid_of, kurtosis, spread

    measured = [tensor for tensor in report.tensors if tensor.stats is not None]
    if not measured:
        return
    _title(console, "Values")
    for label, grid in (
        ("standard deviation by layer", grid_of(measured, spread)),
        ("excess kurtosis by layer", grid_of(measured, kurtosis)),
    ):
        if not grid.empty:
            console.print(f"{label}, layers {grid.layers[0]} to {grid.layers[-1]}", style="dim")
            console.print(table_of(("", "", ">least", ">most"), _strips(grid)))
    console.print("largest values, in standard deviations", style="dim")
    console.print(table_of(("tensor", "at", ">value", ">deviations"), _outliers(measured)))


def _strips(grid: Grid) -> Iterable[tuple[str, str, str, str]]:
    for role, values in zip(grid.roles, grid.values, strict=True):
        known = [value for value in values if value is not None]
        low, high = min(known), max(known)
        span = (high - low) or 1.0
        strip = "".join(
            " " if value is None else _BLOCKS[min(7, int(8 * (value - low) / span))]
            for value in values
        )
        yield seen(role), strip, f"{low:.3g}", f"{high:.3g}"


def _outliers(measured: Sequence[TensorReport]) -> Iterable[tuple[str, str, str, str]]:
    found = [
        (abs(outlier.deviations), tensor.name, outlier)
        for tensor in measured
        if tensor.stats is not None and len(tensor.shape) > 1
        for outlier in tensor.stats.outliers
    ]
    for _, name, outlier in sorted(found, key=lambda item: -item[0])[:8]:
        place = ", ".join(map(str, outlier.place))
        yield seen(name), place, f"{outlier.value:.4g}", f"{outlier.deviations:.1f}"


def print_tensor(console: Console, report: Report, name: str) -> None:
    """One tensor, with a histogram of its values."""
    tensor = next(tensor for tensor in report.tensors if tensor.name == name)
    console.print(seen(tensor.name), style="bold")
    shape = " x ".join(map(str, tensor.shape))
    console.print(f"{shape}, {tensor.type}, {size(tensor.n_bytes)}, {tensor.bits:.2f} bits each")
    stats = tensor.stats
    if stats is None:
        return
    rows = [
        ("range", f"{stats.minimum:.6g} to {stats.maximum:.6g}"),
        ("mean", f"{stats.mean:.6g}"),
        ("standard deviation", f"{stats.std:.6g}"),
        ("rms", f"{stats.rms:.6g}"),
        ("excess kurtosis", f"{stats.kurtosis:.4g}"),
        ("zeros", f"{100 * stats.zeros:.2f} %"),
        ("not finite", f"{stats.nans + stats.infs:,}"),
    ]
    console.print(table_of(("", ""), rows))
    most = max(stats.histogram.counts)
    strip = "".join(
        " " if n == 0 else _BLOCKS[min(7, int(8 * n / (most + 1)))] for n in stats.histogram.counts
    )
    console.print(f"{stats.histogram.low:.3g} {strip} {stats.histogram.high:.3g}")
    console.print(table_of(("tensor", "at", ">value", ">deviations"), _outliers([tensor])))


def print_comparison(console: Console, found: Comparison) -> None:
    """What differs: settings, template, tensors, each layer's change as a block."""
    from freehold.inspection.layers import grid_of
    from freehold.inspection.report import TensorReport

    whole = "unknown" if found.relative is None else f"{100 * found.relative:.3f} %"
    changed = [change for change in found.tensors if change.relative != 0.0]
    console.print(f"from {seen(found.before)} to {seen(found.after)}", style="bold")
    console.print(f"change in all: {whole}; {len(changed)} of {len(found.tensors)} tensors changed")
    for where, names in (("before", found.only_before), ("after", found.only_after)):
        if names:
            console.print(f"only {where}: {seen(', '.join(names), 400)}")
    if found.keys:
        _title(console, "Settings")
        rows = [
            (seen(change.key), *(seen(v or "absent", 60) for v in (change.before, change.after)))
            for change in found.keys[:40]
        ]
        console.print(table_of(("key", "before", "after"), rows))
    if found.template:
        _title(console, "Chat template")
        for line in found.template:
            console.print(seen(line, 160))
    if not changed:
        return
    _title(console, "Change by layer")
    placed = [
        TensorReport(t.name, t.part, t.shape, t.after_type, 0, t.relative or 0.0)
        for t in found.tensors
    ]
    grid = grid_of(placed, lambda tensor: tensor.bits)
    if not grid.empty:
        console.print(table_of(("", "", ">least", ">most"), _strips(grid)))
    rows = [
        (
            seen(change.name),
            f"{change.before_type} -> {change.after_type}",
            "not comparable" if change.relative is None else f"{100 * change.relative:.3f} %",
        )
        for change in sorted(changed, key=lambda t: -(t.relative or 0.0))[:12]
    ]
    console.print(table_of(("changed most", "type", ">change"), rows))


def print_lens(console: Console, lens: Lens) -> None:
    """What each layer would say next after the last tokens; the last layer first."""
    _title(console, "Layer by layer")
    last = slice(-6, None)
    heads = ["", *(seen(token, 14) for token in lens.tokens[last])]
    rows = []
    for layer in reversed(range(len(lens.guesses))):
        told = (
            f"{seen(g.token, 10)} {100 * g.probability:.0f}%" for g in lens.guesses[layer][last]
        )
        rows.append((f"layer {layer}", *told))
    console.print(table_of(heads, rows))
