"""What a request leaves open, the model's maker fills in; what it says always wins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.engine.sampler import Sampling
from freehold.loading import Suggested
from freehold.server.ask import Ask
from freehold.server.residents import Residents
from freehold.server.routes.anthropic.asks import ask_of as anthropic_ask
from freehold.server.routes.anthropic.requests import MessagesBody
from freehold.server.routes.ollama.asks import ask_of as ollama_ask
from freehold.server.routes.ollama.requests import ChatBody
from freehold.server.routes.openai.chat_form import ChatCompletionBody
from freehold.server.routes.openai.completions_form import CompletionBody
from freehold.server.routes.openai.responses_convert import fresh_response
from freehold.server.routes.openai.responses_schema import CreateBody
from tests.loading.small import Checkpoint, small
from tests.server.scripted import ScriptedResident
from tests.server.test_residents import ASK, DIMS, answered, with_residents

SUGGESTED = Suggested(
    temperature=0.25,
    top_k=20,
    top_p=0.75,
    min_p=0.125,
    repetition_penalty=1.5,
    repetition_window=64,
)
RECOMMENDED = replace(Sampling(), **SUGGESTED.said())
HELLO = [{"role": "user", "content": "hello"}]
RESIDENT = ScriptedResident(suggested=SUGGESTED)


def openai(**fields: Any) -> Ask:
    return ChatCompletionBody(model="m", messages=HELLO, **fields).ask(RESIDENT)  # type: ignore[arg-type]


def completion(**fields: Any) -> Ask:
    (ask,) = CompletionBody(model="m", prompt="hello", **fields).asks(RESIDENT)  # type: ignore[arg-type]
    return ask


def anthropic(**fields: Any) -> Ask:
    body = {"model": "m", "messages": HELLO, "max_tokens": 4, **fields}
    return anthropic_ask(MessagesBody.model_validate(body))


def ollama(**options: Any) -> Ask:
    ask = ollama_ask(ChatBody.model_validate({"model": "m", "messages": HELLO, "options": options}))
    assert ask is not None
    return ask


SURFACES = [openai, completion, anthropic, ollama]


@pytest.mark.parametrize("surface", SURFACES)
def test_what_is_left_out_is_drawn_as_the_maker_recommends(surface: Any) -> None:
    assert RESIDENT.drawn(surface()) == RECOMMENDED


@pytest.mark.parametrize("surface", SURFACES)
def test_a_model_that_recommends_nothing_is_drawn_as_the_interface_says(surface: Any) -> None:
    ask = surface()
    assert ScriptedResident().drawn(ask) == ask.sampling


@pytest.mark.parametrize("surface", SURFACES)
def test_a_request_s_field_wins_and_the_others_stay_the_maker_s(surface: Any) -> None:
    fields: list[dict[str, Any]] = [{"temperature": 0.0}, {"top_p": 1.0}, {"top_k": 5}]
    for field in fields:
        assert RESIDENT.drawn(surface(**field)) == replace(RECOMMENDED, **field)


def test_a_penalty_of_the_request_looks_back_as_its_interface_says() -> None:
    drawn = RESIDENT.drawn(openai(repetition_penalty=1.25))
    assert (drawn.repetition_penalty, drawn.repetition_window) == (1.25, 0)
    drawn = RESIDENT.drawn(ollama(repeat_last_n=0))
    assert drawn.repetition_penalty == 1.0
    drawn = RESIDENT.drawn(ollama(repeat_last_n=9))
    assert (drawn.repetition_penalty, drawn.repetition_window) == (1.5, 9)


def test_a_response_says_how_it_was_drawn() -> None:
    body = CreateBody.model_validate({"model": "m", "input": "hello", "top_p": 0.5})
    ask = Ask(model="m", sampling=body.sampling(), unsaid=body.unsaid())
    shown = fresh_response(body, "resp_1", "m", RESIDENT.drawn(ask))
    assert (shown["temperature"], shown["top_p"]) == (0.25, 0.5)


def recommending(path: Path) -> Path:
    checkpoint: Checkpoint = small(DIMS)
    said = {"temp": 2.0, "top_k": 1}
    checkpoint.keys |= {f"general.sampling.{name}": value for name, value in said.items()}
    return checkpoint.write(path)


@pytest.mark.parametrize("whose", ["auto", "none"])
def test_the_engine_draws_as_recommended_unless_the_server_says_not_to(
    tmp_path: Path, whose: str
) -> None:
    file = recommending(tmp_path / "one.gguf")
    warm = replace(ASK, sampling=Sampling(temperature=2.0, seed=3))

    async def body(residents: Residents) -> None:
        greedy = (await answered(residents, ASK)).choices[0].text
        left_open = await answered(residents, replace(warm, unsaid=frozenset({"top_k"})))
        assert (left_open.choices[0].text == greedy) is (whose == "auto")
        said = await answered(residents, warm)
        assert said.choices[0].text != greedy

    with_residents({"one": file}, tmp_path / "home", body, generation_config=whose)
