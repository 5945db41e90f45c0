"""How much each group of matrices loses in each type, measured: errors first, then what they do.

Room: quantize. Must not know budgets, headers or terminals.

A group's loss is taken to grow with the square of its matrices' relative errors, weighed by their
inputs (arXiv 2411.17525). How fast it grows is measured: with the group alone encoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from freehold import ops
from freehold.formats.block_types import BlockType
from freehold.loading.matrices import read_parameter
from freehold.ops import Weight
from freehold.ops.watching import Inputs, watching
from freehold.quantize.encoding import Guide, chunks_of, encode
from freehold.quantize.loss import Meter, logits_of
from freehold.quantize.moments import moments_of
from freehold.quantize.recipes import is_quantizable
from freehold.quantize.reducing import Encoded, run_past
from freehold.quantize.source import Floats, Source, SourceTensor

__all__ = ["Group", "Sensitivity", "groups_of", "ladder", "probe", "size_bytes"]

T = BlockType
_WIDE = (T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K, T.Q8_0)
_NARROW = (T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0)
_STRETCHES = 4  # parts of the depth that are told apart
_SAMPLED_ROWS = 512
_EXACT = 1e-6  # a relative error that rounding alone makes
_LAYER = re.compile(r"blk\.(\d+)\.(.+)\.weight")

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Group:
    """Matrices of one kind in one stretch of the layers, which get one type."""

    name: str
    tensors: tuple[SourceTensor, ...]
    types: tuple[BlockType, ...]  # from the smallest

    def size_bytes(self, kind: BlockType) -> int:
        """What all of them take in a type."""
        return sum(size_bytes(tensor, kind) for tensor in self.tensors)


@dataclass(frozen=True)
class Sensitivity:
    """For each group and type the expected loss, as mean KL in nats."""

    groups: tuple[Group, ...]
    losses: Mapping[str, Mapping[BlockType, float]]


def size_bytes(tensor: SourceTensor, kind: BlockType) -> int:
    """What a tensor takes in a type."""
    return tensor.row_count * (tensor.shape[-1] // kind.block_elements) * kind.block_bytes


def ladder(columns: int) -> tuple[BlockType, ...]:
    """The types that rows of this length can have, from the smallest."""
    types = _WIDE if columns % 256 == 0 else _NARROW
    return types if columns % 32 == 0 else (T.F16,)


def groups_of(source: Source) -> tuple[Group, ...]:
    """The matrices by kind and stretch of the depth."""
    matrices = [each for each in source.tensors.values() if is_quantizable(each)]
    found: dict[tuple[str, int], list[SourceTensor]] = {}
    layers = [int(match[1]) for each in matrices if (match := _LAYER.fullmatch(each.name))]
    depth = max(layers, default=0) + 1
    for each in matrices:
        match = _LAYER.fullmatch(each.name)
        stretch = int(match[1]) * _STRETCHES // depth if match else 0
        key = (match[2] if match else each.name.removesuffix(".weight"), stretch)
        found.setdefault(key, []).append(each)
    return tuple(
        Group(_label(kind, some), tuple(some), ladder(some[0].shape[-1]))
        for (kind, _), some in found.items()
    )


def probe(
    source: Source, texts: Sequence[Sequence[int]], *, threads: int, progress: Progress
) -> Sensitivity:
    """Measures every group over the texts, a few hundred tokens.

    Peak memory: the source's weights unless they are floats, which stay in their file; one group's
    in float32; and the logits of the texts.
    """
    groups = groups_of(source)
    seen = _Seen(source, {t.name: group for group in groups for t in group.tensors}, threads)
    run_past(source.loaded.model, texts, seen)
    seen.finish()
    before = [[piece.copy() for piece in logits_of(source.loaded.model, t)] for t in texts]
    losses: dict[str, Mapping[BlockType, float]] = {}
    for done, group in enumerate(groups):
        progress(done, len(groups))
        mean = {kind: seen.mean_error(group, kind) for kind in group.types}
        tried = _tried(mean)
        swapped = _Swapped(_encoded(source, group, tried, seen))
        meter = Meter()
        with watching(swapped):
            for text, pieces in zip(texts, before, strict=True):
                for ours, theirs in zip(pieces, logits_of(source.loaded.model, text), strict=True):
                    meter.add(ours, theirs, ())
        rate = meter.loss().mean_kl / mean[tried] if mean[tried] > _EXACT else 0.0
        losses[group.name] = {kind: rate * error for kind, error in mean.items()}
    progress(len(groups), len(groups))
    return Sensitivity(groups, losses)


def _tried(mean: Mapping[BlockType, float]) -> BlockType:
    """The type to measure a group with: the second smallest, unless it has the source's values.

    Of a source in 4 bits, a type of as many may lose nothing, and say nothing.
    """
    types = tuple(mean)
    return next((kind for kind in types[1::-1] if mean[kind] > _EXACT), types[0])


@dataclass
class _Seen:
    """A watcher that takes the squares of inputs, and the errors of a sample of each matrix."""

    source: Source
    groups: Mapping[str, Group]
    threads: int
    squares: dict[str, Floats] = field(default_factory=dict)
    errors: dict[str, dict[BlockType, float]] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parameters = self.source.loaded.parameters
        self.names = {id(parameters[name]): name for name in self.source.origins}

    def instead(self, weight: Weight) -> Weight:
        return weight

    def meet(self, weights: Sequence[Weight], parts: int, inputs: Inputs) -> Sequence[Weight]:
        squares: Floats | None = None
        for weight in weights:
            canonical = self.names.get(id(weight))
            if canonical is None or self.source.origins[canonical].source.turned:
                continue
            for name in self.source.origins[canonical].source.names:
                if name not in self.groups or name in self.squares:
                    continue
                if squares is None:
                    squares = _pooled(parts, inputs)
                self.squares[name] = squares
                self._weigh(name, squares)
        return weights

    def finish(self) -> None:
        """Weighs what no text has met."""
        for name in self.groups:
            if name not in self.errors:
                self._weigh(name, None)

    def mean_error(self, group: Group, kind: BlockType) -> float:
        """The mean of a group's relative squared errors."""
        return float(np.mean([self.errors[tensor.name][kind] for tensor in group.tensors]))

    def _weigh(self, name: str, squares: Floats | None) -> None:
        tensor = self.source.tensors[name]
        rows = _sample(tensor)
        weights = np.ones(tensor.shape[-1], np.float32) if squares is None else squares
        guide = None if squares is None else Guide(squares)
        whole = float((rows * rows) @ weights @ np.ones(len(rows), np.float32)) or 1.0
        self.errors[name] = {}
        for kind in self.groups[name].types:
            blocks = encode(rows, kind, guide, threads=self.threads).reshape(-1)
            values = ops.dequantize(int(kind), blocks, rows.size).reshape(rows.shape)
            off = (rows - values) ** 2 @ weights
            self.errors[name][kind] = float(off.sum()) / whole


