"""The text side of a model: its tokenizer, its chat templates, what ends an answer.

Room: loading. Reads small files and the tokenizer, never weights.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.errors import BadConfig, BadTokenizer, LimitExceeded
from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import VOCABULARY, read_json_object, read_text
from freehold.loading.generation import (
    Generation,
    Suggested,
    end_ids_of,
    read_generation,
    read_sampling,
)
from freehold.loading.instructions import chat_template
from freehold.loading.tokenizer_config import TokenizerConfig, read_tokenizer_config
from freehold.tokenizer import (
    MAX_PIECES_BYTES,
    Beside,
    Conversations,
    Tokenizer,
    tokenizer_from_gguf,
    tokenizer_from_json,
    tokenizer_from_pieces,
    tokenizer_from_ranks,
)

__all__ = ["TextSide", "read_suggested", "read_templates", "read_text_side"]

_TEMPLATE = "tokenizer.chat_template"
_PIECES = re.compile(r"(?:[A-Za-z0-9_]{1,64}\.)?tokenizer\.model(?:\.v(\d{1,3})(?:m\d)?)?")
_MAX_TEMPLATES = 32


@dataclass(frozen=True)
class TextSide:
    """What is needed to talk to a model, besides weights.

    `templates` are keyed as in GGUF: `tokenizer.chat_template`, and `.name` after it for others.
    `suggested` is how the maker would draw.
    """

    tokenizer: Tokenizer
    templates: Mapping[str, str]
    suggested: Suggested = field(default_factory=Suggested)


def read_text_side(path: Path, metadata: Mapping[str, object] | None = None) -> TextSide:
    """The text side of a GGUF file, whose metadata may be at hand, or of a directory.

    Raises: FormatError, BadConfig, UnknownConfigKey, UnknownTokenizer, BadTokenizer.
    """
    if path.is_dir():
        return _of_directory(path)
    if metadata is None:
        with open_gguf(path) as file:
            metadata = dict(file.metadata)
    templates = {
        key: value
        for key, value in metadata.items()
        if key.startswith(_TEMPLATE) and isinstance(value, str)
    }
    return TextSide(tokenizer_from_gguf(metadata), templates, read_sampling(metadata))


def read_templates(folder: Path) -> dict[str, str]:
    """The chat templates that a directory's files hold, keyed as in GGUF.

    Raises: FormatError, BadConfig, UnknownConfigKey, BadTokenizer.
    """
    return _templates(folder, _settings(folder))


def read_suggested(path: Path, metadata: Mapping[str, object]) -> Suggested:
    """How a model's maker would draw: a directory's file says, or a GGUF file's metadata.

    Raises: FormatError, BadConfig, UnknownConfigKey.
    """
    if not path.is_dir():
        return read_sampling(metadata)
    return _generation(path, {}).suggested


def _settings(folder: Path) -> TokenizerConfig:
    return read_tokenizer_config(
        _object(folder / "tokenizer_config.json"), _object(folder / "special_tokens_map.json")
    )


def _of_directory(folder: Path) -> TextSide:
    config = read_json_object(folder / "config.json")
    generation = _generation(folder, config)
    settings = _settings(folder)
    size = _vocabulary(config)
    templates = _templates(folder, settings)
    if (folder / "tokenizer.json").is_file():
        tokenizer = _from_json(folder, size, settings, generation)
    else:
        tokenizer, told = _from_own_file(folder, size)
        tokenizer = tokenizer.with_ends(generation.end_ids)
        # Such directories have a program for a template.
        if not templates:
            templates = {_TEMPLATE: chat_template(told.version, tokenizer, told.effort)}
    return TextSide(tokenizer, templates, generation.suggested)


def _from_json(
    folder: Path, size: int, settings: TokenizerConfig, generation: Generation
) -> Tokenizer:
    beside = Beside(
        size=size,
        added=settings.added,
        control=settings.control,
        bos=settings.bos,
        eos=settings.eos,
        end_ids=generation.end_ids,
        adds_bos=settings.adds_bos,
        adds_eos=settings.adds_eos,
    )
    fields = read_json_object(folder / "tokenizer.json", limits=VOCABULARY)
    return tokenizer_from_json(fields, beside)


def _from_own_file(folder: Path, size: int) -> tuple[Tokenizer, Conversations]:
    """The tokenizer of a maker's own file, and how conversations are written with it."""
    if (folder / "tekken.json").is_file():
        fields = read_json_object(folder / "tekken.json", limits=VOCABULARY)
        return tokenizer_from_ranks(fields, size=size)
    versions = {int(m[1] or 1): p for p in folder.iterdir() if (m := _PIECES.fullmatch(p.name))}
    if not versions:
        raise BadTokenizer(
            "the directory holds no tokenizer",
            expected="tokenizer.json, tekken.json or tokenizer.model",
            found="no such file",
            hint="fetch the model's other files into the same directory",
        )
    version = max(versions)
    path = versions[version]
    if path.stat().st_size > MAX_PIECES_BYTES:
        raise LimitExceeded(
            "the file is larger than any real one of its kind",
            path=path,
            value=path.stat().st_size,
            expected=f"at most {MAX_PIECES_BYTES} bytes",
            found=f"{path.stat().st_size} bytes",
        )
    tokenizer = tokenizer_from_pieces(path.read_bytes(), size=size)
    return tokenizer, Conversations(f"v{version}")


def _generation(folder: Path, config: Mapping[str, Any]) -> Generation:
    """What generation_config.json says; config.json says which tokens end where that does not."""
    path = folder / "generation_config.json"
    found = read_generation(read_json_object(path)) if path.is_file() else Generation()
    if found.end_ids:
        return found
    ends = end_ids_of(config) or end_ids_of(_inner(config))
    return Generation(ends, found.suggested)


def _inner(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The text part of a model for several media; the configuration itself for others."""
    inner = config.get("text_config")
    return inner if isinstance(inner, dict) else config


def _vocabulary(config: Mapping[str, Any]) -> int:
    size = _inner(config).get("vocab_size", config.get("vocab_size"))
    if isinstance(size, bool) or not isinstance(size, int) or not 0 < size <= 1 << 20:
        raise BadConfig(
            "bad value of vocab_size",
            value=size,
            expected=f"a whole number from 1 to {1 << 20}",
            found="nothing" if size is None else repr(size)[:80],
        )
    return size


def _object(path: Path) -> Mapping[str, Any]:
    return read_json_object(path) if path.is_file() else {}


def _templates(folder: Path, settings: TokenizerConfig) -> dict[str, str]:
    """The templates by GGUF's keys; a file of its own is newer than an entry in another.

    Raises: FormatError, BadConfig.
    """
    found = dict(_older_templates(folder)) | dict(settings.templates)
    if (folder / "chat_template.jinja").is_file():
        found["default"] = read_text(folder / "chat_template.jinja")
    further = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    if len(further) > _MAX_TEMPLATES:
        raise BadConfig("too many chat templates", expected=f"at most {_MAX_TEMPLATES}")
    found |= {path.stem: read_text(path) for path in further}
    return {_TEMPLATE if k == "default" else f"{_TEMPLATE}.{k}": v for k, v in found.items()}


def _older_templates(folder: Path) -> Iterator[tuple[str, str]]:
    """The template in chat_template.json, which processors of several media have."""
    fields = _object(folder / "chat_template.json")
    if fields:
        template = fields.get("chat_template")
        if not isinstance(template, str) or fields.keys() != {"chat_template"}:
            raise BadConfig("chat_template.json is not what it should be", expected="one template")
        yield "default", template
