"""What a model is made of: its matrices, and what it keeps of a text. No weight is read.

Room: loading. Must not know any family by name, nor this machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path

from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors
from freehold.loading.directory import plan_directory, weights_file
from freehold.loading.gguf import plan_gguf
from freehold.loading.plan import Plan
from freehold.models.base import KvSpec

__all__ = ["Outline", "Part", "outline_of"]


@dataclass(frozen=True)
class Part:
    """One matrix under its name, or `copies` of them stacked, of which a token uses `used`.

    A table that is only looked up is used by none. `block_type` is the core's number.
    """

    name: str
    rows: int
    columns: int
    block_type: int
    n_bytes: int
    copies: int = 1
    used: int = 1

    @property
    def elements(self) -> int:
        """Of all copies."""
        return self.rows * self.columns * self.copies


@dataclass(frozen=True)
class Outline:
    """A decoder's parts; `windows` has for each layer the tokens a query sees, 0 for all.

    `vectors_bytes` are norms, biases and the like, as float32.
    """

    parts: tuple[Part, ...]
    kv: KvSpec
    windows: tuple[int, ...]
    heads: int
    width: int
    context_tokens: int
    vectors_bytes: int = 0

    @cached_property
    def alike(self) -> tuple[tuple[Part, int], ...]:
        """One part of each size, type and use beside how many there are; tables stay apart."""
        kinds: dict[tuple[object, ...], tuple[Part, int]] = {}
        for part in self.parts:
            table = "" if "." in part.name.removesuffix(".weight") else part.name
            key = (table, part.rows, part.columns, part.block_type, part.copies, part.used)
            first, count = kinds.get(key, (part, 0))
            kinds[key] = first, count + 1
        return tuple(kinds.values())

    @property
    def weights_bytes(self) -> int:
        """Bytes of all parts as they are stored."""
        return sum(part.n_bytes for part in self.parts) + self.vectors_bytes

    @property
    def elements(self) -> int:
        """Elements of all matrices."""
        return sum(part.elements for part in self.parts)


def outline_of(path: Path) -> Outline:
    """The outline of a GGUF file's or a directory's decoder.

    Raises: as `load_model`, for what can be seen without reading weights.
    """
    if not path.is_dir():
        with open_gguf(path) as file:
            return _outline(plan_gguf(file))
    metadata = read_json_object(path / "config.json")
    with open_safetensors(weights_file(path)) as tensors:
        return _outline(plan_directory(metadata, tensors)[0])


def _outline(plan: Plan) -> Outline:
    config = plan.config
    vectors = [slot for name, slot in plan.slots.items() if name in plan.found and not slot.matrix]
    return Outline(
        parts=tuple(_parts(plan)),
        kv=plan.kind.keeps(config),
        windows=tuple(config.window(layer) for layer in range(config.layers)),
        heads=config.heads,
        width=config.width,
        context_tokens=config.context_tokens,
        vectors_bytes=sum(4 * prod(slot.shape) for slot in vectors),
    )


def _parts(plan: Plan) -> Iterator[Part]:
    moe = plan.config.moe
    tied = "head" not in plan.found
    for name, pieces in plan.found.items():
        slot = plan.slots[name]
        if not slot.matrix:
            continue
        copies = used = 1
        if name.endswith((".moe.gate", ".moe.up", ".moe.down")):
            copies, used = moe.experts, moe.chosen
        elif name == "embed":
            used = int(tied)  # the head of a tied model
        elif name.endswith("embed"):
            used = 0
        rows, columns = slot.shape
        yield Part(
            name=name,
            rows=rows // copies,
            columns=columns,
            block_type=pieces[0].block_type,
            n_bytes=sum(piece.n_bytes for piece in pieces),
            copies=copies,
            used=used,
        )
