"""OpenAI's own client uploads data, trains, talks to what came of it, and deletes it all."""

from __future__ import annotations

import io
import json
import os
import signal
import time
from pathlib import Path

import openai
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob

from tests.server.live import LiveServer, living

pytestmark = [pytest.mark.weights, pytest.mark.slow]

pytest.importorskip("torch", reason="training needs the extra `tune`")


def lines(count: int) -> bytes:
    def line(number: int) -> str:
        asked = {"role": "user", "content": f"Which desk takes case {number}?"}
        told = {"role": "assistant", "content": "billing" if number % 2 else "parcels"}
        return json.dumps({"messages": [asked, told]})

    return "\n".join(line(number) for number in range(count)).encode()


def begun(client: OpenAI, model: str, suffix: str, epochs: int) -> FineTuningJob:
    file = client.files.create(file=("train.jsonl", io.BytesIO(lines(16))), purpose="fine-tune")
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=file.id,
        suffix=suffix,
        seed=1,
        method={
            "type": "supervised",
            "supervised": {"hyperparameters": {"n_epochs": epochs, "batch_size": 8}},
        },
        metadata={"basis": "own"},
    )


def ended(client: OpenAI, job: FineTuningJob) -> FineTuningJob:
    deadline = time.monotonic() + 150
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.25)
    pytest.fail(f"the job is still {job.status}")


def steps_of(client: OpenAI, job: FineTuningJob) -> list[str]:
    events = [*client.fine_tuning.jobs.list_events(job.id, limit=100)]
    return [each.message for each in reversed(events) if "training loss" in each.message]


def test_a_job_from_upload_to_an_answer_and_deletion(live_server: LiveServer) -> None:
    client = OpenAI(api_key="none", base_url=live_server.openai_url)
    job = ended(client, begun(client, live_server.model, "desk", 2))
    assert job.status == "succeeded", job.error
    name = f"{live_server.model}:ft-desk"
    assert job.fine_tuned_model == name
    assert [said.split(":")[0] for said in steps_of(client, job)] == [
        f"Step {step}/4" for step in range(1, 5)
    ]
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
        while len(steps_of(client, job)) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        os.kill(server.pid, signal.SIGKILL)
    with living(starter_path, home) as server:
        client = OpenAI(api_key="none", base_url=server.openai_url)
        assert ended(client, job).status == "succeeded"
        told = [said.split(":")[0] for said in steps_of(client, job)]
        assert told == [f"Step {step}/10" for step in range(1, 11)]
