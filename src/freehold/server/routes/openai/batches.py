"""/v1/batches: files of requests that are answered when there is room.

Room: server. Shows jobs in OpenAI's form; must not know how they are run.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import Field

from freehold.errors import BadRequest, Forbidden, NotFound
from freehold.server.batches.lines import ENDPOINTS
from freehold.server.context import Context
from freehold.server.doors import scope_of
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.openai.forms import Body
from freehold.server.routes.openai.pages import Metadata, page, whole
from freehold.store import Job, Said

__all__ = [
    "BatchBody",
    "ExpiresAfter",
    "cancel_batch",
    "create_batch",
    "list_batches",
    "retrieve_batch",
    "router",
]

router = APIRouter(prefix="/v1/batches", responses=OPENAPI_ERRORS, tags=["openai"])

_WINDOW_S = 24 * 3600
_MOST_BYTES = 200 << 20


class ExpiresAfter(Body):
    """When the files that a batch writes expire."""

    anchor: Literal["created_at"]
    seconds: Annotated[int, Field(ge=3600, le=30 * 24 * 3600)]


class BatchBody(Body):
    """A file of requests for one endpoint."""

    input_file_id: Annotated[str, Field(min_length=1, max_length=100)]
    endpoint: Literal[ENDPOINTS]  # type: ignore[valid-type]
    completion_window: Literal["24h"]
    metadata: Metadata | None = None
    output_expires_after: ExpiresAfter | None = None


@router.post("")
async def create_batch(body: BatchBody, ctx: Context) -> dict[str, Any]:
    """Have a file's requests answered within a day, after everybody who waits for an answer."""
    needed = scope_of(body.endpoint) or ""
    if not ctx.asker.may(needed):
        raise Forbidden(
            f"the key does not cover {needed!r}, which {body.endpoint} needs", value=needed
        )
    return await asyncio.to_thread(_created, body, ctx)


def _created(body: BatchBody, ctx: Context) -> dict[str, Any]:
    owner = ctx.asker.key_id
    file = ctx.house.store.files.get(body.input_file_id, owner=owner)
    if file is None:
        raise NotFound("no file of yours has this id", param="input_file_id")
    if file.purpose != "batch" or file.bytes > _MOST_BYTES:
        raise BadRequest(
            "the file is not one for a batch",
            param="input_file_id",
            expected=f"purpose batch, at most {_MOST_BYTES} bytes",
            found=f"purpose {file.purpose}, {file.bytes} bytes",
        )
    expiry = body.output_expires_after
    spec = {
        "input_file_id": file.id,
        "endpoint": body.endpoint,
        "completion_window": body.completion_window,
        "metadata": body.metadata,
        "expires_at": time.time() + _WINDOW_S,
        "output_expires_s": None if expiry is None else expiry.seconds,
    }
    job = ctx.house.store.jobs.create(
        owner=owner, kind="batch", spec=spec, say=[Said("the batch was created")]
    )
    ctx.house.wake()
    return _shown(job)


@router.get("")
async def list_batches(
    ctx: Context,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> dict[str, Any]:
    """The asker's batches, the newest first."""
    found = await asyncio.to_thread(
        ctx.house.store.jobs.list,
        owner=ctx.asker.key_id,
        kind="batch",
        after=after,
        limit=limit + 1,
    )
    return page([_shown(job) for job in found], limit)


@router.get("/{batch_id}")
async def retrieve_batch(batch_id: str, ctx: Context) -> dict[str, Any]:
    """A batch as it stands."""
    return _shown(await _batch(batch_id, ctx))


@router.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: str, ctx: Context) -> dict[str, Any]:
    """Stop a batch; what was answered until then is in its files."""
    await _batch(batch_id, ctx)
    job = await asyncio.to_thread(
        ctx.house.store.jobs.ask,
        batch_id,
        "cancel",
        owner=ctx.asker.key_id,
        say=[Said("the batch was cancelled")],
    )
    ctx.house.wake()
    return _shown(job)


async def _batch(batch_id: str, ctx: Context) -> Job:
    found = await asyncio.to_thread(ctx.house.store.jobs.get, batch_id, owner=ctx.asker.key_id)
    if found is None or found.kind != "batch":
        raise NotFound("no batch of yours has this id", param="batch_id", value=batch_id[:100])
    return found


def _status(job: Job) -> str:
    if job.status == "running" and job.asked == "cancel":
        return "cancelling"
    phase = str(job.state.get("phase", "validating"))
    return {"succeeded": "completed", "queued": phase, "running": phase}.get(job.status, job.status)


def _shown(job: Job) -> dict[str, Any]:
    state, ended = job.state, whole(job.finished_at)
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.spec["endpoint"],
        "model": state.get("model"),
        "errors": _errors(job),
        "input_file_id": job.spec["input_file_id"],
        "completion_window": job.spec["completion_window"],
        "status": _status(job),
        "output_file_id": state.get("output_file_id"),
        "error_file_id": state.get("error_file_id"),
        "created_at": int(job.created_at),
        "in_progress_at": whole(state.get("in_progress_at")),
        "expires_at": int(job.spec["expires_at"]),
        "finalizing_at": whole(state.get("finalizing_at")),
        "completed_at": ended if job.status == "succeeded" else None,
        "failed_at": ended if job.status == "failed" else None,
        "expired_at": ended if job.status == "expired" else None,
        "cancelling_at": whole(state.get("cancelling_at")),
        "cancelled_at": ended if job.status == "cancelled" else None,
        "request_counts": {
            "total": state.get("total", 0),
            "completed": state.get("completed", 0),
            "failed": state.get("failed", 0),
        },
        "usage": _usage(state.get("usage")),
        "metadata": job.spec["metadata"],
    }


def _errors(job: Job) -> dict[str, Any] | None:
    found = list(job.state.get("errors", ()))
    if error := job.state.get("error"):
        found.append({**error, "line": None})
    return {"object": "list", "data": found} if found else None


def _usage(counted: list[int] | None) -> dict[str, Any] | None:
    if counted is None:
        return None
    tokens_in, cached, tokens_out, reasoning = counted
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": tokens_out,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": tokens_in + tokens_out,
    }
