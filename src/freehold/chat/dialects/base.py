"""What a dialect is: how a model that was taught tools writes a call.

Room: chat. Knows readers and grammars; must not know templates, tokenizers or requests.
"""

from __future__ import annotations

import json
import secrets
import string
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.chat.dialects.lark import Lark
from freehold.chat.dialects.scan import Reader, Scan, Unreadable
from freehold.chat.pieces import CallArguments, CallStart
from freehold.chat.tools import Tool

__all__ = ["Calls", "Dialect", "Function", "Messages", "random_id", "whole_json"]

_ALPHANUMERIC = string.ascii_letters + string.digits

_BEFORE = (
    "You can call functions. These are the functions, each with a JSON Schema of its arguments:"
)
_AFTER = "When you need no function, answer in words."

Messages = Sequence[Mapping[str, Any]]


def random_id(length: int) -> str:
    """So many random letters and digits."""
    return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(length))


@dataclass(frozen=True)
class Function:
    """A tool as a grammar has it: `schema` None where any JSON object will do."""

    name: str
    schema: Mapping[str, Any] | None = None

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The schema to enforce."""
        return {"type": "object"} if self.schema is None else self.schema


class Calls:
    """The calls of one answer as they are found."""

    def __init__(self, dialect: Dialect, tools: Sequence[Tool]) -> None:
        self.tools = {tool.name: tool for tool in tools}
        self.begun = 0
        self.ended = 0
        self._dialect = dialect

    def none_follow(self) -> None:
        """From here on nothing is a call any more."""
        self.tools = {}

    def begin(self, scan: Scan, name: str) -> Iterator[CallStart]:
        """A call begins; what was read for it is no text any more. Raises: Unreadable."""
        if name not in self.tools:
            raise Unreadable
        scan.let_go()
        self.begun += 1
        yield CallStart(self.begun - 1, self._dialect.call_id(name, self.begun - 1), name)

    def arguments(self, text: str) -> CallArguments:
        """A piece of the arguments of the call that was begun last."""
        return CallArguments(self.begun - 1, text)

    def end(self, scan: Scan) -> None:
        """The arguments of the call are whole. If what comes next is no call, it is text."""
        self.ended += 1
        scan.keep()

    def stream_object(self, scan: Scan, name: str) -> Reader[None]:
        """A call whose arguments are the JSON object that comes next. Raises: Unreadable."""
        if name not in self.tools or (yield from scan.peek()) != "{":
            raise Unreadable
        yield from self.begin(scan, name)
        scan.pouring(self.arguments)
        try:
            yield from scan.json_value()
        except Unreadable:
            yield from scan.poured()
            raise
        yield from scan.poured()
        self.end(scan)

    def whole(self, scan: Scan, name: str, arguments: str) -> Reader[None]:
        """A call whose arguments are known. Raises: Unreadable."""
        yield from self.begin(scan, name)
        yield self.arguments(arguments)
        self.end(scan)


class Dialect(ABC):
    """One way of writing calls. Has no state of its own.

    `markers` are the texts of control tokens that a reader must see, where the tokenizer has them
    as such. An answer's calls begin at one of `starts`. `opening` is what they begin with in a
    grammar; where that is nothing, calls are an answer of their own. `frames_text`: text stands in
    messages too, which `read` takes apart, with tools or without.
    `ends_reasoning`: a call may stand inside reasoning, and ends it. `form` describes a call to a
    model whose template does not tell the tools; `tells_tools`: no template of this dialect does.
    """

    name: str = ""
    markers: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    opening: str = ""
    ends_reasoning: bool = False
    frames_text: bool = False
    tells_tools: bool = False
    form: str = ""

    def starts_for(self, names: Sequence[str]) -> tuple[str, ...]:
        """The texts at which calls of tools of these names may begin."""
        del names
        return self.starts

    def call_id(self, name: str, index: int) -> str:
        """A new id for a call."""
        del name, index
        return f"call_{random_id(24)}"

    def history(self, messages: Messages) -> Messages:
        """The conversation's calls and results in the form that the dialect's templates expect."""
        return messages

    def answer(self, text: str) -> str:
        """An answer as templates write it in a history, in the words that a model answers with."""
        return text

    def inject(self, messages: Messages, tools: Sequence[Tool]) -> Messages:
        """The conversation with the tools told in its system message, for other templates."""
        lines = [json.dumps(tool.for_template()["function"], ensure_ascii=False) for tool in tools]
        text = "\n".join([_BEFORE, *lines, self.form, _AFTER])
        if messages and messages[0].get("role") == "system":
            first = {**messages[0], "content": f"{messages[0]['content']}\n\n{text}".lstrip()}
            return [first, *messages[1:]]
        return [{"role": "system", "content": text}, *messages]

    @abstractmethod
    def read(self, scan: Scan, calls: Calls) -> Reader[None]:
        """Reads calls, which begin here with one of the starts. Raises: Unreadable."""

    @abstractmethod
    def body(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """The grammar of what follows `opening`: one call, or with `several` one or more.

        Raises: BadSchema for arguments that the dialect cannot be held to.
        """

    def said(self, lark: Lark, text: str) -> str:
        """The grammar of an answer that is this text, which is an expression."""
        del lark
        return text

    def only_calls(self, lark: Lark, tools: Sequence[Function], *, several: bool) -> str:
        """The grammar of an answer that is calls and nothing else."""
        body = self.body(lark, tools, several=several)
        return f"{lark.literal(self.opening)} {body}" if self.opening else body

    def calls_or_text(
        self, lark: Lark, tools: Sequence[Function], *, several: bool, text: str | None = None
    ) -> str:
        """The grammar of an answer that is calls or, without `text`, text with or without calls.

        With `text`, which is an expression, what is no call is that.
        """
        if text is not None:
            return f"({self.only_calls(lark, tools, several=several)} | {text})"
        body = self.body(lark, tools, several=several)
        # Text in which a reader would find a call, that no grammar has held to anything, is none.
        starts = self.starts_for([tool.name for tool in tools])
        text = lark.text(starts)
        if self.opening:
            others = [start for start in starts if start != self.opening]
            return f"({lark.until(self.opening, never=others)} {body} | {text})"
        return f"({body} | {text})"


def whole_json(text: str) -> Mapping[str, Any] | None:
    """The JSON object that a text is, if it is one."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
