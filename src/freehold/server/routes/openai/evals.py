"""/v1/evals: evaluations, their runs, and what each row came to.

Room: server. Shows evaluations and jobs in OpenAI's form; must not know how a run goes.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from freehold.errors import BadRequest, Forbidden, NotFound
from freehold.server.context import Context, RouteContext
from freehold.server.evaluations.rows import rows_of
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.routes.openai.evals_form import EvalBody, EvalUpdate, RunBody
from freehold.server.routes.openai.evals_shown import shown_eval, shown_item, shown_run
from freehold.server.routes.openai.pages import page
from freehold.store import Job, Said
from freehold.store.evals import StoredEval
from freehold.store.jobs import ENDED

__all__ = [
    "cancel_run",
    "create_eval",
    "create_run",
    "delete_eval",
    "delete_run",
    "list_evals",
    "list_output_items",
    "list_runs",
    "retrieve_eval",
    "retrieve_output_item",
    "retrieve_run",
    "router",
    "update_eval",
]

router = APIRouter(prefix="/v1/evals", responses=OPENAPI_ERRORS, tags=["openai"])

_ITEM_ID = re.compile(r"outputitem_([0-9a-f]{32})_(\d{1,9})")

After = Annotated[str | None, Query(max_length=100)]
Limit = Annotated[int, Query(ge=1, le=100)]
Order = Annotated[Literal["asc", "desc"], Query()]
OrderBy = Annotated[Literal["created_at", "updated_at"] | None, Query()]
RunStatus = Literal["queued", "in_progress", "completed", "canceled", "failed"]
ItemStatus = Literal["pass", "fail", "error"]


@router.post("")
async def create_eval(body: EvalBody, ctx: Context) -> dict[str, Any]:
    """Define an evaluation."""
    spec = body.spec()
    made = await asyncio.to_thread(
        ctx.house.store.evals.create, owner=ctx.asker.key_id, name=body.name or "", spec=spec
    )
    return shown_eval(made)


@router.get("")
async def list_evals(
    ctx: Context,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    order_by: OrderBy = None,
) -> dict[str, Any]:
    """The asker's evaluations."""
    if order_by == "updated_at":
        raise BadRequest("evaluations are ordered by created_at", param="order_by")
    found = await asyncio.to_thread(
        ctx.house.store.evals.list,
        owner=ctx.asker.key_id,
        after=after,
        limit=limit + 1,
        newest_first=order == "desc",
    )
    return page([shown_eval(one) for one in found], limit)


@router.get("/{eval_id}")
async def retrieve_eval(eval_id: str, ctx: Context) -> dict[str, Any]:
    """One evaluation."""
    return shown_eval(await _eval(eval_id, ctx))


@router.post("/{eval_id}")
async def update_eval(eval_id: str, body: EvalUpdate, ctx: Context) -> dict[str, Any]:
    """Give an evaluation another name or other notes."""
    found = await _eval(eval_id, ctx)
    spec = found.spec if body.metadata is None else {**found.spec, "metadata": body.metadata}
    changed = await asyncio.to_thread(
        ctx.house.store.evals.update,
        eval_id,
        owner=ctx.asker.key_id,
        name=found.name if body.name is None else body.name,
        spec=spec,
    )
    if changed is None:
        raise _no_eval(eval_id)
    return shown_eval(changed)


@router.delete("/{eval_id}")
async def delete_eval(eval_id: str, ctx: Context) -> dict[str, Any]:
    """Forget an evaluation with its runs. One that still runs has to be cancelled first."""
    await _eval(eval_id, ctx)
    runs = await asyncio.to_thread(_runs, ctx, eval_id)
    if any(run.status not in ENDED for run in runs):
        raise BadRequest("a run of this evaluation has not ended", hint="cancel it first")
    for run in runs:
        await asyncio.to_thread(ctx.house.store.jobs.delete, run.id, owner=run.owner)
    await asyncio.to_thread(ctx.house.store.evals.delete, eval_id, owner=ctx.asker.key_id)
    return {"object": "eval.deleted", "deleted": True, "eval_id": eval_id}


def _runs(ctx: RouteContext, eval_id: str) -> list[Job]:
    return ctx.house.store.jobs.list(owner=ctx.asker.key_id, kind="eval_run", parent=eval_id)


@router.post("/{eval_id}/runs", status_code=201)
async def create_run(eval_id: str, body: RunBody, ctx: Context) -> dict[str, Any]:
    """Run an evaluation over rows, asking a model or with answers that came along."""
    found = await _eval(eval_id, ctx)
    asking = body.asking()
    criteria = found.spec["testing_criteria"]
    asked = {each["model"] for each in criteria if "model" in each}
    asked |= set() if asking is None else {asking["model"]}
    if asked and not ctx.asker.may("generate"):
        raise Forbidden("the key does not cover 'generate', which this run needs")
    for model in sorted(asked):
        ctx.house.residents.weights_of(model)
    source = body.source()
    spec = {
        "eval_name": found.name,
        "name": body.name,
        "metadata": body.metadata,
        "item_schema": found.spec["item_schema"],
        "testing_criteria": criteria,
        "source": source,
        "asking": asking,
        "shown_source": _told(body, source),
    }
    job = await asyncio.to_thread(_created, ctx, eval_id, spec)
    ctx.house.wake()
    return shown_run(job)


