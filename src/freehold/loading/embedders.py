"""A directory that says how tokens become one vector -> an encoder, be it BERT's kind or a decoder.

Room: loading. A decoder's weights are read as for an answer; its head, where it has one, is not.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from freehold.errors import BadSetting
from freehold.formats.json_file import read_json_object
from freehold.formats.safetensors import open_safetensors
from freehold.loading.directory import load_directory, read_directory_config, weights_file
from freehold.loading.encoder import EncoderPlan, LoadedEncoder, load_encoder, read_encoder
from freehold.loading.sentence import read_sentence_plan
from freehold.models.decoder import Decoder
from freehold.models.embedding import TextEncoder
from freehold.models.registry import ENCODERS

__all__ = ["load_embedder", "read_embedder"]


def read_embedder(path: Path) -> EncoderPlan:
    """Reads and checks everything but weights and tokenizer.

    Raises: UnknownFamily, BadConfig, UnknownConfigKey, FormatError.
    """
    config_file = path / "config.json"
    metadata = read_json_object(config_file) if config_file.is_file() else {}
    if not metadata or metadata.get("model_type") in ENCODERS:
        return read_encoder(path)
    family, config = read_directory_config(metadata)
    sentence = read_sentence_plan(path, width=config.width, context_tokens=config.context_tokens)
    return EncoderPlan(path, family, config, config.width, config.vocabulary, sentence)


def load_embedder(path: Path, *, precision: str | None = None) -> LoadedEncoder:
    """Reads, checks and packs it; `precision` is "int16" unless said, and a decoder takes none.

    Raises: BadSetting, and what `load_encoder` and `load_directory` raise.
    """
    plan = read_embedder(path)
    if plan.family in ENCODERS:
        return load_encoder(path, precision=precision or "int16")
    if precision is not None:
        raise BadSetting(
            "a decoder that embeds keeps its file's own numbers",
            value=precision,
            expected="no precision",
            found=repr(precision),
        )
    loaded = load_directory(path, headless=True)
    assert isinstance(loaded.model, Decoder), "every decoder of a directory is a Decoder"
    with open_safetensors(weights_file(path)) as file:
        parameters = sum(prod(tensor.shape) for tensor in file.tensors.values())
    return LoadedEncoder(TextEncoder(loaded.model), plan, "file", loaded.file_bytes, parameters)
