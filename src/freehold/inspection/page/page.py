"""A page around sections: one file that opens from a disk and asks nobody for anything.

Room: inspection. Knows HTML documents; must not know reports.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.inspection.page.markup import Html, join, tag, text
from freehold.inspection.page.style import SCRIPT, STYLE

__all__ = ["Column", "Section", "cards", "document", "legend", "table", "tabs"]


@dataclass(frozen=True)
class Section:
    """A part of the page, reached by its anchor; `inner` is markup."""

    anchor: str
    title: str
    inner: Html


@dataclass(frozen=True)
class Column:
    """A table's column; numbers stand right and sort by size."""

    title: str
    numbers: bool = False


def document(title: str, head: Html, sections: Sequence[Section], foot: str) -> str:
    """The whole file. Its policy lets nothing be fetched and no script run but its own."""
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    links = join(
        tag("a", section.title, attributes={"href": f"#{section.anchor}"}) for section in sections
    )
    body = join(
        tag(
            "section",
            tag("h2", section.title),
            section.inner,
            attributes={"id": section.anchor},
        )
        for section in sections
    )
    meta = join(
        (
            tag("meta", attributes={"charset": "utf-8"}),
            tag("meta", attributes={"http-equiv": "Content-Security-Policy", "content": policy}),
            tag("meta", attributes={"name": "referrer", "content": "no-referrer"}),
            tag(
                "meta",
                attributes={"name": "viewport", "content": "width=device-width,initial-scale=1"},
            ),
            tag("title", title),
            tag("style", Html(STYLE)),
        )
    )
    parts = (
        tag("header", head, tag("nav", links)),
        tag("main", body),
        tag("footer", text(foot)),
        tag("script", Html(SCRIPT)),
    )
    page = tag("html", tag("head", meta), tag("body", *parts), attributes={"lang": "en"})
    return "<!doctype html>\n" + page + "\n"


def cards(facts: Sequence[tuple[str, object]]) -> Html:
    """A few figures, large."""
    return tag(
        "dl", *(tag("div", tag("dt", name), tag("dd", value)) for name, value in facts), of="cards"
    )


def legend(names: Sequence[tuple[str, str]]) -> Html:
    """What colours mean: (name, class)."""
    return tag("ul", *(tag("li", tag("i", of=kind), name) for name, kind in names), of="legend")


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[object]],
    *,
    anchor: str = "",
    long: bool = False,
) -> Html:
    """A table that sorts by a click on a column; a cell is a value, or (shown, sorted by)."""
    heads = (
        tag(
            "th",
            column.title,
            of="n" if column.numbers else "",
            attributes={"data-sort": "n" if column.numbers else "t"},
        )
        for column in columns
    )
    told = (
        tag("tr", *(_cell(cell, column) for cell, column in zip(row, columns, strict=True)))
        for row in rows
    )
    made = tag(
        "table",
        tag("thead", tag("tr", *heads)),
        tag("tbody", *told),
        attributes={"id": anchor or None},
    )
    return tag("div", made, of="scroll" if long else "wide")


def _cell(cell: object, column: Column) -> Html:
    shown, key = cell if isinstance(cell, tuple) else (cell, None)
    return tag("td", shown, of="n" if column.numbers else "name", attributes={"data-v": key})


def tabs(panes: Sequence[tuple[str, Html]]) -> Html:
    """One of several panes at a time, by the style alone; four at most, once a page."""
    inner: list[Html] = []
    for number, (title, _) in enumerate(panes):
        chosen = {"type": "radio", "name": "pane", "id": f"t{number}", "checked": number == 0}
        inner.append(tag("input", attributes=chosen))
        inner.append(tag("label", title, attributes={"for": f"t{number}"}))
    inner += [tag("div", pane, of=f"pane p{number}") for number, (_, pane) in enumerate(panes)]
    return tag("div", *inner, of="tabs")
