"""/v1/fine_tuning/jobs: training on files that were uploaded, and what came of it.

Room: server. Shows jobs in OpenAI's form; must not know how they are run.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from typing import Annotated, Any

from fastapi import APIRouter, Query

from freehold.errors import BadRequest, NotFound
from freehold.server.context import Context, RouteContext
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.openai.fine_tuning_asks import begin
from freehold.server.routes.openai.fine_tuning_form import FineTuningBody
from freehold.server.routes.openai.pages import page, whole
from freehold.server.tuning.running import folder_of
from freehold.store import Job, JobEvent, Said

__all__ = [
    "cancel_job",
    "create_job",
    "list_checkpoints",
    "list_events",
    "list_jobs",
    "pause_job",
    "resume_job",
    "retrieve_job",
    "router",
]

router = APIRouter(prefix="/v1/fine_tuning/jobs", responses=OPENAPI_ERRORS, tags=["openai"])

_Limit = Annotated[int, Query(ge=1, le=1000)]
_After = Annotated[str | None, Query(max_length=200)]


@router.post("")
async def create_job(body: FineTuningBody, ctx: Context) -> dict[str, Any]:
    """Train an adapter for a model; it is served under its own name when the job is done."""
    body.check()
    seed = secrets.randbelow(1 << 31) if body.seed is None else body.seed
    job = await asyncio.to_thread(begin, ctx.house, ctx.asker, body, seed)
    ctx.house.wake()
    return _shown(job)


@router.get("")
async def list_jobs(ctx: Context, after: _After = None, limit: _Limit = 20) -> dict[str, Any]:
    """The asker's jobs, the newest first."""
    found = await asyncio.to_thread(
        ctx.house.store.jobs.list,
        owner=ctx.asker.key_id,
        kind="fine_tuning",
        after=after,
        limit=limit + 1,
    )
    return page([_shown(job) for job in found], limit)


@router.get("/{job_id}")
async def retrieve_job(job_id: str, ctx: Context) -> dict[str, Any]:
    """A job as it stands."""
    return _shown(await _job(job_id, ctx))


@router.post("/{job_id}/cancel")
async def cancel_job(job_id: str, ctx: Context) -> dict[str, Any]:
    """Stop a job for good; nothing of it is kept."""
    return await _asked(job_id, "cancel", ctx)


@router.post("/{job_id}/pause")
async def pause_job(job_id: str, ctx: Context) -> dict[str, Any]:
    """Stop a job with a checkpoint, from which `resume` goes on."""
    return await _asked(job_id, "pause", ctx)


@router.post("/{job_id}/resume")
async def resume_job(job_id: str, ctx: Context) -> dict[str, Any]:
    """Go on with a job that was paused."""
    return await _asked(job_id, "resume", ctx)


@router.get("/{job_id}/events")
async def list_events(
    job_id: str, ctx: Context, after: _After = None, limit: _Limit = 20
) -> dict[str, Any]:
    """What happened, the newest first."""
    job = await _job(job_id, ctx)
    events = await asyncio.to_thread(ctx.house.store.jobs.events, job.id, owner=ctx.asker.key_id)
    shown = [_event(event) for event in reversed(events)]
    return page(_following(shown, after), limit)


@router.get("/{job_id}/checkpoints")
async def list_checkpoints(
    job_id: str, ctx: Context, after: _After = None, limit: _Limit = 10
) -> dict[str, Any]:
    """The checkpoints of a job, the newest first. They are for going on; none is served."""
    job = await _job(job_id, ctx)
    shown = [_checkpoint(job, one) for one in reversed(job.state.get("checkpoints", []))]
    return page(_following(shown, after), limit)


async def _asked(job_id: str, what: str, ctx: RouteContext) -> dict[str, Any]:
    await _job(job_id, ctx)
    done = {"cancel": "Cancelling", "pause": "Pausing", "resume": "Resuming"}[what]
    job = await asyncio.to_thread(
        ctx.house.store.jobs.ask,
        job_id,
        what,
        owner=ctx.asker.key_id,
        say=[Said(f"{done} was asked for")],
    )
    if job.status == "cancelled":  # nobody was at work on it
        await asyncio.to_thread(shutil.rmtree, folder_of(ctx.house, job.id), ignore_errors=True)
    ctx.house.wake()
    return _shown(job)


async def _job(job_id: str, ctx: RouteContext) -> Job:
    found = await asyncio.to_thread(ctx.house.store.jobs.get, job_id, owner=ctx.asker.key_id)
    if found is None or found.kind != "fine_tuning":
        raise NotFound("no job of yours has this id", param="job_id", value=job_id[:100])
    return found


def _following(shown: list[dict[str, Any]], after: str | None) -> list[dict[str, Any]]:
    if after is None:
        return shown
    for index, entry in enumerate(shown):
        if entry["id"] == after:
            return shown[index + 1 :]
    raise BadRequest("there is nothing with the id of `after`", param="after", value=after[:100])


def _shown(job: Job) -> dict[str, Any]:
    spec, state = job.spec, job.state
    result = state.get("result_file")
    return {
        "id": job.id,
        "object": "fine_tuning.job",
        "created_at": int(job.created_at),
        "error": state.get("error"),
        "fine_tuned_model": spec["fine_tuned_model"] if job.status == "succeeded" else None,
        "finished_at": whole(job.finished_at),
        "hyperparameters": spec["hyperparameters"],
        "method": spec["method"],
        "model": spec["model"],
        "organization_id": job.owner,
        "result_files": [] if result is None else [result],
        "seed": spec["train"]["seed"],
        "status": job.status,
        "trained_tokens": state.get("trained_tokens") if job.status == "succeeded" else None,
        "training_file": spec["training_file"],
        "validation_file": spec["validation_file"],
        "estimated_finish": None,
        "integrations": [],
        "metadata": spec["metadata"],
    }


def _event(event: JobEvent) -> dict[str, Any]:
    data = dict(event.data)
    kind = data.pop("type", "message")
    return {
        "id": f"ftevent-{event.job_id.removeprefix('ftjob-')}-{event.seq}",
        "object": "fine_tuning.job.event",
        "created_at": int(event.at),
        "level": event.level,
        "message": event.message,
        "type": kind,
        "data": data,
    }


def _checkpoint(job: Job, kept: dict[str, Any]) -> dict[str, Any]:
    step = kept["step"]
    metrics = {key: kept[key] for key in ("train_loss", "full_valid_loss") if key in kept}
    return {
        "id": f"ftckpt-{job.id.removeprefix('ftjob-')}-{step}",
        "object": "fine_tuning.job.checkpoint",
        "created_at": int(kept.get("at") or job.created_at),
        "fine_tuned_model_checkpoint": f"{job.spec['fine_tuned_model']}:ckpt-step-{step}",
        "fine_tuning_job_id": job.id,
        "step_number": step,
        "metrics": {"step": step, **metrics},
    }
