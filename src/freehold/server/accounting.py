"""What a finished request cost, told to everybody who counts: the key's limits and the store.

Room: server. Never waits for the database; must not know what was asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.server.limits import Limiter

if TYPE_CHECKING:
    from freehold.server.context import Asker
    from freehold.store import Usage

__all__ = ["Accounting"]


class Accounting:
    """Counts tokens. Without `usage` it counts for the limits alone."""

    def __init__(self, usage: Usage | None = None, limits: Limiter | None = None) -> None:
        self.limits = limits if limits is not None else Limiter()
        self._usage = usage

    def finished(
        self,
        asker: Asker,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        cached_tokens: int = 0,
    ) -> None:
        """Count a request that has ended, however it ended: with what was computed until then.

        A prompt's tokens count whether or not they came from the cache.
        """
        if not asker.background:  # a key's rates are for those who wait
            self.limits.tokens_used(asker.key_id, prompt_tokens + completion_tokens)
        if self._usage is not None:
            self._usage.add(
                asker.key_id,
                model,
                prompt_tokens=prompt_tokens,
                completion_tokens=completion_tokens,
                cached_tokens=cached_tokens,
            )
