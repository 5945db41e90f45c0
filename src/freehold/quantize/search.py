"""A recipe of its own for a model: as good as a size allows, or as small as a loss allows.

Room: quantize. Plain data: what each group loses in each type was measured before.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from freehold.errors import BadRecipe, OutOfReach
from freehold.formats.block_types import BlockType
from freehold.quantize.probing import Group, Sensitivity
from freehold.quantize.recipes import Choice

__all__ = ["Curve", "Point", "best_within", "curve_of", "read_size", "smallest_within"]

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Point:
    """A recipe: the type of each group, the bytes of the groups, and the loss that is expected."""

    types: Mapping[str, BlockType]
    size_bytes: int
    expected_kl: float


@dataclass(frozen=True)
class Curve:
    """Recipes from the smallest to the best, each the best for its size that steps can reach."""

    groups: tuple[Group, ...]
    points: tuple[Point, ...]

    def choices(self, point: Point) -> dict[str, Choice]:
        """The type of each tensor."""
        return {
            tensor.name: Choice(point.types[group.name], point.types[group.name])
            for group in self.groups
            for tensor in group.tensors
        }


def curve_of(sensitivity: Sensitivity) -> Curve:
    """From every group in its smallest type, step by step where a byte gains most."""
    types = {group.name: group.types[0] for group in sensitivity.groups}
    size = sum(group.size_bytes(group.types[0]) for group in sensitivity.groups)
    loss = sum(sensitivity.losses[name][kind] for name, kind in types.items())
    points = [Point(dict(types), size, loss)]
    steps = (_steps(group, sensitivity.losses[group.name]) for group in sensitivity.groups)
    # Each group's steps gain less and less, so that merging them is choosing greedily.
    for step in heapq.merge(*steps, key=lambda step: -step.gain):
        types[step.group] = step.kind
        size += step.more_bytes
        loss -= step.less
        points.append(Point(dict(types), size, max(loss, 0.0)))
    return Curve(sensitivity.groups, tuple(points))


def best_within(curve: Curve, budget_bytes: int, other_bytes: int) -> Point:
    """The best recipe whose file fits; `other_bytes` is what it has besides the groups.

    Raises: OutOfReach.
    """
    fitting = [p for p in curve.points if p.size_bytes + other_bytes <= budget_bytes]
    if not fitting:
        least = curve.points[0].size_bytes + other_bytes
        raise OutOfReach(
            "no recipe makes the model so small",
            value=budget_bytes,
            expected=f"at least {least / 1e6:.1f} MB",
            found=f"{budget_bytes / 1e6:.1f} MB",
            hint="choose a smaller model",
        )
    return fitting[-1]


def smallest_within(curve: Curve, most_kl: float, factor: float) -> Point:
    """The smallest recipe whose loss is expected within; expectations count `factor` times.

    Raises: OutOfReach.
    """
    for point in curve.points:
        if point.expected_kl * factor <= most_kl:
            return point
    best = curve.points[-1]
    raise OutOfReach(
        "no recipe loses so little",
        value=most_kl,
        expected=f"a mean KL of at least {best.expected_kl * factor:.4f}",
        found=str(most_kl),
        hint="8 bits everywhere already lose more; keep the source",
    )


def read_size(text: str) -> int:
    """A size such as 4GB, 700MB or 1.5GiB in bytes. Raises: BadRecipe."""
    bare = text.strip().upper().replace(" ", "")
    unit = next((unit for unit in sorted(_UNITS, key=len, reverse=True) if bare.endswith(unit)), "")
    number = bare.removesuffix(unit)
    try:
        size = int(float(number) * _UNITS.get(unit, 0))
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise BadRecipe(
            "this is no size",
            value=text,
            expected="a number with KB, MB, GB, KiB, MiB or GiB, such as 4GB",
            found=repr(text)[:40],
        )
    return size


@dataclass(frozen=True)
class _Step:
    group: str
    kind: BlockType
    more_bytes: int
    less: float

    @property
    def gain(self) -> float:
        """Loss that a byte takes away."""
        return self.less / self.more_bytes


def _steps(group: Group, losses: Mapping[BlockType, float]) -> Iterator[_Step]:
    """From type to type, leaving out those that a straight line between others beats."""
    now, rest = group.types[0], list(group.types[1:])
    while rest:
        found = [_between(group, losses, now, kind) for kind in rest]
        best = max(found, key=lambda step: step.gain)
        if best.less <= 0.0:
            return
        yield best
        now, rest = best.kind, rest[rest.index(best.kind) + 1 :]


def _between(
    group: Group, losses: Mapping[BlockType, float], now: BlockType, kind: BlockType
) -> _Step:
    more = group.size_bytes(kind) - group.size_bytes(now)
    return _Step(group.name, kind, max(more, 1), losses[now] - losses[kind])
