"""/v1/responses: answers that may be kept, shown again, continued and deleted.

Room: server. Puts the parts together: schema, history, conversion, events; must not know how a
model is run.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from freehold.errors import BadRequest, FreeholdError, NotFound
from freehold.server.context import Context, RouteContext
from freehold.server.http_errors import OPENAPI_ERRORS, error_body
from freehold.server.presence import unless_gone
from freehold.server.routes.openai.responses_convert import (
    ask_of,
    fresh_response,
    named_as_here,
)
from freehold.server.routes.openai.responses_events import Composer, frames
from freehold.server.routes.openai.responses_history import History
from freehold.server.routes.openai.responses_items import Item, new_response_id, parse_items
from freehold.server.routes.openai.responses_schema import (
    CountBody,
    CreateBody,
    ItemsQuery,
    PromptBody,
    RetrieveQuery,
)
from freehold.server.streams import stream

if TYPE_CHECKING:
    from freehold.server.answering import Answer

__all__ = [
    "cancel_response",
    "count_input_tokens",
    "create_response",
    "delete_response",
    "list_input_items",
    "retrieve_response",
    "router",
]

router = APIRouter(prefix="/v1/responses", tags=["responses"], responses=OPENAPI_ERRORS)

_ANSWERED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The response, or with `stream` its events.",
        "content": {"application/json": {}, "text/event-stream": {}},
    }
}

# Nobody is there to read it; the number is the one that proxies log for a client that left.
_CLIENT_LEFT = 499


@router.post("", responses=_ANSWERED)
async def create_response(body: CreateBody, ctx: Context, request: Request) -> Response:
    """Answer, whole or as a stream, and keep the response unless `store` is false."""
    body.check()
    history = _history(ctx)
    earlier, own = await asyncio.to_thread(_items, history, body)
    resident = await ctx.house.residents.chat(body.model)
    ask = ask_of(body, [*earlier, *own], resident)
    fresh = fresh_response(body, new_response_id(), resident.name, resident.drawn(ask))
    composer = Composer(fresh)
    with named_as_here(ask):
        answer = await resident.answer(ask, ctx.asker)
    writing = _Writing(composer, answer, history if body.stores else None, own)
    if body.stream:
        return stream(writing.frames(), on_error=lambda error: writing.broken(error, ctx))
    response = await unless_gone(request, writing.whole())
    return Response(status_code=_CLIENT_LEFT) if response is None else _json(response)


@router.post("/input_tokens")
async def count_input_tokens(body: CountBody, ctx: Context) -> Response:
    """How many tokens the same request to /v1/responses would have as its prompt."""
    body.check()
    earlier, own = await asyncio.to_thread(_items, _history(ctx), body)
    resident = await ctx.house.residents.chat(body.model)
    ask = ask_of(body, [*earlier, *own], resident)
    with named_as_here(ask):
        tokens = await asyncio.to_thread(resident.prompt, ask)
    return _json({"object": "response.input_tokens", "input_tokens": len(tokens)})


@router.get("/{response_id}")
async def retrieve_response(
    response_id: str, query: Annotated[RetrieveQuery, Query()], ctx: Context
) -> Response:
    """A stored response, as it was given."""
    query.check()
    stored = await asyncio.to_thread(_history(ctx).get, response_id)
    return _json(stored.output)


@router.delete("/{response_id}")
async def delete_response(response_id: str, ctx: Context) -> Response:
    """Forget a stored response, its input and its output, for good."""
    await asyncio.to_thread(_history(ctx).delete, response_id)
    return _json({"id": response_id, "object": "response", "deleted": True})


@router.post("/{response_id}/cancel")
async def cancel_response(response_id: str, ctx: Context) -> Response:
    """Refused: a response that is stored is finished, as none is made in the background."""
    await asyncio.to_thread(_history(ctx).get, response_id)
    raise BadRequest(
        "only a response made in the background can be cancelled",
        param="response_id",
        hint="close the connection of a request to cancel it",
    )


@router.get("/{response_id}/input_items")
async def list_input_items(
    response_id: str, query: Annotated[ItemsQuery, Query()], ctx: Context
) -> Response:
    """What a response answered: its own input, and the conversation before it."""
    query.check()
    items = await asyncio.to_thread(_history(ctx).inputs, response_id)
    return _json(_page(items, query))


class _Writing:
    """One answer on its way to the client, and into the store if there is a `history`."""

    def __init__(
        self, composer: Composer, answer: Answer, history: History | None, items: list[Item]
    ) -> None:
        self._composer = composer
        self._answer = answer
        self._history = history
        self._items = items

    async def whole(self) -> dict[str, Any]:
        """The finished response. Raises: FreeholdError; nothing is kept then."""
        try:
            async for event in self._answer:
                self._composer.push(event)
            await self._keep()
        finally:
            await self._answer.aclose()
        return self._composer.response

    async def frames(self) -> AsyncGenerator[str, None]:
        """The stream. What is kept is kept before the last word. Raises: FreeholdError."""
        try:
            yield frames(self._composer.begin())
            async for event in self._answer:
                if said := self._composer.push(event):
                    yield frames(said)
            await self._keep()
            yield frames(self._composer.end())
        finally:
            await self._answer.aclose()

    def broken(self, error: FreeholdError, ctx: RouteContext) -> str:
        """The last words of a stream that broke off; nothing is kept of it."""
        shown = error_body("openai", error, ctx.asker.request_id)["error"]
        return frames(self._composer.failed(shown["message"], shown["code"], shown["param"]))

    async def _keep(self) -> None:
        if self._history is not None:
            await asyncio.to_thread(self._history.keep, self._composer.response, self._items)


def _history(ctx: RouteContext) -> History:
    return History(ctx.house.store.responses, ctx.asker.key_id)


def _items(history: History, body: PromptBody) -> tuple[list[Item], list[Item]]:
    """The items before this request, and its own."""
    own = history.resolve(parse_items(body.input or ()))
    return history.before(body.previous_response_id), own


def _page(items: list[Item], query: ItemsQuery) -> dict[str, Any]:
    if query.order == "desc":
        items = items[::-1]
    if query.after is not None:
        ids = [item["id"] for item in items]
        if query.after not in ids:
            raise NotFound("there is no such item in this list", param="after")
        items = items[ids.index(query.after) + 1 :]
    page = items[: query.limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }


def _json(body: dict[str, Any]) -> Response:
    # To ASCII: whatever text was once accepted can be sent.
    return Response(json.dumps(body, separators=(",", ":")), media_type="application/json")
