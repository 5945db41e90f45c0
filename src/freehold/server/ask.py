"""One request in the words all surfaces share, and the events of its answer.

Room: server. Every surface turns its own JSON into an `Ask` and events back into its own form;
must not know any surface.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from freehold.chat.tools import ResponseFormat, Tool, ToolChoice
from freehold.engine.sampler import Sampling

__all__ = [
    "SUGGESTED",
    "WINDOW",
    "Ask",
    "Choice",
    "Collected",
    "Event",
    "Finish",
    "ReasoningDelta",
    "TextDelta",
    "TokenText",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallStart",
    "Usage",
]


# What a model's maker may recommend; how far back the penalty looks goes with the penalty.
SUGGESTED = frozenset({"temperature", "top_k", "top_p", "min_p", "repetition_penalty"})
WINDOW = "repetition_window"


@dataclass(frozen=True, kw_only=True)
class Ask:
    """Messages to answer, or a prompt to continue; exactly one of the two is given.

    `messages` have the form chat templates expect: role, content (a text), for an assistant
    `tool_calls` ([{"id", "type": "function", "function": {"name", "arguments": mapping}}]) and
    `reasoning_content`, for a tool's result `tool_call_id` and `name`. `max_tokens` None: up to the
    context. `thinking` None: as the template has it. `stop` texts end the answer and are not part
    of it. `template_variables` are allowed names only. `unsaid` are the names in `sampling` that
    the request left open: what the model's maker recommends comes first there.
    """

    model: str
    messages: tuple[Mapping[str, Any], ...] | None = None
    prompt: str | tuple[int, ...] | None = None
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice = field(default_factory=ToolChoice)
    parallel_tool_calls: bool = True
    response_format: ResponseFormat | None = None
    sampling: Sampling = field(default_factory=Sampling)
    unsaid: frozenset[str] = frozenset()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    n: int = 1
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    thinking: bool | None = None
    template_variables: Mapping[str, Any] = field(default_factory=dict)
    continue_final_message: bool = False
    deadline_s: float | None = None


@dataclass(frozen=True)
class TokenText:
    """A token with its text, bytes and log probability; `top` are the likeliest at its place."""

    token: int
    text: str
    bytes: bytes
    logprob: float
    top: tuple[TokenText, ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text (whole characters), with its tokens' log probabilities."""

    choice: int
    text: str
    logprobs: tuple[TokenText, ...] = ()


@dataclass(frozen=True)
class ReasoningDelta:
    """A piece of what the model wrote to itself before answering."""

    choice: int
    text: str


@dataclass(frozen=True)
class ToolCallStart:
    """A tool call begins; `index` counts the calls of this choice."""

    choice: int
    index: int
    id: str
    name: str


@dataclass(frozen=True)
class ToolCallDelta:
    """A piece of a call's arguments; joined they are one JSON object."""

    choice: int
    index: int
    arguments: str


@dataclass(frozen=True)
class Finish:
    """A choice is complete: "stop", "length" or "tool_calls".

    `stop_sequence` is the stop text that ended it, if one did; `ended_by` the token that did, where
    log probabilities were asked for.
    """

    choice: int
    reason: str
    stop_sequence: str | None = None
    ended_by: TokenText | None = None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Tokens of the whole request; the last event. `cached_tokens` are part of the prompt's."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    prompt_s: float = 0.0
    generate_s: float = 0.0


Event = TextDelta | ReasoningDelta | ToolCallStart | ToolCallDelta | Finish | Usage


@dataclass(frozen=True)
class ToolCall:
    """A whole tool call; `arguments` is a JSON object as text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Choice:
    """One whole answer."""

    index: int
    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    stop_sequence: str | None = None
    logprobs: tuple[TokenText, ...] = ()
    ended_by: TokenText | None = None


@dataclass(frozen=True)
class Collected:
    """All answers of a request."""

    choices: tuple[Choice, ...]
    usage: Usage
    prompt_logprobs: tuple[TokenText | None, ...] | None = None
