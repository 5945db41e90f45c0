"""A batch as OpenAI's own client has it: written, begun, waited for, read."""

from __future__ import annotations

import io
import json
import time

import pytest
from openai import OpenAI
from openai.types import Batch

__all__ = ["answers", "batch_ended", "batch_lines", "begin_batch"]


def batch_lines(model: str, count: int, *, max_tokens: int = 1) -> bytes:
    """Requests that a number tells apart."""

    def line(number: int) -> str:
        messages = [{"role": "user", "content": f"Say {number}."}]
        body = {"model": model, "messages": messages, "max_tokens": max_tokens}
        said = {"custom_id": f"n{number}", "method": "POST", "url": "/v1/chat/completions"}
        return json.dumps(said | {"body": body})

    return "\n".join(line(number) for number in range(count)).encode()


def begin_batch(client: OpenAI, content: bytes) -> Batch:
    """A batch over a file of these lines."""
    file = client.files.create(file=("in.jsonl", io.BytesIO(content)), purpose="batch")
    return client.batches.create(
        input_file_id=file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"why": "test"},
    )


def batch_ended(client: OpenAI, batch: Batch, *, within_s: float = 60.0) -> Batch:
    """The batch, once it has."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        batch = client.batches.retrieve(batch.id)
        if batch.status in ("completed", "failed", "cancelled", "expired"):
            return batch
        time.sleep(0.1)
    pytest.fail(f"the batch is still {batch.status}: {batch.request_counts}")


def answers(client: OpenAI, batch: Batch) -> list[str]:
    """The ids of the lines that were answered, as they lie in the file."""
    assert batch.output_file_id is not None
    content = client.files.content(batch.output_file_id).text
    return [json.loads(line)["custom_id"] for line in content.splitlines()]
