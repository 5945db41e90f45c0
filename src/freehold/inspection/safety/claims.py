"""What a model says of itself, held against what is in its files.

Room: inspection. Knows counts and names; which family a name belongs to is the loading room's data.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from freehold.inspection.safety.finding import Finding
from freehold.inspection.weights import OpenModel, OpenTensor
from freehold.loading.claims import claimed_architectures, is_derived, names_a_base

__all__ = ["names_of", "scan_claims"]

_SIZE = re.compile(r"(?<![\w.])(?:(\d{1,3})x)?(\d{1,4}(?:\.\d{1,2})?)\s?([bBmM])(?![\w])")
_TYPE = re.compile(r"(?<![A-Za-z0-9])(I?Q[2-8](?:_[0-9K])?(?:_[A-Z]{1,2})?|BF16|F16|F32)\b")
_NAME_KEYS = ("general.name", "general.basename", "_name_or_path")
_SIZE_SLACK = 1.5  # makers count with or without embeddings, and round


def names_of(model: OpenModel) -> list[str]:
    """What a model is called: by its file, its directory, its metadata."""
    path = model.path.resolve()
    names = [path.name if path.is_dir() else path.stem]
    for key in _NAME_KEYS:
        value = model.metadata.get(key)
        if isinstance(value, str) and value:
            names.append(value[:200])
    return list(dict.fromkeys(names))


def scan_claims(model: OpenModel, names: Sequence[str]) -> Iterator[Finding]:
    """Family, size and types that the names claim."""
    tensors = list(model.tensors.values())
    for name in names:
        yield from _family(name, model.architecture)
        yield from _size(name, tensors)
    yield from _label(model.metadata, tensors)
    yield from _types(model.path, tensors)
    yield from _remote_code(model.metadata)


def _family(name: str, architecture: str) -> Iterator[Finding]:
    claim = claimed_architectures(name)
    if claim is None or not architecture or architecture in claim[1]:
        return
    told = is_derived(name) or names_a_base(name, architecture)
    what = f"{name[:80]!r} names {claim[0]}, but the network is of the architecture {architecture}"
    if told:
        yield Finding(
            "note",
            "claims.derived",
            "name",
            what + ": it says itself that it was derived",
            "judge it, and its licence, by both models",
        )
        return
    yield Finding(
        "warning",
        "claims.family",
        "name",
        what + ": another model, perhaps taught by the one it is named after",
        "do not report or license it as the model in its name",
    )


def _size(name: str, tensors: Sequence[OpenTensor]) -> Iterator[Finding]:
    match = _SIZE.search(name.replace("_", " "))
    if match is None or match[1] is not None:
        return  # "8x7B" shares parts, so that the product is not the size
    claimed = float(match[2]) * (1e9 if match[3] in "bB" else 1e6)
    found = sum(tensor.elements for tensor in tensors if not tensor.are_codes)
    packed = any(tensor.are_codes and tensor.elements > 1 << 16 for tensor in tensors)
    if packed or claimed / _SIZE_SLACK <= found <= claimed * _SIZE_SLACK:
        return
    yield Finding(
        "warning",
        "claims.size",
        "name",
        f"{name[:80]!r} claims {match[2]}{match[3].upper()} parameters; there are {found:,}",
        "find out which model this is before you rely on it",
    )


def _label(metadata: Mapping[str, object], tensors: Sequence[OpenTensor]) -> Iterator[Finding]:
    claimed = metadata.get("general.parameter_count")
    found = sum(tensor.elements for tensor in tensors)
    if isinstance(claimed, int) and claimed and abs(claimed - found) > 0.01 * found:
        yield Finding(
            "warning",
            "claims.parameters",
            "metadata general.parameter_count",
            f"the file says {claimed:,} parameters and holds {found:,}",
            "find out what is missing, or what was added",
        )


def _types(path: Path, tensors: Sequence[OpenTensor]) -> Iterator[Finding]:
    match = _TYPE.search(path.stem.upper().replace("-", " ").replace(".", " "))
    if match is None or path.is_dir():
        return
    stored: Counter[str] = Counter()
    for tensor in tensors:
        stored[tensor.type] += tensor.elements
    claimed = "_".join(match[1].split("_")[:2])
    bits = re.search(r"\d+", claimed)
    main = stored.most_common(1)[0][0] if stored else ""
    same = bits is not None and any(
        bits[0] == digits[0] for kind in stored if (digits := re.search(r"\d+", kind))
    )
    if not same and main:
        yield Finding(
            "warning",
            "claims.type",
            path.name,
            f"the name says {match[1]}; nothing in the file is stored so, most of it as {main}",
            "rename the file, or find out where it came from",
        )


def _remote_code(metadata: Mapping[str, object]) -> Iterator[Finding]:
    if metadata.get("auto_map"):
        yield Finding(
            "warning",
            "claims.remote_code",
            "config.json auto_map",
            "it asks other programs to run code that comes with the model",
            "nothing here does; never load it with `trust_remote_code`",
        )
