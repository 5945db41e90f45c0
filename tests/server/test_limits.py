"""A key uses no more than its limits, and a place is held until the last byte."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from freehold.errors import RateLimited
from freehold.server.accounting import Accounting
from freehold.server.context import Asker, House
from freehold.server.doors import Doors
from freehold.server.limits import WINDOW_S, Limiter, Window
from freehold.store import Limits
from tests.server.asgi import ask, asking, scope_for
from tests.server.doorway import bearer, furnished, guarded

CHAT = "/v1/chat/completions"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> Limiter:
    return Limiter(clock)


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    built = furnished(home)
    yield built
    built.store.close()


def refusal(limiter: Limiter, limits: Limits, key_id: str = "k") -> RateLimited:
    with pytest.raises(RateLimited) as error:
        limiter.enter(key_id, limits)
    return error.value


def wait_of(limiter: Limiter, limits: Limits) -> float:
    """The wait that a request is told; 0 for one that is let in."""
    try:
        limiter.enter("k", limits)
    except RateLimited as error:
        return error.retry_after_s or -1.0
    return 0.0


@given(
    limit=st.integers(1, 8),
    steps_s=st.lists(st.floats(0, 40, allow_nan=False), max_size=60),
)
def test_no_60_seconds_hold_more_than_the_limit(limit: int, steps_s: list[float]) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    admitted: list[float] = []
    for step_s in steps_s:
        clock.now += step_s
        with contextlib.suppress(RateLimited):
            limiter.enter("k", Limits(requests_per_minute=limit))
            admitted.append(clock.now)
    for first, past in zip(admitted, admitted[limit:], strict=False):
        assert past - first >= WINDOW_S


@given(
    limit=st.integers(1, 8),
    steps_s=st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=60),
)
def test_the_wait_that_is_named_is_long_enough_and_not_much_longer(
    limit: int, steps_s: list[float]
) -> None:
    clock = Clock()
    limiter = Limiter(clock)
    limits = Limits(requests_per_minute=limit)
    for step_s in steps_s:
        clock.now += step_s
        wait_s = wait_of(limiter, limits)
        assert 0 <= wait_s <= WINDOW_S + 0.25
        if wait_s:
            clock.now += wait_s - 1e-3
            refusal(limiter, limits)
            clock.now += 2e-3
            limiter.enter("k", limits)


def test_a_window_stays_small_however_busy(clock: Clock) -> None:
    window = Window()
    for _ in range(100_000):
        clock.now += 0.001
        window.add(1, clock.now)
    assert len(window._parts) <= WINDOW_S * 4 + 2
    assert window.used(clock.now) == pytest.approx(60_000, abs=300)


def test_a_refused_request_is_not_counted(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(requests_per_minute=1)
    limiter.enter("k", limits)
    for _ in range(10):
        refusal(limiter, limits)
    clock.now += WINDOW_S + 0.25
    limiter.enter("k", limits)


def test_keys_do_not_share(limiter: Limiter) -> None:
    limits = Limits(requests_per_minute=1, tokens_per_minute=5, concurrent=1)
    limiter.enter("a", limits)
    limiter.tokens_used("a", 10)
    limiter.enter("b", limits)


def test_tokens_close_the_door_until_they_are_a_minute_old(limiter: Limiter, clock: Clock) -> None:
    limits = Limits(tokens_per_minute=100)
    limiter.enter("k", limits)
    limiter.tokens_used("k", 60)
    clock.now += 10
    limiter.enter("k", limits)
    limiter.tokens_used("k", 60)
    error = refusal(limiter, limits)
    assert "tokens per minute is 100" in error.message
    assert error.retry_after_s == pytest.approx(50)
    clock.now += 50
    limiter.enter("k", limits)


def test_one_answer_larger_than_the_limit_is_paid_off_in_a_minute(
    limiter: Limiter, clock: Clock
) -> None:
    limits = Limits(tokens_per_minute=10)
    limiter.tokens_used("k", 10_000)
    assert refusal(limiter, limits).retry_after_s == pytest.approx(60)
    clock.now += 60
    limiter.enter("k", limits)


def test_a_place_is_given_back_once(limiter: Limiter) -> None:
    limits = Limits(concurrent=2)
    first = limiter.enter("k", limits)
    limiter.enter("k", limits)
    assert "requests at once is 2" in refusal(limiter, limits).message
    first.leave()
    first.leave()
    limiter.enter("k", limits)
    refusal(limiter, limits)
    assert limiter.running("k") == 2


def test_a_429_says_which_limit_and_when(house: House) -> None:
    _, secret = house.store.keys.create("a", limits=Limits(requests_per_minute=2))
    app = guarded(house)
    left = [ask(app, CHAT, bearer(secret)).headers for _ in range(2)]
    assert [h["x-ratelimit-limit-requests"] for h in left] == ["2", "2"]
    assert [h["x-ratelimit-remaining-requests"] for h in left] == ["1", "0"]
    assert left[0]["x-ratelimit-reset-requests"].endswith("s")
    assert "x-ratelimit-limit-tokens" not in left[0]
    reply = ask(app, CHAT, bearer(secret))
    assert reply.status == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 61
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    assert "requests per minute is 2" in reply.json()["error"]["message"]
    assert reply.json()["error"]["code"] == "rate_limit_exceeded"
    assert ask(app, "/v1/messages", bearer(secret)).json()["error"]["type"] == "rate_limit_error"


def test_a_key_without_limits_has_no_limit_headers(house: House) -> None:
    _, secret = house.store.keys.create("a")
    assert not [
        name for name in ask(guarded(house), CHAT, bearer(secret)).headers if "ratelimit" in name
    ]


def test_the_local_owner_has_no_limits(house: House) -> None:
    app = guarded(house)
    assert {ask(app, CHAT).status for _ in range(50)} == {200}


def test_finished_requests_count_for_the_key_and_in_the_store(house: House) -> None:
    record, secret = house.store.keys.create("a", limits=Limits(tokens_per_minute=100))
    asker = Asker(key_id=record.id)
    house.accounting.finished(asker, "m", prompt_tokens=80, completion_tokens=20, cached_tokens=64)
    reply = ask(guarded(house), CHAT, bearer(secret))
    assert reply.status == 429
    assert reply.headers["x-ratelimit-remaining-tokens"] == "0"
    house.store.flush()
    (total,) = house.store.usage.totals(key_id=record.id)
    assert (total.requests, total.prompt_tokens) == (1, 80)
    assert (total.completion_tokens, total.cached_tokens) == (20, 64)


def test_accounting_without_a_store_counts_for_the_limits() -> None:
    accounting = Accounting()
    accounting.finished(Asker(key_id="k"), "m", prompt_tokens=1, completion_tokens=1)
    refusal(accounting.limits, Limits(tokens_per_minute=2))


class Stream:
    """An app that sends a first piece, then the rest when told to."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.goes_on = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def pieces() -> object:
            yield b"first"
            self.began.set()
            await self.goes_on.wait()
            yield b"last"

        await StreamingResponse(pieces())(scope, receive, send)  # type: ignore[arg-type]


