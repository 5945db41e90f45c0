"""The whole soak: a crowd, then kills, then the end; each held to what the server promises.

Prints as it goes, because the long one takes a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.soak.behaviours import BEHAVIOURS
from tests.soak.crowd import Killed, Tally, crowd, drained, kill
from tests.soak.serving import Memory, Serving, serving

__all__ = ["LONG", "SHORT", "Plan", "soak"]

_IDLE_S = 15.0
_MB = 1e6


@dataclass(frozen=True)
class Plan:
    """How much of everything. `flat` is what memory may grow by after the warm-up, as a share.

    `back_s` is how soon after a kill all are told and the next is answered.
    """

    clients: int
    warm_up_s: float
    crowd_s: float
    kills: int
    back_s: float
    streams: int
    flat: float | None


SHORT = Plan(clients=8, warm_up_s=0, crowd_s=7, kills=2, back_s=60, streams=6, flat=None)
LONG = Plan(clients=64, warm_up_s=120, crowd_s=480, kills=20, back_s=5, streams=16, flat=0.05)


def soak(plan: Plan, model: Path, home: Path, say: Callable[[str], None] = print) -> None:
    """Runs the plan against a server of its own. Raises: AssertionError for the first fault."""
    # Little room for keys and values, so that sequences are preempted and all of it is soon used.
    with serving(model, home, kv_memory="192MiB") as server:
        before = _after_a_crowd(plan, server, plan.warm_up_s, 1, say) if plan.warm_up_s else None
        after = _after_a_crowd(plan, server, plan.crowd_s, 2, say)
        if before is not None and plan.flat is not None:
            _check_flat(before, after, plan.flat)
        assert server.count("freehold_engine_restarts_total") == 0
        for number in range(plan.kills):
            _check_killed(server, number, plan, say)
        assert server.count("freehold_engine_restarts_total") == plan.kills
        if plan.flat is not None:
            _check_flat(after, _memory(server, say), plan.flat)
        done = asyncio.run(drained(server, streams=plan.streams, seed=9))
        assert 0 < done <= plan.streams
        say(f"drained: {done} of {plan.streams} streams to their own end, the others told why")
        assert not server.events("bug"), server.events("bug")


def _after_a_crowd(
    plan: Plan, server: Serving, seconds: float, seed: int, say: Callable[[str], None]
) -> Memory:
    """Lets the crowd in, waits until it is quiet again, and looks at what is left."""
    tally = asyncio.run(crowd(server, clients=plan.clients, seconds=seconds, seed=seed))
    _check(tally, say)
    held = server.idle_within(_IDLE_S)
    assert not held, f"nobody asks, and still: {held}"
    say(f"preempted: {server.count('freehold_preemptions_total'):.0f}")
    return _memory(server, say)


def _check(tally: Tally, say: Callable[[str], None]) -> None:
    total = tally.visits.total()
    say(f"{total} visits, {tally.refused} refused by a full queue, {len(tally.faults)} faults")
    say("  " + ", ".join(f"{name} {count}" for name, count in sorted(tally.visits.items())))
    assert not tally.faults, "\n".join(tally.faults[:20])
    unseen = {behaviour.__name__ for behaviour in BEHAVIOURS} - set(tally.visits)
    assert not unseen or total < 10 * len(BEHAVIOURS), f"nobody did {unseen}"


def _check_killed(server: Serving, number: int, plan: Plan, say: Callable[[str], None]) -> None:
    killed: Killed = asyncio.run(
        kill(server, streams=plan.streams, back_s=plan.back_s, seed=100 * number)
    )
    say(
        f"kill {number + 1}: streams told within {killed.streams_ended_s:.2f} s, the next answer "
        f"after {killed.answered_s:.2f} s and {killed.refused_first} refusals"
    )
    held = server.idle_within(_IDLE_S)
    assert not held, f"after the kill nobody asks, and still: {held}"


def _memory(server: Serving, say: Callable[[str], None]) -> Memory:
    memory = server.memory()
    say(
        f"server {memory.api_bytes / _MB:.1f} MB in {memory.api_files} files, "
        f"engine {memory.engine_bytes / _MB:.1f} MB in {memory.engine_files} files"
    )
    return memory


def _check_flat(before: Memory, after: Memory, share: float) -> None:
    for name in ("api_bytes", "engine_bytes"):
        had, has = getattr(before, name), getattr(after, name)
        assert has <= had * (1 + share), f"{name} grew from {had / _MB:.1f} to {has / _MB:.1f} MB"
    for name in ("api_files", "engine_files"):
        had, has = getattr(before, name), getattr(after, name)
        assert has <= had + 4, f"{name} grew from {had} to {has}"
