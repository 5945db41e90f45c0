"""The sections about text: tokenizer, chat template, metadata.

Room: inspection. Shows what a report says; must not gather anything.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from freehold.inspection.conversations import ChatFacts, Sample
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.page import Column, cards, table
from freehold.inspection.page.plots import stacked_bar
from freehold.inspection.words import Cut, TokenizerFacts

__all__ = ["chat_section", "metadata_section", "tokenizer_section"]

_MOST_KEYS = 500
_MOST_CHARS = 600
_MOST_TEMPLATE = 40_000


def tokenizer_section(facts: TokenizerFacts) -> Html:
    """Figures, special tokens, and one sentence cut in several languages."""
    figures: list[tuple[str, object]] = [
        ("kind", facts.kind),
        ("tokens", f"{facts.size:,}"),
        ("merges", f"{facts.merges:,}" if facts.merges else "none"),
    ]
    if facts.splitting:
        figures.append(("splits words as", facts.splitting))
    if facts.specials_in_all:
        figures.append(("control tokens", facts.specials_in_all))
    if facts.adds_bos is not None:
        figures.append(("begins every text itself", "yes" if facts.adds_bos else "no"))
    roles = [
        (tag("span", special.text, of="control mono"), special.id, ", ".join(special.roles))
        for special in facts.specials
    ]
    most = max((cut.count for cut in facts.cuts), default=1)
    cut_rows = [_cut_row(cut, most) for cut in facts.cuts]
    columns = [
        Column("language"),
        Column("tokens", True),
        Column(""),
        Column("a word", True),
        Column("bytes a token", True),
        Column("comes back whole"),
    ]
    shown = [
        join(
            (
                tag("h3", cut.language),
                tag("div", *(tag("span", token, of="tok") for token in cut.tokens), of="line"),
            )
        )
        for cut in facts.cuts
        if cut.tokens
    ]
    tokens = tag(
        "details", tag("summary", f"Control tokens ({facts.specials_in_all})"),
        table([Column("token"), Column("id", True), Column("role")], roles, long=True),
    )  # fmt: skip
    return join(
        (
            cards(figures),
            tokens if roles else None,
            tag("h3", "The same sentence in several languages"),
            table(columns, cut_rows),
            tag("details", tag("summary", "How they are cut"), *shown) if shown else None,
        )
    )


def _cut_row(cut: Cut, most: int) -> tuple[object, ...]:
    bar = stacked_bar([(f"{cut.count} tokens", 1.0, "k0")], height=10)
    wide = tag("div", bar, attributes={"style": f"width:{max(120 * cut.count // most, 2)}px"})
    word = "" if cut.per_word is None else f"{cut.per_word:.2f}"
    return (
        cut.language,
        cut.count,
        (wide, cut.count),
        (word, cut.per_word or 0.0),
        (f"{cut.bytes_per_token:.1f}", cut.bytes_per_token),
        {True: "yes", False: "no", None: ""}[cut.whole],
    )


def chat_section(chat: ChatFacts) -> Html:
    """The template on sample conversations, control tokens marked; its source folded away."""
    figures: list[tuple[str, object]] = [
        ("templates", ", ".join(chat.names)),
        ("length", f"{chat.characters:,} characters"),
        ("calls tools as", chat.dialect),
        ("thinks between", chat.reasoning or "it does not"),
    ]
    source = chat.source[:_MOST_TEMPLATE]
    return join(
        (
            cards(figures),
            tag(
                "p",
                "What the model reads, token for token. The marked parts are control tokens, which "
                "nobody's text can spell.",
                of="note",
            ),
            *(_sample(sample) for sample in chat.samples),
            tag("details", tag("summary", "The template itself"), tag("pre", source, of="chat")),
        )
    )


def _sample(sample: Sample) -> Html:
    title = sample.title[:1].upper() + sample.title[1:]
    if sample.refused:
        return join((tag("h3", title), tag("p", "Refused: ", sample.refused, of="note")))
    pieces = (
        tag("span", piece.text, of="control") if piece.control else tag("span", piece.text)
        for piece in sample.pieces
    )
    return join(
        (tag("h3", f"{title}: {sample.tokens} tokens"), tag("div", *pieces, of="chat mono"))
    )


def metadata_section(metadata: Mapping[str, object]) -> Html:
    """Every key with its value, long ones cut."""
    rows = [
        (tag("span", key, of="mono"), tag("span", _told(value), of="mono"))
        for key, value in list(metadata.items())[:_MOST_KEYS]
    ]
    return table([Column("key"), Column("value")], rows, long=True)


def _told(value: object) -> str:
    """A value in some words: long texts and lists by their beginning."""
    if isinstance(value, np.ndarray | list | tuple):
        first = ", ".join(str(item)[:40] for item in list(value[:6]))
        return f"{len(value):,} items: {first}" + (" …" if len(value) > 6 else "")
    said = str(value)
    return said if len(said) <= _MOST_CHARS else f"{said[:_MOST_CHARS]}… ({len(said):,} characters)"
