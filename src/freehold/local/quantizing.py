"""From a reference to a smaller file of it, with what that cost in the file and in the record.

Room: local. Joins library, record and the room quantize; must not know terminals.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from freehold import library
from freehold.config import Settings, resolve_settings
from freehold.library.identity import identity_of
from freehold.library.record import (
    Calibration,
    MeasuredLoss,
    Terms,
    Weights,
    open_record,
    record_quantized,
)
from freehold.quantize import (
    Outcome,
    Source,
    TextChoice,
    checked_target,
    method_named,
    open_source,
    plan_recipe,
    recipe_named,
    shrink,
    texts_for,
)
from freehold.quantize.shrink import Progress

__all__ = ["Wanted", "quantize"]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be made of a model, and how; `output` None is named after the model and recipe."""

    recipe: str
    output: Path | None = None
    replace: bool = False
    method: str = "feedback"
    texts: TextChoice = field(default_factory=TextChoice)


def quantize(
    ref: str | Path,
    wanted: Wanted,
    *,
    settings: Settings | None = None,
    progress: Progress = lambda _phase, _done, _total: None,
) -> Outcome:
    """Writes a smaller file of a model, measures its loss, and records both with the parent.

    Raises: UnknownModel, BadRecipe, DiskFull, FormatError, LoadError, StoreUnusable.
    """
    settings = settings or resolve_settings()
    recipe, method = recipe_named(wanted.recipe), method_named(wanted.method)
    path = library.resolve(ref, settings=settings)
    target = checked_target(path, recipe.name, wanted.output, replace=wanted.replace)
    with open_source(path) as source, open_record(settings) as events:
        parent = identity_of(path, home=settings.home, progress=progress)
        texts = texts_for(source, wanted.texts, method=method)
        plan = plan_recipe(source, recipe, method=method)
        notes = {"source": path.name, "source.digest": parent.digest}
        outcome = shrink(source, plan, texts, target, method=method, notes=notes, progress=progress)
        record_quantized(
            events,
            _weights(source, outcome, settings),
            parent=parent,
            recipe=_recipe(outcome),
            loss=_loss(outcome),
            calibration=_calibration(outcome),
        )
    return outcome


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
