"""The page of what differs between two models.

Room: inspection. Shows what a comparison says; must not gather anything.
"""

from __future__ import annotations

from freehold.inspection.comparing import Comparison, TensorChange
from freehold.inspection.layers import grid_of
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Column, Section, cards, document, table
from freehold.inspection.page.values import grid_picture
from freehold.inspection.report import TensorReport

__all__ = ["comparison_page"]

_MOST_ROWS = 3000


def comparison_page(found: Comparison, *, version: str) -> str:
    """The page of a comparison."""
    sections = []
    grid = grid_of([_placed(change) for change in found.tensors], lambda t: t.bits)
    if not grid.empty:
        picture = grid_picture(grid, logarithmic=False, form=lambda v: f"{100 * v:.2f} %")
        note = "rms of the difference over rms before, by layer."
        sections.append(
            Section("change", "Change by layer", join((tag("p", note, of="note"), picture)))
        )
    sections.append(Section("tensors", "Tensors", _tensors(found)))
    sections.append(Section("keys", "Settings", _keys(found)))
    if found.template:
        sections.append(Section("template", "Chat template", _diff(found.template)))
    foot = f"Written by freehold inspect {version}."
    return document(f"{found.before} against {found.after}", _head(found), sections, foot)


def _placed(change: TensorChange) -> TensorReport:
    """The change in the place where grids look for a tensor's figure."""
    return TensorReport(
        change.name, change.part, change.shape, change.after_type, 0, change.relative or 0.0
    )


def _head(found: Comparison) -> Html:
    whole = found.relative
    changed = sum(1 for tensor in found.tensors if tensor.relative != 0.0)
    figures: list[tuple[str, object]] = [
        ("change in all", "unknown" if whole is None else f"{100 * whole:.2f} %"),
        ("tensors that changed", f"{changed} of {len(found.tensors)}"),
        ("settings that changed", len(found.keys)),
        ("chat template", "changed" if found.template else "the same"),
    ]
    if found.only_before or found.only_after:
        alone = f"{len(found.only_before)} before, {len(found.only_after)} after"
        figures.append(("tensors in one alone", alone))
    return join(
        (
            tag("h1", "What changed"),
            tag("div", "from ", tag("b", found.before), " to ", tag("b", found.after), of="lead"),
            cards(figures),
        )
    )


def _tensors(found: Comparison) -> Html:
    columns = [
        Column("tensor"),
        Column("from"),
        Column("to"),
        Column("change", True),
        Column("largest difference", True),
        Column("same values", True),
    ]
    ordered = sorted(found.tensors, key=lambda t: -(t.relative or 0.0))
    rows = [
        (
            tag("span", change.name, of="mono"),
            change.before_type,
            change.after_type,
            ("not comparable", -1.0)
            if change.relative is None
            else (f"{100 * change.relative:.3f} %", change.relative),
            (f"{change.largest:.3g}", change.largest),
            (f"{100 * change.same:.1f} %", change.same),
        )
        for change in ordered[:_MOST_ROWS]
    ]
    alone = [
        tag("p", f"Only {where}: ", ", ".join(names[:40]), of="note")
        for where, names in (("before", found.only_before), ("after", found.only_after))
        if names
    ]
    return join((*alone, table(columns, rows, anchor="tensors-table", long=True)))


def _keys(found: Comparison) -> Html:
    if not found.keys:
        return tag("p", "No setting differs.")
    rows = [
        (
            tag("span", change.key, of="mono"),
            "absent" if change.before is None else change.before,
            "absent" if change.after is None else change.after,
        )
        for change in found.keys[:_MOST_ROWS]
    ]
    return table([Column("key"), Column("before"), Column("after")], rows, long=True)


def _diff(lines: tuple[str, ...]) -> Html:
    told = (
        tag("span", line + "\n", of={"+": "ins", "-": "del"}.get(line[:1], "")) for line in lines
    )
    return tag("pre", *told, of="chat diff")
