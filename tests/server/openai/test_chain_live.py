"""From a file to a model that is tuned, asked, batched over, examined and deleted: one client."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pytest
from openai import OpenAI

from tests.server.live import LiveServer
from tests.server.openai.batching import answers, batch_ended, batch_lines, begin_batch
from tests.server.openai.teaching import (
    begun,
    ended,
    events_of,
    lines,
    losses_told,
    uploaded,
)

pytestmark = [pytest.mark.weights, pytest.mark.slow]

pytest.importorskip("torch", reason="training needs the extra `tune`")

REQUESTS, ROWS = 200, 6
CRITERION: Any = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}",
    "reference": "{{item.desk}}",
    "operation": "ilike",
}


def tuned(client: OpenAI, base: str) -> tuple[str, list[str]]:
    """The name of a model of our own, and the files that it came from and left."""
    job = begun(client, base, "chain", 2, heldout=lines(4, start=100))
    job = ended(client, job)
    assert job.status == "succeeded", job.error
    whole = events_of(client, job)
    assert [each.id for each in events_of(client, job, page_size=3)] == [e.id for e in whole]
    assert [*losses_told(whole)] == [1, 2, 3, 4]
    assert 4 in losses_told(whole, "full_valid_loss")
    assert [*client.fine_tuning.jobs.checkpoints.list(job.id)]
    (results,) = job.result_files
    head, before, *_ = client.files.content(results).text.splitlines()
    assert (head, before.split(",")[:2]) == ("step,train_loss,valid_loss", ["0", ""])
    return str(job.fine_tuned_model), [job.training_file, str(job.validation_file), results]


def batched(client: OpenAI, model: str) -> list[str]:
    """The files of a batch that was run to its end."""
    batch = batch_ended(client, begin_batch(client, batch_lines(model, REQUESTS)), within_s=120)
    assert batch.status == "completed", batch.errors
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (REQUESTS, 0)
    assert sorted(answers(client, batch)) == sorted(f"n{n}" for n in range(REQUESTS))
    return [batch.input_file_id, str(batch.output_file_id)]


def examined(client: OpenAI, model: str) -> str:
    """The file of an evaluation whose every row was asked and judged, and which is gone again."""
    rows = "\n".join(
        json.dumps({"item": {"case": number, "desk": "billing" if number % 2 else "parcels"}})
        for number in range(ROWS)
    )
    file_id = uploaded(client, rows.encode(), purpose="evals")
    schema: Any = {
        "type": "object",
        "properties": {"desk": {"type": "string"}},
        "required": ["desk"],
    }
    exam = client.evals.create(
        name="desks",
        data_source_config={"type": "custom", "item_schema": schema, "include_sample_schema": True},
        testing_criteria=[CRITERION],
    )
    asked = {"role": "user", "content": "Which desk takes case {{item.case}}?"}
    source: Any = {
        "type": "completions",
        "model": model,
        "source": {"type": "file_id", "id": file_id},
        "input_messages": {"type": "template", "template": [asked]},
        "sampling_params": {"temperature": 0, "max_completion_tokens": 4},
    }
    run: Any = client.evals.runs.create(exam.id, name="r", data_source=source)
    deadline = time.monotonic() + 60
    while run.status in ("queued", "in_progress") and time.monotonic() < deadline:
        time.sleep(0.1)
        run = client.evals.runs.retrieve(run.id, eval_id=exam.id)
    assert run.status == "completed", run.error
    items = [*client.evals.runs.output_items.list(run.id, eval_id=exam.id, limit=2)]
    assert sorted(item.datasource_item["case"] for item in items) == [*range(ROWS)]
    right = [
        str(item.datasource_item["desk"]) in str(item.sample.output[0].content).lower()
        for item in items
    ]
    assert [item.results[0].passed for item in items] == right
    counts = run.result_counts
    assert (counts.total, counts.passed, counts.errored) == (ROWS, sum(right), 0)
    assert client.evals.delete(exam.id).deleted
    gone(lambda: client.evals.retrieve(exam.id))
    return file_id


def gone(ask: Callable[[], object]) -> None:
    with pytest.raises(openai.NotFoundError):
        ask()


def test_the_chain_from_an_upload_to_nothing_left(live_server: LiveServer) -> None:
    with OpenAI(api_key="none", base_url=live_server.openai_url, max_retries=0) as client:
        model, files = tuned(client, live_server.model)
        assert model == f"{live_server.model}:ft-chain"
        answer = client.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": "Which desk takes case 3?"}],
            max_tokens=4,
        )
        assert answer.model == model
        assert answer.choices[0].message.content
        files += [*batched(client, model), examined(client, model)]
        assert {file.id for file in client.files.list()} >= set(files)
        for file_id in files:
            assert client.files.delete(file_id).deleted
            for ask in (client.files.retrieve, client.files.content, client.files.delete):
                gone(partial(ask, file_id))
        assert not {file.id for file in client.files.list()} & set(files)
        assert client.models.delete(model).deleted
        gone(lambda: client.models.retrieve(model))
