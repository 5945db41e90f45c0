"""From a reference to a model in this process.

Room: local. Decides which kind of model a path holds; must not know HTTP or terminals.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from freehold import library, ops
from freehold.errors import BadSetting, WrongTask
from freehold.loading import is_encoder, load_embedder, load_model
from freehold.local.chat import Model
from freehold.local.embedding import EmbeddingModel

__all__ = ["load", "load_chat"]


def load(  # noqa: PLR0913 - the public face: each by its name
    ref: str | Path,
    *,
    context_tokens: int | None = None,
    threads: int | None = None,
    kv_bits: int = 16,
    precision: str | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    adapter_bits: int = 8,
    speculation: bool = True,
) -> Model | EmbeddingModel:
    """Loads a model by path or name; nothing is fetched. A path is a file or a directory.

    `context_tokens` defaults to the model's own; `threads` (of the whole process) to every core;
    `kv_bits` 8 halves a chat model's KV cache for a small loss; `precision` of an embedder is
    "int16" or "float32". `adapters` are LoRA directories or files by the names that answers give;
    their values take 8 bits, or 16 as float16. Without `speculation` an answer that repeats itself
    still comes a token a step; it changes no answer.
    Raises: UnknownModel, FormatError, LoadError, BadSetting.
    """
    path = library.resolve(ref)
    _set_threads(threads)
    if is_encoder(path):
        _leave_out("kv_bits", kv_bits, 16, "an embedder keeps no KV cache")
        _leave_out("adapters", adapters or None, None, "an embedder takes none")
        loaded = load_embedder(path, precision=precision)
        return EmbeddingModel(loaded, name=str(ref), context_tokens=context_tokens)
    _leave_out("precision", precision, None, "a chat model keeps its file's own blocks")
    model = _chat(path, str(ref), context_tokens, kv_bits, adapter_bits, speculation)
    _add_adapters(model, adapters)
    return model


def load_chat(  # noqa: PLR0913 - as `load`
    ref: str | Path,
    *,
    context_tokens: int | None = None,
    threads: int | None = None,
    kv_bits: int = 16,
    adapters: Mapping[str, str | Path] | None = None,
    adapter_bits: int = 8,
    speculation: bool = True,
) -> Model:
    """The same for a chat model alone. Raises: WrongTask for an embedder, and as `load`."""
    path = library.resolve(ref)
    _set_threads(threads)
    if is_encoder(path):
        raise WrongTask(
            f"{str(ref)!r} embeds texts; this needs a model for chat",
            value=str(ref),
            expected="a model for chat",
            found="a model for embedding",
            hint="`freehold pull starter` fetches one",
        )
    model = _chat(path, str(ref), context_tokens, kv_bits, adapter_bits, speculation)
    _add_adapters(model, adapters)
    return model


def _chat(
    path: Path,
    name: str,
    context_tokens: int | None,
    kv_bits: int,
    adapter_bits: int,
    speculation: bool,
) -> Model:
    for what, bits in (("kv_bits", kv_bits), ("adapter_bits", adapter_bits)):
        if bits not in (8, 16):
            raise BadSetting(
                f"{what} is out of range", value=bits, expected="8 or 16", found=repr(bits)
            )
    return Model(
        load_model(path),
        name=name,
        context_tokens=context_tokens,
        kv_bits=kv_bits,
        adapter_bits=adapter_bits,
        speculation=speculation,
    )


def _add_adapters(model: Model, adapters: Mapping[str, str | Path] | None) -> None:
    for name, path in (adapters or {}).items():
        model.load_adapter(name, path)


def _set_threads(threads: int | None) -> None:
    if threads is None:
        return
    if not 1 <= threads <= 256:
        raise BadSetting(
            "threads is out of range", value=threads, expected="1 to 256", found=str(threads)
        )
    ops.set_threads(threads)


def _leave_out(name: str, value: object, neutral: object, reason: str) -> None:
    if value != neutral:
        raise BadSetting(
            f"{name} does not suit this model: {reason}",
            value=value,
            expected=repr(neutral),
            found=repr(value),
        )
