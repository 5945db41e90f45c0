"""Claims about choosing a recipe: plain arithmetic on losses that were made up."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from freehold.errors import BadRecipe, OutOfReach
from freehold.formats.block_types import BlockType as T
from freehold.quantize.probing import Group, Sensitivity, ladder
from freehold.quantize.search import best_within, curve_of, read_size, smallest_within
from freehold.quantize.source import SourceTensor


def tensor(name: str, rows: int, columns: int) -> SourceTensor:
    def nothing(_start: int, _count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        raise AssertionError("no weight is read")

    return SourceTensor(name, (rows, columns), T.F32, nothing, lambda: np.empty(0, np.uint8))


def sensitivity(seed: int = 0, groups: int = 4) -> Sensitivity:
    rng = np.random.default_rng(seed)
    made, losses = [], {}
    for index in range(groups):
        name = f"g{index}"
        types = ladder(512)[:4]
        made.append(Group(name, (tensor(name, int(rng.integers(1, 9)) * 64, 512),), types))
        worst = rng.uniform(0.01, 1)
        losses[name] = {kind: float(worst / 4**step) for step, kind in enumerate(types)}
    return Sensitivity(tuple(made), losses)


def test_each_step_costs_bytes_and_gains_less_than_the_one_before() -> None:
    points = curve_of(sensitivity()).points
    rates = []
    for before, after in pairwise(points):
        assert after.size_bytes > before.size_bytes
        assert after.expected_kl < before.expected_kl
        rates.append(
            (before.expected_kl - after.expected_kl) / (after.size_bytes - before.size_bytes)
        )
    assert rates == sorted(rates, reverse=True)
    assert all(a != b for a, b in pairwise(points))


@pytest.mark.parametrize("seed", range(5))
def test_no_recipe_of_a_points_size_is_better(seed: int) -> None:
    about = sensitivity(seed)
    every = [
        (
            sum(g.size_bytes(k) for g, k in zip(about.groups, kinds, strict=True)),
            sum(about.losses[g.name][k] for g, k in zip(about.groups, kinds, strict=True)),
        )
        for kinds in product(*(group.types for group in about.groups))
    ]
    for point in curve_of(about).points:
        best = min(loss for size, loss in every if size <= point.size_bytes)
        assert point.expected_kl == pytest.approx(best)


def test_a_budget_is_used_but_never_passed() -> None:
    curve = curve_of(sensitivity())
    for budget in range(curve.points[0].size_bytes + 100, curve.points[-1].size_bytes + 200, 9999):
        point = best_within(curve, budget, other_bytes=100)
        assert point.size_bytes + 100 <= budget
        better = [p for p in curve.points if p.expected_kl < point.expected_kl]
        assert all(p.size_bytes + 100 > budget for p in better)


def test_a_loss_is_met_by_the_smallest() -> None:
    curve = curve_of(sensitivity())
    wanted = curve.points[3].expected_kl
    assert smallest_within(curve, wanted, 1.0) == curve.points[3]
    assert smallest_within(curve, wanted, 2.0).size_bytes > curve.points[3].size_bytes


def test_what_cannot_be_had_says_what_can() -> None:
    curve = curve_of(sensitivity())
    with pytest.raises(OutOfReach) as small:
        best_within(curve, 10, other_bytes=0)
    assert "MB" in small.value.expected
    with pytest.raises(OutOfReach) as good:
        smallest_within(curve, 1e-9, 1.0)
    assert "KL" in good.value.expected


def test_a_type_that_gains_nothing_is_passed_over() -> None:
    group = Group("g", (tensor("g", 8, 256),), (T.Q2_K, T.Q3_K, T.Q4_K))
    losses = {"g": {T.Q2_K: 1.0, T.Q3_K: 0.99, T.Q4_K: 0.1}}
    points = curve_of(Sensitivity((group,), losses)).points
    assert [point.types["g"] for point in points] == [T.Q2_K, T.Q4_K]


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4 * 10**9), ("700 mb", 700 * 10**6), ("1.5GiB", 3 * 2**29), ("64kb", 64_000)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "4", "-1GB", "four GB", "nanMB", "infGB", "0MB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(BadRecipe):
        read_size(text)
