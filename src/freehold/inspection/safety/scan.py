"""The whole safety scan of a model, in the order in which a person should read it.

Room: inspection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from freehold.errors import FreeholdError
from freehold.inspection.safety.claims import names_of, scan_claims
from freehold.inspection.safety.files import scan_files
from freehold.inspection.safety.finding import SEVERITIES, Finding
from freehold.inspection.safety.template import scan_template
from freehold.inspection.safety.texts import scan_metadata
from freehold.inspection.statistics import TensorStats
from freehold.inspection.weights import OpenModel
from freehold.loading import ModelShapes

__all__ = ["ranked", "refusal", "scan_model", "scan_weights"]

_MANY = 8
_SPECIAL_KINDS = (3, 4)  # control, user-defined
_MAX_NUMBER = 1 << 31


def scan_model(
    model: OpenModel, templates: Mapping[str, str], shapes: ModelShapes | None
) -> list[Finding]:
    """All but the weights' values."""
    found = list(scan_files(model.path))
    found += scan_metadata(model.metadata)
    for key, source in templates.items():
        found += scan_template(source, key)
    found += scan_claims(model, names_of(model))
    found += _special_tokens(model.metadata)
    found += _numbers(model.metadata)
    found += _places(model, shapes)
    return found


def ranked(findings: list[Finding]) -> tuple[Finding, ...]:
    """Worst first, each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda f: SEVERITIES.index(f.severity)))


def refusal(path: Path, error: FreeholdError) -> list[Finding]:
    """A file that breaks its own format's rules, and what lies beside it."""
    found = Finding(
        "danger",
        error.code,
        path.name,
        error.message + (f" (found {error.found})" if error.found else ""),
        error.hint or "take the file from its maker again; nothing here reads it",
    )
    return [found, *scan_files(path)]


def scan_weights(stats: Mapping[str, TensorStats]) -> Iterator[Finding]:
    """What no trained weight is: not a number, infinite, all the same."""
    broken = {name: s.nans + s.infs for name, s in stats.items() if s.nans or s.infs}
    if broken:
        yield Finding(
            "danger",
            "weights.not_finite",
            _listed(broken),
            f"{sum(broken.values()):,} values are not finite: the model answers nonsense",
            "take the file from its maker again, or make it anew from its source",
        )
    flat = [
        name
        for name, s in stats.items()
        if s.std == 0.0 and sum(s.histogram.counts) > 256 and name.endswith("weight")
    ]
    norms = [name for name in flat if "norm" in name.lower()]
    others = [name for name in flat if name not in norms]
    if others:
        yield Finding(
            "warning",
            "weights.constant",
            _listed(others),
            "all values of a matrix are the same: it was never trained, or was wiped",
            "compare it with the maker's own file: `freehold inspect A B`",
        )
    huge = [name for name, s in stats.items() if max(-s.minimum, s.maximum) > 1e5]
    if huge:
        yield Finding(
            "warning",
            "weights.huge",
            _listed(huge),
            "values beyond 100,000, which overflow half precision",
            "expect other programs to answer nonsense",
        )


def _listed(names: Mapping[str, int] | list[str]) -> str:
    every = list(names)
    more = f" and {len(every) - _MANY} more" if len(every) > _MANY else ""
    return ", ".join(name[:80] for name in every[:_MANY]) + more


def _special_tokens(metadata: Mapping[str, object]) -> Iterator[Finding]:
    kinds = metadata.get("tokenizer.ggml.token_type")
    tokens = metadata.get("tokenizer.ggml.tokens")
    if kinds is None or not isinstance(tokens, tuple):
        return
    for role in ("bos", "eos", "eot", "eom"):
        token = metadata.get(f"tokenizer.ggml.{role}_token_id")
        if not isinstance(token, int) or not 0 <= token < min(len(tokens), len(kinds)):  # type: ignore[arg-type]
            continue
        if int(kinds[token]) not in _SPECIAL_KINDS:  # type: ignore[index]
            yield Finding(
                "warning",
                "tokenizer.role",
                f"tokenizer.ggml.{role}_token_id",
                f"the token {tokens[token][:40]!r} is ordinary text and has the role {role}",
                "answers may stop, or start, where anybody writes it",
            )


def _numbers(metadata: Mapping[str, object]) -> Iterator[Finding]:
    for key, value in metadata.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        size = whole and (key.endswith(("_length", "_count", "_size")))
        odd = isinstance(value, float) and math.isnan(value)
        if odd or (size and isinstance(value, int) and not 0 <= value <= _MAX_NUMBER):
            yield Finding(
                "warning",
                "metadata.number",
                f"metadata {key[:80]}",
                f"its value, {value}, is none that a real model has",
                "programs that trust it may ask for absurd amounts of memory",
            )


def _places(model: OpenModel, shapes: ModelShapes | None) -> Iterator[Finding]:
    """Tensors that the architecture has no place for, or lacks."""
    if shapes is None:
        return
    known = {name for source in shapes.sources.values() for name in source.names}
    extra = [n for n in model.tensors if n not in known and not shapes.may_leave(n)]
    if model.format == "safetensors" and model.metadata.get("text_config") is not None:
        return  # other media have tensors of their own
    if extra and model.metadata.get("quantization_config") is None:
        yield Finding(
            "warning",
            "weights.no_place",
            _listed(extra),
            "tensors that this architecture has no place for",
            "Freehold refuses to run such a file; find out what they are",
        )
