"""OpenAI's own client uploads data, trains, talks to what came of it, and deletes it all."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.server.live import LiveServer, living
from tests.server.openai.teaching import begun, ended, events_of, losses_told

pytestmark = [pytest.mark.weights, pytest.mark.slow]

pytest.importorskip("torch", reason="training needs the extra `tune`")


def steps_told(client: OpenAI, job: FineTuningJob) -> list[int]:
    return [*losses_told(events_of(client, job))]


def test_a_job_from_upload_to_an_answer_and_deletion(live_server: LiveServer) -> None:
    client = OpenAI(api_key="none", base_url=live_server.openai_url)
    job = ended(client, begun(client, live_server.model, "desk", 2))
    assert job.status == "succeeded", job.error
    name = f"{live_server.model}:ft-desk"
    assert job.fine_tuned_model == name
    assert steps_told(client, job) == [1, 2, 3, 4]
    assert client.models.retrieve(name).model_dump()["parent"] == live_server.model
    answer = client.chat.completions.create(
        model=name, messages=[{"role": "user", "content": "Which desk takes case 3?"}], max_tokens=4
    )
    assert (answer.model, bool(answer.choices[0].message.content)) == (name, True)
    assert client.files.content(job.result_files[0]).text.startswith("step,train_loss")
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve(name)
    for file in client.files.list():
        client.files.delete(file.id)


def test_a_training_outlives_a_kill_of_the_server(starter_path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with living(starter_path, home) as server:
        client = OpenAI(api_key="none", base_url=server.openai_url)
        job = begun(client, server.model, "killed", 5)
        deadline = time.monotonic() + 100
        while len(steps_told(client, job)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(server.pid, signal.SIGKILL)
    with living(starter_path, home) as server:
        client = OpenAI(api_key="none", base_url=server.openai_url)
        assert ended(client, job).status == "succeeded"
        assert steps_told(client, job) == [*range(1, 11)]
