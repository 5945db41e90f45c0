"""A conversation to token ids: the template's control tokens are, a person's never become, tokens.

Room: chat. Knows templates, dialects and a tokenizer's face; must not know requests or engines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.chat.control import ControlStrings
from freehold.chat.history import call_names, normalised, with_calls
from freehold.chat.reasoning import reasoning_of, starts_in_reasoning, thinking_variables
from freehold.chat.tools import Tool, ToolChoice
from freehold.errors import BadRequest, TemplateError

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
class _Form:
    """How a conversation is to be rendered, besides its messages."""

    tools: Sequence[Tool]
    thinking: bool | None
    variables: Mapping[str, Any]
    continue_final_message: bool


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
    form = _Form(
        () if tool_choice is not None and tool_choice.kind == "none" else tools,
        thinking,
        variables or {},
        continue_final_message,
    )
    reasoning = reasoning_of(template.source)
    given = thinking_variables(reasoning, form.thinking, form.variables)
    told = dialect.history(normalised(messages))
    _check_final(told, form)
    control = ControlStrings.of(tokenizer)
    told, offered, marks = _guarded(told, form.tools, control)
    text = _Rendering(template, dialect, told, offered, given, marks).text(form)
    tokens = _encode(text, tokenizer, control, marks.guard)
    plain = _unmarked(text, marks.guard)[-_TAIL:]
    if form.continue_final_message and reasoning is not None:
        said = str(messages[-1].get("content") or "")
        inside = said.rfind(reasoning.start) > said.rfind(reasoning.end)
        inside = inside or (not said and starts_in_reasoning(plain, reasoning))
    else:
        inside = starts_in_reasoning(plain, reasoning)
    return RenderedPrompt(tokens, plain, inside)


def _check_final(messages: Sequence[Mapping[str, Any]], form: _Form) -> None:
    if not messages:
        raise BadRequest("there are no messages", param="messages", expected="at least one")
    if form.continue_final_message and messages[-1].get("role") != "assistant":
        raise BadRequest(
            "there is no message of the assistant's to continue",
            param="messages",
            expected="an assistant message at the end",
            found=f"one of the role {messages[-1].get('role')!r}",
        )


@dataclass(frozen=True)
class _Marks:
    """Two characters that stand nowhere in the conversation.

    `guard` is put inside what would read as a control token, `end` after the message to continue.
    """

    guard: str
    end: str
    used: bool


def _guarded(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Tool], control: ControlStrings
) -> tuple[list[dict[str, Any]], list[Tool], _Marks]:
    """The conversation with its control strings broken, where there are any."""
    given = [tool.for_template() for tool in tools]
    texts = [*_texts(list(messages)), *_texts(given)]
    free = (mark for mark in _MARKS if not any(mark in text for text in texts))
    guard, end = next(free, ""), next(free, "")
    if not end:
        raise BadRequest("the messages hold every character of the private use area")
    if not any(control.broken_by(text, guard) is not text for text in texts):
        return [dict(message) for message in messages], list(tools), _Marks(guard, end, False)

    def broken(value: Any, key: str = "") -> Any:
        if isinstance(value, str):
            return value if key in _NOT_TEXT and not control.occur_in(value) else _break(value)
        if isinstance(value, Mapping):
            return {_break(k): broken(inner, k) for k, inner in value.items()}
        if isinstance(value, list | tuple):
            return [broken(inner) for inner in value]
        return value

    def _break(text: str) -> str:
        return control.broken_by(text, guard)

    safe = [
        Tool(
            name=_break(tool.name),
            description=_break(tool.description),
            parameters=broken(tool.parameters),
            strict=tool.strict,
        )
        for tool in tools
    ]
    return [broken(message) for message in messages], safe, _Marks(guard, end, True)


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


@dataclass(frozen=True)
class _Rendering:
    """The ways in which one conversation can be given to a template, tried in order."""

    template: ChatTemplate
    dialect: Dialect
    messages: list[dict[str, Any]]
    tools: list[Tool]
    variables: Mapping[str, Any]
    marks: _Marks

    def text(self, form: _Form) -> str:
        """The rendered conversation. Raises: TemplateError, the first way's."""
        first: TemplateError | None = None
        for messages in self._ways():
            try:
                text = self._rendered(messages, form)
                self._check_whole(messages, text)
            except TemplateError as error:
                first = first or error
            else:
                return text
        assert first is not None, "there is at least one way"
        raise first

    def _ways(self) -> Iterator[list[dict[str, Any]]]:
        """The conversation, then what templates of narrower views may read."""
        ways = [self.messages]
        if any(True for _ in call_names(self.messages)) and not self.dialect.tells_tools:
            forms = ((False, True), (True, False), (True, True))
            ways += [
                with_calls(self.messages, as_text=as_text, no_content=no_content)
                for as_text, no_content in forms
            ]
        for way in ways:
            yield [dict(message) for message in self.dialect.inject(way, self.tools)]
        if self.dialect.tells_tools and self.tools and self.messages[0]["role"] != "system":
            # Some templates know no system message.
            told, *rest = self.dialect.inject(self.messages, self.tools)
            if rest and rest[0]["role"] == "user":
                content = f"{told['content']}\n\n{rest[0]['content']}"
                yield [{**rest[0], "content": content}, *map(dict, rest[1:])]

    def _rendered(self, messages: list[dict[str, Any]], form: _Form) -> str:
        if form.continue_final_message:
            final = messages[-1]
            messages = [*messages[:-1], {**final, "content": f"{final['content']}{self.marks.end}"}]
        tools = None
        if self.tools and not self.dialect.tells_tools:
            tools = [tool.for_template() for tool in self.tools]
        text = self.template.render(
            messages,
            tools=tools,
            add_generation_prompt=not form.continue_final_message,
            variables=self.variables,
        )
        if not form.continue_final_message:
            return text
        before, *after = text.split(self.marks.end)
        if len(after) != 1:
            raise TemplateError(
                "the chat template does not render the final message as it is, so that it cannot "
                "be continued",
                hint="end with a message of the user's",
            )
        return before

    def _check_whole(self, messages: Sequence[Mapping[str, Any]], text: str) -> None:
        """Raises: TemplateError when the template left out a system message or a call."""
        for place, message in enumerate(messages):
            if message["role"] == "system" and not _is_told(str(message["content"]), text):
                raise TemplateError(
                    f"the chat template leaves out the system message at messages.{place}",
                    value=place,
                    hint="send one system message, first",
                )
        for name, arguments in call_names(messages):
            # Python's way of writing a mapping: the template expected a text.
            unread = bool(arguments) and f"{arguments}" in text and not isinstance(arguments, str)
            if name not in text or unread:
                raise TemplateError(
                    "the chat template leaves out the tool calls of earlier messages, or their "
                    "arguments",
                    hint="the model was not taught tool calls of this form",
                )


def _is_told(content: str, text: str) -> bool:
    """Whether a system message is in the prompt; switches that templates take out aside."""
    for switch in ("/no_think", "/think", "/system_override"):
        content = content.replace(switch, "\n")
    return all(line.strip() in text for line in content.split("\n"))


def _unmarked(text: str, mark: str) -> str:
    """The text without marks, also where a template wrote them as JSON escapes."""
    escape = f"\\u{ord(mark):04x}"
    return text.replace(mark, "").replace(escape, "")


def _encode(text: str, tokenizer: Tokenizer, control: ControlStrings, mark: str) -> list[int]:
    if _unmarked(text, mark) == text:
        return tokenizer.encode(text, add_bos=False, parse_special=True)
    tokens: list[int] = []
    for part in _joined(control.split(text), mark):
        if isinstance(part, int):
            tokens.append(part)
        else:
            tokens += tokenizer.encode(part, add_bos=False)
    return tokens


def _joined(parts: Iterable[int | str], mark: str) -> Iterator[int | str]:
    for part in parts:
        plain = part if isinstance(part, int) else _unmarked(part, mark)
        if plain != "":
            yield plain
