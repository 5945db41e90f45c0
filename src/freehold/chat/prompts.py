"""A conversation to token ids: the template's control tokens are, a person's never become, tokens.

Room: chat. Knows templates, dialects and a tokenizer's face; must not know requests or engines.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from freehold.chat.control import ControlStrings
from freehold.chat.history import normalised
from freehold.chat.reasoning import (
    ReasoningFormat,
    reasoning_of,
    starts_in_reasoning,
    thinking_variables,
)
from freehold.chat.rendering import Rendering
from freehold.chat.tools import Tool, ToolChoice
from freehold.errors import BadRequest, UnsupportedField

if TYPE_CHECKING:
    from freehold.chat.dialects import Dialect
    from freehold.chat.templates import ChatTemplate
    from freehold.tokenizer import Tokenizer

__all__ = ["RenderedPrompt", "prompt_tokens"]

_TAIL = 256

# Characters of the private use area: no language has them, few texts do.
_MARKS = [chr(code) for code in range(0xE000, 0xE100)]

# What a template compares with its own words, and what is no text.
_NOT_TEXT = frozenset({"role", "type", "id", "tool_call_id"})


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt's tokens, the last characters of its text, and where its answer starts."""

    tokens: list[int]
    tail: str
    starts_in_reasoning: bool


def prompt_tokens(  # noqa: PLR0913 - the parts of a request that a prompt is made of
    template: ChatTemplate,
    tokenizer: Tokenizer,
    messages: Sequence[Mapping[str, Any]],
    *,
    dialect: Dialect,
    tools: Sequence[Tool] = (),
    tool_choice: ToolChoice | None = None,
    thinking: bool | None = None,
    variables: Mapping[str, Any] | None = None,
    continue_final_message: bool = False,
) -> RenderedPrompt:
    """The prompt for a conversation. The model hears of no tools where it may call none.

    Raises: TemplateError when the template refuses the conversation or would leave out a system
    message or a tool call; BadRequest for arguments that are no JSON object or no final message to
    continue; UnsupportedField for thinking that cannot be turned on or off.
    """
    reasoning = reasoning_of(template.source)
    names = thinking_variables(reasoning, thinking, variables or {})
    told = dialect.history(normalised(messages))
    _check_final(told, continues=continue_final_message)
    offered = () if tool_choice is not None and tool_choice.kind == "none" else tools
    control = ControlStrings.of(tokenizer)
    given = _Given(told, list(offered), names)
    marks = _free_marks([template.source, *given.texts()])
    written = [*dialect.markers, *(reasoning.markers if reasoning else ())]
    own = ControlStrings.written(tokenizer, written)
    safe = given.guarded(control, marks.inside).guarded(own, marks.apart, besides="assistant")
    rendering = Rendering(template, dialect, safe.tools, safe.variables)
    if continue_final_message:
        text = rendering.text_before(safe.messages, marks.end)
        inside = _breaks_off_inside(messages[-1], text, reasoning)
    else:
        text = rendering.text(safe.messages)
        inside = starts_in_reasoning(text[-_TAIL:], reasoning)
    if inside and thinking is False:
        raise UnsupportedField(
            "this model's template does not turn reasoning off", param="thinking", value=False
        )
    tokens = _encode(text, tokenizer, control, marks)
    return RenderedPrompt(tokens, marks.out_of(text[-_TAIL:]), inside)


def _check_final(messages: Sequence[Mapping[str, Any]], *, continues: bool) -> None:
    if not messages:
        raise BadRequest("there are no messages", param="messages", expected="at least one")
    if continues and messages[-1].get("role") != "assistant":
        raise BadRequest(
            "there is no message of the assistant's to continue",
            param="messages",
            expected="an assistant message at the end",
            found=f"one of the role {messages[-1].get('role')!r}",
        )


def _breaks_off_inside(
    final: Mapping[str, Any], text: str, reasoning: ReasoningFormat | None
) -> bool:
    """Whether a message to continue ends within reasoning."""
    if reasoning is None:
        return False
    said = str(final.get("content") or "")
    begun = said.rfind(reasoning.start) > said.rfind(reasoning.end)
    return begun or (not said and starts_in_reasoning(text, reasoning))


@dataclass(frozen=True)
class _Marks:
    """Characters that stand in none of the texts.

    `inside` what would read as a control token, which no text is; `apart` within what would read as
    a token that texts may be, such as `<tool_call>`; `end`: after a message to be continued.
    """

    inside: str
    apart: str
    end: str

    def out_of(self, text: str) -> str:
        """The text without marks, also where a template wrote them as JSON escapes."""
        return "".join(self.pieces(text))

    def pieces(self, text: str) -> list[str]:
        """The text without marks, in the pieces that are to be read apart."""
        for spelled in (self.inside, _escape(self.inside)):
            text = text.replace(spelled, "")
        return text.replace(_escape(self.apart), self.apart).split(self.apart)


def _escape(mark: str) -> str:
    return f"\\u{ord(mark):04x}"


def _free_marks(texts: Sequence[str]) -> _Marks:
    free = [mark for mark in _MARKS if not any(mark in text for text in texts)]
    if len(free) < 3:
        raise BadRequest("the messages hold every character of the private use area")
    return _Marks(*free[:3])


@dataclass(frozen=True)
class _Given:
    """What people wrote and a template renders."""

    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Tool]
    variables: Mapping[str, Any]

    def texts(self) -> Iterator[str]:
        """Every text in it."""
        tools = [tool.for_template() for tool in self.tools]
        return _texts([list(self.messages), tools, self.variables])

    def guarded(self, control: ControlStrings, mark: str, *, besides: str = "") -> _Given:
        """The same with its control strings broken by a mark, but in messages of one role."""

        def safe(value: Any, key: str = "") -> Any:
            if isinstance(value, str):
                keeps = key in _NOT_TEXT and not control.occur_in(value)
                return value if keeps else control.broken_by(value, mark)
            if isinstance(value, Mapping):
                return {control.broken_by(k, mark): safe(inner, k) for k, inner in value.items()}
            return [safe(inner) for inner in value] if isinstance(value, list | tuple) else value

        tools = [
            replace(
                tool,
                name=safe(tool.name),
                description=safe(tool.description),
                parameters=safe(tool.parameters),
            )
            for tool in self.tools
        ]
        variables = {name: safe(value, "type") for name, value in self.variables.items()}
        messages = [m if m.get("role") == besides else safe(m) for m in self.messages]
        return _Given(messages, tools, variables)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield key
            yield from _texts(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _texts(inner)


def _encode(text: str, tokenizer: Tokenizer, control: ControlStrings, marks: _Marks) -> list[int]:
    if marks.out_of(text) == text:
        return tokenizer.encode(text, add_bos=False, parse_special=True)
    tokens: list[int] = []
    for part in control.split(text):
        if isinstance(part, int):
            tokens.append(part)
            continue
        for piece in filter(None, marks.pieces(part)):
            tokens += tokenizer.encode(piece, add_bos=False)
    return tokens
