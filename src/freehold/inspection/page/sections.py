"""The sections of a model's page: safety, parts, memory, types.

Room: inspection. Shows what a report says; must not gather anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from freehold.inspection.anatomy import Branch
from freehold.inspection.layers import grid_of
from freehold.inspection.memory import Memory
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Column, legend, table
from freehold.inspection.page.plots import Cell, heat_map, stacked_bar
from freehold.inspection.report import Report, TensorReport
from freehold.inspection.safety import Finding

__all__ = ["memory_section", "parts_section", "safety_section", "size_of", "types_section"]

_KINDS = 8
_HEADINGS = {"danger": "Danger", "warning": "Warning", "note": "Note"}


def size_of(n_bytes: float) -> str:
    """Bytes in the unit that fits."""
    for unit, bound in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= bound:
            return f"{n_bytes / bound:.1f} {unit}"
    return f"{n_bytes:.0f} B"


def safety_section(findings: Sequence[Finding]) -> Html:
    """Each finding with its place, its reason and what to do."""
    if not findings:
        return join(
            (
                tag("p", "Nothing found.", of="clear"),
                tag(
                    "p",
                    "Looked at: the file's structure, every text of its metadata, the chat "
                    "template as a program, files beside the weights, names against contents, and "
                    "every value. Nothing of the model was run to find out.",
                    of="note",
                ),
            )
        )
    return join(
        tag(
            "div",
            tag("span", _HEADINGS[finding.severity], of="badge"),
            tag(
                "div",
                tag("p", tag("b", finding.place), ": ", finding.why),
                tag("p", finding.advice, of="lead"),
                tag("code", finding.code, of="note"),
            ),
            of=f"finding {finding.severity}",
        )
        for finding in findings
    )


def parts_section(tree: Branch) -> Html:
    """Where the parameters are, as one bar and as a tree."""
    groups: dict[str, tuple[int, int]] = {}
    for branch in tree.branches:
        inner = branch.branches if "layer" in branch.name else [branch]
        for part in inner:
            count, n_bytes = groups.get(part.name, (0, 0))
            groups[part.name] = count + part.parameters, n_bytes + part.n_bytes
    named = sorted(groups.items(), key=lambda item: -item[1][1])
    named = [(name, sizes) for name, sizes in named if sizes[0]]
    parts = [
        (f"{name}: {count:,} parameters, {size_of(n_bytes)}", float(n_bytes), _kind(n))
        for n, (name, (count, n_bytes)) in enumerate(named)
    ]
    whole = tree.n_bytes or 1
    names = [
        (f"{name} {100 * n_bytes / whole:.1f} %", _kind(n))
        for n, (name, (_, n_bytes)) in enumerate(named)
    ]
    return join((stacked_bar(parts), legend(names), tag("div", _tree(tree, 0), of="tree")))


def _kind(number: int) -> str:
    return f"k{min(number, _KINDS - 1)}"


def _tree(branch: Branch, depth: int) -> Html:
    times = f" × {branch.times}" if branch.times > 1 and "layer" in branch.name else ""
    figures = f"{branch.parameters:,}" if branch.parameters else ""
    line = (
        tag("b", branch.name + times) if branch.branches else tag("span", branch.name),
        tag("span", branch.detail, of="mono shape") if branch.detail else None,
        tag("span", of="grow"),
        tag("span", figures, of="mono"),
        tag("span", size_of(branch.n_bytes) if branch.n_bytes else "", of="mono"),
    )
    if not branch.branches:
        return tag("div", *line, of="leaf")
    return tag(
        "details",
        tag("summary", *line),
        *(_tree(inner, depth + 1) for inner in branch.branches),
        attributes={"open": depth < 2},
    )


def memory_section(memory: Memory) -> Html:
    """Weights, and keys and values of one text, by its length."""
    most = max(memory.weights_bytes + at.kv_bytes + memory.state_bytes for at in memory.at)
    rows: list[Html] = []
    for at in memory.at:
        kv = at.kv_bytes + memory.state_bytes
        whole = memory.weights_bytes + kv
        parts = [
            (f"weights: {size_of(memory.weights_bytes)}", float(memory.weights_bytes), "k0"),
            (f"keys and values: {size_of(kv)}", float(kv), "k1"),
        ]
        bar = tag(
            "div",
            stacked_bar(parts, height=18),
            attributes={"style": f"width:{100 * whole / most:.1f}%"},
        )
        rows.append(
            tag(
                "tr",
                tag("td", f"{at.context_tokens:,} tokens", of="n"),
                tag("td", bar, attributes={"style": "width:60%;min-width:120px"}),
                tag("td", size_of(whole), of="n"),
                tag("td", size_of(whole - at.kv_bytes + at.kv_8bit_bytes), of="n"),
            )
        )
    heads = ("context", "", "in all", "with 8-bit keys and values")
    head = tag("tr", *(tag("th", title, of="n") for title in heads))
    return join(
        (
            legend([("weights", "k0"), ("keys and values of one text of that length", "k1")]),
            tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), of="wide"),
        )
    )


def types_section(report: Report) -> Html:
    """How tensors are stored: by type in all, and by layer and role."""
    totals: dict[str, list[TensorReport]] = {}
    for tensor in report.tensors:
        totals.setdefault(tensor.type, []).append(tensor)
    ordered = sorted(totals.items(), key=lambda item: -sum(t.n_bytes for t in item[1]))
    kinds = {kind: _kind(n) for n, (kind, _) in enumerate(ordered)}
    rows: list[tuple[object, ...]] = []
    for kind, tensors in ordered:
        n_bytes, elements = sum(t.n_bytes for t in tensors), sum(t.elements for t in tensors)
        bits = 8 * n_bytes / max(elements, 1)
        name = join((tag("i", of=kinds[kind]), kind))
        rows.append(
            (
                (tag("span", name, of="key"), kind),
                len(tensors),
                (f"{elements:,}", elements),
                (size_of(n_bytes), n_bytes),
                (f"{bits:.2f}", bits),
            )
        )
    columns = [
        Column("type"),
        Column("tensors", True),
        Column("parameters", True),
        Column("size", True),
        Column("bits each", True),
    ]
    by_name = {tensor.name: tensor for tensor in report.tensors}
    grid = grid_of(report.tensors, lambda tensor: tensor.bits)
    cells = [[_type_cell(by_name.get(name), kinds) for name in names] for names in grid.names]
    picture = None if grid.empty else heat_map(grid.roles, [*map(str, grid.layers)], cells)
    return join((table(columns, rows), None if grid.empty else tag("h3", "By layer"), picture))


def _type_cell(tensor: TensorReport | None, kinds: dict[str, str]) -> Cell:
    if tensor is None:
        return Cell(None, "")
    says = f"{tensor.name}: {tensor.type}, {tensor.bits:.2f} bits"
    return Cell(None, says, kind=kinds[tensor.type])
