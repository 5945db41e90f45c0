"""What was said before: stored responses of the one who asks, as the items of a conversation.

Room: server. Reaches the store only with the asker's own id; must not know models or events. Calls
block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.errors import NotFound, TooLarge
from freehold.server.routes.openai.responses_items import (
    Item,
    ItemIds,
    Reference,
    is_response_id,
    response_of_item,
    size_of,
)
from freehold.store.responses import Responses, StoredResponse

__all__ = ["History"]

# As much as a request's own body may hold.
_MAX_REFERENCED = 8 << 20


class History:
    """The stored responses of one owner."""

    def __init__(self, stored: Responses, owner: str) -> None:
        self._stored = stored
        self._owner = owner

    def get(self, response_id: str) -> StoredResponse:
        """The response with this id. Raises: NotFound."""
        found = None
        # Any other text cannot be one, and a database need not see it.
        if is_response_id(response_id):
            found = self._stored.get(response_id, owner=self._owner)
        if found is None:
            raise _no_response(None)
        return found

    def delete(self, response_id: str) -> None:
        """Forget a response for good. Raises: NotFound."""
        known = is_response_id(response_id)
        if not known or not self._stored.delete(response_id, owner=self._owner):
            raise _no_response(None)

    def before(self, previous_id: str | None) -> list[Item]:
        """Everything that came in and went out up to the end of this response, oldest first.

        Raises: NotFound, also when a part of the conversation was deleted.
        """
        if previous_id is None:
            return []
        turns: list[StoredResponse] = []
        if is_response_id(previous_id):
            turns = self._stored.conversation(previous_id, owner=self._owner)
        if not turns:
            raise _no_response("previous_response_id")
        if turns[0].previous_id is not None:
            raise NotFound(
                "an earlier response of this conversation was deleted",
                param="previous_response_id",
                hint="send the items you still have as input",
            )
        return [item for turn in turns for item in (*turn.input, *turn.output["output"])]

    def inputs(self, response_id: str) -> list[Item]:
        """The items that a response answered, oldest first: as far back as they are still kept.

        Raises: NotFound.
        """
        turns: list[StoredResponse] = []
        if is_response_id(response_id):
            turns = self._stored.conversation(response_id, owner=self._owner)
        if not turns:
            raise _no_response(None)
        earlier = [item for turn in turns[:-1] for item in (*turn.input, *turn.output["output"])]
        return [*earlier, *turns[-1].input]

    def resolve(self, items: Sequence[Item | Reference]) -> list[Item]:
        """The items with what references stand for.

        Raises: NotFound; TooLarge where a short request stands for a very long text.
        """
        resolved: list[Item] = []
        seen: dict[str, StoredResponse | None] = {}
        referenced = 0
        for index, item in enumerate(items):
            if not isinstance(item, Reference):
                resolved.append(item)
                continue
            resolved.append(self._referenced(item, f"input.{index}.id", seen))
            referenced += size_of(resolved[-1])
            if referenced > _MAX_REFERENCED:
                raise TooLarge(
                    "the referenced items are too long together",
                    param="input",
                    expected=f"at most {_MAX_REFERENCED} characters",
                )
        return resolved

    def keep(self, response: dict[str, Any], items: Sequence[Item]) -> None:
        """Store a response with the items that came in with it. Raises: StoreUnusable."""
        ids = ItemIds(response["id"], "i")
        stored = StoredResponse(
            id=response["id"],
            owner=self._owner,
            created_at=response["created_at"],
            model=response["model"],
            previous_id=response["previous_response_id"],
            # Each copy of an item is an item of its own, so that an id is never there twice.
            input=[{**item, "id": ids.new(item["type"])} for item in items],
            output=response,
        )
        self._stored.put(stored)

    def _referenced(self, item_id: str, param: str, seen: dict[str, StoredResponse | None]) -> Item:
        """A copy of the item with this id. Mutates: `seen`, the responses looked at so far."""
        response_id = response_of_item(item_id)
        if response_id is not None and response_id not in seen:
            seen[response_id] = self._stored.get(response_id, owner=self._owner)
        stored = seen.get(response_id or "")
        for item in (*stored.input, *stored.output["output"]) if stored else ():
            if item["id"] == item_id:
                return dict(item)
        raise NotFound(
            "there is no stored item with this id",
            param=param,
            hint="items are kept with responses that are stored",
        )


def _no_response(param: str | None) -> NotFound:
    return NotFound(
        "there is no stored response with this id",
        param=param,
        hint="responses are kept until they are deleted, unless store is false",
    )
