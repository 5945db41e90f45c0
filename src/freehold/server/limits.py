"""How much a key may use: requests and tokens in any 60 seconds, and requests at once.

Room: server. Counts in this process's memory; must not know HTTP, keys' secrets or the database.

Both rates are sliding windows: in whatever 60 seconds one looks at, no more than the limit. A time
is rounded up to a quarter of a second, so a window holds a few hundred numbers however busy a key
is. A refused request is not counted. An answer's tokens are known at its end, so requests in flight
may overshoot the tokens' limit; after that the key waits until the window has room again.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from freehold.errors import RateLimited
from freehold.store import Limits

__all__ = ["Limiter", "Pass", "Window"]

WINDOW_S = 60.0
_GRAIN_S = 0.25


class Window:
    """A sum over the last 60 seconds. Units: times in seconds of any one clock."""

    def __init__(self) -> None:
        self._parts: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, count: int, now: float) -> None:
        """Count something that happened now."""
        self.used(now)
        at = math.ceil(now / _GRAIN_S) * _GRAIN_S
        if self._parts and self._parts[-1][0] >= at:
            at, before = self._parts.pop()
            self._parts.append((at, before + count))
        else:
            self._parts.append((at, count))
        self._sum += count

    def used(self, now: float) -> int:
        """The sum now."""
        while self._parts and self._parts[0][0] + WINDOW_S <= now:
            self._sum -= self._parts.popleft()[1]
        return self._sum

    def room_in_s(self, limit: int, now: float) -> float:
        """Seconds until the sum is below the limit."""
        left = self.used(now)
        wait_s = 0.0
        for at, count in self._parts:
            if left < limit:
                break
            left -= count
            wait_s = at + WINDOW_S - now
        return wait_s

    def empty_in_s(self, now: float) -> float:
        """Seconds until nothing is left of what was counted."""
        return max(0.0, self._parts[-1][0] + WINDOW_S - now) if self.used(now) else 0.0


@dataclass
class _Account:
    requests: Window = field(default_factory=Window)
    tokens: Window = field(default_factory=Window)
    running: int = 0


class Pass:
    """One admitted request. It holds its place until `leave`, which may be called again."""

    def __init__(self, headers: list[tuple[str, str]], leave: Callable[[], None]) -> None:
        self.headers = headers
        self._leave: Callable[[], None] | None = leave

    def leave(self) -> None:
        """Give the place back."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


class Limiter:
    """What each key has used lately. Safe to use from many threads; never waits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, _Account] = {}

    def enter(self, key_id: str, limits: Limits) -> Pass:
        """Admit one request of this key and count it.

        Raises: RateLimited, saying which limit and, for a rate, when there is room again.
        """
        now = self._clock()
        with self._lock:
            account = self._accounts.setdefault(key_id, _Account())
            refusal = _refusal(account, limits, now)
            if refusal is not None:
                raise refusal
            account.requests.add(1, now)
            account.running += 1
            return Pass(_headers(account, limits, now), lambda: self._left(account))

    def headers(self, key_id: str, limits: Limits) -> list[tuple[str, str]]:
        """The limits and what is left of them, as OpenAI's clients know them."""
        now = self._clock()
        with self._lock:
            return _headers(self._accounts.get(key_id, _Account()), limits, now)

    def tokens_used(self, key_id: str, count: int) -> None:
        """Count tokens of a request that has ended."""
        now = self._clock()
        with self._lock:
            account = self._accounts.setdefault(key_id, _Account())
            account.tokens.add(count, now)

    def running(self, key_id: str) -> int:
        """How many requests of this key are being answered."""
        with self._lock:
            account = self._accounts.get(key_id)
            return account.running if account is not None else 0

    def _left(self, account: _Account) -> None:
        with self._lock:
            account.running -= 1


def _refusal(account: _Account, limits: Limits, now: float) -> RateLimited | None:
    if limits.concurrent is not None and account.running >= limits.concurrent:
        return RateLimited(
            f"the limit of this key for requests at once is {limits.concurrent}",
            value=limits.concurrent,
            found=f"{account.running} still running",
            hint="wait until one has ended",
        )
    for what, limit, window in (
        ("requests", limits.requests_per_minute, account.requests),
        ("tokens", limits.tokens_per_minute, account.tokens),
    ):
        if limit is not None and window.used(now) >= limit:
            wait_s = window.room_in_s(limit, now)
            return RateLimited(
                f"the limit of this key for {what} per minute is {limit}",
                retry_after_s=wait_s,
                value=limit,
                found=f"{window.used(now)} in the last minute",
                hint=f"wait {math.ceil(wait_s)} s",
            )
    return None


def _headers(account: _Account, limits: Limits, now: float) -> list[tuple[str, str]]:
    rows = []
    for what, limit, window in (
        ("requests", limits.requests_per_minute, account.requests),
        ("tokens", limits.tokens_per_minute, account.tokens),
    ):
        if limit is not None:
            left = max(0, limit - window.used(now))
            rows.append((f"x-ratelimit-limit-{what}", str(limit)))
            rows.append((f"x-ratelimit-remaining-{what}", str(left)))
            rows.append((f"x-ratelimit-reset-{what}", f"{math.ceil(window.empty_in_s(now))}s"))
    return rows
