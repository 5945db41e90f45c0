"""Examples -> rows of tokens without padding, where what begins alike is there once.

Room: tune. Plain integers: must not know torch, templates or models.

A row is a forest: each token sees the tokens before it on its own path, never another example's.
So a system prompt that all examples share, a document that several questions are about, or the
prompt of two answers, is computed once, and its gradients are the sum of everybody's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bundle", "Group", "Row", "Target", "Tokens", "Window", "pack_rows", "seen_by"]

Ints = NDArray[np.int64]
Window = int  # how many tokens a query sees, its own among them; 0 for all

# Segments are put into one product while padding makes it at most this much larger.
_WASTE = 1.5


class Tokens(NamedTuple):
    """A text: its tokens (T,), and which of them are learned (T,); never the first."""

    ids: NDArray[np.int32]
    learned: NDArray[np.bool_]


Bundle = tuple[Tokens, ...]  # one text; or a preferred one and another


class Target(NamedTuple):
    """A learned token: the place in the row that predicts it, its id, whose it is."""

    place: int
    token: int
    example: int


@dataclass(frozen=True)
class Group:
    """Segments whose attention is one product: their own tokens, and all that they see.

    Shapes: `queries` (S, n) and `keys` (S, c) are places in the row, padded with the segment's
    first; `lengths` (S, 2) are how many of each are real. A segment's last keys are its queries.
    """

    queries: Ints
    keys: Ints
    lengths: Ints


@dataclass(frozen=True)
class Row:
    """Tokens that go through the network together.

    Shapes: `ids` and `positions` (T,); `attended` (T,) says for each token where among the groups'
    queries, laid end to end, it is.
    """

    ids: Ints
    positions: Ints
    groups: tuple[Group, ...]
    attended: Ints
    targets: tuple[Target, ...]
    examples: int
    text_tokens: int

    @property
    def count(self) -> int:
        """T, how many tokens are computed."""
        return len(self.ids)


def pack_rows(
    bundles: Sequence[Sequence[Tokens]], *, row_tokens: int, share: bool = True
) -> list[tuple[Row, list[tuple[int, int]]]]:
    """Rows of at most `row_tokens` computed tokens; texts of one bundle lie in one row.

    Beside each row stands for each of its texts (bundle, place in the bundle). A bundle longer than
    a row has one of its own. Without `share` nothing is computed once for two.
    """
    order: Sequence[int] = range(len(bundles))
    if share:
        order = sorted(order, key=lambda i: bundles[i][0].ids.tolist())
    rows: list[tuple[Row, list[tuple[int, int]]]] = []
    members: list[int] = []
    used = 0
    for index in order:
        fresh, shared = (
            _cost(bundles, members[-1:], index) if share else (_length(bundles[index]), 0)
        )
        if members and used + fresh - shared > row_tokens:
            rows.append(_row_of(bundles, members, share=share))
            members, used, shared = [], 0, 0
        members.append(index)
        used += fresh - shared
    if members:
        rows.append(_row_of(bundles, members, share=share))
    return rows


def _length(texts: Sequence[Tokens]) -> int:
    return sum(len(text.ids) for text in texts)


def _cost(
    bundles: Sequence[Sequence[Tokens]], before: Sequence[int], index: int
) -> tuple[int, int]:
    """How many tokens a bundle computes, and how many of them the one before has already."""
    texts = bundles[index]
    within = sum(_common(texts[0].ids, text.ids) for text in texts[1:])
    shared = _common(bundles[before[0]][0].ids, texts[0].ids) if before else 0
    return _length(texts) - within, shared


def _row_of(
    bundles: Sequence[Sequence[Tokens]], members: Sequence[int], *, share: bool
) -> tuple[Row, list[tuple[int, int]]]:
    places = [(index, at) for index in members for at in range(len(bundles[index]))]
    if share:
        places.sort(key=lambda place: bundles[place[0]][place[1]].ids.tolist())
    return _row([bundles[index][at] for index, at in places], share=share), places


def _common(one: NDArray[np.int32], other: NDArray[np.int32]) -> int:
    """How many tokens both begin with; at least the last of `other` is its own."""
    length = min(len(one), len(other) - 1)
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else max(length, 0)


def _row(texts: Sequence[Tokens], *, share: bool) -> Row:
    """Texts in order, each beside the one it shares most with."""
    cuts = [0] + [_common(a.ids, b.ids) if share else 0 for a, b in pairwise(texts)]
    places = _places(texts, cuts)
    ids = np.zeros(max(int(p[-1]) for p in places) + 1, np.int64)
    positions = np.zeros_like(ids)
    for text, place in zip(texts, places, strict=True):
        ids[place] = text.ids
        positions[place] = np.arange(len(place))
    groups, attended = _groups(_segments(places), len(ids))
    targets = tuple(
        Target(int(place[at - 1]), int(text.ids[at]), example)
        for example, (text, place) in enumerate(zip(texts, places, strict=True))
        for at in np.flatnonzero(text.learned)
    )
    text_tokens = sum(len(text.ids) for text in texts)
    return Row(ids, positions, groups, attended, targets, len(texts), text_tokens)


def _places(texts: Sequence[Tokens], cuts: Sequence[int]) -> list[Ints]:
    """For each text where its tokens are in the row; `cuts` say what it has from the one before."""
    places: list[Ints] = []
    end = 0
    for text, cut in zip(texts, cuts, strict=True):
        fresh = np.arange(end, end + len(text.ids) - cut)
        places.append(np.concatenate([places[-1][:cut], fresh]) if cut else fresh)
        end += len(fresh)
    return places


def _segments(places: Sequence[Ints]) -> list[tuple[Ints, Ints]]:
    """Runs that are alike for whoever has them: (what a run sees, its own tokens among that)."""
    ends: dict[int, set[int]] = {}  # last token of a run -> lengths of the path up to it
    for one, other in zip(places, [*places[1:], None], strict=True):
        ends.setdefault(int(one[-1]), set()).add(len(one))
        if other is not None:
            shared = _shared_places(one, other)
            if shared:
                ends.setdefault(int(one[shared - 1]), set()).add(shared)
    found: dict[int, tuple[Ints, Ints]] = {}
    for place in places:
        last = 0
        for at in range(1, len(place) + 1):
            if int(place[at - 1]) in ends:
                found.setdefault(int(place[last]), (place[:at], place[last:at]))
                last = at
    return list(found.values())


def _shared_places(one: Ints, other: Ints) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length


def _groups(segments: Sequence[tuple[Ints, Ints]], count: int) -> tuple[tuple[Group, ...], Ints]:
    """Segments of about one size together, and where each token's query is."""
    by_size = sorted(segments, key=lambda one: (len(one[0]), len(one[1])))
    batches: list[list[tuple[Ints, Ints]]] = []
    for one in by_size:
        if batches and _fits(batches[-1], one):
            batches[-1].append(one)
        else:
            batches.append([one])
    attended = np.zeros(count, np.int64)
    groups, offset = [], 0
    for batch in batches:
        wide, long = max(len(own) for _, own in batch), max(len(seen) for seen, _ in batch)
        queries = np.stack([_padded(own, wide) for _, own in batch])
        keys = np.stack([_padded(seen, long) for seen, _ in batch])
        lengths = np.array([(len(own), len(seen)) for seen, own in batch], np.int64)
        for at, (_, own) in enumerate(batch):
            attended[own] = offset + at * wide + np.arange(len(own))
        offset += len(batch) * wide
        groups.append(Group(queries, keys, lengths))
    return tuple(groups), attended


def _fits(batch: Sequence[tuple[Ints, Ints]], one: tuple[Ints, Ints]) -> bool:
    """Whether another segment beside these wastes little."""
    every = [*batch, one]
    padded = len(every) * max(len(own) for _, own in every) * max(len(seen) for seen, _ in every)
    real = sum(len(own) * len(seen) for seen, own in every)
    return padded <= _WASTE * real or padded <= 1 << 12


def _padded(values: Ints, length: int) -> Ints:
    return np.concatenate([values, np.full(length - len(values), values[0])])


def seen_by(group: Group, window: Window) -> NDArray[np.bool_]:
    """Which keys each query sees, (S, n, c); a padded query sees the first one."""
    own, seen = group.lengths[:, :1, None], group.lengths[:, 1:, None]
    query = np.arange(group.queries.shape[1])[None, :, None]
    key = np.arange(group.keys.shape[1])[None, None, :]
    behind = (seen - own + query) - key  # how far before the query the key is
    visible = (behind >= 0) & (query < own)
    if window:
        visible &= behind < window
    visible |= (query >= own) & (key == 0)
    return np.asarray(visible)
