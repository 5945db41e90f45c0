"""Rows hold every text whole, what is shared once, and let no text see another."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.tune.training.packing import Row, Tokens, pack_rows, seen_by

# Few different tokens, so that beginnings are often alike, and whole texts too.
IDS = st.lists(st.integers(0, 2), min_size=2, max_size=12)
BUNDLES = st.lists(st.lists(IDS, min_size=1, max_size=2), min_size=1, max_size=8)


def text(ids: list[int]) -> Tokens:
    learned = np.zeros(len(ids), bool)
    learned[len(ids) // 2 :] = True
    learned[0] = False
    return Tokens(np.array(ids, np.int32), learned)


def paths(row: Row) -> dict[int, list[int]]:
    """For each place of a row all places that it sees, by the masks alone."""
    found: dict[int, list[int]] = {}
    offset = 0
    ends = {int(place): at for at, place in enumerate(row.attended)}
    for group in row.groups:
        visible = seen_by(group, 0)
        for segment in range(len(group.queries)):
            for query in range(group.queries.shape[1]):
                place = ends.get(offset)
                offset += 1
                if place is None:
                    continue
                seen = [int(k) for k in group.keys[segment][visible[segment, query]]]
                assert len(seen) == len(set(seen))
                found[place] = seen
    return found


@settings(max_examples=60, deadline=None)
@given(bundles=BUNDLES, row_tokens=st.integers(8, 60), share=st.booleans())
def test_each_token_sees_its_own_text_so_far(
    bundles: list[list[list[int]]], row_tokens: int, share: bool
) -> None:
    texts = [[text(ids) for ids in bundle] for bundle in bundles]
    learned: list[tuple[int, int, int]] = []
    for row, members in pack_rows(texts, row_tokens=row_tokens, share=share):
        longest = max(sum(map(len, bundles[b])) for b, _ in members)
        assert row.count <= max(row_tokens, longest)
        seen = paths(row)
        assert sorted(seen) == list(range(row.count))
        for place, path in seen.items():
            assert [int(row.positions[p]) for p in path] == list(range(len(path)))
            assert path[-1] == place
        for place, token, example in row.targets:
            bundle, at = members[example]
            before = [int(row.ids[p]) for p in seen[place]]
            assert [*before, token] == bundles[bundle][at][: len(before) + 1]
            learned.append((bundle, at, len(before)))
    wanted = [
        (b, at, int(place))
        for b, bundle in enumerate(texts)
        for at, one in enumerate(bundle)
        for place in np.flatnonzero(one.learned)
    ]
    assert sorted(learned) == sorted(wanted)


def test_a_shared_beginning_is_computed_once() -> None:
    prompt = list(range(20))
    bundles = [[text([*prompt, word])] for word in (30, 31, 32)]
    ((row, _),) = pack_rows(bundles, row_tokens=100)
    assert row.count == 23
    assert row.text_tokens == 63
    ((alone, _),) = pack_rows(bundles, row_tokens=100, share=False)
    assert alone.count == 63


def test_both_answers_of_a_pair_lie_in_one_row() -> None:
    rng = np.random.default_rng(0)
    bundles = [[text([int(i) for i in rng.integers(0, 9, 14)]) for _ in range(2)] for _ in range(9)]
    for _, members in pack_rows(bundles, row_tokens=40):
        assert sorted(members) == sorted((b, at) for b in {b for b, _ in members} for at in (0, 1))


def test_a_window_hides_what_is_further_back() -> None:
    ((row, _),) = pack_rows([[text(list(range(10)))]], row_tokens=16)
    (group,) = row.groups
    assert seen_by(group, 3)[0].sum(axis=1).tolist() == [1, 2, 3, 3, 3, 3, 3, 3, 3, 3]
