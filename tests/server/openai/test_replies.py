"""The chunk that is written for nearly every token is the one that any piece would get."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.server.routes.openai.replies import Chunks

HEAD = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": 'a "name"'}


@pytest.mark.parametrize("with_usage", [True, False])
@given(st.integers(0, 127), st.text(st.characters()))
def test_a_piece_of_text_is_written_as_any_piece_is(
    with_usage: bool, choice: int, text: str
) -> None:
    chunks = Chunks(HEAD, with_usage=with_usage)
    piece = {
        "index": choice,
        "delta": {"content": text},
        "logprobs": None,
        "finish_reason": None,
    }
    assert chunks.text(choice, text) == chunks.of(piece)
    said = json.loads(chunks.text(choice, text).removeprefix("data: "))
    assert said["choices"] == [piece]
    assert said["model"] == HEAD["model"]
