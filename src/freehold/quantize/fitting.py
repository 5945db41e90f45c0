"""A file within a size or a loss: measure each group, choose a recipe, write it, and look again.

Room: quantize. Must not know licences, records or terminals.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from freehold import ops
from freehold.errors import BadRecipe, OutOfReach
from freehold.formats.block_types import BlockType
from freehold.library.progress import Progress
from freehold.quantize.plan import header, plan_of
from freehold.quantize.probing import Sensitivity, probe, size_bytes
from freehold.quantize.recipes import RECIPES, Choice, Recipe, choose
from freehold.quantize.search import Curve, Point, best_within, curve_of, smallest_within
from freehold.quantize.shrink import Outcome, shrink
from freehold.quantize.source import Source, facts_of
from freehold.quantize.texts import Texts

__all__ = ["Fitted", "Goal", "Named", "fit"]

_PROBE_TOKENS = 512
_ATTEMPTS = 4
_WASTEFUL = 0.75  # of the loss that is allowed: below it a smaller file is worth a try


@dataclass(frozen=True)
class Goal:
    """One of both: the bytes that the file may take, or the mean KL that it may lose."""

    size_bytes: int | None = None
    most_kl: float | None = None

    def __post_init__(self) -> None:
        if (self.size_bytes is None) == (self.most_kl is None):
            raise BadRecipe("ask for a size or for a loss", expected="one of both")
        if self.most_kl is not None and not 0 < self.most_kl < 100:
            raise BadRecipe(
                "this is no loss to aim for", value=self.most_kl, expected="a mean KL, as 0.02"
            )

    @property
    def label(self) -> str:
        """As a recipe is named."""
        if self.size_bytes is not None:
            return f"fit-{self.size_bytes / 1e6:.0f}MB"
        return f"kl-{self.most_kl:g}"


@dataclass(frozen=True)
class Named:
    """A usual recipe on the same measure: its file's size, and the loss that is expected."""

    name: str
    size_bytes: int
    expected_kl: float


@dataclass(frozen=True)
class Fitted:
    """The file, the recipe it came from, and what else could have been had."""

    outcome: Outcome
    point: Point
    curve: Curve
    named: tuple[Named, ...]
    other_bytes: int
    sensitivity: Sensitivity

    def losses(self) -> list[tuple[str, float]]:
        """What each group is expected to lose in the type that it got, the worst first."""
        found = [
            (name, self.sensitivity.losses[name][kind]) for name, kind in self.point.types.items()
        ]
        return sorted(found, key=lambda each: -each[1])


def fit(  # noqa: PLR0913 - as `shrink`
    source: Source,
    goal: Goal,
    texts: Texts,
    target: Path,
    *,
    method: str = "feedback",
    notes: Mapping[str, str | int] | None = None,
    progress: Progress,
) -> Fitted:
    """Writes the best file of a size, or the smallest of a loss; nothing if there is none.

    Raises: OutOfReach, saying what can be had; BadRecipe, and as `shrink`.
    """
    sensitivity = probe(
        source,
        _few(texts),
        threads=ops.threads(),
        progress=lambda done, total: progress("probe", done, total),
    )
    curve = curve_of(sensitivity)
    other_bytes = _other_bytes(source, curve, notes or {})

    def write(point: Point, most_kl: float | None) -> Outcome:
        plan = plan_of(source, _nearest(goal, point), curve.choices(point))
        return shrink(
            source,
            plan,
            texts,
            target,
            method=method,
            most_kl=most_kl,
            notes=notes,
            progress=progress,
        )

    if goal.size_bytes is not None:
        point = best_within(curve, goal.size_bytes, other_bytes)
        outcome = write(point, None)
    else:
        assert goal.most_kl is not None, "a goal is one of both"
        outcome, point = _search(curve, goal.most_kl, write)
    named = tuple(_named(source, sensitivity, other_bytes))
    return Fitted(outcome, point, curve, named, other_bytes, sensitivity)


def _search(
    curve: Curve, most_kl: float, write: Callable[[Point, float | None], Outcome]
) -> tuple[Outcome, Point]:
    """Tries recipes, each chosen by what the ones before really lost. Raises: OutOfReach."""
    factor, best, tried = 1.0, None, set[int]()
    for _ in range(_ATTEMPTS):
        try:
            point = smallest_within(curve, most_kl, factor)
        except OutOfReach:
            if best is not None:
                break
            point = curve.points[-1]
        if point.size_bytes in tried:
            break
        tried.add(point.size_bytes)
        try:
            outcome = write(point, most_kl)
            measured = outcome.loss.mean_kl
            best = (outcome, point)
        except OutOfReach as error:
            measured = float(str(error.value))
        factor = measured / max(point.expected_kl, 1e-9)
        if best is not None and measured > _WASTEFUL * most_kl:
            break
    if best is not None:
        return best
    raise OutOfReach(
        "no recipe loses so little",
        value=most_kl,
        expected=f"a mean KL of about {curve.points[-1].expected_kl * factor:.4f} or more",
        found=str(most_kl),
        hint="8 bits everywhere lose more; keep the source, or allow a little more",
    )


def _few(texts: Texts) -> list[tuple[int, ...]]:
    """The first tokens that the model is fitted to, else judged by."""
    left, found = _PROBE_TOKENS, []
    for piece in texts.calibration or texts.held_out:
        found.append(piece[:left])
        left -= len(found[-1])
        if left <= 0:
            break
    return found


def _other_bytes(source: Source, curve: Curve, notes: Mapping[str, str | int]) -> int:
    """What a file has besides the groups' blocks: header, small tensors, padding."""
    plan = plan_of(source, RECIPES["Q8_0"], curve.choices(curve.points[0]))
    names = {tensor.name for group in curve.groups for tensor in group.tensors}
    small = sum(tensor.n_bytes for tensor in plan.tensors if tensor.name not in names)
    said = sum(len(key) + len(value) + 8 for key, value in header(source, plan, notes).items())
    table = sum(len(tensor.name) + 64 for tensor in plan.tensors)
    return small + said + table + 32 * len(plan.tensors) + 1024


def _nearest(goal: Goal, point: Point) -> Recipe:
    """The goal as a recipe, with the number of the usual one whose main type it mostly has."""
    sizes: dict[BlockType, int] = {}
    for kind in point.types.values():
        sizes[kind] = sizes.get(kind, 0) + 1
    base = max(sizes, key=lambda kind: sizes[kind])
    usual = next((each for each in RECIPES.values() if each.base is base), RECIPES["Q5_K_M"])
    return Recipe(goal.label, base, usual.file_type)


def _named(source: Source, sensitivity: Sensitivity, other_bytes: int) -> list[Named]:
    """The usual recipes, as far as their types were measured."""
    facts, found = facts_of(source, calibrated=True), []
    for recipe in RECIPES.values():
        chosen = choose(recipe, source.tensors.values(), facts)
        expected = _expected(sensitivity, chosen)
        if expected is not None:
            tensors = [tensor for group in sensitivity.groups for tensor in group.tensors]
            size = sum(size_bytes(each, chosen[each.name].type) for each in tensors)
            found.append(Named(recipe.name, size + other_bytes, expected))
    return found


def _expected(sensitivity: Sensitivity, chosen: Mapping[str, Choice]) -> float | None:
    """What a recipe is expected to lose; None where a type was not measured."""
    total = 0.0
    for group in sensitivity.groups:
        losses = sensitivity.losses[group.name]
        for tensor in group.tensors:
            kind = chosen[tensor.name].type
            if kind not in losses:
                return None
            total += losses[kind] / len(group.tensors)
    return total
