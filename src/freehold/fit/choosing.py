"""Which models fit this machine, in which form, how fast, and under which terms.

Room: fit. Puts outlines, rates and verdicts together; must not know terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from freehold import library
from freehold.config import Settings
from freehold.engine.rates import Rates
from freehold.errors import UnknownModel, WrongTask
from freehold.fit.forms import FORMS, native_forms, outline_in
from freehold.fit.predict import Needs, Times, memory_needs, times
from freehold.formats.block_types import block_type
from freehold.library.gate import ruling_on
from freehold.library.known import KnownModel, known_model, known_models
from freehold.library.terms import Profile, Verdict, read_profile
from freehold.loading import is_encoder
from freehold.loading.outline import Outline, outline_of
from freehold.models.registry import DECODERS, ENCODERS, WRAPPERS

__all__ = ["Fit", "Fits", "Question", "fit_of_file", "fits_of_model", "list_fits", "subject_of"]

Fits = Literal["yes", "tight", "no"]

PROMPT_TOKENS = 512
DEFAULT_CONTEXT = 8192
_PACE_TOKENS_PER_S = 5.0  # about as fast as people read
_LISTED = ("Q4_K_M", "Q3_K_M", "Q2_K")  # the first that fits is shown in a list
# Of a model whose shape is not known: bits for a weight, with what recipes keep in more.
_BITS = {
    "BF16": 16.0, "Q8_0": 8.5, "Q6_K": 6.6, "Q5_K_M": 5.7, "Q4_K_M": 4.9,
    "Q4_0": 4.6, "Q3_K_M": 3.9, "Q2_K": 3.2, "MXFP4": 4.4,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked of every model. `memory_bytes` may be taken; `free_bytes` of it are free."""

    rates: Rates
    memory_bytes: int
    free_bytes: int
    context: int | None = None
    kv_bits: int = 16
    commercial: bool = False


@dataclass(frozen=True, kw_only=True)
class Fit:
    """One model in one form on this machine.

    `fits` is "tight" where it fits the machine but not what is free now. `needs` and `times` are
    None where the shape is not known, `times` also where the runtime does not carry the family.
    """

    name: str
    ref: str
    form: str
    parameters: int
    active: int
    sparse: bool
    licence: str
    verdict: Verdict
    carried: bool
    context: int
    longest_context: int
    weights_bytes: int
    needs: Needs | None
    times: Times | None
    fits: Fits
    outline: Outline | None
    model: KnownModel | None = None


def list_fits(question: Question, *, settings: Settings, task: str | None = None) -> list[Fit]:
    """One row for each known model that suits: the form people usually take, or what still fits.

    What fits, runs and answers at a reader's pace comes first; then the slower; the largest first.
    """
    rows = []
    for model in known_models():
        if task is not None and task not in model.tasks:
            continue
        if question.context is not None and model.context < question.context:
            continue
        found = _chosen(model, question, settings)
        if not (question.commercial and not _for_business(found.verdict)):
            rows.append(found)
    return sorted(rows, key=_order)


def _for_business(verdict: Verdict) -> bool:
    return verdict.outcome != "deny" and not verdict.unknown


def _order(row: Fit) -> tuple[bool, int, bool, int]:
    slow = row.times is None or row.times.token_s > 1 / _PACE_TOKENS_PER_S
    return not row.carried, ("yes", "tight", "no").index(row.fits), slow, -row.parameters


def _chosen(model: KnownModel, question: Question, settings: Settings) -> Fit:
    forms = ("BF16",) if _encodes(model) else native_forms(model.native)
    seen = []
    listed = [form for form in forms if form in _LISTED] or list(forms)
    while len(listed) > 1 and _estimate(model, listed[0]) > 1.1 * question.memory_bytes:
        listed.pop(0)
    for row in _rows(model, listed, question, settings):
        if row.fits == "yes":
            return row
        seen.append(row)
    return next((row for row in seen if row.fits == "tight"), seen[-1])


def fits_of_model(
    model: KnownModel, question: Question, *, settings: Settings, form: str | None = None
) -> list[Fit]:
    """A known model in every form, or in one. Raises: UnknownModel for a form it has not."""
    forms = ("BF16",) if _encodes(model) else native_forms(model.native)
    if form is not None:
        wanted = form.upper()
        if wanted not in (*FORMS, "MXFP4"):
            raise UnknownModel(
                f"{model.name} is not known in this form",
                value=form,
                expected=", ".join(forms),
                found=repr(form)[:40],
            )
        forms = (wanted,)
    return list(_rows(model, forms, question, settings))


