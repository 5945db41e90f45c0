"""What became of a quantized checkpoint's values: exact, or rounded by how much.

Room: loading. Must not know any family.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from freehold.loading.quantized.rows import QuantizedRows

__all__ = ["Carried", "LoadReport", "report_on"]


@dataclass(frozen=True)
class Carried:
    """One matrix. Units: errors are relative to the value; 0 is exact, bit for bit."""

    name: str
    largest_error: float
    mean_error: float
    file_bytes: int
    memory_bytes: int

    @property
    def exact(self) -> bool:
        """Whether every value is the checkpoint's own."""
        return self.largest_error == 0.0


@dataclass(frozen=True)
class LoadReport:
    """How a quantized checkpoint was carried over."""

    format: str
    matrices: tuple[Carried, ...]

    @property
    def exact(self) -> bool:
        """Whether every value of every matrix is the checkpoint's own."""
        return all(matrix.exact for matrix in self.matrices)

    @property
    def memory_share(self) -> float:
        """Bytes in memory for each byte of the file, over the quantized matrices."""
        return sum(m.memory_bytes for m in self.matrices) / sum(m.file_bytes for m in self.matrices)

    def __str__(self) -> str:
        """One line for a person."""
        rounded = [matrix for matrix in self.matrices if not matrix.exact]
        start = f"{self.format}: {len(self.matrices)} matrices"
        if not rounded:
            return f"{start}, all exact"
        worst = max(rounded, key=lambda matrix: matrix.largest_error)
        return (
            f"{start}, {len(rounded)} rounded: by {worst.largest_error:.2g} of the value at most"
            f" ({worst.name}), {max(matrix.mean_error for matrix in rounded):.2g} in the mean"
        )


def report_on(label: str, rows: Iterable[QuantizedRows]) -> LoadReport:
    """The account of matrices that were read."""
    return LoadReport(
        label,
        tuple(
            Carried(
                each.name, each.rounding.largest, each.rounding.mean, each.file_bytes, each.n_bytes
            )
            for each in rows
        ),
    )
