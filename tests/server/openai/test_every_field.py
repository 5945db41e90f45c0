"""No field that OpenAI documents is unknown here: each is honoured or refused by name."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from openai.types import completion_create_params
from openai.types.chat import (
    ChatCompletionAssistantMessageParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolMessageParam,
    ChatCompletionUserMessageParam,
)
from openai.types.chat import (
    completion_create_params as chat_create_params,
)

from freehold.server.routes.openai.chat_form import ChatCompletionBody
from freehold.server.routes.openai.completions_form import CompletionBody
from freehold.server.routes.openai.forms import Body
from freehold.server.routes.openai.messages import MessageForm
from freehold.server.routes.openai.sampling import StreamOptions
from tests.server.openai.posting import chat_ask, chat_refusal, completion_ask, completion_refusal


def known(body: type[Body]) -> set[str]:
    return set(body.model_fields) | set(body.not_offered)


@pytest.mark.parametrize(
    ("documented", "body"),
    [
        (chat_create_params.CompletionCreateParamsStreaming, ChatCompletionBody),
        (completion_create_params.CompletionCreateParamsStreaming, CompletionBody),
        (ChatCompletionStreamOptionsParam, StreamOptions),
        (ChatCompletionUserMessageParam, MessageForm),
        (ChatCompletionAssistantMessageParam, MessageForm),
        (ChatCompletionToolMessageParam, MessageForm),
    ],
)
def test_every_documented_field_is_known(documented: Any, body: type[Body]) -> None:
    names = get_type_hints(documented)
    assert len(names) > 1
    assert set(names) - known(body) == set()


@pytest.mark.parametrize("body", [ChatCompletionBody, CompletionBody])
def test_no_field_is_both_honoured_and_refused(body: type[Body]) -> None:
    assert set(body.model_fields).isdisjoint(body.not_offered)


@pytest.mark.parametrize("name", sorted(ChatCompletionBody.not_offered))
def test_chat_refuses_by_name_what_it_does_not_offer(name: str) -> None:
    error = chat_refusal(**{name: {"something": "else"}})
    assert error["param"] == name
    assert error["code"] == "unsupported_parameter"
    assert name in error["message"]


@pytest.mark.parametrize("name", sorted(CompletionBody.not_offered))
def test_completions_refuse_by_name_what_they_do_not_offer(name: str) -> None:
    error = completion_refusal(**{name: {"something": "else"}})
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")


def test_values_that_mean_off_are_accepted() -> None:
    for name, field in ChatCompletionBody.not_offered.items():
        for value in (None, *field.neutral):
            chat_ask(**{name: value})
    for name, field in CompletionBody.not_offered.items():
        for value in (None, *field.neutral):
            completion_ask(**{name: value})


def test_a_neutral_value_of_another_type_is_not_neutral() -> None:
    assert chat_refusal(store=0)["param"] == "store"
    assert chat_refusal(best_of=True)["param"] == "best_of"


def test_null_is_the_same_as_leaving_a_field_out() -> None:
    for name in set(ChatCompletionBody.model_fields) - {"model", "messages", "stream"}:
        assert chat_ask(**{name: None}) == chat_ask()
    for name in set(CompletionBody.model_fields) - {"model", "prompt", "stream"}:
        assert completion_ask(**{name: None}) == completion_ask()


def test_an_unknown_field_is_refused() -> None:
    assert chat_refusal(temprature=1)["param"] == "temprature"
    assert completion_refusal(temprature=1)["param"] == "temprature"
    assert chat_refusal(stream_options={"a": 1}, stream=True)["param"] == "stream_options.a"
