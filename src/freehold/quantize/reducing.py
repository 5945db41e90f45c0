"""One pass of a text through a model, in which every matrix is encoded just before it is used.

Room: quantize. Must not know files' headers, recipes or terminals.

So each matrix is fitted to the inputs that it will really get: those that the matrices before it,
already encoded, make of the text.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from freehold.engine.pages import Sequence as Text
from freehold.engine.runner import Part, Runner
from freehold.formats.block_types import BlockType
from freehold.loading.gguf import Origin
from freehold.loading.matrices import read_parameter
from freehold.models.base import Model, Parameter
from freehold.ops import PAGE_TOKENS, Weight
from freehold.ops.watching import Inputs, Watcher, watching
from freehold.quantize.encoding import Guide, chunks_of, encode
from freehold.quantize.moments import Moments, feedback_factors, moments_of
from freehold.quantize.source import SourceTensor

__all__ = ["Encoded", "Reducer", "Sink", "run_past"]

Sink = Callable[[str, int, NDArray[np.uint8]], None]  # a tensor's rows from a place on, encoded

_ENOUGH_TOKENS = 128  # an expert that met fewer is guided by what all of them met
_AT_HAND = 32  # encoded matrices that are kept in memory: more than one layer's
_NEARLY_EXACT = {BlockType.Q8_0, BlockType.F16, BlockType.F32}  # have no error worth passing on
_FINE = {BlockType.Q6_K}  # have one, but a small one


@dataclass
class Reducer:
    """A watcher that encodes, stores and replaces each matrix when it is first met.

    `kinds` are the types to encode in, by GGUF name; what is not named there stays as it is.
    """

    tensors: Mapping[str, SourceTensor]
    kinds: Mapping[str, BlockType]
    sink: Sink
    threads: int
    feedback: bool = True
    guided: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)
    _names: dict[int, str] = field(default_factory=dict)
    _origins: Mapping[str, Origin] = field(default_factory=dict)
    _met: set[int] = field(default_factory=set)
    _made: dict[int, Weight] = field(default_factory=dict)  # the last ones

    def prepare(self, parameters: Mapping[str, Parameter], origins: Mapping[str, Origin]) -> None:
        """Says whose matrices will be met, and where each lies in GGUF."""
        self._origins = origins
        self._names = {
            id(parameter): name
            for name, parameter in parameters.items()
            if isinstance(parameter, Weight) and name in origins
        }

    def instead(self, weight: Weight) -> Weight:
        """The encoded matrix, if there is one."""
        made = self._made.get(id(weight))
        if made is None and id(weight) in self._met:
            raise LookupError(f"{self._names[id(weight)]} is used again after {_AT_HAND} others")
        return weight if made is None else made

    def meet(self, weights: Sequence[Weight], parts: int, inputs: Inputs) -> Sequence[Weight]:
        """Encodes those weights that are met for the first time."""
        todo = [weight for weight in weights if self._is_new(weight)]
        guides: list[dict[bool, Guide]] = []
        if todo:
            moments = self._moments(parts, inputs, todo)
            guides = [self._guides(each, todo) for each in moments]
        for weight in todo:
            self._encode(weight, guides)
        return [self.instead(weight) for weight in weights]

    def finish(self) -> None:
        """Encodes what no text has met, without a guide."""
        for name, kind in self.kinds.items():
            if name not in self.done:
                deque(self._encode_tensor(name, kind, [None]), maxlen=0)

    def _is_new(self, weight: Weight) -> bool:
        name = self._names.get(id(weight))
        if name is None or id(weight) in self._met:
            return False
        source = self._origins[name].source
        return not source.turned and any(each in self.kinds for each in source.names)

    def _fed_back(self, weight: Weight) -> set[BlockType]:
        """The types of its tensors in which errors are passed on."""
        names = self._origins[self._names[id(weight)]].source.names
        kinds = {self.kinds[name] for name in names if name in self.kinds}
        return kinds - _NEARLY_EXACT if self.feedback else set()

    def _moments(self, parts: int, inputs: Inputs, todo: Sequence[Weight]) -> list[Moments]:
        kinds = set[BlockType]().union(*map(self._fed_back, todo))
        products, fine = bool(kinds), kinds <= _FINE
        found = [moments_of(inputs(part), products=products, fine=fine) for part in range(parts)]
        if all(each.tokens >= _ENOUGH_TOKENS for each in found) or parts == 1:
            return found
        shared = _together(found)
        return [each if each.tokens >= _ENOUGH_TOKENS else shared for each in found]

    def _guides(self, moments: Moments, todo: Sequence[Weight]) -> dict[bool, Guide]:
        """Without and with feedback."""
        guides = {False: Guide(moments.squares)}
        if moments.products and any(map(self._fed_back, todo)):
            guides[True] = Guide(moments.squares, feedback_factors(moments))
        return guides

    def _encode(self, weight: Weight, guides: Sequence[Mapping[bool, Guide]]) -> None:
        slot, source = self._origins[self._names[id(weight)]]
        rows_kept: list[Encoded] = []
        fits = len(guides) == 1 or (len(source.names) == 1 and source.order is None)
        for name in source.names:
            kind = self.kinds.get(name)
            tensor = self.tensors[name]
            if kind is None:
                raw = tensor.raw().reshape(tensor.row_count, -1)
                rows_kept.append(Encoded(tensor, tensor.type, raw))
                continue
            back = self.feedback and kind not in _NEARLY_EXACT
            chosen = [each[back] for each in guides] if fits else [None]
            chunks = list(self._encode_tensor(name, kind, chosen))
            rows_kept.append(Encoded(tensor, kind, _joined(chunks)))
        made = read_parameter(rows_kept, slot, source)
        assert isinstance(made, Weight), "a matrix stays one"
        self._met.add(id(weight))
        self._made[id(weight)] = made
        if len(self._made) > _AT_HAND:
            del self._made[next(iter(self._made))]

    def _encode_tensor(
        self, name: str, kind: BlockType, guides: Sequence[Guide | None]
    ) -> Iterator[NDArray[np.uint8]]:
        """All rows of a tensor, chunk by chunk; each guide has an equal run of them."""
        tensor, columns = self.tensors[name], self.tensors[name].shape[-1]
        run = tensor.row_count // len(guides)
        for part, guide in enumerate(guides):
            for start, count in chunks_of(run, columns, guided=bool(guide and guide.factors)):
                at = part * run + start
                blocks = encode(tensor.rows(at, count), kind, guide, threads=self.threads)
                tensor.release(at, count)
                self.sink(name, at, blocks)
                yield blocks
        self.done.add(name)
        if guides[0] is not None:
            self.guided.add(name)


@dataclass(frozen=True)
class Encoded:
    """A tensor's new rows, as loading wants them."""

    is_view: ClassVar[bool] = False

    tensor: SourceTensor
    kind: BlockType
    blocks: NDArray[np.uint8]

    @property
    def name(self) -> str:
        """The tensor's name in GGUF."""
        return self.tensor.name

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., in)."""
        return self.tensor.shape

    @property
    def n_bytes(self) -> int:
        """What the blocks take."""
        return self.blocks.size

    @property
    def block_type(self) -> int:
        """The core's number of their type."""
        return int(self.kind)

    def raw(self, start: int, count: int) -> NDArray[np.uint8]:
        """Blocks of rows, (count, bytes of a row)."""
        return self.blocks[start : start + count]

    def release(self, start: int, count: int) -> None:
        """They are in memory of their own."""


def _joined(chunks: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    return chunks[0] if len(chunks) == 1 else np.concatenate(chunks)


def run_past(model: Model, texts: Sequence[Sequence[int]], watcher: Watcher) -> None:
    """Sends all texts through the model in one step, past a watcher."""
    tokens = sum(-(-len(text) // PAGE_TOKENS) * PAGE_TOKENS for text in texts)
    runner = Runner(model, tokens=tokens, slots=len(texts), whole=True)
    with watching(watcher):
        runner.run([Part(Text(), list(text)) for text in texts])


def _together(found: Sequence[Moments]) -> Moments:
    """The moments of all parts' tokens."""
    tokens = sum(each.tokens for each in found)
    weights = [each.tokens / max(tokens, 1) for each in found]
    squares = np.zeros_like(found[0].squares)
    products = [np.zeros_like(each) for each in found[0].products]
    for weight, each in zip(weights, found, strict=True):
        squares += np.float32(weight) * each.squares
        for run, one in enumerate(each.products):
            products[run] += np.float32(weight) * one
    return Moments(squares, products, tokens)
