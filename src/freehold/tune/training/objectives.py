"""What is made small: the surprise at learned tokens, or at preferred answers beside others.

Room: tune. Knows rows and surprises; must not know optimizers.
Source: DPO, arXiv 2305.18290, equation 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from freehold.tune.training.network import Network
from freehold.tune.training.packing import Bundle, Row, pack_rows

__all__ = [
    "Objective",
    "Packed",
    "Preferences",
    "Supervised",
    "log_probabilities",
    "packed",
]

Packed = tuple[Row, list[tuple[int, int]]]


class Objective(Protocol):
    """How a batch's loss is made of its rows'."""

    def weight(self, bundles: Sequence[Bundle]) -> int:
        """What the summed loss is divided by."""

    def loss(self, network: Network, row: Packed, numbers: Sequence[int]) -> Tensor:
        """The row's part of the sum; `numbers` are the bundles' own, in the data."""


def packed(bundles: Sequence[Bundle], *, row_tokens: int | None, share: bool) -> list[Packed]:
    """Rows of the bundles that have something to learn."""
    assert row_tokens is not None, "settled with the machine"
    return pack_rows(bundles, row_tokens=row_tokens, share=share)


class Supervised:
    """-log p of each learned token."""

    def weight(self, bundles: Sequence[Bundle]) -> int:
        """How many learned tokens there are."""
        return sum(int(text.learned.sum()) for texts in bundles for text in texts)

    def loss(self, network: Network, row: Packed, numbers: Sequence[int]) -> Tensor:
        """Their sum."""
        del numbers
        return network.surprises(row[0]).sum()


@dataclass
class Preferences:
    """-log sigmoid of how much more a preferred answer gained than the other, since the reference.

    `reference` has, for each bundle's number, log p of both answers before training. `right` counts
    pairs where the preferred one gained more.
    """

    beta: float
    reference: Mapping[int, tuple[float, float]]
    right: int = 0
    seen: int = 0

    def weight(self, bundles: Sequence[Bundle]) -> int:
        """How many pairs there are."""
        return len(bundles)

    def loss(self, network: Network, row: Packed, numbers: Sequence[int]) -> Tensor:
        """The sum over the row's pairs. Mutates: right, seen."""
        sums = log_probabilities(network, row)
        pairs = sorted({bundle for bundle, _ in row[1]})
        margins = []
        for pair in pairs:
            chosen, rejected = self.reference[numbers[pair]]
            gained = sums[pair, 0] - chosen
            margins.append(gained - (sums[pair, 1] - rejected))
        together = torch.stack(margins)
        self.right += int((together > 0).sum())
        self.seen += len(pairs)
        return -torch.nn.functional.logsigmoid(self.beta * together).sum()


def log_probabilities(network: Network, row: Packed) -> dict[tuple[int, int], Tensor]:
    """log p of each text's learned tokens together, by (bundle, place in the bundle)."""
    surprises = network.surprises(row[0])
    owners = torch.tensor([target.example for target in row[0].targets], device=surprises.device)
    sums = torch.zeros(len(row[1]), device=surprises.device).index_add(0, owners, -surprises)
    return {place: sums[index] for index, place in enumerate(row[1])}
