"""A figure of every tensor laid out by layer and role: what heat maps and tables of layers show.

Room: inspection. Plain data; must not know how it is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from freehold.inspection.anatomy import role_order
from freehold.inspection.report import TensorReport

__all__ = ["Grid", "grid_of", "kurtosis", "spread", "types_by_role"]


@dataclass(frozen=True)
class Grid:
    """Values of roles (rows) by layers (columns); None where a layer has no such tensor.

    `names` are the tensors behind them.
    """

    roles: tuple[str, ...]
    layers: tuple[int, ...]
    values: tuple[tuple[float | None, ...], ...]
    names: tuple[tuple[str, ...], ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return not self.roles or not self.layers


def grid_of(
    tensors: Sequence[TensorReport],
    figure: Callable[[TensorReport], float | None],
    *,
    matrices: bool = True,
) -> Grid:
    """The figure of each tensor of the plain stack; of matrices alone, or of all."""
    placed: dict[tuple[str, int], TensorReport] = {}
    for tensor in tensors:
        part = tensor.part
        if part.layer is None or part.stack or (matrices and len(tensor.shape) < 2):
            continue
        # Experts that lie apart share a place: the largest stands for them.
        known = placed.get((part.role, part.layer))
        if known is None or (figure(tensor) or 0.0) > (figure(known) or 0.0):
            placed[part.role, part.layer] = tensor
    roles = tuple(role_order(tensor.part for tensor in placed.values()))
    layers = tuple(sorted({layer for _, layer in placed}))
    found = [[placed.get((role, layer)) for layer in layers] for role in roles]
    return Grid(
        roles,
        layers,
        tuple(tuple(None if t is None else figure(t) for t in row) for row in found),
        tuple(tuple("" if t is None else t.name for t in row) for row in found),
    )


def spread(tensor: TensorReport) -> float | None:
    """The standard deviation of its values."""
    return None if tensor.stats is None else tensor.stats.std


def kurtosis(tensor: TensorReport) -> float | None:
    """How much heavier its tails are than a normal distribution's."""
    return None if tensor.stats is None else tensor.stats.kurtosis


def types_by_role(tensors: Sequence[TensorReport]) -> list[tuple[str, dict[str, list[int]]]]:
    """For each role the types its tensors are stored as, and in which layers; none for outside."""
    found: dict[str, dict[str, list[int]]] = {}
    for role in role_order(tensor.part for tensor in tensors):
        found[role] = {}
    for tensor in tensors:
        layers = found[tensor.part.role].setdefault(tensor.type, [])
        if tensor.part.layer is not None:
            layers.append(tensor.part.layer)
    return list(found.items())
