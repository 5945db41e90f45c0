"""Answers one request of a batch, and says it in OpenAI's form.

Room: server. Must not know where lines come from or where their answers are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.errors import EngineDied

if TYPE_CHECKING:
    from freehold.server.batches.lines import Line
    from freehold.server.context import Asker
    from freehold.server.inside import Inside

__all__ = ["answered", "is_good", "never_answered", "usage_of"]

_AGAIN = frozenset({429, 503})
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 15.0
# A request that ends the engine each time must not do so all day.
_MOST_DEATHS = 3

_GOOD = 200


async def answered(
    inside: Inside, endpoint: str, line: Line, asker: Asker, *, request_id: str
) -> dict[str, Any]:
    """The line's answer, or why it was refused; where there is no room, it waits for some."""
    body = json.dumps(line.body).encode()
    pause_s, deaths = _FIRST_PAUSE_S, 0
    while True:
        reply = await inside.post(endpoint, body, asker)
        deaths += isinstance(reply.error, EngineDied)
        if reply.status not in _AGAIN or deaths >= _MOST_DEATHS:
            break
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    response = {
        "status_code": reply.status,
        "request_id": asker.request_id,
        "body": reply.body,
    }
    return _record(line.custom_id, request_id, response, None)


def never_answered(custom_id: str, request_id: str, code: str, message: str) -> dict[str, Any]:
    """The record of a line whose time was over."""
    return _record(custom_id, request_id, None, {"code": code, "message": message})


def is_good(record: Mapping[str, Any]) -> bool:
    """Whether a record goes to the output file, and not to the one of errors."""
    response = record["response"]
    return response is not None and response["status_code"] == _GOOD


def usage_of(record: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """Tokens in, of those cached, out, of those reasoning; each surface has its own names."""
    usage = (record["response"] or {}).get("body", {}).get("usage") or {}
    tokens_in = usage.get("input_tokens", usage.get("prompt_tokens", 0))
    tokens_out = usage.get("output_tokens", usage.get("completion_tokens", 0))
    before = usage.get("input_tokens_details") or usage.get("prompt_tokens_details") or {}
    after = usage.get("output_tokens_details") or usage.get("completion_tokens_details") or {}
    cached, reasoning = before.get("cached_tokens", 0), after.get("reasoning_tokens", 0)
    return tokens_in or 0, cached or 0, tokens_out or 0, reasoning or 0


def _record(
    custom_id: str,
    request_id: str,
    response: dict[str, Any] | None,
    error: dict[str, Any] | None,
) -> dict[str, Any]:
    return {
        "id": f"batch_req_{hashlib.sha256(request_id.encode()).hexdigest()[:24]}",
        "custom_id": custom_id,
        "response": response,
        "error": error,
    }
