"""From a model to a smaller file: plan, one pass that encodes, judgement, and only then the file.

Room: quantize. Must not know licences, records or terminals.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from freehold import ops
from freehold.errors import BadRecipe, OutOfReach
from freehold.formats.gguf_writer import GgufWriter
from freehold.library.progress import Progress, silent
from freehold.loading.gguf import load_gguf
from freehold.loading.text import read_text_side
from freehold.quantize.loss import Loss, measure
from freehold.quantize.plan import Plan, header, loss_values, plan_of
from freehold.quantize.recipes import Choice, Recipe, choose
from freehold.quantize.reducing import Reducer, run_past
from freehold.quantize.source import Source, facts_of
from freehold.quantize.texts import Texts, check_texts, read_texts

__all__ = [
    "METHODS",
    "Outcome",
    "TextChoice",
    "checked_plan",
    "checked_target",
    "method_named",
    "plan_recipe",
    "shrink",
    "texts_for",
]

_TYPE_ENDING = re.compile(
    r"[.-](BF16|F16|F32|Q\d+_\w+|IQ\d+_\w+|MXFP4|\d{5}-of-\d{5})$", re.IGNORECASE
)
METHODS = ("feedback", "importance", "weights")


@dataclass(frozen=True, kw_only=True)
class TextChoice:
    """Which texts to fit to and to judge by, and how many tokens of each."""

    calibration: tuple[Path, ...] = ()
    held_out: Path | None = None
    calibration_tokens: int = 8192
    held_out_tokens: int = 2048

    def check(self) -> None:
        """Raises: BadRecipe for a text that cannot be read."""
        check_texts([*self.calibration, *([] if self.held_out is None else [self.held_out])])


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A file that was written, and what it cost in quality."""

    path: Path
    plan: Plan
    method: str
    texts: Texts
    loss: Loss
    size_bytes: int
    source_bytes: int
    encode_s: float
    measure_s: float
    guided: frozenset[str] = field(repr=False)

    @property
    def bits_per_weight(self) -> float:
        """Of all tensors together."""
        weights = sum(tensor.rows * tensor.shape[-1] for tensor in self.plan.tensors)
        return 8 * self.plan.weight_bytes / weights


def method_named(name: str) -> str:
    """The name itself, if it is one. Raises: BadRecipe."""
    if name not in METHODS:
        raise BadRecipe(
            "no method has this name",
            value=name,
            expected=", ".join(METHODS),
            found=repr(name)[:80],
        )
    return name


def checked_target(source: Path, recipe: str, output: Path | None, *, replace: bool) -> Path:
    """Where the new file goes: the current directory, if nothing else is said.

    Raises: BadRecipe for a file that exists, unless it may be replaced, and for the source itself.
    """
    stem = _TYPE_ENDING.sub("", source.name if source.is_dir() else source.stem)
    target = Path(f"{stem}-{recipe}.gguf") if output is None else output
    if target.exists() and (not replace or target.is_dir() or target.samefile(source)):
        raise BadRecipe(
            "there is something already where the new file would go",
            value=str(target),
            expected="a name that is free",
            found="the source itself" if target.samefile(source) else "an existing file",
            hint="name another with --output, or let it be replaced with --force",
        )
    return target


def texts_for(source: Source, wanted: TextChoice, *, method: str) -> Texts:
    """The texts by the source's own tokenizer. Raises: BadRecipe, FormatError, LoadError."""
    tokenizer = read_text_side(source.path, source.file_metadata).tokenizer
    return read_texts(
        tokenizer,
        wanted.calibration,
        wanted.held_out,
        calibration_tokens=0 if method == "weights" else wanted.calibration_tokens,
        held_out_tokens=wanted.held_out_tokens,
    )


def plan_recipe(source: Source, recipe: Recipe, *, method: str) -> Plan:
    """What a recipe makes of the source. Raises: BadRecipe where it would not shrink anything."""
    facts = facts_of(source, calibrated=method != "weights")
    choices = choose(recipe, source.tensors.values(), facts)
    return checked_plan(source, recipe, choices)


