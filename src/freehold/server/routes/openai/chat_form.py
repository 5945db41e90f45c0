"""The body of /v1/chat/completions: every documented field, and what becomes of it.

Room: server. Turns the body into an `Ask`; must not know how an answer is sent.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from freehold.chat.tools import ToolChoice
from freehold.errors import BadRequest, UnsupportedField
from freehold.server.ask import Ask
from freehold.server.routes.openai.forms import NotOffered, in_one_of_its_forms
from freehold.server.routes.openai.messages import MessageForm, template_messages, with_system_text
from freehold.server.routes.openai.sampling import SHARED_NOT_OFFERED, SamplingFields
from freehold.server.routes.openai.structure import StructureFields
from freehold.server.routes.openai.tooling import (
    MAX_TOOLS,
    FunctionToolForm,
    ToolChoiceField,
    tools_and_choice,
)

if TYPE_CHECKING:
    from freehold.server.resident import Resident

__all__ = [
    "ChatCompletionBody",
    "TemplateVariables",
    "check_names",
    "continues",
    "has_names",
    "template_choices",
]

_MAX_MESSAGES = 4096
_NO_FUNCTIONS = "use tools and tool_choice, which replaced it"

Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
TemplateVariables = Annotated[
    dict[str, bool | int | Annotated[str, Field(max_length=256)]],
    Field(max_length=16),
    in_one_of_its_forms("at most 16 names, each with true, false, a whole number or a short text"),
]

# What a request may set in a template; anything else could rewrite the conversation.
_ALLOWED_VARIABLES = frozenset(
    {
        "clear_thinking",
        "date_string",
        "enable_thinking",
        "preserve_thinking",
        "reasoning_effort",
        "strftime_now",
        "thinking",
        "thinking_budget",
        "tools_in_user_message",
    }
)
_THINKING = ("enable_thinking", "thinking")


class ChatCompletionBody(SamplingFields, StructureFields):
    """A conversation to continue."""

    not_offered: ClassVar = SHARED_NOT_OFFERED | {
        "add_special_tokens": NotOffered("the template writes them", (False,)),
        "audio": NotOffered("the model writes text only"),
        "best_of": NotOffered("use n", (1,)),
        "chat_template": NotOffered("the model's own template is used"),
        "documents": NotOffered("put documents into the messages", ([],)),
        "echo": NotOffered("use /v1/completions", (False,)),
        "function_call": NotOffered(_NO_FUNCTIONS, ("none",)),
        "functions": NotOffered(_NO_FUNCTIONS, ([],)),
        "include_reasoning": NotOffered("reasoning is always given, apart", (True,)),
        "modalities": NotOffered("the model writes text only", (["text"],)),
        "moderation": NotOffered("nothing is moderated here"),
        "prediction": NotOffered("the model writes every token itself"),
        "prompt_cache_options": NotOffered(
            "shared beginnings of prompts are cached without being asked",
            ({}, {"mode": "implicit"}),
        ),
        "prompt_cache_retention": NotOffered("the cache lives in memory", ("in_memory",)),
        "store": NotOffered("chat completions are not kept; /v1/responses can be", (False,)),
        "verbosity": NotOffered("say in a message how long the answer shall be", ("medium",)),
        "web_search_options": NotOffered("nothing is fetched from the web"),
    }

    messages: Annotated[list[MessageForm], Field(min_length=1, max_length=_MAX_MESSAGES)]
    max_completion_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = Field(
        None, description="Tokens of reasoning and answer together. Default: up to the context."
    )
    max_tokens: Annotated[int, Field(ge=1, lt=1 << 31)] | None = Field(
        None, description="The older name of max_completion_tokens."
    )
    tools: Annotated[list[FunctionToolForm], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: ToolChoiceField | None = None
    parallel_tool_calls: bool | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    reasoning_effort: Effort | None = Field(
        None, description="none: do not think. Any other: think; models that know levels see which."
    )
    service_tier: Literal["auto", "default", "flex", "scale", "priority", "fast"] | None = Field(
        None, description="There is one tier, default."
    )
    metadata: (
        Annotated[
            dict[
                Annotated[str, Field(max_length=64)],
                Annotated[str, Field(max_length=512)],
            ],
            Field(max_length=16),
        ]
        | None
    ) = Field(None, description="Given back with the answer; not kept.")
    prompt_cache_key: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="Accepted. Prompts with the same beginning share the cache anyway."
    )
    safety_identifier: Annotated[str, Field(max_length=128)] | None = Field(
        None, description="Accepted. Nobody but this server's owner judges what is asked."
    )
    chat_template_kwargs: TemplateVariables | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = Field(
        None, description="Go on with the last message, the assistant's, instead of a new one."
    )

    def ask(self, resident: Resident) -> Ask:
        """The request in the words all surfaces share.

        Raises: BadRequest or UnsupportedField, naming the field.
        """
        self.check_stream()
        self._check_tier()
        tools, choice = tools_and_choice(self.tools or (), self.tool_choice)
        messages = template_messages(self.messages)
        if told := self.told():
            messages = with_system_text(messages, told)
        thinking, variables = self._thinking(resident)
        vocab_size = resident.tokenizer.vocab_size
        return Ask(
            model=resident.name,
            messages=messages,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=self._parallel(choice),
            response_format=self.structure(),
            sampling=self.sampling(vocab_size),
            unsaid=self.unsaid(),
            max_tokens=self._limit(),
            stop=tuple(self.stop or ()),
            stop_token_ids=self.stops(vocab_size),
            ignore_eos=self.ignore_eos is True,
            n=self.n or 1,
            logprobs=self._logprobs(),
            prompt_logprobs=self.prompt_logprobs,
            thinking=thinking,
            template_variables=variables,
            continue_final_message=self._continues(),
        )

    def _check_tier(self) -> None:
        if self.service_tier is not None and self.service_tier not in ("auto", "default"):
            raise UnsupportedField(
                "there is one service tier",
                param="service_tier",
                expected="auto or default",
                found=self.service_tier,
            )

    def _limit(self) -> int | None:
        old, new = self.max_tokens, self.max_completion_tokens
        if old is not None and new is not None and old != new:
            raise BadRequest(
                "max_tokens and max_completion_tokens are two names of one limit and differ",
                param="max_tokens",
            )
        return old if new is None else new

    def _parallel(self, choice: ToolChoice) -> bool:
        """Several calls unless one is named, which asks for that one."""
        if self.parallel_tool_calls is None:
            return choice.kind != "named"
        return self.parallel_tool_calls

    def _logprobs(self) -> int | None:
        if self.logprobs:
            return self.top_logprobs or 0
        if self.top_logprobs:
            raise BadRequest("top_logprobs needs logprobs", param="top_logprobs")
        return None

    def _thinking(self, resident: Resident) -> tuple[bool | None, dict[str, Any]]:
        thinking, variables = template_choices(self.chat_template_kwargs or {}, resident)
        if self.reasoning_effort is None:
            return thinking, variables
        wanted = self.reasoning_effort != "none"
        if thinking not in (None, wanted):
            raise BadRequest(
                "reasoning_effort and chat_template_kwargs contradict each other",
                param="reasoning_effort",
            )
        if wanted and _reads(resident, "reasoning_effort"):
            variables.setdefault("reasoning_effort", self.reasoning_effort)
        return wanted, variables

    def _continues(self) -> bool:
        return continues(
            self.messages,
            add_prompt=self.add_generation_prompt,
            continue_final=self.continue_final_message,
        )


def continues(
    messages: list[MessageForm], *, add_prompt: bool | None, continue_final: bool | None
) -> bool:
    """Whether the last message is gone on with.

    Raises: BadRequest, UnsupportedField for choices that contradict each other or the messages.
    """
    if not continue_final:
        if add_prompt is False:
            raise UnsupportedField(
                "an answer needs the generation prompt",
                param="add_generation_prompt",
                hint="set continue_final_message, or use /v1/completions",
            )
        return False
    if add_prompt:
        raise BadRequest(
            "continue_final_message and add_generation_prompt exclude each other",
            param="add_generation_prompt",
        )
    if messages[-1].role != "assistant" or messages[-1].tool_calls:
        raise BadRequest(
            "only an assistant's text can be gone on with",
            param="continue_final_message",
            hint="end messages with one of the role assistant",
        )
    return True


def template_choices(
    given: dict[str, Any], resident: Resident
) -> tuple[bool | None, dict[str, Any]]:
    """Whether to think, and the variables for the template, of the names a request may set.

    Raises: UnsupportedField for another name, or one that the model's template does not read.
    """
    thinking: bool | None = None
    variables: dict[str, Any] = {}
    for name, value in given.items():
        param = f"chat_template_kwargs.{name}"[:100]
        if name not in _ALLOWED_VARIABLES:
            raise UnsupportedField(
                "a request may not set this variable of the template",
                param=param,
                expected="one of " + ", ".join(sorted(_ALLOWED_VARIABLES)),
            )
        if name in _THINKING:
            if not isinstance(value, bool) or thinking not in (None, value):
                raise BadRequest("thinking is either on or off", param=param)
            thinking = value
        elif _reads(resident, name):
            variables[name] = value
        else:
            raise UnsupportedField("the model's template does not read this variable", param=param)
    return thinking, variables


def _reads(resident: Resident, name: str) -> bool:
    return resident.template is not None and name in resident.template.source


def has_names(ask: Ask) -> bool:
    """Whether a message says who wrote it."""
    return bool(_named(ask))


def _named(ask: Ask) -> list[int]:
    """The messages with an author's name, by their places."""
    messages = enumerate(ask.messages or ())
    return [i for i, m in messages if "name" in m and m["role"] != "tool"]


def check_names(ask: Ask, resident: Resident) -> None:
    """Refuse names of authors that the model would never see.

    Whether its template shows them is tried out: the prompt must change when they are left out.

    Raises: UnsupportedField, naming the first message whose name has no effect.
    """
    messages = ask.messages or ()
    named = _named(ask)
    if not named:
        return
    shown = resident.prompt(ask)
    for role in sorted({messages[i]["role"] for i in named}):
        own = [i for i in named if messages[i]["role"] == role]
        without = tuple(
            {key: value for key, value in message.items() if key != "name" or i not in own}
            for i, message in enumerate(messages)
        )
        if resident.prompt(replace(ask, messages=without)) == shown:
            raise UnsupportedField(
                f"the model's template does not show the names of {role} messages",
                param=f"messages.{own[0]}.name",
                hint="write the name into the content",
            )
