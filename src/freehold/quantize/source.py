"""The model that is made smaller: its tensors row by row as float32, and what its file says.

Room: quantize. Must not know recipes or types' insides.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from freehold.formats.block_types import BlockType
from freehold.loading.gguf import Loaded, Origin
from freehold.quantize.recipes import Facts

__all__ = ["Floats", "Source", "SourceTensor", "facts_of"]

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
    load: Callable[[], Loaded]
    on_close: Callable[[], None]
    places: Mapping[str, Origin] | None = None
    _loaded: Loaded | None = field(default=None, repr=False)
    _begun: Future[Loaded] | None = field(default=None, repr=False)

    def begin_loading(self) -> None:
        """Loads the network beside what the caller does next; `loaded` says if that failed."""
        if self._loaded is None and self._begun is None:
            worker = ThreadPoolExecutor(1, "loading")
            self._begun = worker.submit(self.load)
            worker.shutdown(wait=False)

    @property
    def loaded(self) -> Loaded:
        """The network, in memory. Raises: LoadError, OutOfPages."""
        if self._loaded is None:
            self._loaded = self.load() if self._begun is None else self._begun.result()
        return self._loaded

    @property
    def file_metadata(self) -> Mapping[str, object] | None:
        """What the file's header says; a directory has none."""
        return None if self.path.is_dir() else self.metadata

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each slot of the network lies among `tensors`, by canonical name."""
        return self.loaded.origins if self.places is None else self.places

    def close(self) -> None:
        """Gives file and network back; waits for a network that is still being loaded."""
        if self._begun is not None:
            self._begun.exception()  # waits: nobody may read a closed file
        self._loaded = self._begun = None
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
