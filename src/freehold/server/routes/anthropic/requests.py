"""The bodies of Anthropic's Messages interface, field by field.

Room: server. Knows the form of a request only; what a field means is said in `asks.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

__all__ = [
    "AdaptiveThinking",
    "CacheControl",
    "CountBody",
    "CustomTool",
    "DisabledThinking",
    "EnabledThinking",
    "JsonFormat",
    "Message",
    "MessagesBody",
    "OtherBlock",
    "OtherThinking",
    "OtherTool",
    "OutputConfig",
    "TextBlock",
    "ThinkingBlock",
    "ToolChoiceAny",
    "ToolChoiceAuto",
    "ToolChoiceNone",
    "ToolChoiceTool",
    "ToolResultBlock",
    "ToolUseBlock",
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class CacheControl(_Form):
    """Where a client would like the prompt cached: the prefix cache keeps every prefix anyway."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


class TextBlock(_Form):
    """Text, in a message, in a tool's result or in the system prompt."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: list[Any] | None = None


class ThinkingBlock(_Form):
    """What the model wrote to itself in an earlier turn."""

    type: Literal["thinking"]
    thinking: str
    signature: str


class ToolUseBlock(_Form):
    """A tool call of an earlier turn."""

    type: Literal["tool_use"]
    id: str = Field(min_length=1)
    name: str = Field(min_length=1)
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None
    toolset_name: str | None = None


class OtherBlock(BaseModel):
    """A block that the interface defines and no text model can be given."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: Literal[
        "advisor_tool_result",
        "bash_code_execution_tool_result",
        "browser_state",
        "code_execution_tool_result",
        "compaction",
        "container_upload",
        "document",
        "fallback",
        "image",
        "mcp_tool_listing",
        "mcp_tool_result",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "text_editor_code_execution_tool_result",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_search_tool_result",
        "web_fetch_tool_result",
        "web_search_tool_result",
    ]


def _as_blocks(content: object) -> object:
    """A text is short for one text block. Before the check, so that errors name a plain path."""
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


_ResultBlock = Annotated[TextBlock | OtherBlock, Field(discriminator="type")]
_ResultContent = Annotated[
    list[_ResultBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[_ResultBlock])
]


class ToolResultBlock(_Form):
    """What a tool gave back."""

    type: Literal["tool_result"]
    tool_use_id: str
    content: _ResultContent = Field(default_factory=list)
    is_error: bool = False
    cache_control: CacheControl | None = None
    toolset_name: str | None = None


_Block = Annotated[
    TextBlock | ThinkingBlock | ToolUseBlock | ToolResultBlock | OtherBlock,
    Field(discriminator="type"),
]
_Content = Annotated[
    list[_Block], BeforeValidator(_as_blocks, json_schema_input_type=str | list[_Block])
]
_System = Annotated[
    list[TextBlock], BeforeValidator(_as_blocks, json_schema_input_type=str | list[TextBlock])
]


class Message(_Form):
    """One turn, or part of one."""

    role: Literal["user", "assistant", "system"]
    content: _Content


class CustomTool(_Form):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")
    description: str = ""
    input_schema: dict[str, Any]
    strict: bool = False
    cache_control: CacheControl | None = None
    allowed_callers: list[str] | None = None
    defer_loading: bool = False
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, Any]] | None = None


class OtherTool(BaseModel):
    """A tool of Anthropic's own: run by their servers, or one their models were taught."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str


def _kind_of_tool(tool: object) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "custom" if kind in (None, "custom") else "other"


_Tool = Annotated[
    Annotated[CustomTool, Tag("custom")] | Annotated[OtherTool, Tag("other")],
    Discriminator(_kind_of_tool),
]


class ToolChoiceAuto(_Form):
    """The model decides."""

    type: Literal["auto"]
    disable_parallel_tool_use: bool = False


class ToolChoiceAny(_Form):
    """Some tool must be called."""

    type: Literal["any"]
    disable_parallel_tool_use: bool = False


class ToolChoiceTool(_Form):
    """This tool must be called."""

    type: Literal["tool"]
    name: str
    disable_parallel_tool_use: bool = False


class ToolChoiceNone(_Form):
    """No tool may be called."""

    type: Literal["none"]


_ToolChoice = Annotated[
    ToolChoiceAuto | ToolChoiceAny | ToolChoiceTool | ToolChoiceNone, Field(discriminator="type")
]


class EnabledThinking(_Form):
    """Think, within a budget."""

    type: Literal["enabled"]
    budget_tokens: int = Field(ge=1024)
    display: Literal["summarized", "omitted", "updates"] | None = None
    block_binding: Any = None


class AdaptiveThinking(_Form):
    """The model decides whether to think, and how long."""

    type: Literal["adaptive"]
    display: Literal["summarized", "omitted", "updates"] | None = None
    block_binding: Any = None


class DisabledThinking(_Form):
    """Do not think."""

    type: Literal["disabled"]


class OtherThinking(_Form):
    """Think only between tool calls."""

    type: Literal["between_tools"]


_Thinking = Annotated[
    EnabledThinking | AdaptiveThinking | DisabledThinking | OtherThinking,
    Field(discriminator="type"),
]


class JsonFormat(_Form):
    """The answer is JSON by this schema."""

    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(_Form):
    """What the answer looks like."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: JsonFormat | None = None
    task_budget: Any = None


class _Metadata(_Form):
    user_id: str | None = None


class CountBody(_Form):
    """What `/v1/messages/count_tokens` takes, and `/v1/messages` too."""

    model: str = Field(min_length=1)
    messages: list[Message] = Field(min_length=1, max_length=100_000)
    system: _System = Field(default_factory=list)
    tools: list[_Tool] = Field(default_factory=list)
    tool_choice: _ToolChoice | None = None
    thinking: _Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JsonFormat | None = None
    cache_control: CacheControl | None = None
    speed: Literal["standard", "fast"] | None = None
    # Refused by name when they say something: see `asks.REFUSED`.
    billing_policy: Any = None
    compaction: Any = None
    context_management: Any = None
    mcp_servers: Any = None


class MessagesBody(CountBody):
    """What `/v1/messages` takes."""

    max_tokens: int = Field(ge=0)
    stream: bool = False
    stop_sequences: list[Annotated[str, Field(min_length=1)]] = Field(default_factory=list)
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    metadata: _Metadata | None = None
    service_tier: Literal["auto", "standard_only"] | None = None
    container: Any = None
    diagnostics: Any = None
    fallbacks: Any = None
    fallback_credit_token: Any = None
    inference_geo: Any = None
    thread: Any = None
