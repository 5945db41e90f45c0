"""Adapters over the real server: models by their names, for OpenAI's client, and the two routes of
an administrator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from freehold.errors import BadRequest, BadSetting, Forbidden
from freehold.server.adapters import parse_adapter, permitted
from tests.loading.small import Dims, small
from tests.loading.small_adapter import small_adapter
from tests.server.live import LiveServer, living
from tests.server.scripted import ScriptedResident
from tests.server.whole import JSON, whole_app

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64, context_tokens=2048)
PROMPT = "Say something long about rivers, and then about the sea."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    small(DIMS).write(folder / "base.gguf")
    for seed, name in enumerate(("first", "second", "third")):
        small_adapter(DIMS, seed=seed).write(folder / "open" / name)
    small_adapter(DIMS, seed=3).write(folder / "closed")
    small_adapter(Dims(D=32, H=2, G=1, A=32, F=64), seed=4).write(folder / "open" / "narrow")
    (folder / "open" / "link").symlink_to(folder / "closed")
    return folder


@pytest.fixture(scope="module")
def server(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    place = folder / "open"
    configuration = tmp_path_factory.mktemp("config")
    (configuration / "freehold").mkdir()
    (configuration / "freehold" / "config.toml").write_text(f'adapter_dirs = ["{place}"]\n')
    named = [f"--adapter={name}={place / name}" for name in ("first", "second")]
    before = os.environ.get("XDG_CONFIG_HOME")
    os.environ["XDG_CONFIG_HOME"] = str(configuration)
    try:
        home = tmp_path_factory.mktemp("home")
        with living(folder / "base.gguf", home, *named) as running:
            yield running
    finally:
        os.environ.pop("XDG_CONFIG_HOME")
        if before is not None:
            os.environ["XDG_CONFIG_HOME"] = before


@pytest.fixture
def client(server: LiveServer) -> OpenAI:
    return OpenAI(base_url=server.openai_url, api_key="none", max_retries=0)


def said(client: OpenAI, model: str, **more: Any) -> str:
    answer = client.completions.create(
        model=model, prompt=PROMPT, max_tokens=24, temperature=0, logprobs=0, **more
    )
    assert answer.model == model
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    return str(logprobs.tokens)


def test_an_adapter_is_a_model_with_a_parent(client: OpenAI) -> None:
    listed: dict[str, Any] = {model.id: model.model_dump() for model in client.models.list()}
    assert listed["base"]["parent"] is None
    assert (listed["first"]["parent"], listed["first"]["root"]) == ("base", "base")
    assert client.models.retrieve("second").model_dump()["parent"] == "base"


def test_the_client_chooses_an_adapter_by_its_name(client: OpenAI) -> None:
    texts = {name: said(client, name) for name in ("base", "first", "second")}
    assert len(set(texts.values())) == 3
    for name, text in texts.items():
        assert said(client, name) == text, "an adapter's answer changed by what ran before it"


def test_an_administrator_loads_and_unloads_while_others_are_answered(
    client: OpenAI, server: LiveServer, folder: Path
) -> None:
    asked = {"lora_name": "third", "lora_path": str(folder / "open" / "third")}
    before = said(client, "first")
    loaded = httpx.post(f"{server.openai_url}/load_lora_adapter", json=asked)
    assert loaded.status_code == 200, loaded.text
    assert loaded.text == "Success: LoRA adapter 'third' added successfully."
    third = said(client, "third")
    assert third not in (before, said(client, "base"))
    again = httpx.post(f"{server.openai_url}/load_lora_adapter", json=asked)
    assert again.status_code == 400
    gone = httpx.post(f"{server.openai_url}/unload_lora_adapter", json={"lora_name": "third"})
    assert gone.text == "Success: LoRA adapter 'third' removed successfully."
    with pytest.raises(openai.NotFoundError):
        said(client, "third")
    missing = httpx.post(f"{server.openai_url}/unload_lora_adapter", json={"lora_name": "third"})
    assert missing.status_code == 404
    assert said(client, "first") == before
    assert httpx.post(f"{server.openai_url}/load_lora_adapter", json=asked).status_code == 200
    assert said(client, "third") == third


def test_what_the_route_must_not_load_is_refused(server: LiveServer, folder: Path) -> None:
    for path, status in (
        (folder / "closed", 403),
        (folder / "open" / ".." / "closed", 403),
        (folder / "open" / "link", 403),
        (folder / "open", 403),
        (folder / "nothing", 403),
        (Path("open/first"), 400),
        (folder / "open" / "nothing", 400),
        (folder / "open" / "narrow", 400),
    ):
        body = {"lora_name": "new", "lora_path": str(path)}
        refused = httpx.post(f"{server.openai_url}/load_lora_adapter", json=body)
        assert refused.status_code == status, (path, refused.text)
    for name in ("base", "first", "a b", "../x"):
        body = {"lora_name": name, "lora_path": str(folder / "open" / "third")}
        refused = httpx.post(f"{server.openai_url}/load_lora_adapter", json=body)
        assert refused.status_code == 400, name


def test_without_a_setting_no_path_is_taken_and_a_key_needs_the_scope(home: Path) -> None:
    body = {"lora_name": "a", "lora_path": "/etc"}
    with whole_app(home, ScriptedResident()) as whole:
        post = whole.client.post
        chief, lesser = whole.key("chief") | JSON, whole.key("lesser", "generate", "read") | JSON
        closed = post("/v1/load_lora_adapter", json=body, headers=chief)
        assert closed.status_code == 403
        assert "adapter_dirs" in closed.text
        for route in ("load", "unload"):
            answer = post(f"/v1/{route}_lora_adapter", json=body, headers=lesser)
            assert answer.status_code == 403
            assert "admin" in answer.text


def test_paths_and_names_are_judged(tmp_path: Path) -> None:
    inside = tmp_path / "in"
    (inside / "a").mkdir(parents=True)
    assert permitted(str(inside / "a"), [str(inside)]) == (inside / "a").resolve()
    with pytest.raises(Forbidden):
        permitted(str(inside / "a"), [])
    with pytest.raises(Forbidden):
        permitted(str(tmp_path / "inn"), [str(inside)])
    with pytest.raises(BadRequest):
        permitted(f"{inside}/a\0", [str(inside)])
    spec = parse_adapter("poet=/some/where=x,base=llama")
    assert (spec.name, str(spec.path), spec.base) == ("poet", "/some/where=x", "llama")
    assert parse_adapter("poet=/some").base is None
    for text in ("poet", "=x", "poet=", "a b=/x", "-a=/x"):
        with pytest.raises(BadSetting):
            parse_adapter(text)