@dataclass
class _Swapped:
    """A watcher that puts some matrices in others' places."""

    made: Mapping[int, Weight]

    def instead(self, weight: Weight) -> Weight:
        return self.made.get(id(weight), weight)

    def meet(self, weights: Sequence[Weight], parts: int, inputs: Inputs) -> Sequence[Weight]:  # noqa: ARG002
        return [self.instead(weight) for weight in weights]


def _encoded(source: Source, group: Group, kind: BlockType, seen: _Seen) -> dict[int, Weight]:
    """A group's matrices in a type, by the identity of those that they stand for."""
    names, made = {tensor.name for tensor in group.tensors}, {}
    for canonical, (slot, place) in source.origins.items():
        if not names & set(place.names) or place.turned:
            continue
        rows = [
            Encoded(tensor, kind, _whole(tensor, kind, seen))
            for tensor in (source.tensors[name] for name in place.names)
        ]
        weight = read_parameter(rows, slot, place)
        if isinstance(weight, Weight):
            made[id(source.loaded.parameters[canonical])] = weight
    return made


def _whole(
    tensor: SourceTensor, kind: BlockType, seen: _Seen
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    squares = seen.squares.get(tensor.name)
    guide = None if squares is None else Guide(squares)
    parts = [
        encode(tensor.rows(start, count), kind, guide, threads=seen.threads)
        for start, count in chunks_of(tensor.row_count, tensor.shape[-1])
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _pooled(parts: int, inputs: Inputs) -> Floats:
    found = [moments_of(inputs(part), products=False) for part in range(parts)]
    tokens = max(1, sum(each.tokens for each in found))
    pooled = np.sum([each.squares * (each.tokens / tokens) for each in found], axis=0)
    return np.asarray(pooled, np.float32)


def _sample(tensor: SourceTensor) -> Floats:
    """Some rows from everywhere in the tensor."""
    count = tensor.row_count
    if count <= _SAMPLED_ROWS:
        return tensor.rows(0, count)
    return np.concatenate(list(_runs(tensor, count)))


def _runs(tensor: SourceTensor, count: int) -> Iterator[Floats]:
    runs = 16
    size = _SAMPLED_ROWS // runs
    for start in np.linspace(0, count - size, runs).astype(int):
        yield tensor.rows(int(start), size)


def _label(kind: str, some: Sequence[SourceTensor]) -> str:
    layers = [int(match[1]) for each in some if (match := _LAYER.fullmatch(each.name))]
    if not layers:
        return kind
    return f"{kind} {min(layers)}-{max(layers)}" if len(layers) > 1 else f"{kind} {layers[0]}"
