"""The model that is made smaller: its tensors row by row as float32, and what its file says.

Room: quantize. Must not know recipes or types' insides.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from freehold.formats.block_types import BlockType
from freehold.loading.matching import check_memory
from freehold.loading.plan import Origin, Plan
from freehold.models.base import Model, Parameter
from freehold.ops import Weight
from freehold.quantize.recipes import Facts

__all__ = ["Floats", "Network", "Source", "SourceTensor", "facts_of"]

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class SourceTensor:
    """One tensor by its GGUF name; `type` is what it is kept as where it is not quantized.

    Shapes: `rows(start, count)` gives (count, columns), `raw` the bytes of the whole tensor.
    """

    name: str
    shape: tuple[int, ...]
    type: BlockType
    rows: Callable[[int, int], Floats]
    raw: Callable[[], NDArray[np.uint8]]
    release: Callable[[int, int], None] = lambda _start, _count: None

    @property
    def row_count(self) -> int:
        """How many rows there are, of all leading dims."""
        return int(np.prod(self.shape[:-1], dtype=np.int64))


class Network(NamedTuple):
    """A model in memory, and its parameters by canonical name."""

    model: Model
    parameters: Mapping[str, Parameter]


@dataclass
class Source:
    """An open model. Use it in a `with`; its network is loaded when first asked for."""

    path: Path
    architecture: str
    metadata: Mapping[str, object]
    raw_metadata: Mapping[str, bytes]
    tensors: Mapping[str, SourceTensor]
    size_bytes: int
    weight_bytes: int
    planned: Callable[[], Plan]
    on_close: Callable[[], None]
    places: Mapping[str, Origin] | None = None
    _begun: Future[Network] | None = field(default=None, repr=False)
    _hollow: dict[int, str] = field(default_factory=dict, repr=False)

    def begin_loading(self, encoded: Collection[str] = ()) -> None:
        """Loads the network beside what the caller does next; whoever asks for it hears of failure.

        The matrices of the tensors `encoded`, by GGUF name, are left hollow.
        """
        if self._begun is None:
            worker = ThreadPoolExecutor(1, "loading")
            self._begun = worker.submit(self._load, frozenset(encoded))
            worker.shutdown(wait=False)

    def outline(self, encoded: Collection[str]) -> Network:
        """The network for one who puts others in the place of these tensors' matrices.

        They may be hollow: whoever wants one of them after all has it filled. Raises: as `loaded`.
        """
        self.begin_loading(encoded)
        assert self._begun is not None, "it has just begun"
        return self._begun.result()

    def fill(self, weight: Weight) -> None:
        """Reads a matrix's values, if it is hollow. Mutates: weight."""
        name = self._hollow.pop(id(weight), None)
        if name is not None:
            self.plan.fill(name, weight)

    @property
    def loaded(self) -> Network:
        """The whole network, in memory. Raises: LoadError, OutOfPages."""
        network = self.outline(())
        for name in list(self._hollow.values()):
            weight = network.parameters[name]
            assert isinstance(weight, Weight), "only matrices are hollow"
            self.fill(weight)
        return network

    def _load(self, encoded: frozenset[str]) -> Network:
        check_memory(piece.n_bytes for pieces in self.plan.found.values() for piece in pieces)
        hollow = {
            name
            for name, origin in self.origins.items()
            if self.plan.can_be_hollow(name) and not encoded.isdisjoint(origin.source.names)
        }
        network = Network(*self.plan.build(hollow))
        self._hollow = {id(network.parameters[name]): name for name in hollow}
        return network

    @cached_property
    def plan(self) -> Plan:
        """What the network is made of. Raises: LoadError."""
        return self.planned()

    @property
    def file_metadata(self) -> Mapping[str, object] | None:
        """What the file's header says; a directory has none."""
        return None if self.path.is_dir() else self.metadata

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each slot of the network lies among `tensors`, by canonical name."""
        return self.plan.origins() if self.places is None else self.places

    def close(self) -> None:
        """Gives file and network back; waits for a network that is still being loaded."""
        if self._begun is not None:
            self._begun.exception()  # waits: nobody may read a closed file
        self._begun = None
        self._hollow.clear()
        self.on_close()

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def facts_of(source: Source, *, calibrated: bool) -> Facts:
    """What a recipe wants to know of the model."""

    def number(key: str, default: int) -> int:
        found = source.metadata.get(f"{source.architecture}.{key}", default)
        # Files list heads by layer where layers differ.
        listed = np.atleast_1d(np.asarray(found))
        return int(listed.max()) if listed.dtype.kind in "iu" and listed.size else default

    heads = number("attention.head_count", 1)
    return Facts(
        layers=number("block_count", 1),
        heads=heads,
        kv_heads=max(1, number("attention.head_count_kv", heads)),
        experts=number("expert_count", 0),
        calibrated=calibrated,
    )
