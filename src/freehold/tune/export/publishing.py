"""From a base and an adapter to something that others load, checked before it appears.

Room: tune. Joins library, record and this folder's writers; must not know terminals.

Nothing appears under its name until it was read back, renders conversations as the adapter was
trained on, and answers as the adapter does.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from freehold import library
from freehold.config import Settings, resolve_settings
from freehold.errors import BadExport, RenderingDiffers
from freehold.formats.safetensors_stream import FloatKind
from freehold.library.gate import require
from freehold.library.identity import Identity, identity_of
from freehold.library.progress import Progress, silent
from freehold.library.record import (
    Terms,
    Weights,
    open_record,
    record_exported,
    record_merged,
)
from freehold.library.terms import subject_of
from freehold.loading.text import read_text_side
from freehold.local.quantizing import inherit_terms
from freehold.quantize import (
    Loss,
    Outcome,
    TextChoice,
    method_named,
    plan_recipe,
    recipe_named,
    shrink,
    texts_for,
)
from freehold.tune.export.adapters import write_gguf_lora, write_peft
from freehold.tune.export.drift import Bound, check_drift, measure_drift
from freehold.tune.export.lines import read_lines
from freehold.tune.export.merged import FLOATS, open_merged, write_directory, write_gguf
from freehold.tune.fingerprint import check_rendering
from freehold.tune.provenance import PROVENANCE, Provenance, read_provenance

__all__ = ["Exported", "Form", "Wanted", "export", "find_adapter"]

Form = Literal["peft", "gguf-lora", "safetensors", "gguf"]

_MERGED = ("safetensors", "gguf")
_TRAINING = re.compile(r"[A-Za-z0-9][\w.-]{0,63}", re.ASCII)
_FOLDERS = ("peft", "safetensors")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be made. `kind` is the float type of merged models, `recipe` a quantization's.

    `unproven` lets an adapter pass whose training is not known, or was on another base: how it was
    rendered is then not compared. `held_out` are the lines to compare answers on.
    """

    form: Form
    output: Path
    kind: FloatKind = "F16"
    recipe: str | None = None
    method: str = "feedback"
    texts: TextChoice = field(default_factory=TextChoice)
    bound: Bound = field(default_factory=Bound)
    held_out: Path | None = None
    held_out_tokens: int = 4096
    unproven: bool = False
    replace: bool = False

    def __post_init__(self) -> None:
        if self.form not in get_args(Form) or self.kind not in FLOATS:
            raise BadExport(
                "there is no such form",
                value=f"{self.form}, {self.kind}",
                expected=f"{', '.join(get_args(Form))}; {', '.join(FLOATS)}",
                found=f"{self.form}, {self.kind}"[:80],
            )
        if self.recipe is not None and self.form != "gguf":
            raise BadExport(
                "only a GGUF file can be quantized",
                value=self.recipe,
                expected="the form gguf with a recipe",
                found=self.form,
            )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written: how far its answers are from the adapter's, and what quantizing lost.

    `rendering` says whether it renders as the adapter was trained on, or that nobody knows.
    `system` led conversations without a system message in training: no file can say that to a
    server, so whoever asks has to send it.
    """

    path: Path
    form: Form
    size_bytes: int
    drift: Loss
    lines: str
    rendering: Literal["as trained", "not known"]
    system: str | None
    quantized: Outcome | None = None


def find_adapter(said: str, settings: Settings) -> Path:
    """An adapter by its path, or by the name of the training that made it."""
    trained = settings.home / "tuned" / said / "adapter"
    if not Path(said).exists() and _TRAINING.fullmatch(said) and trained.is_dir():
        return trained
    return Path(said)


def export(
    ref: str | Path,
    adapter: Path,
    wanted: Wanted,
    *,
    settings: Settings | None = None,
    progress: Progress = silent,
) -> Exported:
    """Writes it, reads it back, compares it, and only then lets it appear and records it.

    Raises: RenderingDiffers and AnswersDrift, naming what differs; BadExport; LicenceDenied,
    AcceptanceNeeded, UnknownLicence, UnknownModel, BadRecipe, FormatError, LoadError, DiskFull,
    StoreUnusable. Nothing is left of what was refused.
    """
    settings = settings or resolve_settings()
    require(ref, "tune", settings=settings)
    base = library.resolve(ref, settings=settings)
    _check_places(base, adapter, wanted)
    parents = tuple(
        identity_of(path, home=settings.home, progress=progress) for path in (base, adapter)
    )
    trained = _trained(adapter, parents[0], wanted)
    text = read_text_side(base)
    if trained is not None:
        check_rendering(trained.fingerprint, text, what="the base")
    system = None if trained is None else _system(trained)
    lines = read_lines(text, wanted.held_out, tokens=wanted.held_out_tokens, system=system)
    with _staging(wanted.output) as folder:
        made = folder / wanted.output.name
        outcome = _write(ref, base, adapter, made, parents, system, wanted, settings, progress)
        if wanted.form in _MERGED and trained is not None:
            check_rendering(trained.fingerprint, read_text_side(made), what="the export")
        drift = measure_drift(base, adapter, made, lines, progress)
        check_drift(drift, wanted.bound)
        size_bytes = _publish(made, wanted.output)
    found = Exported(
        path=wanted.output,
        form=wanted.form,
        size_bytes=size_bytes,
        drift=drift,
        lines=lines.name,
        rendering="not known" if trained is None else "as trained",
        system=system,
        quantized=outcome,
    )
    _record(found, ref, adapter, parents, lines.sha256, wanted, settings)
    return found


def _system(trained: Provenance) -> str | None:
    said = trained.training.get("system")
    return said if isinstance(said, str) and said else None


def _check_places(base: Path, adapter: Path, wanted: Wanted) -> None:
    if not adapter.exists():
        raise BadExport(
            "there is no adapter at this place",
            value=str(adapter),
            expected="a directory with adapter_config.json, or a GGUF file",
            found="nothing there",
        )
    output = wanted.output
    taken = output.exists() and (
        not wanted.replace or any(output.samefile(each) for each in (base, adapter))
    )
    if taken or (output.exists() and output.is_dir() != (wanted.form in _FOLDERS)):
        raise BadExport(
            "there is something already where the export would go",
            value=str(output),
            expected="a name that is free",
            found="a directory" if output.is_dir() else "a file",
            hint="name another place, or let it be replaced with --force",
        )


def _trained(adapter: Path, base: Identity, wanted: Wanted) -> Provenance | None:
    """What is known of the adapter's training. Raises: RenderingDiffers, BadExport."""
    found = read_provenance(adapter) if adapter.is_dir() else None
    if wanted.unproven:
        return found if found is not None and found.base == base.digest else None
    if found is None:
        raise RenderingDiffers(
            "nothing says how conversations were rendered when this adapter was trained",
            value=str(adapter),
            expected=f"{PROVENANCE} beside adapter_config.json, as Freehold's training writes it",
            found="no such file",
            hint="--unproven exports it all the same, and says so in the record",
        )
    if found.base != base.digest:
        raise BadExport(
            "the adapter was trained on other weights",
            value=str(adapter),
            expected=f"{found.base[:19]}, {found.base_name}",
            found=base.digest[:19],
            hint="name the base that it was trained on, or take another with --unproven",
        )
    return found


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside the output that is gone afterwards, whatever happens."""
    output.parent.mkdir(parents=True, exist_ok=True)
    folder = output.with_name(f".{output.name}.{os.getpid()}.part")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write(  # noqa: PLR0913, PLR0917 - one call, each what it is
    ref: str | Path,
    base: Path,
    adapter: Path,
    made: Path,
    parents: tuple[Identity, ...],
    system: str | None,
    wanted: Wanted,
    settings: Settings,
    progress: Progress,
) -> Outcome | None:
    notes = {
        "base": base.name,
        "base.digest": parents[0].digest,
        "adapter": adapter.name,
        "adapter.digest": parents[1].digest,
    } | ({} if system is None else {"system": system})
    if wanted.form == "gguf":
        return _write_file(ref, base, adapter, made, notes, wanted, settings, progress)
    if wanted.form == "gguf-lora":
        write_gguf_lora(base, adapter, made, notes)
        return None
    made.mkdir()
    if wanted.form == "peft":
        write_peft(base, adapter, made, base_name=_named(ref))
        if (adapter / PROVENANCE).is_file():
            shutil.copyfile(adapter / PROVENANCE, made / PROVENANCE)
    else:
        write_directory(base, adapter, made, wanted.kind, progress)
    _write_card(ref, adapter, made, system, wanted, settings)
    return None


def _write_file(  # noqa: PLR0913, PLR0917 - as above
    ref: str | Path,
    base: Path,
    adapter: Path,
    made: Path,
    notes: Mapping[str, str],
    wanted: Wanted,
    settings: Settings,
    progress: Progress,
) -> Outcome | None:
    with open_merged(base, adapter) as source:
        inherit_terms(source, ref, settings)
        if wanted.recipe is None:
            write_gguf(source, made, wanted.kind, notes, progress)
            return None
        method = method_named(wanted.method)
        plan = plan_recipe(source, recipe_named(wanted.recipe), method=method)
        texts = texts_for(source, wanted.texts, method=method)
        return shrink(source, plan, texts, made, method=method, notes=notes, progress=progress)


def _write_card(
    ref: str | Path,
    adapter: Path,
    made: Path,
    system: str | None,
    wanted: Wanted,
    settings: Settings,
) -> None:
    """A README as hubs read it: the licence, and what it was made from."""
    licences = subject_of(ref, settings=settings).licences
    head = ["---"]
    if len(licences) == 1:
        head.append(f"license: {licences[0].id}")
    head += [f"base_model: {_named(ref)}", "library_name: " + _LIBRARIES[wanted.form], "---", ""]
    said = (
        f"The adapter {adapter.name}, for {_named(ref)}."
        if wanted.form == "peft"
        else (f"{_named(ref)} with the adapter {adapter.name} merged into it, in {wanted.kind}.")
    )
    if system is not None:
        said += f"\n\nIn training this system message led conversations without one:\n\n> {system}"
    (made / "README.md").write_text("\n".join([*head, said, ""]), "utf-8")


def _named(ref: str | Path) -> str:
    """The model as others may hear of it: a name, never where a file lies here."""
    return Path(ref).name if Path(ref).exists() else str(ref)


_LIBRARIES = {"peft": "peft", "safetensors": "transformers"}


def _publish(made: Path, output: Path) -> int:
    """Gives what was made its name; what had it before goes. Returns the size in bytes."""
    if made.is_dir():
        size_bytes = sum(file.stat().st_size for file in made.rglob("*") if file.is_file())
        if output.exists():
            output.rename(made.with_name("before"))  # goes with the staging folder
        made.rename(output)
    else:
        size_bytes = made.stat().st_size
        made.replace(output)
    return size_bytes


def _record(  # noqa: PLR0913, PLR0917 - one call, each what it is
    found: Exported,
    ref: str | Path,
    adapter: Path,
    parents: tuple[Identity, ...],
    lines_sha256: str,
    wanted: Wanted,
    settings: Settings,
) -> None:
    licences = subject_of(ref, settings=settings).licences
    weights = Weights(
        identity=identity_of(found.path, home=settings.home),
        name=found.path.stem if found.path.is_file() else found.path.name,
        location=found.path,
        terms=Terms(licence=licences[0].id if len(licences) == 1 else None),
    )
    outcome = found.quantized
    made: dict[str, Any] = {
        "form": found.form,
        "adapter": adapter.name,
        "base": _named(ref),
        "rendering": found.rendering,
        "drift": found.drift.as_dict() | {"text": found.lines, "text_sha256": lines_sha256},
        "bound": asdict(wanted.bound),
    }
    if found.form in _MERGED:
        made["type"] = wanted.kind if outcome is None else outcome.plan.recipe
    if outcome is not None:
        made["loss"] = outcome.loss.as_dict() | {"text": outcome.texts.held_out_name}
    write = record_merged if found.form in _MERGED else record_exported
    with open_record(settings) as events:
        write(events, weights, parents=parents, made=made)
