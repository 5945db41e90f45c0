"""Which files of a repository a model needs: one GGUF model, or the safetensors directory.

Room: library. Names only; must not ask a hub or read a file. What could run code is never chosen:
no pickles, no Python, no graphs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from freehold.errors import BadReference
from freehold.library.hub import RemoteFile
from freehold.library.names import (
    DEFAULT_QUANT,
    DIRECTORY,
    HubReference,
    Quant,
    SafeName,
    check_distinct,
)

__all__ = ["Selection", "is_companion", "is_weights_of_directory", "select"]

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$", re.ASCII)
# Files beside a model that are no model: projectors, draft heads, importance data, vocabularies.
_SIDECAR = re.compile(r"(?:^|[-_.])(?:mmproj|mtp|imatrix|vocab)(?:[-_.]|$)", re.IGNORECASE)
_ENCODING = re.compile(
    r"(?<![A-Za-z0-9])((?:UD-)?(?:I?Q[1-9]\w*|TQ[12]_0|MXFP4\w*|NVFP4|BF16|F16|FP16|F32))(?!\w)",
    re.IGNORECASE,
)
_TERMS = re.compile(
    r"(?:LICEN[CS]E|NOTICE|COPYING|USE_POLICY|README)(?:[-_.][\w.-]*)?", re.IGNORECASE
)
_CODE = re.compile(r".*\.(?:py|pyc|so|sh|js|bin|pt|pth|pkl|pickle|onnx|h5)", re.IGNORECASE)
_COMPANIONS = frozenset(
    {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "tokenizer.model",
        "tekken.json",
        "vocab.json",
        "vocab.txt",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.jinja",
        "chat_template.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "1_LogitScore/config.json",
        "additional_chat_templates/reranker.jinja",
        "quantize_config.json",
        "hf_quant_config.json",
    }
)
_WHOLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PART = re.compile(r"model-(\d{5})-of-(\d{5})\.safetensors", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The files to fetch. `model` is the one to open, None for a directory."""

    quant: Quant
    model: SafeName | None
    files: tuple[RemoteFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


def select(files: Sequence[RemoteFile], reference: HubReference) -> Selection:
    """The files that the reference means.

    Without a quantization: Q4_K_M, else the safetensors directory, else the only GGUF model.
    Raises: BadReference when nothing or several fit, listing what there is.
    """
    models = _gguf_models(files)
    if reference.quant is not None and reference.quant.key == DIRECTORY:
        chosen = _directory(files, reference)
    elif reference.quant is not None:
        chosen = _gguf(models, reference.quant, files, reference)
    elif _fitting(models, DEFAULT_QUANT):
        chosen = _gguf(models, DEFAULT_QUANT, files, reference)
    elif _has_directory(files):
        chosen = _directory(files, reference)
    elif len(models) == 1:
        (stem,) = models
        chosen = _selection(_quant_of(stem), models[stem], files)
    else:
        raise _none(reference, models, files, f"{DEFAULT_QUANT}, or one model alone")
    check_distinct(file.name for file in chosen.files)
    return chosen


def is_companion(name: SafeName) -> bool:
    """Whether a file beside weights is needed with them: configuration, tokenizer, terms."""
    return name.text in _COMPANIONS or (
        "/" not in name.text
        and _TERMS.fullmatch(name.text) is not None
        and _CODE.fullmatch(name.text) is None
    )


def is_weights_of_directory(name: SafeName) -> bool:
    """Whether a file is one that a safetensors directory is opened by."""
    return name.text in (_WHOLE, _INDEX) or _PART.fullmatch(name.text) is not None


def _stem(name: SafeName) -> str:
    """A GGUF file's name without its number in a split."""
    return _SHARD.sub("", name.text[: -len(".gguf")])


def _gguf_models(files: Sequence[RemoteFile]) -> dict[str, list[RemoteFile]]:
    """Each GGUF model's files in order, by the name that they share."""
    models: dict[str, list[RemoteFile]] = {}
    for file in sorted(files, key=lambda file: file.name.text):
        if file.name.text.endswith(".gguf") and not _SIDECAR.search(
            file.name.last[: -len(".gguf")]
        ):
            models.setdefault(_stem(file.name), []).append(file)
    return models


def _quant_of(stem: str) -> Quant:
    found = _ENCODING.findall(stem.rsplit("/", 1)[-1])
    return Quant(found[-1].upper() if found else "gguf")


def _fitting(models: dict[str, list[RemoteFile]], quant: Quant) -> list[str]:
    """The models whose name has the word, as a word. Without UD- asked for, those without first."""
    word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(quant.text)}(?!\w)", re.IGNORECASE)
    fitting = [stem for stem in models if word.search(stem.rsplit("/", 1)[-1])]
    exact = [stem for stem in fitting if _quant_of(stem).key == quant.key]
    return exact or fitting


