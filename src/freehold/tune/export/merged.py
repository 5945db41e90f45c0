"""A base with an adapter folded in, as one GGUF file or one directory of safetensors, in floats.

Room: tune. Knows plans, sources and the writers; must not know licences or records.
Peak memory: the adapter's matrices and one chunk of one tensor, however large the model is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from freehold import __version__
from freehold.errors import BadExport, BadValue
from freehold.formats import gguf_writer as say
from freehold.formats.block_types import BlockType
from freehold.formats.gguf import open_gguf
from freehold.formats.gguf_writer import GgufWriter, NewTensor
from freehold.formats.safetensors_stream import FloatKind, NewFloats, SafetensorsFolder, as_floats
from freehold.library.progress import Progress
from freehold.loading.adapters import read_adapter
from freehold.loading.directory import open_directory
from freehold.loading.gguf import plan_gguf
from freehold.loading.hub_words import hub_config, hub_places, hub_text
from freehold.loading.merging import merged_plan
from freehold.loading.placing import Placed, placed, unpacked
from freehold.loading.plan import Plan
from freehold.loading.text import read_text_side
from freehold.models.registry import WRAPPERS
from freehold.quantize import Source, open_source
from freehold.quantize.encoding import chunks_of
from freehold.quantize.source import SourceTensor

__all__ = ["FLOATS", "MOST_FILE_BYTES", "open_merged", "write_directory", "write_gguf"]

FLOATS: Mapping[FloatKind, tuple[BlockType, int, str]] = {
    # the block type, the number that general.file_type gives it, and the name in a config.json
    "F32": (BlockType.F32, 0, "float32"),
    "F16": (BlockType.F16, 1, "float16"),
    "BF16": (BlockType.BF16, 32, "bfloat16"),
}
MOST_FILE_BYTES = 5_000_000_000  # as transformers cuts models
_REPLACED = ("general.file_type", "general.quantization_version", "general.quantized_by")
_CARRIED = (  # a directory's other files, beside weights and config.json
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
)
_TERMS = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*")


def open_merged(base: Path, adapter: Path) -> Source:
    """The base with the adapter folded in, tensor by tensor, as the quantizer reads a model.

    Raises: FormatError, LoadError for either of them; BadTokenizer, UnknownTokenizer.
    """
    return open_source(base, change=partial(_folded, adapter))


def _folded(adapter: Path, plan: Plan, architecture: str) -> Plan:
    return merged_plan(plan, read_adapter(adapter, plan, architecture))


def write_gguf(
    source: Source,
    target: Path,
    kind: FloatKind,
    notes: Mapping[str, str],
    progress: Progress,
) -> Path:
    """Every matrix in one float type, small tensors in F32; `notes` become `freehold.merge.*`.

    Raises: BadValue for numbers that the type cannot hold, DiskFull.
    """
    type_, file_type, _ = FLOATS[kind]
    tensors = [
        NewTensor(name, each.shape, type_ if len(each.shape) > 1 else BlockType.F32)
        for name, each in source.tensors.items()
    ]
    kept = {
        key: value
        for key, value in source.raw_metadata.items()
        if key not in _REPLACED and not key.startswith("freehold.")
    }
    said = kept | {"general.file_type": say.u32(file_type)} | _origin(source)
    said |= {f"freehold.merge.{key}": say.string(value) for key, value in notes.items()}
    said["freehold.version"] = say.string(__version__)
    done, total = 0, sum(tensor.n_bytes for tensor in tensors)
    with GgufWriter(target, said, tensors) as writer:
        for tensor in tensors:
            for start, values in _chunks(source.tensors[tensor.name]):
                raw = _rounded(values, tensor.type.name, tensor.name)  # type: ignore[arg-type]
                writer.write(tensor.name, start, raw.view(np.uint8).reshape(len(values), -1))
                done += raw.nbytes
                progress("write", done, total)
        return writer.publish()


def _origin(source: Source) -> dict[str, bytes]:
    name = source.metadata.get("general.name")
    if "general.base_model.count" in source.raw_metadata or not isinstance(name, str):
        return {}
    return {
        "general.base_model.count": say.u32(1),
        "general.base_model.0.name": say.string(name),
    }


def _chunks(tensor: SourceTensor) -> Iterator[tuple[int, np.ndarray[Any, np.dtype[np.float32]]]]:
    for start, count in chunks_of(tensor.row_count, tensor.shape[-1]):
        yield start, tensor.rows(start, count)
        tensor.release(start, count)


def _rounded(
    values: np.ndarray[Any, np.dtype[np.float32]], kind: FloatKind, name: str
) -> np.ndarray[Any, np.dtype[np.generic]]:
    """The values in the type. Raises: BadValue for what it cannot hold."""
    rounded = as_floats(values, kind)
    if kind == "F16" and not np.isfinite(rounded).all():
        raise BadValue(
            f"{name} has values that F16 cannot hold",
            field=name,
            expected="at most 65504",
            found=f"{float(np.abs(values).max()):.3g}",
            hint="write BF16 instead",
        )
    return rounded


def write_directory(
    base: Path,
    adapter: Path,
    target: Path,
    kind: FloatKind,
    progress: Progress,
) -> Path:
    """model.safetensors, or several with an index, config.json, and the base's text side.

    `target` is an empty directory. Raises: FormatError, LoadError, BadExport, BadTokenizer,
    UnknownTokenizer, DiskFull.
    """
    write = partial(_write_weights, target, kind=kind, progress=progress)
    if base.is_dir():
        with open_directory(base) as opened:
            if opened.model_type in WRAPPERS or str(opened.metadata.get("model_type")) in WRAPPERS:
                raise BadExport(
                    "a model for several media cannot be merged into a directory yet",
                    value=opened.model_type,
                    expected="a model of text alone",
                    found=str(opened.metadata.get("model_type")),
                    hint="serve the adapter beside its base",
                )
            plan = _folded(adapter, opened.plan, opened.model_type)
            write(_pieces(plan))
            config = dict(opened.metadata)
        config.pop("quantization_config", None)
        config.pop("torch_dtype", None)
        _write_json(target / "config.json", config | {"dtype": FLOATS[kind][2]})
        _carry(base, target)
        return target
    text = read_text_side(base)
    with open_gguf(base) as file:
        plan = _folded(adapter, plan_gguf(file), file.architecture)
        config = hub_config(plan, file.architecture, text.tokenizer, FLOATS[kind][2])
        write(_placed(plan, hub_places(plan, config["model_type"])))
        files = hub_text(file.metadata, text)
    _write_json(target / "config.json", config)
    for name, fields in files.items():
        _write_json(target / name, fields)
    for key, template in text.templates.items():
        _write_template(target, key.removeprefix("tokenizer.chat_template").lstrip("."), template)
    return target


def _pieces(plan: Plan) -> list[Placed]:
    """The directory's own tensors, by their own names. Raises: BadExport."""
    if any(source.transposed or source.turned for source in plan.sources.values()):
        raise BadExport(
            "directories of this family cannot be merged into directories yet",
            expected="matrices that lie as the model's own",
            found="some that lie the other way round",
            hint="serve the adapter beside its base",
        )
    pieces = {piece.name: piece for some in plan.found.values() for piece in some}
    return [
        Placed(name, piece.shape, len(piece.shape) > 1, partial(unpacked, piece))
        for name, piece in pieces.items()
    ]