def test_a_stream_holds_its_place_until_it_has_ended(house: House) -> None:
    record, secret = house.store.keys.create("a", limits=Limits(concurrent=1))
    running = house.accounting.limits.running

    async def run() -> None:
        stream = Stream()
        app = guarded(house, stream)
        scopes = [scope_for(CHAT, bearer(secret)) for _ in range(3)]
        first = asyncio.create_task(asking(app, scopes[0]))
        await stream.began.wait()
        assert running(record.id) == 1
        refused = await asking(app, scopes[1])
        assert refused.status == 429
        assert "requests at once is 1" in refused.json()["error"]["message"]
        assert int(refused.headers["retry-after"]) >= 1
        stream.goes_on.set()
        assert (await first).body == b"firstlast"
        assert running(record.id) == 0
        assert (await asking(app, scopes[2])).status == 200

    asyncio.run(run())


def test_a_client_that_leaves_gives_its_place_back(house: House) -> None:
    record, secret = house.store.keys.create("a", limits=Limits(concurrent=1))

    async def run() -> None:
        stream = Stream()
        task = asyncio.create_task(asking(guarded(house, stream), scope_for(CHAT, bearer(secret))))
        await stream.began.wait()
        assert house.accounting.limits.running(record.id) == 1
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert house.accounting.limits.running(record.id) == 0

    asyncio.run(run())


def test_a_bug_in_a_route_gives_its_place_back(house: House) -> None:
    record, secret = house.store.keys.create("a", limits=Limits(concurrent=1))

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    app = Doors(broken, house)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(asking(app, scope_for(CHAT, bearer(secret))))
    assert house.accounting.limits.running(record.id) == 0


def test_work_after_the_last_byte_does_not_hold_the_place(house: House) -> None:
    record, secret = house.store.keys.create("a", limits=Limits(concurrent=1))
    seen: list[int] = []

    async def lingering(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        seen.append(house.accounting.limits.running(record.id))
        last: Message = {"type": "http.response.body", "body": b""}
        await send(last)
        seen.append(house.accounting.limits.running(record.id))

    ask(guarded(house, lingering), CHAT, bearer(secret))
    assert seen == [1, 0]
