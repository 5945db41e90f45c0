"""Nothing that Ollama's own types name is unknown here: each is honoured, or refused by name.

Oracle: the `ollama` package's types.
"""

from __future__ import annotations

import pytest
from ollama import _types as theirs
from pydantic import BaseModel

from freehold.server.routes.ollama import requests as ours

FORMS: list[tuple[type[BaseModel], type[BaseModel]]] = [
    (theirs.ChatRequest, ours.ChatBody),
    (theirs.GenerateRequest, ours.GenerateBody),
    (theirs.EmbedRequest, ours.EmbedBody),
    (theirs.EmbeddingsRequest, ours.EmbeddingsBody),
    (theirs.ShowRequest, ours.ShowBody),
    (theirs.Options, ours.Options),
    (theirs.Message, ours.Message),
    (theirs.Tool, ours.ToolForm),
]


@pytest.mark.parametrize(("form", "own"), FORMS)
def test_every_field_is_known(form: type[BaseModel], own: type[BaseModel]) -> None:
    assert set(form.model_fields) - set(own.model_fields) == set()


# Ollama's Modelfile reference and API documentation name these besides.
DOCUMENTED = {"min_p", "draft_num_predict", "mirostat", "typical_p", "num_keep", "low_vram"}


def test_options_that_only_the_documentation_names_are_known() -> None:
    assert set(ours.Options.model_fields) >= DOCUMENTED
