"""An answer as a response: its items as they grow, and the stream's events that tell of them.

Room: server. Knows the events' order and form; must not know sockets, the store or the runtime.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from freehold.server.ask import (
    Event,
    Finish,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStart,
    Usage,
)
from freehold.server.routes.openai.replies import token_logprobs
from freehold.server.routes.openai.responses_items import Item, ItemIds

__all__ = ["Composer", "Said", "frames"]

Said = list[dict[str, Any]]
_Say = Callable[[str, dict[str, Any]], None]


def frames(said: Said) -> str:
    """Events as server-sent events."""
    # To ASCII: a lone surrogate that a client once sent must not break the stream.
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event, separators=(',', ':'))}\n\n"
        for event in said
    )


class Composer:
    """Builds the response out of an answer's events. Every method gives the events to send.

    `response` is the whole response so far. Mutates: the response it was given.
    """

    def __init__(self, response: dict[str, Any]) -> None:
        self.response = response
        self._ids = ItemIds(response["id"], "o")
        self._number = 0
        self._said: Said = []
        self._open: _Words | _Call | None = None
        self._reason = "stop"

    def begin(self) -> Said:
        """The response exists and is being worked on."""
        for kind in ("response.created", "response.in_progress"):
            self._say(kind, {"response": {**self.response, "output": []}})
        return self._taken()

    def push(self, event: Event) -> Said:
        """One event of the answer."""
        match event:
            case TextDelta():
                self._words("message").add(event.text, token_logprobs(event.logprobs))
            case ReasoningDelta():
                self._words("reasoning").add(event.text, [])
            case ToolCallStart():
                item = {
                    "status": "in_progress",
                    "call_id": event.id,
                    "name": event.name,
                    "arguments": "",
                }
                self._open = _Call(*self._new_item("function_call", item))
            case ToolCallDelta():
                assert isinstance(self._open, _Call), "arguments came outside a call"
                self._open.add(event.arguments)
            case Finish():
                self._finish(event.reason)
            case Usage():
                self.response["usage"] = _usage(event)
        return self._taken()

    def end(self) -> Said:
        """The last word: completed, or incomplete. The answer's events are all pushed."""
        self._say(f"response.{self.response['status']}", {"response": self.response})
        return self._taken()

    def failed(self, message: str, code: str, param: str | None = None) -> Said:
        """The last words when the answer broke off."""
        number = self._number
        self._close("incomplete")
        # The open item is as it stays, without a word about it: the answer as a whole failed.
        self._said.clear()
        self._number = number
        self.response.update(
            status="failed", error={"code": "server_error", "message": message}, completed_at=None
        )
        self._say("error", {"code": code, "message": message, "param": param})
        self._say("response.failed", {"response": self.response})
        return self._taken()

    def _finish(self, reason: str) -> None:
        whole = reason != "length"
        if whole and all(item["type"] == "reasoning" for item in self.response["output"]):
            # An answer of no words is still a message.
            self._words("message")
        self._close("completed" if whole else "incomplete")
        if whole:
            self.response.update(status="completed", completed_at=int(time.time()))
        else:
            details = {"reason": "max_output_tokens"}
            self.response.update(status="incomplete", incomplete_details=details)

    def _words(self, kind: str) -> _Words:
        if isinstance(self._open, _Words) and self._open.kind == kind:
            return self._open
        item: Item = {"status": "in_progress", "content": []}
        if kind == "message":
            item["role"] = "assistant"
        else:
            item["summary"] = []
        self._open = words = _Words(*self._new_item(kind, item))
        return words

    def _new_item(self, kind: str, fields: Item) -> tuple[Item, int, _Say]:
        self._close("completed")
        item = {"id": self._ids.new(kind), "type": kind, **fields}
        index = len(self.response["output"])
        self.response["output"].append(item)
        shown = {**item, "content": []} if "content" in item else dict(item)
        self._say("response.output_item.added", {"output_index": index, "item": shown})
        return item, index, self._say

    def _close(self, status: str) -> None:
        if self._open is not None:
            self._open.close(status)
            self._open = None

    def _say(self, kind: str, fields: dict[str, Any]) -> None:
        self._said.append({"type": kind, "sequence_number": self._number, **fields})
        self._number += 1

    def _taken(self) -> Said:
        said, self._said = self._said, []
        return said


class _Words:
    """A message or a reasoning while its only part grows."""

    def __init__(self, item: Item, index: int, say: _Say) -> None:
        self.kind: str = item["type"]
        self._item = item
        self._say = say
        self._pieces: list[str] = []
        self._logprobs: list[dict[str, Any]] = []
        self._event = "output_text" if self.kind == "message" else "reasoning_text"
        self._place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        say("response.content_part.added", {**self._place, "part": self._part()})

    def add(self, text: str, logprobs: list[dict[str, Any]]) -> None:
        """A piece of the text."""
        self._pieces.append(text)
        self._logprobs += logprobs
        delta = {**self._place, "delta": text}
        if self.kind == "message":
            delta["logprobs"] = logprobs
        self._say(f"response.{self._event}.delta", delta)

    def close(self, status: str) -> None:
        """The item is as it stays. Mutates: the item."""
        part = self._part()
        done = {**self._place, "text": part["text"]}
        if self.kind == "message":
            done["logprobs"] = self._logprobs
        self._say(f"response.{self._event}.done", done)
        self._say("response.content_part.done", {**self._place, "part": part})
        self._item.update(status=status, content=[part])
        index = self._place["output_index"]
        self._say("response.output_item.done", {"output_index": index, "item": dict(self._item)})

    def _part(self) -> dict[str, Any]:
        part: dict[str, Any] = {"type": self._event, "text": "".join(self._pieces)}
        if self.kind == "message":
            part |= {"annotations": [], "logprobs": list(self._logprobs)}
        return part


class _Call:
    """A function call while its arguments grow."""

    def __init__(self, item: Item, index: int, say: _Say) -> None:
        self._item = item
        self._say = say
        self._pieces: list[str] = []
        self._place = {"item_id": item["id"], "output_index": index}

    def add(self, arguments: str) -> None:
        """A piece of the arguments."""
        self._pieces.append(arguments)
        kind = "response.function_call_arguments.delta"
        self._say(kind, {**self._place, "delta": arguments})

    def close(self, status: str) -> None:
        """The item is as it stays. Mutates: the item."""
        self._item.update(status=status, arguments="".join(self._pieces))
        done = {**self._place, "arguments": self._item["arguments"], "name": self._item["name"]}
        self._say("response.function_call_arguments.done", done)
        index = self._place["output_index"]
        self._say("response.output_item.done", {"output_index": index, "item": dict(self._item)})


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.prompt_tokens,
        # Writing to the cache is not counted apart: it is where a prompt's tokens are kept anyway.
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
