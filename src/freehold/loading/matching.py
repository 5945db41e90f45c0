"""Which tensors of a file fill which place of a model: none missing, none left over.

Room: loading. Must not know any family or file format.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol, TypeVar

from freehold.errors import MissingTensor, OutOfPages, ShapeMismatch, UnexpectedTensor
from freehold.loading.sources import Source
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
    sources: Mapping[str, Source],
    family: str,
    unused: Callable[[str], bool] | None = None,
) -> dict[str, tuple[Found, ...]]:
    """Each canonical name's tensors, as its source names them.

    Raises: UnexpectedTensor, MissingTensor, ShapeMismatch.
    """
    known = {name for source in sources.values() for name in source.names}
    for found in tensors:
        if found not in known and not (unused is not None and unused(found)):
            raise UnexpectedTensor(
                f"the file holds {found}, which this configuration has no place for",
                family=family,
                tensor=found,
                expected=f"{len(known)} known names",
                found=found,
            )
    matched = {}
    for canonical, source in sources.items():
        slot = slots[canonical]
        if slot.optional and not any(name in tensors for name in source.names):
            continue
        shape = source.piece_shape(slot)
        matched[canonical] = tuple(_find(tensors, name, shape, family) for name in source.names)
    return matched


def _find(tensors: Mapping[str, Found], name: str, shape: Shape, family: str) -> Found:
    tensor = tensors.get(name)
    if tensor is None:
        raise MissingTensor(
            f"the file lacks {name}", family=family, tensor=name, expected=f"shape {shape}"
        )
    if _bare(tensor.shape) != _bare(shape):
        raise ShapeMismatch(
            f"{name} has another shape than the configuration says",
            family=family,
            tensor=name,
            expected=str(shape),
            found=str(tensor.shape),
        )
    return tensor


def _bare(shape: Shape) -> Shape:
    """Without leading dims of one, which formats write or leave out as they like."""
    shape = tuple(shape)
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


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
