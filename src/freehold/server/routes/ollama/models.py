"""GET /api/tags, /api/ps and /api/version, POST /api/show: what there is, and what is in memory.

Room: server. Reads cards and file headers; must not know how a model is run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from numpy import ndarray

from freehold import __version__
from freehold.chat.reasoning import reasoning_of
from freehold.errors import BadRequest, NotFound, UnknownModel, UnsupportedField
from freehold.formats.gguf import open_gguf
from freehold.formats.json_file import read_json_object
from freehold.loading.text import read_suggested, read_templates
from freehold.server.cards import ModelCard
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.ollama.keeping import Keep
from freehold.server.routes.ollama.names import ref_of, tagged
from freehold.server.routes.ollama.replies import stamp
from freehold.server.routes.ollama.requests import ShowBody

__all__ = ["list_local", "list_running", "router", "show", "version"]

router = APIRouter(tags=["ollama"], responses=OPENAPI_ERRORS)

# A model that nobody asked to leave has no such time; clients expect one.
_NEVER = "9999-12-31T23:59:59Z"
_LONGEST_LIST = 64
_TEMPLATE = "tokenizer.chat_template"
_OPTIONS = {"repetition_penalty": "repeat_penalty", "repetition_window": "repeat_last_n"}
_SIZES = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


@router.get("/api/version")
def version() -> dict[str, str]:
    """Freehold's own version."""
    return {"version": __version__}


@router.get("/api/tags")
def list_local(ctx: Context) -> dict[str, list[dict[str, Any]]]:
    """Every model that may be asked for."""
    listed = []
    for card in ctx.house.residents.cards():
        modified = stamp(datetime.fromtimestamp(card.created, UTC))
        listed.append(_named(card) | {"modified_at": modified, "size": card.size_bytes})
    return {"models": listed}


@router.get("/api/ps")
async def list_running(ctx: Context, keep: Keep) -> dict[str, list[dict[str, Any]]]:
    """Every model in memory, and when it leaves if nobody uses it."""
    listed = []
    for model in ctx.house.residents.loaded():
        until = keep.until(model.card.id)
        listed.append(
            _named(model.card)
            | {
                "size": model.memory_bytes,
                "size_vram": 0,
                "context_length": model.context_tokens,
                "expires_at": stamp(until) if until else _NEVER,
            }
        )
    return {"models": listed}


@router.post("/api/show")
async def show(body: ShowBody, ctx: Context) -> dict[str, Any]:
    """What is known of a model, from its card and its file's header."""
    for name in ("system", "template", "options"):
        if getattr(body, name):
            raise UnsupportedField(f"{name} cannot be changed here", param=name)
    asked = body.model or body.name
    if not asked:
        raise BadRequest("no model is named", param="model")
    ref = ref_of(asked)
    card = next((card for card in ctx.house.residents.cards() if card.id == ref), None)
    if card is None:
        raise UnknownModel("no model has this name", param="model", value=ref)
    metadata = await asyncio.to_thread(_metadata, card)
    applied = ctx.house.settings.generation_config == "auto" and card.kind == "chat"
    drawn = await asyncio.to_thread(_drawn, card, metadata) if applied else {}
    return _shown(card, metadata, drawn, verbose=body.verbose is True)


def _drawn(card: ModelCard, metadata: Mapping[str, object]) -> dict[str, float]:
    """What the files recommend for requests that leave it open, in this interface's words."""
    said = read_suggested(card.path, metadata).said()
    if said.get("repetition_window") == 0:
        said["repetition_window"] = -1
    return {_OPTIONS.get(name, name): value for name, value in said.items()}


def _shown(
    card: ModelCard,
    metadata: Mapping[str, object],
    drawn: Mapping[str, float],
    *,
    verbose: bool,
) -> dict[str, Any]:
    given = metadata.get(_TEMPLATE)
    template = given if isinstance(given, str) else ""
    size = {"num_ctx": card.context_tokens} if card.context_tokens else {}
    parameters = "\n".join(f"{name} {value}" for name, value in {**size, **drawn}.items())
    shown = {
        "modelfile": _modelfile(card, template, parameters),
        "parameters": parameters,
        "template": template,
        "details": _details(card),
        "model_info": {key: _value(value, verbose) for key, value in metadata.items()},
        "capabilities": _capabilities(card, template),
        "modified_at": stamp(datetime.fromtimestamp(card.created, UTC)),
    }
    if card.licence:
        shown["license"] = card.licence
    if card.system:
        shown["system"] = card.system
    return shown


def _metadata(card: ModelCard) -> dict[str, object]:
    if card.kind == "embedding":
        return {}
    try:
        if card.path.is_dir():
            return {**read_json_object(card.path / "config.json"), **read_templates(card.path)}
        with open_gguf(card.path) as file:
            return dict(file.metadata)
    except OSError:
        raise NotFound("the model's file cannot be read any more", param="model") from None


def _value(value: object, verbose: bool) -> object:
    """Vocabularies are long: without `verbose` they are null, as with Ollama."""
    if isinstance(value, ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return list(value) if verbose or len(value) <= _LONGEST_LIST else None
    return value


def _capabilities(card: ModelCard, template: str) -> list[str]:
    if card.kind == "embedding":
        return ["embedding"]
    if not template:
        return ["completion"]
    # Where a template does not describe tools to the model, the server does.
    can = ["completion", "tools"]
    return can if reasoning_of(template) is None else [*can, "thinking"]


def _named(card: ModelCard) -> dict[str, Any]:
    name = tagged(card.id)
    return {
        "name": name,
        "model": name,
        "digest": card.sha256 or "",
        "details": _details(card),
    }


def _details(card: ModelCard) -> dict[str, Any]:
    return {
        "parent_model": "",
        "format": "safetensors" if card.path.is_dir() else "gguf",
        "family": card.family,
        "families": [card.family] if card.family else [],
        "parameter_size": _rounded(card.parameters),
        "quantization_level": card.quantization or "unknown",
    }


def _rounded(parameters: int | None) -> str:
    if parameters is None:
        return ""
    for size, unit in _SIZES:
        if parameters >= size:
            return f"{parameters / size:.2f}{unit}"
    return str(parameters)


def _modelfile(card: ModelCard, template: str, parameters: str) -> str:
    lines = ["# Modelfile generated by freehold", f"FROM {card.id}"]
    if template:
        lines.append(f'TEMPLATE """{template}"""')
    lines += [f"PARAMETER {line}" for line in parameters.splitlines()]
    if card.system:
        lines.append(f'SYSTEM """{card.system}"""')
    if card.licence:
        lines.append(f'LICENSE """{card.licence}"""')
    return "\n".join(lines) + "\n"
