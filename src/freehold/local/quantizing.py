"""From a reference to a smaller file of it, with what that cost in the file and in the record.

Room: local. Joins library, record and the room quantize; must not know terminals.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from freehold import library
from freehold.config import Settings, resolve_settings
from freehold.errors import BadRecipe
from freehold.formats.gguf_writer import string
from freehold.library.gate import require
from freehold.library.identity import identity_of
from freehold.library.progress import Progress
from freehold.library.record import (
    Calibration,
    MeasuredLoss,
    Terms,
    Weights,
    open_record,
    record_quantized,
)
from freehold.library.terms import subject_of
from freehold.quantize import (
    Fitted,
    Goal,
    Outcome,
    Source,
    TextChoice,
    checked_target,
    fit,
    method_named,
    open_source,
    plan_recipe,
    recipe_named,
    shrink,
    texts_for,
)
from freehold.quantize.plan import Plan
from freehold.quantize.texts import Texts

__all__ = ["Quantized", "Wanted", "inherit_terms", "quantize"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be made of a model, and how: a recipe by name, or a goal for one of its own.

    `output` None is named after the model and the recipe.
    """

    recipe: str | None = None
    goal: Goal | None = None
    output: Path | None = None
    replace: bool = False
    method: str = "feedback"
    texts: TextChoice = field(default_factory=TextChoice)


@dataclass(frozen=True)
class Quantized:
    """The new file; where a recipe was looked for, also what else could have been had."""

    outcome: Outcome
    fitted: Fitted | None


def quantize(
    ref: str | Path,
    wanted: Wanted,
    *,
    settings: Settings | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
) -> Quantized:
    """Writes a smaller file of a model, measures its loss, and records both with the parent.

    The model's terms are asked before anything is loaded or written, and go with the file.
    Raises: LicenceDenied, AcceptanceNeeded, UnknownModel, BadRecipe, OutOfReach, DiskFull,
    FormatError, LoadError, StoreUnusable.
    """
    settings = settings or resolve_settings()
    method, label = method_named(wanted.method), _label(wanted)
    path = library.resolve(ref, settings=settings)
    with open_source(path) as source, open_record(settings) as events:
        require(ref, "quantize", settings=settings, metadata=source.file_metadata)
        target = checked_target(path, label, wanted.output, replace=wanted.replace)
        wanted.texts.check()
        if wanted.goal is None:
            _planned(source, wanted)  # refused, if it is, before anything is loaded
        source.begin_loading()
        inherit_terms(source, ref, settings)
        with ThreadPoolExecutor(1, "hashing") as beside:
            hashed = beside.submit(identity_of, path, home=settings.home, progress=progress)
            texts = texts_for(source, wanted.texts, method=method)
            parent = hashed.result()
        notes = {"source": path.name, "source.digest": parent.digest}
        made = _write(source, wanted, texts, target, notes, progress)
        record_quantized(
            events,
            _weights(source, made.outcome, settings),
            parent=parent,
            recipe=_recipe(made.outcome),
            loss=_loss(made.outcome),
            calibration=_calibration(made.outcome),
        )
    return made


def _label(wanted: Wanted) -> str:
    if wanted.goal is not None and wanted.recipe is None:
        return wanted.goal.label
    if wanted.goal is None and wanted.recipe is not None:
        return recipe_named(wanted.recipe).name
    raise BadRecipe(
        "say what is to be made",
        expected="a type, or a size to fit, or the loss that is allowed",
        found="nothing" if wanted.goal is None else "more than one of them",
        hint="freehold quantize starter Q4_0",
    )


def _write(
    source: Source,
    wanted: Wanted,
    texts: Texts,
    target: Path,
    notes: Mapping[str, str | int],
    progress: Progress,
) -> Quantized:
    how = wanted.method
    if wanted.goal is not None:
        fitted = fit(source, wanted.goal, texts, target, method=how, notes=notes, progress=progress)
        return Quantized(fitted.outcome, fitted)
    plan = _planned(source, wanted)
    outcome = shrink(source, plan, texts, target, method=how, notes=notes, progress=progress)
    return Quantized(outcome, None)


def _planned(source: Source, wanted: Wanted) -> Plan:
    return plan_recipe(source, recipe_named(wanted.recipe or ""), method=wanted.method)


def inherit_terms(source: Source, ref: str | Path, settings: Settings) -> None:
    """Names the licence where the file does not and it is known. Mutates: source."""
    licences = subject_of(ref, settings=settings, metadata=source.file_metadata).licences
    if "general.license" not in source.metadata and len(licences) == 1:
        said = {"general.license": licences[0].id}
        source.metadata = {**source.metadata, **said}
        source.raw_metadata = {**source.raw_metadata, "general.license": string(licences[0].id)}


def _weights(source: Source, outcome: Outcome, settings: Settings) -> Weights:
    licence = source.metadata.get("general.license")
    return Weights(
        identity=identity_of(outcome.path, home=settings.home),
        name=outcome.path.stem,
        location=outcome.path,
        terms=Terms(licence=licence if isinstance(licence, str) else None),
    )


def _recipe(outcome: Outcome) -> dict[str, object]:
    return {
        "type": outcome.plan.recipe,
        "method": outcome.method,
        "bits_per_weight": round(outcome.bits_per_weight, 3),
        "tensors": {name: choice.type.name for name, choice in outcome.plan.choices.items()},
    }


def _loss(outcome: Outcome) -> MeasuredLoss:
    loss, texts = outcome.loss, outcome.texts
    return MeasuredLoss(
        mean_kl=loss.mean_kl,
        p99_kl=loss.p99_kl,
        agreement=loss.agreement,
        perplexity=loss.perplexity,
        source_perplexity=loss.source_perplexity,
        text=texts.held_out_name,
        text_sha256=texts.held_out_sha256,
        tokens=loss.tokens,
    )


def _calibration(outcome: Outcome) -> Calibration | None:
    texts = outcome.texts
    if not texts.calibration:
        return None
    return Calibration(
        name=texts.calibration_name,
        sha256=texts.calibration_sha256,
        tokens=texts.calibration_tokens,
    )
