"""The second turn of a long conversation: how long until it starts, beside one step of decoding.

Room: benchmarks. Must not know how servers are started.
"""

from __future__ import annotations

import statistics
from itertools import pairwise
from typing import Any

from benchmarks.conversations import long_talk, request
from benchmarks.servers import Server
from benchmarks.workers import Worker

__all__ = ["second_turns"]

_ANSWER_TOKENS = 48
_NEXT = {"role": "user", "content": "Thank you. And what does the last sentence say?"}


def second_turns(client: Worker, server: Server, *, words: int, rounds: int) -> dict[str, Any]:
    """Medians over some conversations. Units: seconds."""
    model = server.model
    rows = []
    for seed in range(rounds):
        talk = long_talk(seed, words=words)
        first = _ask(client, server, request(model, talk, tokens=_ANSWER_TOKENS))
        talk = [*talk, {"role": "assistant", "content": first["text"]}, _NEXT]
        again = request(model, talk, tokens=_ANSWER_TOKENS)
        second, same = (_ask(client, server, again) for _ in range(2))
        rows.append(
            {
                "prompt_tokens": second["prompt_tokens"],
                "cached_tokens": second["cached_tokens"],
                "cold_first_s": first["times_s"][0],
                "second_first_s": second["times_s"][0],
                "same_again_first_s": same["times_s"][0],
                "step_s": _median_gap(second),
                "beyond_a_step_s": second["times_s"][0] - _median_gap(second),
            }
        )
    return {name: statistics.median(row[name] for row in rows) for name in rows[0]} | {"all": rows}


def _ask(client: Worker, server: Server, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.ask("run", {"host": server.host, "port": server.port, "bodies": [body]})
    stream: dict[str, Any] = answer["streams"][0]
    return stream


def _median_gap(stream: dict[str, Any]) -> float:
    return statistics.median(b - a for a, b in pairwise(stream["times_s"]))
