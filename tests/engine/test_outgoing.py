"""When the engine's process tells the server of tokens. Room: tests."""

from __future__ import annotations

from typing import Any

from freehold.engine import wire
from freehold.engine.request import Output, TokenLogprob
from freehold.engine.worker import Outgoing

MS = 1e-3
PICTURE_S = 1 / 60  # what a screen shows at once


class Line:
    """An `Outgoing` on a clock of its own, and what came out of it: (moment, request ids)."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.sent: list[tuple[float, list[str]]] = []
        self.outgoing = Outgoing(self._send, clock=lambda: self.now_s)

    def _send(self, message: dict[str, Any]) -> None:
        self.sent.append((self.now_s, [short[0] for short in message["outputs"]]))

    def step(self, seconds: float, **outputs: Output) -> None:
        """A step of this length, and what it gave each request."""
        self.now_s += seconds
        self.outgoing.add(list(outputs.items()), seconds)


def test_an_answers_first_token_is_sent_at_once() -> None:
    line = Line()
    line.step(1 * MS, a=Output(tokens=(1,), first=True))
    line.step(1 * MS, a=Output(tokens=(2,)), b=Output(tokens=(3,), first=True))
    assert [names for _, names in line.sent] == [["a"], ["a", "b"]]


def test_an_answers_end_is_sent_at_once_with_what_was_held() -> None:
    line = Line()
    line.step(1 * MS, a=Output(tokens=(1,), first=True))
    line.step(1 * MS, a=Output(tokens=(2,)))
    line.step(1 * MS, a=Output(tokens=(3,), finish_reason="length"))
    assert [names for _, names in line.sent] == [["a"], ["a", "a"]]


def test_tokens_sent_together_are_one_output() -> None:
    sent: list[list[list[Any]]] = []
    outgoing = Outgoing(lambda message: sent.append(message["outputs"]), clock=lambda: 0.0)
    outgoing.send()
    note = TokenLogprob(4, -0.5)
    outgoing.add([("a", Output(tokens=(1,))), ("b", Output(tokens=(2,)))], 0.0)
    outgoing.add([("a", Output(tokens=(3, 4)))], 0.0)
    outgoing.add([("a", Output(tokens=(5,), logprobs=(note,)))], 0.0)
    outgoing.add([("a", Output(tokens=(6,)))], 0.0)
    outgoing.send()
    (outputs,) = sent
    assert [wire.output_from(short) for short in outputs] == [
        ("a", Output(tokens=(1, 3, 4))),
        ("b", Output(tokens=(2,))),
        ("a", Output(tokens=(5,), logprobs=(note,))),
        ("a", Output(tokens=(6,))),
    ]


def test_fast_steps_are_sent_together_and_no_token_waits_longer_than_a_picture() -> None:
    line = Line()
    line.step(5 * MS, a=Output(tokens=(1,), first=True))
    made = {}
    for token in range(40):
        line.step(5 * MS, **{f"t{token}": Output(tokens=(token,))})
        made[f"t{token}"] = line.now_s
    groups = line.sent[1:]
    assert {len(names) for _, names in groups} == {3}
    waits = [moment - made[name] for moment, names in groups for name in names]
    assert 0 < max(waits) <= PICTURE_S


def test_slow_steps_are_sent_each_at_once() -> None:
    line = Line()
    for token in range(5):
        line.step(9 * MS, a=Output(tokens=(token,), first=token == 0))
    assert [names for _, names in line.sent] == [["a"]] * 5


def test_order_is_kept_and_nothing_is_sent_twice() -> None:
    line = Line()
    line.step(5 * MS, a=Output(tokens=(0,), first=True))
    for token in range(1, 8):
        line.step(2 * MS, **{f"t{token}": Output(tokens=(token,))})
    line.outgoing.send()
    line.outgoing.send()
    names = [name for _, group in line.sent for name in group]
    assert names == ["a", *(f"t{n}" for n in range(1, 8))]