def _placed(plan: Plan, places: Mapping[str, Any]) -> list[Placed]:
    return [
        tensor
        for canonical, place in places.items()
        if canonical in plan.found
        for tensor in placed(plan, canonical, place)
    ]


def _write_weights(
    target: Path, tensors: list[Placed], *, kind: FloatKind, progress: Progress
) -> None:
    new = [NewFloats(each.name, each.shape, kind) for each in tensors]
    done, total = 0, sum(each.n_bytes for each in new)
    with SafetensorsFolder(target, new, most_bytes=MOST_FILE_BYTES) as folder:
        for each in tensors:
            for start, count in chunks_of(each.row_count, each.shape[-1]):
                values = each.rows(start, count)
                _rounded(values, kind, each.name)
                folder.write(each.name, start, values)
                done += values.nbytes * (1 if kind == "F32" else 2) // (1 if kind == "F32" else 4)
                progress("write", done, total)


def _write_template(target: Path, name: str, template: str) -> None:
    if not name:
        (target / "chat_template.jinja").write_text(template, "utf-8")
        return
    if not name.isidentifier():
        raise BadExport(
            "a chat template has a name that no file can have",
            value=name[:80],
            expected="letters, digits and _",
            found=repr(name)[:80],
        )
    folder = target / "additional_chat_templates"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jinja").write_text(template, "utf-8")


def _carry(base: Path, target: Path) -> None:
    """The text side, and the texts of licences, as they are."""
    found: list[Path] = [base / name for name in _CARRIED if (base / name).is_file()]
    found += [path for pattern in _TERMS for path in sorted(base.glob(pattern)) if path.is_file()]
    found += sorted((base / "additional_chat_templates").glob("*.jinja"))
    for path in found:
        place = target / path.relative_to(base)
        place.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, place)


def _write_json(path: Path, fields: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(fields, ensure_ascii=False, indent=2) + "\n", "utf-8")
