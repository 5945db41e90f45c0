"""The sections about one prompt: what each layer would say, and where it looks.

Room: inspection. Shows what a lens saw; must not run anything.
"""

from __future__ import annotations

from freehold.inspection.lens import Attended, Lens
from freehold.inspection.page.markup import Html, join, tag
from freehold.inspection.page.plots import matrix

__all__ = ["attention_section", "lens_section"]


def lens_section(lens: Lens) -> Html:
    """A row for each layer, the last one on top; a column for each of the last positions."""
    shown = lens.tokens[lens.first :]
    heads = (tag("td", _shown(token), attributes={"title": _shown(token)}) for token in shown)
    rows = [tag("tr", tag("th", "prompt"), *heads)]
    for layer in reversed(range(len(lens.guesses))):
        cells = []
        for guess in lens.guesses[layer]:
            share = round(70 * guess.probability)
            style = f"background:color-mix(in oklab,var(--hot) {share}%,transparent)"
            token = _shown(guess.token)
            says = {"style": style, "title": f"{token}: {100 * guess.probability:.1f} %"}
            cells.append(tag("td", tag("span", token, attributes=says)))
        rows.append(tag("tr", tag("th", f"layer {layer}"), *cells))
    note = (
        "What the model would say next after each token if that layer were its last; the warmer, "
        "the surer. The top row is its real answer. Rows below show when it knew."
    )
    picture = tag("div", tag("table", tag("tbody", *rows), of="lens"), of="scroll")
    return join((tag("p", note, of="note"), picture))


def attention_section(lens: Lens) -> Html:
    """A square for each layer: rows are tokens, columns the tokens that they look at."""
    note = (
        "Each square is a layer, the mean of its heads: rows are the prompt's tokens from top to "
        "bottom, columns the tokens that they look at. The first column is warm in most layers: "
        "heads with nothing to look for rest there."
    )
    squares = (_square(attended, lens.tokens) for attended in lens.attention)
    return join((tag("p", note, of="note"), tag("div", *squares, of="grid squares")))


def _square(attended: Attended, tokens: tuple[str, ...]) -> Html:
    def says(row: int, column: int) -> str:
        share = 100 * attended.weights[row][column]
        return f"{_shown(tokens[row])} looks at {_shown(tokens[column])}: {share:.1f} %"

    caption = tag("figcaption", f"layer {attended.layer}")
    return tag("figure", caption, matrix(attended.weights, says, 8))


def _shown(token: str) -> str:
    """A token whose line ends and tabs can be seen."""
    return token.replace("\n", "↵").replace("\t", "⇥") or "∅"
