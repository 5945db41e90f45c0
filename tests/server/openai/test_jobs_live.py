"""OpenAI's own client uploads files, runs batches and deletes, against the real server."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai import OpenAI

from tests.server.live import LiveServer, living
from tests.server.openai.batching import answers, batch_ended, batch_lines, begin_batch

pytestmark = pytest.mark.weights


@pytest.fixture
def client(live_server: LiveServer) -> Iterator[OpenAI]:
    with OpenAI(api_key="none", base_url=live_server.openai_url, max_retries=0) as client:
        yield client


def whole_life(client: OpenAI, model: str, count: int, *, within_s: float) -> None:
    """Upload, run, read, list, delete."""
    batch = batch_ended(client, begin_batch(client, batch_lines(model, count)), within_s=within_s)
    assert batch.status == "completed", batch.errors
    assert batch.request_counts is not None
    counts = batch.request_counts
    assert (counts.total, counts.completed, counts.failed) == (count, count, 0)
    assert batch.usage is not None
    assert batch.usage.output_tokens == count
    assert answers(client, batch) == [f"n{number}" for number in range(count)]
    assert batch.metadata == {"why": "test"}
    assert batch.id in [each.id for each in client.batches.list(limit=5)]
    kinds = {file.id: file.purpose for file in client.files.list()}
    assert kinds[batch.input_file_id] == "batch"
    for file_id in (batch.input_file_id, str(batch.output_file_id)):
        assert client.files.retrieve(file_id).bytes > 0
        assert client.files.delete(file_id).deleted
        with pytest.raises(openai.NotFoundError):
            client.files.content(file_id)


def test_a_batch_from_upload_to_deletion(client: OpenAI, live_server: LiveServer) -> None:
    whole_life(client, live_server.model, 12, within_s=60)


@pytest.mark.slow
def test_a_batch_of_two_hundred(client: OpenAI, live_server: LiveServer) -> None:
    whole_life(client, live_server.model, 200, within_s=170)


def test_answers_of_a_batch_are_those_of_the_endpoint(
    client: OpenAI, live_server: LiveServer
) -> None:
    content = batch_lines(live_server.model, 1, max_tokens=8).replace(
        b'"max_tokens"', b'"temperature": 0, "max_tokens"'
    )
    batch = batch_ended(client, begin_batch(client, content))
    assert batch.output_file_id is not None
    record = json.loads(client.files.content(batch.output_file_id).text)
    asked = json.loads(content)["body"]
    whole = client.chat.completions.create(**asked)
    said = record["response"]["body"]["choices"][0]["message"]["content"]
    assert said == whole.choices[0].message.content


def test_a_batch_is_cancelled_with_what_it_has(client: OpenAI, live_server: LiveServer) -> None:
    batch = begin_batch(client, batch_lines(live_server.model, 400, max_tokens=200))
    while client.batches.retrieve(batch.id).status != "in_progress":
        time.sleep(0.05)
    assert client.batches.cancel(batch.id).status in ("cancelling", "cancelled")
    batch = batch_ended(client, batch)
    assert batch.status == "cancelled"
    assert batch.request_counts is not None
    assert batch.request_counts.completed < 400


def test_whoever_waits_comes_before_a_batch(client: OpenAI, live_server: LiveServer) -> None:
    batch = begin_batch(client, batch_lines(live_server.model, 100, max_tokens=100))
    while client.batches.retrieve(batch.id).status != "in_progress":
        time.sleep(0.05)
    time.sleep(0.5)
    client.chat.completions.create(
        model=live_server.model,
        messages=[{"role": "user", "content": "Say one."}],
        max_tokens=8,
    )
    counts = client.batches.cancel(batch.id).request_counts
    assert counts is not None
    # With sixteen sequences beside it the answer would have come with theirs, not before them.
    assert counts.completed < 100
    batch_ended(client, batch)


def test_a_file_that_is_not_valid_fails_with_its_lines(
    client: OpenAI, live_server: LiveServer
) -> None:
    batch = batch_ended(
        client, begin_batch(client, batch_lines(live_server.model, 1) + b"\n{}\nno json")
    )
    assert batch.status == "failed"
    assert batch.errors is not None
    assert [error.line for error in batch.errors.data or ()] == [2, 3]


@pytest.mark.slow
def test_a_batch_outlives_a_kill_of_the_server(starter_path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with living(starter_path, home) as server:
        client = OpenAI(api_key="none", base_url=server.openai_url)
        batch = begin_batch(client, batch_lines(server.model, 120, max_tokens=4))
        while (counts := client.batches.retrieve(batch.id).request_counts) is None or (
            counts.completed < 20
        ):
            time.sleep(0.05)
        os.kill(server.pid, signal.SIGKILL)
    with living(starter_path, home) as server:
        client = OpenAI(api_key="none", base_url=server.openai_url)
        batch = batch_ended(client, batch, within_s=120)
        assert batch.status == "completed"
        assert answers(client, batch) == [f"n{number}" for number in range(120)]
