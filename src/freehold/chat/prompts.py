"""A conversation to token ids: the template's control tokens are, a person's never become, tokens.

Room: chat. Knows templates, dialects and a tokenizer's face; must not know requests or engines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from freehold.chat.control import ControlStrings
from freehold.chat.guarding import Given, encode, free_marks
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
    given = Given(told, list(offered), names)
    marks = free_marks([template.source, *given.texts()])
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
    tokens = encode(text, tokenizer, control, marks)
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