def _created(ctx: RouteContext, eval_id: str, spec: dict[str, Any]) -> Job:
    """The job, its rows found to be good. Raises: BadRequest with the row's number, NotFound."""
    owner = ctx.asker.key_id
    rows = rows_of(spec["source"], spec["item_schema"], house=ctx.house, owner=owner)
    return ctx.house.store.jobs.create(
        owner=owner,
        kind="eval_run",
        parent=eval_id,
        spec=spec,
        state={"result_counts": {"total": len(rows.items)}},
        say=[Said("the run was created")],
    )


def _told(body: RunBody, source: dict[str, Any]) -> dict[str, Any]:
    """The data source as it is given back, without what an asker left out."""
    told: dict[str, Any] = body.data_source.model_dump(exclude_none=True, exclude={"source"})
    return told | {"source": source}


@router.get("/{eval_id}/runs")
async def list_runs(
    eval_id: str,
    ctx: Context,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: RunStatus | None = None,
) -> dict[str, Any]:
    """An evaluation's runs."""
    await _eval(eval_id, ctx)
    found = await asyncio.to_thread(
        ctx.house.store.jobs.list,
        owner=ctx.asker.key_id,
        kind="eval_run",
        parent=eval_id,
        after=after,
        limit=limit + 1 if status is None else 10_000,
        newest_first=order == "desc",
    )
    shown = [shown_run(job) for job in found]
    return page([run for run in shown if status in (None, run["status"])], limit)


@router.get("/{eval_id}/runs/{run_id}")
async def retrieve_run(eval_id: str, run_id: str, ctx: Context) -> dict[str, Any]:
    """A run as it stands."""
    return shown_run(await _run(eval_id, run_id, ctx))


@router.post("/{eval_id}/runs/{run_id}/cancel")
async def cancel_run(eval_id: str, run_id: str, ctx: Context) -> dict[str, Any]:
    """Stop a run; the rows that are done stay."""
    await _run(eval_id, run_id, ctx)
    job = await asyncio.to_thread(
        ctx.house.store.jobs.ask,
        run_id,
        "cancel",
        owner=ctx.asker.key_id,
        say=[Said("the run was cancelled")],
    )
    ctx.house.wake()
    return shown_run(job)


# The interface's own older path for the same.
router.add_api_route(
    "/{eval_id}/runs/{run_id}", cancel_run, methods=["POST"], name="cancel_run_plainly"
)


@router.delete("/{eval_id}/runs/{run_id}")
async def delete_run(eval_id: str, run_id: str, ctx: Context) -> dict[str, Any]:
    """Forget a run that has ended, with its rows."""
    await _run(eval_id, run_id, ctx)
    await asyncio.to_thread(ctx.house.store.jobs.delete, run_id, owner=ctx.asker.key_id)
    return {"object": "eval.run.deleted", "deleted": True, "run_id": run_id}


@router.get("/{eval_id}/runs/{run_id}/output_items")
async def list_output_items(  # noqa: PLR0913, PLR0917 - the interface's own parameters
    eval_id: str,
    run_id: str,
    ctx: Context,
    after: After = None,
    limit: Limit = 20,
    order: Order = "asc",
    status: ItemStatus | None = None,
) -> dict[str, Any]:
    """What the rows of a run came to, those that are done."""
    job = await _run(eval_id, run_id, ctx)
    items = await asyncio.to_thread(_items, ctx, job, -1, 1_000_000)
    if order == "desc":
        items = items[::-1]
    shown = [(number, item) for number, item in items if status in (None, item["status"])]
    if after is not None:
        numbers = [number for number, _ in shown]
        at = _number(run_id, after)
        if at not in numbers:
            raise NotFound("no item of this run has this id", param="after")
        shown = shown[numbers.index(at) + 1 :]
    return page([shown_item(job, number, item) for number, item in shown[: limit + 1]], limit)


@router.get("/{eval_id}/runs/{run_id}/output_items/{output_item_id}")
async def retrieve_output_item(
    eval_id: str, run_id: str, output_item_id: str, ctx: Context
) -> dict[str, Any]:
    """What one row came to."""
    job = await _run(eval_id, run_id, ctx)
    number = _number(run_id, output_item_id)
    found = [] if number is None else await asyncio.to_thread(_items, ctx, job, number - 1, 1)
    if not found or found[0][0] != number:
        raise NotFound("no item of this run has this id", param="output_item_id")
    return shown_item(job, *found[0])


def _items(
    ctx: RouteContext, job: Job, after: int, limit: int
) -> tuple[tuple[int, dict[str, Any]], ...]:
    return ctx.house.store.evals.items(job.id, owner=job.owner, after=after, limit=limit)


def _number(run_id: str, item_id: str) -> int | None:
    """The row's number in an item's id; None where it is of another run or none at all."""
    match = _ITEM_ID.fullmatch(item_id)
    same = match is not None and match[1] == run_id.removeprefix("evalrun_")
    return int(match[2]) if match is not None and same else None


async def _eval(eval_id: str, ctx: RouteContext) -> StoredEval:
    found = await asyncio.to_thread(ctx.house.store.evals.get, eval_id, owner=ctx.asker.key_id)
    if found is None:
        raise _no_eval(eval_id)
    return found


def _no_eval(eval_id: str) -> NotFound:
    return NotFound("no evaluation of yours has this id", param="eval_id", value=eval_id[:100])


async def _run(eval_id: str, run_id: str, ctx: RouteContext) -> Job:
    found = await asyncio.to_thread(ctx.house.store.jobs.get, run_id, owner=ctx.asker.key_id)
    if found is None or found.kind != "eval_run" or found.parent != eval_id:
        raise NotFound("no run of this evaluation has this id", param="run_id", value=run_id[:100])
    return found
