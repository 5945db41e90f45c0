"""Sixteen models that fine-tuning made, promoted, rolled back and deleted while traffic runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest
from openai import OpenAI

from freehold.store import Store, open_store
from tests.loading.small import Dims, small
from tests.loading.small_adapter import small_adapter
from tests.server.live import LiveServer, living

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64, context_tokens=2048)
MADE = [f"base:ft-{number}" for number in range(16)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("promoted") / "home"


@pytest.fixture(scope="module")
def store(place: Path) -> Iterator[Store]:
    """The server's database, with sixteen jobs that are done."""
    place.mkdir()
    opened = open_store(None, place)
    for number, name in enumerate(MADE):
        spec = {"model": "base", "fine_tuned_model": name}
        job = opened.jobs.create(owner="local", kind="fine_tuning", spec=spec)
        small_adapter(DIMS, seed=number).write(place / "tuned" / job.id / "adapter")
        assert opened.jobs.claim("fine_tuning", "test") is not None
        opened.jobs.finish(job.id, "test", "succeeded", {"adapter": "adapter"})
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def server(place: Path, store: Store) -> Iterator[LiveServer]:
    assert store.jobs.succeeded("fine_tuning")
    small(DIMS).write(place / "base.gguf")
    with living(place / "base.gguf", place) as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> OpenAI:
    return OpenAI(base_url=server.openai_url, api_key="none", max_retries=0)


def said(client: OpenAI, model: str) -> tuple[str, str]:
    """Which model answered, and what."""
    answer = client.completions.create(
        model=model, prompt="Rivers", max_tokens=12, temperature=0, logprobs=0
    )
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    return answer.model, str(logprobs.tokens)


def promoted(store: Store, client: OpenAI, model: str) -> None:
    """The name "desk" stands for a model, and the server knows."""
    store.promotions.promote(owner="local", name="desk", model=model, evidence={})
    until_served(client, model)


def until_served(client: OpenAI, model: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if client.models.retrieve("desk").model_dump()["parent"] == model:
            return
        time.sleep(0.05)
    pytest.fail(f"the name does not stand for {model}")


def test_all_are_served_beside_their_base(client: OpenAI) -> None:
    answers = {model: said(client, model)[1] for model in ("base", *MADE)}
    assert len(set(answers.values())) == 17
    listed = {model.id: model.model_dump() for model in client.models.list()}
    assert all(listed[name]["parent"] == "base" for name in MADE)


def test_names_move_and_models_go_while_traffic_runs(
    server: LiveServer, store: Store, client: OpenAI
) -> None:
    alone = {model: said(client, model)[1] for model in ("base", *MADE)}
    store.promotions.promote(owner="local", name="desk", model="base", evidence={})
    deadline = time.monotonic() + 20
    while "desk" not in [model.id for model in client.models.list()]:
        assert time.monotonic() < deadline
    failed: list[BaseException] = []
    answered: list[tuple[str, str]] = []
    ending = threading.Event()

    def traffic() -> None:
        own = OpenAI(base_url=server.openai_url, api_key="none", max_retries=0)
        while not ending.is_set():
            try:
                answered.append(said(own, "desk"))
            except openai.OpenAIError as error:
                failed.append(error)

    threads = [threading.Thread(target=traffic) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for name in MADE[:4]:
            promoted(store, client, name)
        store.promotions.rollback("desk", owner="local")
        until_served(client, MADE[2])
        store.promotions.rollback("desk", owner="local")
        until_served(client, MADE[1])
        for name in MADE[2:]:
            assert httpx.delete(f"{server.openai_url}/models/{name}").status_code == 200
        held = httpx.delete(f"{server.openai_url}/models/{MADE[1]}")
        assert (held.status_code, "'desk'" in held.json()["error"]["message"]) == (400, True)
    finally:
        ending.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert len(answered) > 10
    assert all(text == alone[model] for model, text in answered)
    assert {model for model, _ in answered} >= {MADE[1], MADE[2]}
    with pytest.raises(openai.NotFoundError):
        said(client, MADE[5])
    assert said(client, MADE[1])[1] == alone[MADE[1]]
