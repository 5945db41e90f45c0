"""Nothing that Anthropic's own types name is unknown here: each is honoured, or refused by name.

Oracle: the `anthropic` package's types, stable and beta.
"""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest
from anthropic.types import (
    ContentBlockParam,
    MessageCountTokensParams,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlockParam,
)
from anthropic.types.beta import (
    BetaContentBlockParam,
    BetaOutputConfigParam,
    BetaThinkingConfigParam,
    BetaToolChoiceParam,
)
from anthropic.types.beta.message_count_tokens_params import (
    MessageCountTokensParams as BetaCountParams,
)
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaParams
from anthropic.types.message_create_params import MessageCreateParamsBase
from pydantic import BaseModel

from freehold.server.routes.anthropic import requests
from freehold.server.routes.anthropic.requests import CountBody, MessagesBody

# What the client sends as headers, which select nothing here.
HEADERS = {"betas", "user_profile_id", "workspace_id"}

FORMS: list[tuple[Any, type[BaseModel]]] = [
    (MessageCreateParamsBase, MessagesBody),
    (BetaParams, MessagesBody),
    (MessageCountTokensParams, CountBody),
    (BetaCountParams, CountBody),
    (ToolParam, requests.CustomTool),
    (ToolUseBlockParam, requests.ToolUseBlock),
    (ToolResultBlockParam, requests.ToolResultBlock),
    (BetaOutputConfigParam, requests.OutputConfig),
]


def names_of(form: type[BaseModel]) -> set[str]:
    return {field.alias or name for name, field in form.model_fields.items()}


@pytest.mark.parametrize(("theirs", "ours"), FORMS)
def test_every_field_is_known(theirs: Any, ours: type[BaseModel]) -> None:
    assert set(theirs.__annotations__) - HEADERS - names_of(ours) == set()


def kinds_of(union: Any) -> set[str]:
    """The types that tell a union's members apart; unions may hold unions."""
    if get_origin(union) is Annotated:
        return kinds_of(get_args(union)[0])
    if members := get_args(union):
        return {kind for member in members for kind in kinds_of(member)}
    if isinstance(union, type) and issubclass(union, BaseModel):
        return known_kinds(union)
    return set(get_args(get_type_hints(union)["type"]))


def known_kinds(*forms: type[BaseModel]) -> set[str]:
    return {kind for form in forms for kind in get_args(form.model_fields["type"].annotation)}


@pytest.mark.parametrize("union", [ContentBlockParam, BetaContentBlockParam])
def test_every_block_is_known(union: Any) -> None:
    ours = known_kinds(
        requests.TextBlock,
        requests.ThinkingBlock,
        requests.ToolUseBlock,
        requests.ToolResultBlock,
        requests.OtherBlock,
    )
    assert kinds_of(union) - ours == set()


def test_every_way_of_thinking_is_known() -> None:
    ours = known_kinds(
        requests.EnabledThinking,
        requests.AdaptiveThinking,
        requests.DisabledThinking,
        requests.OtherThinking,
    )
    assert kinds_of(BetaThinkingConfigParam) == ours


def test_every_choice_of_tools_is_known() -> None:
    ours = known_kinds(
        requests.ToolChoiceAuto,
        requests.ToolChoiceAny,
        requests.ToolChoiceTool,
        requests.ToolChoiceNone,
    )
    assert kinds_of(BetaToolChoiceParam) == ours