def _gguf(
    models: dict[str, list[RemoteFile]],
    quant: Quant,
    files: Sequence[RemoteFile],
    reference: HubReference,
) -> Selection:
    fitting = _fitting(models, quant)
    if len(fitting) == 1:
        return _selection(Quant(quant.text.upper()), models[fitting[0]], files)
    if not fitting:
        raise _none(reference, models, files, str(quant))
    raise BadReference(
        f"several models of {reference.repo} are called {quant}",
        value=str(reference),
        expected="a word that one of them alone has",
        found=", ".join(sorted(fitting)[:8]),
        hint="download the file that is meant, then `freehold import FILE`",
    )


def _selection(quant: Quant, parts: list[RemoteFile], files: Sequence[RemoteFile]) -> Selection:
    _check_parts(parts)
    terms = [file for file in files if is_companion(file.name) and _TERMS.match(file.name.text)]
    return Selection(quant=quant, model=parts[0].name, files=(*parts, *terms))


def _check_parts(parts: list[RemoteFile]) -> None:
    numbers = [_SHARD.search(part.name.text.removesuffix(".gguf")) for part in parts]
    if len(parts) == 1 and numbers[0] is None:
        return
    counts = {int(number[2]) for number in numbers if number}
    have = [int(number[1]) for number in numbers if number]
    if len(counts) != 1 or have != list(range(1, counts.pop() + 1)) or len(have) != len(parts):
        raise BadReference(
            "the parts of a split model are not all there",
            value=parts[0].name.text,
            expected="every part once, from 00001 on",
            found=", ".join(part.name.last for part in parts[:6]),
            hint="choose another quantization of the repository",
        )


def _has_directory(files: Sequence[RemoteFile]) -> bool:
    names = {file.name.text for file in files}
    return "config.json" in names and (_WHOLE in names or _INDEX in names)


def _directory(files: Sequence[RemoteFile], reference: HubReference) -> Selection:
    names = {file.name.text for file in files}
    if not _has_directory(files):
        raise _none(reference, _gguf_models(files), files, f"config.json with {_WHOLE} or {_INDEX}")
    sharded = _INDEX in names
    chosen = [
        file
        for file in files
        if is_companion(file.name)
        or (is_weights_of_directory(file.name) and (file.name.text != _WHOLE) == sharded)
    ]
    return Selection(quant=Quant(DIRECTORY), model=None, files=tuple(chosen))


def _none(
    reference: HubReference,
    models: dict[str, list[RemoteFile]],
    files: Sequence[RemoteFile],
    expected: str,
) -> BadReference:
    there = [
        f"{_quant_of(stem)} ({sum(part.size_bytes for part in parts) / 1e9:.1f} GB)"
        for stem, parts in models.items()
    ]
    if _has_directory(files):
        there.append(DIRECTORY)
    unsafe = any(_CODE.fullmatch(file.name.text) for file in files)
    if not there and any(file.name.text == "adapter_model.safetensors" for file in files):
        there = ["an adapter, which is no model by itself"]
    elif not there:
        there = ["only weights in forms that can run code" if unsafe else "no weights"]
    return BadReference(
        f"{reference.repo} has no files that fit {str(reference)!r}",
        value=str(reference),
        expected=expected,
        found=", ".join(there[:24]),
        hint=f"name one of them: {reference.repo}:WORD" if models else "choose another repository",
    )
