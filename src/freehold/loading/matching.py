"""Which tensor of a file fills which place of a model: none missing, none left over.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Protocol, TypeVar

from freehold.errors import MissingTensor, OutOfPages, ShapeMismatch, UnexpectedTensor
from freehold.models.base import Shape, Slot

__all__ = ["Shaped", "check_memory", "match_tensors"]


class Shaped(Protocol):
    """What matching needs of a file's tensor."""

    @property
    def shape(self) -> Shape:
        """(out, in)"""


Found = TypeVar("Found", bound=Shaped)


def match_tensors(
    tensors: Mapping[str, Found],
    slots: Mapping[str, Slot],
    names: Mapping[str, str],
    family: str,
) -> dict[str, Found]:
    """Each canonical name's tensor; `names` maps the file's names to canonical ones.

    Raises: UnexpectedTensor, MissingTensor, ShapeMismatch.
    """
    for found in tensors:
        if found not in names:
            raise UnexpectedTensor(
                f"the file holds {found}, which this configuration has no place for",
                family=family,
                tensor=found,
                expected=f"{len(names)} known names",
                found=found,
            )
    sources = {}
    for name, canonical in names.items():
        slot = slots[canonical]
        tensor = tensors.get(name)
        if tensor is None:
            if slot.optional:
                continue
            raise MissingTensor(
                f"the file lacks {name}", family=family, tensor=name, expected=f"shape {slot.shape}"
            )
        if tuple(tensor.shape) != slot.shape:
            raise ShapeMismatch(
                f"{name} has another shape than the configuration says",
                family=family,
                tensor=name,
                expected=str(slot.shape),
                found=str(tensor.shape),
            )
        sources[canonical] = tensor
    return sources


def check_memory(sizes_bytes: Iterable[int]) -> None:
    """Raises: OutOfPages when weights of these sizes exceed the machine's memory."""
    needed = sum(sizes_bytes)
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > total:
        raise OutOfPages(
            "the weights are larger than this machine's memory",
            expected=f"at most {total} bytes",
            found=f"{needed} bytes",
            hint="choose a smaller quantization of the model",
        )
