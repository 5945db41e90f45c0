"""A rendering as pieces of text that are learned or not, for people to look at.

Room: tune. Knows tokens; must not know colours.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from freehold.tokenizer import Tokenizer
    from freehold.tune.datasets.masking import Rendered

__all__ = ["PreviewPiece", "preview"]


@dataclass(frozen=True)
class PreviewPiece:
    """A run of tokens with their text, all of them learned or none."""

    text: str
    learned: bool
    ids: tuple[int, ...]


def preview(rendered: Rendered, tokenizer: Tokenizer) -> list[PreviewPiece]:
    """The pieces of a rendering in order; control tokens are written out."""
    edges = np.flatnonzero(np.diff(rendered.learned.astype(np.int8))) + 1
    bounds = [0, *edges.tolist(), len(rendered.ids)]
    pieces = []
    for start, end in itertools.pairwise(bounds):
        ids = tuple(rendered.ids[start:end].tolist())
        text = tokenizer.decode(ids, skip_special=False, continuing=start > 0)
        pieces.append(PreviewPiece(text, bool(rendered.learned[start]), ids))
    return pieces