def checked_plan(source: Source, recipe: Recipe, choices: Mapping[str, Choice]) -> Plan:
    """The plan of these choices. Raises: BadRecipe where nothing gets smaller."""
    plan = plan_of(source, recipe, choices)
    if plan.weight_bytes >= source.weight_bytes:
        raise BadRecipe(
            "the model would not get smaller",
            value=recipe.name,
            expected=f"less than the source's {source.weight_bytes} bytes of weights",
            found=f"{plan.weight_bytes} bytes",
            hint="the source is quantized already; choose a smaller recipe or a larger source",
        )
    return plan


def shrink(  # noqa: PLR0913 - what to make of what, and how
    source: Source,
    plan: Plan,
    texts: Texts,
    target: Path,
    *,
    method: str = "feedback",
    most_kl: float | None = None,
    notes: Mapping[str, str | int] | None = None,
    threads: int | None = None,
    progress: Progress = silent,
) -> Outcome:
    """Writes the planned file at `target` and measures its loss; all of it or nothing appears.

    `method` says what guides the encoding: "feedback" passes each column's error on to the ones
    after it, "importance" weighs columns, "weights" knows no text. `notes` go into the metadata.
    Raises: OutOfReach, its value the mean KL, if that exceeds `most_kl`; DiskFull, FormatError,
    LoadError, OutOfPages.
    Peak memory: the new file's weights and, unless they are floats, which stay in their file, the
    source's; and one layer's activations of all texts.
    """
    said = _notes(texts, method) | dict(notes or {})
    with GgufWriter(target, header(source, plan, said), plan.tensors) as writer:
        start_s = monotonic()
        reducer = _encode(source, plan, texts, writer, method, threads or ops.threads(), progress)
        writer.settle()
        encode_s = monotonic() - start_s
        made = load_gguf(writer.part)
        loss = measure(
            source.loaded.model,
            made.model,
            texts.held_out,
            lambda done, total: progress("measure", done, total),
        )
        measure_s = monotonic() - start_s - encode_s
        if most_kl is not None and loss.mean_kl > most_kl:
            raise OutOfReach(
                "the file loses more than it may",
                value=loss.mean_kl,
                expected=f"a mean KL of at most {most_kl}",
                found=f"{loss.mean_kl:.4f}",
            )
        writer.set(loss_values(loss))
        path = writer.publish()
        size_bytes = writer.size_bytes
    return Outcome(
        path=path,
        plan=plan,
        method=method,
        texts=texts,
        loss=loss,
        size_bytes=size_bytes,
        source_bytes=source.size_bytes,
        encode_s=encode_s,
        measure_s=measure_s,
        guided=frozenset(reducer.guided),
    )


def _notes(texts: Texts, method: str) -> dict[str, str | int]:
    return {
        "method": method,
        "calibration.text": texts.calibration_name,
        "calibration.tokens": texts.calibration_tokens,
        "held_out.text": texts.held_out_name,
        "held_out.tokens": texts.held_out_tokens,
    }


def _encode(  # noqa: PLR0913, PLR0917
    source: Source,
    plan: Plan,
    texts: Texts,
    writer: GgufWriter,
    method: str,
    threads: int,
    progress: Progress,
) -> Reducer:
    done = 0

    def sink(name: str, start: int, blocks: NDArray[np.uint8]) -> None:
        nonlocal done
        writer.write(name, start, blocks)
        done += blocks.size
        progress("encode", done, plan.weight_bytes)

    kinds = plan.kinds
    for name, tensor in source.tensors.items():
        if name not in kinds:
            sink(name, 0, tensor.raw())
    reducer = Reducer(source.tensors, kinds, sink, threads, feedback=method == "feedback")
    ops.keep_spare_memory(True)
    try:
        if method != "weights":
            loaded = source.loaded
            reducer.prepare(loaded.parameters, source.origins)
            run_past(loaded.model, texts.calibration, reducer)
        reducer.finish()
    finally:
        ops.keep_spare_memory(False)
    return reducer
