"""What differs between two models: settings, text side, types, and every tensor's values.

Room: inspection. Compares what has the same name; must not know families.
Peak memory: some MB; both files are read chunk by chunk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from difflib import unified_diff
from itertools import islice
from pathlib import Path
from typing import TypeGuard

import numpy as np

from freehold.errors import BadRequest
from freehold.inspection.across import LaidModel, LaidTensor, laid_as_gguf
from freehold.inspection.anatomy import Part, part_of
from freehold.inspection.weights import CHUNK, OpenModel, OpenTensor, open_model
from freehold.library.progress import Progress
from freehold.loading import read_text_side

__all__ = ["Comparison", "KeyChange", "TensorChange", "compare_models"]

_MOST_DIFF_LINES = 400
_MOST_SHOWN = 120


@dataclass(frozen=True)
class KeyChange:
    """A key of metadata or config.json; `before` or `after` is None where it is absent."""

    key: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class TensorChange:
    """A tensor that both models have; `relative` is rms of the difference over rms before.

    None for values that cannot be compared: another shape, or a type that is not read.
    """

    name: str
    part: Part
    shape: tuple[int, ...]
    before_type: str
    after_type: str
    relative: float | None
    largest: float
    same: float  # a share of all values


@dataclass(frozen=True)
class Comparison:
    """All that differs between `before` and `after`, given by their names."""

    before: str
    after: str
    keys: tuple[KeyChange, ...]
    template: tuple[str, ...]
    tensors: tuple[TensorChange, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]

    @property
    def relative(self) -> float | None:
        """The change of all compared values together, each tensor by its number of values."""
        known = [(math.prod(t.shape), t.relative) for t in self.tensors if t.relative is not None]
        count = sum(n for n, _ in known)
        return math.sqrt(sum(n * r * r for n, r in known) / count) if count else None


def compare_models(
    before: Path, after: Path, *, names: tuple[str, str], progress: Progress
) -> Comparison:
    """Compares two models, tensor by tensor of the same name.

    A directory beside a GGUF file is compared as it would lie in one: names, orders of rows, and
    the keys of its architecture. Raises: BadRequest when they share no tensor; FormatError,
    LoadError.
    """
    with ExitStack() as stack:
        opened = [stack.enter_context(open_model(path)) for path in (before, after)]
        first, second = (_seen(model, opened, stack) for model in opened)
        shared = [name for name in first.tensors if name in second.tensors]
        if not shared:
            raise BadRequest(
                "the two models share no tensor",
                param="REF_B",
                expected="two models with the same names of tensors",
                found=f"{opened[0].format} and {opened[1].format}",
                hint="compare a fine-tune or a quantization with its source",
            )
        return Comparison(
            before=names[0],
            after=names[1],
            keys=tuple(_keys(*_settings(first, second))),
            template=tuple(_template(*opened)),
            tensors=tuple(_changes(first, second, shared, progress)),
            only_before=tuple(name for name in first.tensors if name not in second.tensors),
            only_after=tuple(name for name in second.tensors if name not in first.tensors),
        )


def _seen(model: OpenModel, both: Sequence[OpenModel], stack: ExitStack) -> OpenModel | LaidModel:
    """The model as it is compared: a directory beside a GGUF file in that one's words."""
    mixed = {one.format for one in both} == {"GGUF", "safetensors"}
    if mixed and model.path.is_dir():
        return stack.enter_context(laid_as_gguf(model.path))
    return model


