"""Answers as messages on channels, of which calls are those with a recipient, as gpt-oss has it.

Room: chat. Source: the published description of the harmony format, and gpt-oss's chat template.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.chat.dialects.base import Calls, Dialect, Function, Messages
from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan
from freehold.chat.history import one_call_each
from freehold.chat.pieces import Reasoning, Text

__all__ = ["Harmony"]

_START, _CHANNEL, _CONSTRAIN = "<|start|>", "<|channel|>", "<|constrain|>"
_MESSAGE, _END, _CALL, _RETURN = "<|message|>", "<|end|>", "<|call|>", "<|return|>"
_ENDS = (_END, _CALL, _RETURN)
_WORDS = re.compile(r"[^<\n]*")
_RECIPIENT = re.compile(r"\bto=functions\.([^\s<]+)")
_ADDRESSED = re.compile(r"\s*to=functions\.([^\s<]+)<\|channel\|>commentary(?: json)?<\|message\|>")
_ANALYSIS = re.compile(r"<\|channel\|>\s*analysis\b")
_SPACE = re.compile(r"\s*")
_MAX_WORDS = 320
_MAX_PARTS = 6


class Harmony(Dialect):
    """`<|channel|>commentary to=functions.name <|constrain|>json<|message|>{...}<|call|>`.

    Reasoning is on the channel `analysis`; what is said to the person, on `final` or `commentary`.
    """

    name = "harmony"
    markers = (_START, _CHANNEL, _CONSTRAIN, _MESSAGE, _END, _CALL, _RETURN)
    starts = (_START, _CHANNEL)
    opening = f"{_CHANNEL}commentary to=functions."
    frames_text = True

    def history(self, messages: Messages) -> Messages:
        """One call to a message, and reasoning by the name that the template has for it."""
        return [
            {**message, "thinking": message["reasoning_content"]}
            if message.get("reasoning_content")
            else message
            for message in one_call_each(messages)
        ]

    def answer(self, text: str) -> str:
        """The recipient behind the channel: before it, it would stand outside of any message."""
        addressed = _ADDRESSED.match(text)
        if addressed is None:
            return text
        head = f"{self.opening}{addressed.group(1)} {_CONSTRAIN}json{_MESSAGE}"
        return head + text[addressed.end() :]

    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """One message: its head, then a call, reasoning or text."""
        head = yield from self._head(scan)
        recipient = _RECIPIENT.search(head)
        if recipient is None:
            scan.let_go()
            kind = Reasoning if _ANALYSIS.search(head) else Text
            yield from scan.until([*_ENDS, *self.starts], kind)
            yield from scan.takes(*_ENDS)
            return
        head += yield from scan.run(_SPACE, _MAX_WORDS)
        if recipient.group(1) in calls.tools and (yield from scan.peek()) == "{":
            yield from calls.stream_object(scan, recipient.group(1))
            yield from scan.skip_space()
            yield from scan.takes(*_ENDS)
            return
        # No call of a tool: all of it is text, its marks too.
        scan.let_go()
        yield Text(head)
        yield from scan.until([*_ENDS, *self.starts], Text)
        if end := (yield from scan.takes(*_ENDS)):
            yield Text(end)

    def _head(self, scan: Scan) -> Reader[str]:
        """What stands before a message's content. Raises: Unreadable."""
        head = yield from scan.expect(*self.starts)
        for _ in range(_MAX_PARTS):
            head += yield from scan.run(_WORDS, _MAX_WORDS)
            head += yield from scan.expect(_CHANNEL, _CONSTRAIN, _MESSAGE)
            if head.endswith(_MESSAGE):
                break
        return head

    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """One call: it ends the answer."""
        del several
        calls = [
            lark.rule(
                f"{lark.literal(f'{tool.name} {_CONSTRAIN}json{_MESSAGE}')} "
                f"{lark.json(tool.arguments)}"
            )
            for tool in tools
        ]
        return lark.one_of(calls)

    def said(self, lark: Lark, text: str) -> str:
        """Text on its channel, which the prompt may have opened already."""
        return f"({self._begun(lark)} {lark.literal(f'{_CHANNEL}final{_MESSAGE}')})? {text}"

    def only_calls(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """A call, after reasoning as without."""
        call = f"{lark.literal(self.opening)} {self.body(lark, tools, several=several)}"
        return f"{self._begun(lark)} {call}"

    def calls_or_text(
        self, lark: Lark, tools: Sequence[Function], *, several: bool, text: str | None = None
    ) -> str:
        """A call or an answer, and before either a word on what is to come."""
        call = self.only_calls(lark, tools, several=several)
        if text is not None:
            return f"({call} | {self.said(lark, text)})"
        head = lark.literal(f"{_CHANNEL}commentary{_MESSAGE}")
        words = lark.until(_END, never=self.starts)
        preamble = lark.rule(f"{self._begun(lark)} {head} {words}")
        return f"{preamble}? ({call} | {self.said(lark, lark.text(self.starts))})"

    @staticmethod
    def _begun(lark: Lark) -> str:
        """The beginning of another message; the prompt has the first one's."""
        return f"({lark.literal(f'{_START}assistant')})?"
