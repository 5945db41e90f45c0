"""What docs/embeddings.md tells a reader to do, works."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

import freehold
from freehold.config import resolve_settings
from freehold.server.residents import Residents
from tests.server.whole import whole_app

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "embeddings.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


@pytest.mark.weights
def test_python_of_the_guide(
    embedder_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (source,) = (block for block in blocks("python") if "import freehold" in block)
    load = freehold.load
    monkeypatch.setattr(freehold, "load", lambda name: load(embedder_path))
    exec(compile(source, "docs/embeddings.md", "exec"), {})
    assert capsys.readouterr().out.startswith("(2, 384) [")


@pytest.mark.weights
def test_requests_of_the_guide(home: Path, embedder_path: Path) -> None:
    """The client's and curl's, sent to the whole app with the embedder in its own process."""
    (curl,) = (
        line[2:] for block in blocks("console") for line in block.splitlines() if "curl" in line
    )
    words = shlex.split(curl)
    url, body = words[2], json.loads(words[words.index("-d") + 1])
    (source,) = (block for block in blocks("python") if "openai" in block)
    fields: dict[str, Any] = {"input": ["A cat.", "A rate."], "model": "starter-embedder"}
    assert 'model="starter-embedder", input=["A cat.", "A rate."]' in source

    async def talk(house: Any, app: Any) -> tuple[Any, Any]:
        house.residents = Residents(
            settings=resolve_settings({"home": home}), refs=[str(embedder_path)]
        )
        (card,) = house.residents.cards()
        http: Any = httpx.AsyncClient(transport=httpx.ASGITransport(app))
        try:
            async with openai.AsyncOpenAI(
                api_key="unused", base_url="http://127.0.0.1:8460/v1", http_client=http
            ) as client:
                reply = await client.embeddings.create(**fields | {"model": card.id})
                ranked = await http.post(url, json=body | {"model": card.id})
                return reply, ranked.raise_for_status().json()
        finally:
            await house.residents.close()

    with whole_app(home) as whole:
        reply, ranked = asyncio.run(talk(whole.house, whole.app))
    assert len(reply.data) == 2
    assert [result["index"] for result in ranked["results"]] == [0]


def test_the_guide_names_the_precision_that_is_the_default() -> None:
    from freehold.loading import PRECISIONS

    assert next(iter(PRECISIONS)) == "int16"
    assert "this is called `int16`" in GUIDE
    assert all(f'precision="{name}"' in GUIDE or f"`{name}`" in GUIDE for name in PRECISIONS)
