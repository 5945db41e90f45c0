"""The bodies of Ollama's interface, field by field.

Room: server. Knows the form of a request only; what a field means is said in `asks.py` and
`options.py`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "Call",
    "ChatBody",
    "EmbedBody",
    "EmbeddingsBody",
    "GenerateBody",
    "KeepAlive",
    "Message",
    "Options",
    "ShowBody",
    "ToolForm",
]


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _as_whole(value: object) -> object:
    """Clients whose numbers are all floats write 4096.0."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Whole = Annotated[int, BeforeValidator(_as_whole, json_schema_input_type=int)]
_Number = Annotated[float, Field(allow_inf_nan=False)]
_Texts = Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=str | list[str])]

KeepAlive = float | str
_Think = bool | Literal["low", "medium", "high", "max"]
_Format = Literal["", "json"] | dict[str, Any]


class Options(_Form):
    """How to answer. Null is the same as leaving a field out."""

    num_ctx: _Whole | None = Field(default=None, description="At most the model's own context.")
    num_predict: _Whole | None = Field(default=None, description="-1 and -2: up to the context.")
    temperature: _Number | None = Field(
        default=None,
        description="0: the likeliest token. Default: what the model recommends, else 0.8.",
    )
    top_k: _Whole | None = Field(
        default=None, description="0: all. Default: as recommended, else 40."
    )
    top_p: _Number | None = Field(default=None, description="Default: as recommended, else 0.9.")
    min_p: _Number | None = None
    seed: _Whole | None = Field(default=None, description="-1: another one each time.")
    stop: _Texts | None = None
    repeat_penalty: _Number | None = Field(default=None, description="Default 1, which is none.")
    repeat_last_n: _Whole | None = Field(default=None, description="Default 64; -1: everything.")
    presence_penalty: _Number | None = None
    frequency_penalty: _Number | None = None
    num_keep: _Whole | None = Field(
        default=None, description="Kept when a context is shifted; it never is: everything is kept."
    )
    mirostat_tau: _Number | None = Field(
        default=None, description="Means nothing without mirostat."
    )
    mirostat_eta: _Number | None = Field(
        default=None, description="Means nothing without mirostat."
    )
    # Refused by name unless neutral: see `options.NEUTRAL`.
    draft_num_predict: Any = None
    embedding_only: Any = None
    f16_kv: Any = None
    logits_all: Any = None
    low_vram: Any = None
    main_gpu: Any = None
    mirostat: Any = None
    num_batch: Any = None
    num_gpu: Any = None
    num_thread: Any = None
    numa: Any = None
    penalize_newline: Any = None
    tfs_z: Any = None
    typical_p: Any = None
    use_mlock: Any = None
    use_mmap: Any = None
    vocab_only: Any = None


class _Called(_Form):
    name: str = Field(min_length=1)
    arguments: dict[str, Any] = Field(default_factory=dict)
    index: int | None = None
    description: str | None = None


class Call(_Form):
    """A tool call of an earlier turn."""

    id: str | None = None
    type: Literal["function"] = "function"
    function: _Called


class Message(_Form):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    thinking: str | None = None
    images: list[Any] | None = None
    tool_calls: list[Call] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None


class _Function(_Form):
    name: str = Field(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")
    description: str = ""
    parameters: dict[str, Any] | None = None


class ToolForm(_Form):
    """A tool the model may call."""

    type: Literal["function"] = "function"
    function: _Function
    items: Any = None


class _Body(_Form):
    model: str = Field(min_length=1, max_length=512)
    keep_alive: KeepAlive | None = None
    options: Options | None = None


class _AnswerBody(_Body):
    stream: bool | None = Field(default=None, description="Default true.")
    format: _Format | None = Field(default=None, description="json, or a JSON Schema.")
    think: _Think | None = None
    logprobs: bool | None = None
    top_logprobs: _Whole | None = Field(default=None, ge=0, le=20)
    # Refused by name unless neutral.
    truncate: bool | None = None
    shift: bool | None = None
    debug_render_only: bool | None = Field(default=None, alias="_debug_render_only")


class ChatBody(_AnswerBody):
    """What `/api/chat` takes. Without messages it loads the model, or unloads it."""

    messages: list[Message] | None = None
    tools: list[ToolForm] | None = None


class GenerateBody(_AnswerBody):
    """What `/api/generate` takes. Without a prompt it loads the model, or unloads it."""

    prompt: str | None = None
    system: str | None = None
    raw: bool | None = Field(
        default=None, description="The prompt is not put into the chat template."
    )
    # Refused by name when they say something.
    suffix: str | None = None
    template: str | None = None
    context: list[Any] | None = None
    images: list[Any] | None = None
    width: int | None = None
    height: int | None = None
    steps: int | None = None


class EmbedBody(_Body):
    """What `/api/embed` takes."""

    input: _Texts
    truncate: bool | None = Field(
        default=None, description="True: cut what is too long, and say so. Otherwise it is refused."
    )
    dimensions: _Whole | None = None


class EmbeddingsBody(_Body):
    """What `/api/embeddings` takes, which `/api/embed` replaced."""

    prompt: str = ""


class ShowBody(_Form):
    """What `/api/show` takes. `name` is what `model` was called before."""

    model: str | None = None
    name: str | None = None
    verbose: bool | None = None
    # Refused by name when they say something.
    system: str | None = None
    template: str | None = None
    options: dict[str, Any] | None = None
