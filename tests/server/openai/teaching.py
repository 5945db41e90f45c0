"""A fine-tuning job as OpenAI's own client has it: begun, waited for, listened to."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob, FineTuningJobEvent

__all__ = ["begun", "ended", "events_of", "lines", "losses_told", "uploaded"]


def lines(count: int, *, start: int = 0) -> bytes:
    """Conversations that differ in a number, and whose answer it decides."""

    def line(number: int) -> str:
        asked = {"role": "user", "content": f"Which desk takes case {number}?"}
        told = {"role": "assistant", "content": "billing" if number % 2 else "parcels"}
        return json.dumps({"messages": [asked, told]})

    return "\n".join(line(number) for number in range(start, start + count)).encode()


def uploaded(client: OpenAI, content: bytes, *, purpose: Any = "fine-tune") -> str:
    """The id of a file with these lines."""
    file = client.files.create(file=("lines.jsonl", io.BytesIO(content)), purpose=purpose)
    return file.id


def begun(
    client: OpenAI, model: str, suffix: str, epochs: int, *, batch: int = 8, heldout: bytes = b""
) -> FineTuningJob:
    """A job over sixteen lines."""
    more: dict[str, Any] = {"validation_file": uploaded(client, heldout)} if heldout else {}
    settings: Any = {"hyperparameters": {"n_epochs": epochs, "batch_size": batch}}
    return client.fine_tuning.jobs.create(
        model=model,
        training_file=uploaded(client, lines(16)),
        suffix=suffix,
        seed=1,
        method={"type": "supervised", "supervised": settings},
        metadata={"basis": "own"},
        **more,
    )


def ended(client: OpenAI, job: FineTuningJob, *, within_s: float = 150.0) -> FineTuningJob:
    """The job, once it has."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        job = client.fine_tuning.jobs.retrieve(job.id)
        if job.status in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.25)
    pytest.fail(f"the job is still {job.status}")


def events_of(
    client: OpenAI, job: FineTuningJob, *, page_size: int = 100
) -> list[FineTuningJobEvent]:
    """Everything that was told of it, the oldest first, by pages."""
    listed = client.fine_tuning.jobs.list_events(job.id, limit=page_size)
    return [*listed][::-1]


def losses_told(events: list[FineTuningJobEvent], name: str = "train_loss") -> dict[int, float]:
    """The losses by step, each of which was told once."""
    told = [event.data for event in events if event.type == "metrics"]
    found = [(said["step"], said[name]) for said in told if isinstance(said, dict) and name in said]
    assert len({step for step, _ in found}) == len(found), "a step was told twice"
    return dict(found)
