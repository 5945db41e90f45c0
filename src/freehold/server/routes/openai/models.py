"""GET /v1/models and /v1/models/{id}: what may be asked.

Room: server. Knows the residents' cards; must not know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter

from freehold.errors import Forbidden, UnknownModel
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.tuning.served import forget

if TYPE_CHECKING:
    from freehold.server.cards import ModelCard

__all__ = ["delete_model", "list_models", "router", "show_model"]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["openai"])


@router.get("/v1/models")
async def list_models(ctx: Context) -> dict[str, Any]:
    """Every model of this server, in memory or not."""
    cards = ctx.house.residents.cards()
    return {"object": "list", "data": [_entry(card) for card in cards]}


@router.get("/v1/models/{model:path}")
async def show_model(model: str, ctx: Context) -> dict[str, Any]:
    """One model. Its id may hold slashes."""
    for card in ctx.house.residents.cards():
        if card.id == model:
            return _entry(card)
    raise UnknownModel("no model has this id", param="model", value=model)


@router.delete("/v1/models/{model:path}")
async def delete_model(model: str, ctx: Context) -> dict[str, Any]:
    """Delete a model that fine-tuning made; answers under way end as they began."""
    if not ctx.asker.may("tune"):
        raise Forbidden("the key does not cover 'tune'", value="tune")
    await forget(ctx.house, ctx.asker, model)
    return {"id": model, "object": "model", "deleted": True}


def _entry(card: ModelCard) -> dict[str, Any]:
    """OpenAI's four fields, then those that vLLM added."""
    return {
        "id": card.id,
        "object": "model",
        "created": card.created,
        "owned_by": "freehold",
        "root": card.parent or card.id,
        "parent": card.parent,
        "max_model_len": card.context_tokens,
    }