def _settings(
    first: OpenModel | LaidModel, second: OpenModel | LaidModel
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """What is compared of both: where one is in the other's words, what these say."""
    said = [each.metadata for each in (first, second) if isinstance(each, LaidModel)]
    before, after = (
        {key: value for key, value in each.metadata.items() if not said or key in said[0]}
        for each in (first, second)
    )
    return before, after


def _keys(before: Mapping[str, object], after: Mapping[str, object]) -> Iterable[KeyChange]:
    for key in dict.fromkeys([*before, *after]):
        first, second = before.get(key), after.get(key)
        if _same(first, second) or key.startswith("tokenizer.chat_template"):
            continue
        if _is_list(first) and _is_list(second):
            yield KeyChange(key, *_lists(first, second))
        else:
            yield KeyChange(key, _told(first), _told(second))


def _is_list(value: object) -> TypeGuard[Sequence[object]]:
    return isinstance(value, list | tuple | np.ndarray)


def _same(first: object, second: object) -> bool:
    if _is_list(first) and _is_list(second):
        return len(first) == len(second) and all(a == b for a, b in zip(first, second, strict=True))
    return type(first) is type(second) and first == second


def _lists(first: Sequence[object], second: Sequence[object]) -> tuple[str, str]:
    """Two lists by their length and the first place where they part."""
    pairs = enumerate(zip(first, second, strict=False))
    place = next((i for i, (a, b) in pairs if a != b), min(len(first), len(second)))
    told = []
    for values in (first, second):
        at = repr(values[place])[:40] if place < len(values) else "its end"
        told.append(f"{len(values):,} items; at {place}: {at}")
    return told[0], told[1]


def _told(value: object) -> str | None:
    if value is None:
        return None
    said = f"{len(value):,} items" if _is_list(value) else str(value)
    return said if len(said) <= _MOST_SHOWN else said[:_MOST_SHOWN] + "…"


def _template(first: OpenModel, second: OpenModel) -> Iterable[str]:
    before, after = (_templates(model) for model in (first, second))
    for key in dict.fromkeys([*before, *after]):
        old, new = before.get(key, "").splitlines(), after.get(key, "").splitlines()
        yield from islice(unified_diff(old, new, lineterm="", n=1), _MOST_DIFF_LINES)


def _templates(model: OpenModel) -> Mapping[str, str]:
    if model.path.is_dir():
        return read_text_side(model.path).templates
    return {
        key: value
        for key, value in model.metadata.items()
        if key.startswith("tokenizer.chat_template") and isinstance(value, str)
    }


def _changes(
    first: OpenModel | LaidModel,
    second: OpenModel | LaidModel,
    shared: Sequence[str],
    progress: Progress,
) -> Iterable[TensorChange]:
    total = sum(first.tensors[name].n_bytes + second.tensors[name].n_bytes for name in shared)
    done = 0
    for name in shared:
        before, after = first.tensors[name], second.tensors[name]
        relative, largest, same = _difference(before, after)
        done += before.n_bytes + after.n_bytes
        progress("compare", done, total)
        yield TensorChange(
            name, part_of(name), before.shape, before.type, after.type, relative, largest, same
        )


def _difference(
    before: OpenTensor | LaidTensor, after: OpenTensor | LaidTensor
) -> tuple[float | None, float, float]:
    """Relative change, largest difference, share of the same values."""
    if before.shape != after.shape or not (before.readable and after.readable):
        return None, 0.0, 0.0
    changed = size = largest = 0.0
    same = 0
    for start in range(0, before.elements, CHUNK):
        count = min(CHUNK, before.elements - start)
        old, new = before.read(start, count), after.read(start, count)
        # Wide before squaring, so that a hostile value cannot overflow.
        difference = np.subtract(new, old, dtype=np.float64)
        changed += float(np.einsum("i,i->", difference, difference))
        size += float(np.square(old, dtype=np.float64).sum())
        largest = max(largest, float(np.abs(difference).max()))
        same += count - int(np.count_nonzero(difference))
        for tensor in (before, after):
            tensor.release(start, count)
    if not (math.isfinite(changed) and math.isfinite(size)):
        return None, 0.0, same / max(before.elements, 1)
    relative = 0.0 if changed == 0.0 else math.sqrt(changed / size) if size else None
    return relative, largest, same / max(before.elements, 1)