def fit_of_file(path: Path, ref: str, question: Question, *, settings: Settings) -> Fit:
    """A model that is here, with its file's own types. Raises: as `outline_of`."""
    verdict = _verdict(path, question, settings)
    known = known_model(ref)
    licence = known.licence if known else "its own"
    if is_encoder(path):
        raise WrongTask(
            f"{ref!r} embeds texts; what fits is worked out for models that write",
            value=ref,
            expected="a model for chat",
            found="a model for embedding",
        )
    outline = outline_of(path)
    active = sum(part.elements * part.used // part.copies for part in outline.parts)
    row = Fit(
        name=known.name if known else path.name,
        ref=ref,
        form=_main_type(outline),
        parameters=outline.elements,
        active=active,
        sparse=any(part.copies > 1 for part in outline.parts),
        licence=licence,
        verdict=verdict,
        carried=True,
        context=0,
        longest_context=0,
        weights_bytes=outline.weights_bytes,
        needs=None,
        times=None,
        fits="no",
        outline=outline,
        model=known,
    )
    return _with_figures(row, question)


def _main_type(outline: Outline) -> str:
    """The type that most elements have."""
    counts: dict[int, int] = {}
    for part in outline.parts:
        counts[part.block_type] = counts.get(part.block_type, 0) + part.elements
    most = max(counts, key=lambda kind: counts[kind])
    ours = block_type(most)
    name = f"type {most}" if ours is None else ours.name
    return name if len(counts) == 1 else f"{name}, mixed"


def _rows(
    model: KnownModel, forms: Iterable[str], question: Question, settings: Settings
) -> Iterator[Fit]:
    """One row after another, so that whoever has found one needs no more."""
    verdict = _verdict(model.hub, question, settings)
    for form in forms:
        outline = None if model.shape is None else outline_in(model.shape, form, model.context)
        row = Fit(
            name=model.name,
            ref=model.hub,
            form="INT16" if _encodes(model) else form,
            parameters=model.parameters,
            active=model.active,
            sparse=model.active < 0.9 * model.text_parameters,
            licence=model.licence,
            verdict=verdict,
            carried=_carried(model),
            context=0,
            longest_context=0,
            weights_bytes=outline.weights_bytes if outline else _estimate(model, form),
            needs=None,
            times=None,
            fits="no",
            outline=outline,
            model=model,
        )
        yield _with_figures(row, question)


def _estimate(model: KnownModel, form: str) -> int:
    """About the bytes of its weights, by the number of parameters alone."""
    return round(model.text_parameters * _BITS[form] / 8)


def _with_figures(row: Fit, question: Question) -> Fit:
    outline = row.outline
    if outline is None:
        fits = _fits(row.weights_bytes, question)
        context = row.model.context if row.model else 0
        return replace(row, fits=fits, context=min(question.context or DEFAULT_CONTEXT, context))
    context = min(question.context or DEFAULT_CONTEXT, outline.context_tokens)
    encodes = row.model is not None and _encodes(row.model)
    if encodes:
        outline = replace(outline, kv=replace(outline.kv, layers=()), windows=())
    needs = memory_needs(outline, context=context, kv_bits=question.kv_bits)
    runs = row.carried and not encodes
    prompt = min(PROMPT_TOKENS, context)
    return replace(
        row,
        context=context,
        longest_context=_longest(outline, needs, question),
        needs=needs,
        times=times(outline, question.rates, prompt=prompt) if runs else None,
        fits=_fits(needs.total, question),
    )


def _fits(needed_bytes: int, question: Question) -> Fits:
    if needed_bytes > question.memory_bytes:
        return "no"
    return "yes" if needed_bytes <= question.free_bytes else "tight"


def _longest(outline: Outline, needs: Needs, question: Question) -> int:
    """The longest context that fits the memory; the runtime gives keys and values at most half."""
    token_bytes = memory_needs(outline, context=1024, kv_bits=question.kv_bits).kv // 1024
    left = min(question.memory_bytes - (needs.total - needs.kv), question.memory_bytes // 2)
    if left <= 0:
        return 0
    return (
        min(left // token_bytes, outline.context_tokens)
        if token_bytes
        else (outline.context_tokens)
    )


def _verdict(ref: str | Path, question: Question, settings: Settings) -> Verdict:
    profile: Profile = read_profile()
    if question.commercial:
        profile = replace(profile, commercial=True)
    return ruling_on(ref, settings=settings, profile=profile).verdict


def _carried(model: KnownModel) -> bool:
    return any(model.family in table for table in (DECODERS, WRAPPERS, ENCODERS))


def _encodes(model: KnownModel) -> bool:
    return model.shape is not None and model.shape.encoder


def subject_of(ref: str, *, settings: Settings) -> Path | tuple[KnownModel, str | None]:
    """What a reference stands for: a file or directory here, or a known model and a form.

    Raises: UnknownModel for neither; FormatError and others for a damaged file.
    """
    try:
        return library.resolve(ref, settings=settings)
    except UnknownModel:
        model = known_model(ref)
        if model is not None:
            return model, ref.partition(":")[2] or None
        if Path(ref).exists() or ref.endswith((".gguf", ".safetensors")):
            raise  # a file: what is wrong with it was said
        raise _nobody_knows(ref) from None


def _nobody_knows(ref: str) -> UnknownModel:
    names = [model.hub for model in known_models()]
    by_end = {name.rpartition("/")[2].lower(): name for name in names}
    near = get_close_matches(ref.lower().rpartition("/")[2], by_end, n=3, cutoff=0.5)
    alike = ", ".join(by_end[name] for name in near)
    return UnknownModel(
        "neither a model here nor one whose shape is known",
        value=ref,
        expected=f"a path, a model of `freehold list`, or one of the {len(names)} known models",
        found=f"no such file or name; most alike: {alike}" if alike else "no such file or name",
        hint="`freehold fit --all` lists every known model",
    )
