"""Evaluations, runs and rows as OpenAI's clients read them.

Room: server. Must not ask anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from freehold.store import Job
from freehold.store.evals import StoredEval

__all__ = ["shown_eval", "shown_item", "shown_run"]

_STATUS = {
    "queued": "queued",
    "paused": "queued",
    "running": "in_progress",
    "succeeded": "completed",
    "cancelled": "canceled",
    "failed": "failed",
    "expired": "failed",
}
_SAMPLE_SCHEMA = {
    "type": "object",
    "properties": {"output_text": {"type": "string"}},
    "required": ["output_text"],
}


def shown_eval(found: StoredEval) -> dict[str, Any]:
    """An evaluation."""
    spec = found.spec
    properties: dict[str, Any] = {"item": spec["item_schema"]}
    if spec["include_sample_schema"]:
        properties["sample"] = _SAMPLE_SCHEMA
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {
        "id": found.id,
        "object": "eval",
        "name": found.name,
        "created_at": int(found.created_at),
        "data_source_config": {"type": "custom", "schema": schema},
        "testing_criteria": spec["testing_criteria"],
        "metadata": spec["metadata"] or {},
    }


def shown_run(job: Job) -> dict[str, Any]:
    """A run as it stands. There is no page for it here: report_url is empty."""
    state, spec = job.state, job.spec
    asking = spec["asking"]
    counts = {"total": 0, "errored": 0, "failed": 0, "passed": 0}
    status = _STATUS[job.status]
    if job.status == "running" and job.asked == "cancel":
        status = "canceled"
    return {
        "id": job.id,
        "object": "eval.run",
        "eval_id": job.parent,
        "report_url": "",
        "status": status,
        "model": "" if asking is None else asking["model"],
        "name": spec["name"] or "",
        "created_at": int(job.created_at),
        "result_counts": counts | state.get("result_counts", {}),
        "per_model_usage": [
            {"model_name": name, "run_model_name": name, **used}
            for name, used in state.get("by_model", {}).items()
        ],
        "per_testing_criteria_results": [
            {"testing_criteria": name, **found}
            for name, found in state.get("by_criterion", {}).items()
        ],
        "data_source": spec["shown_source"],
        "error": state.get("error"),
        "metadata": spec["metadata"] or {},
    }


def shown_item(job: Job, number: int, item: Mapping[str, Any]) -> dict[str, Any]:
    """What a row came to. Where nothing was asked, the sample is what came with the row."""
    sample = item.get("sample", {})
    asking = job.spec["asking"]
    params = {} if asking is None else asking["sampling_params"]
    text = sample.get("values", {}).get("output_text")
    came_along = [] if text is None else [{"role": "assistant", "content": text}]
    return {
        "id": f"outputitem_{job.id.removeprefix('evalrun_')}_{number}",
        "object": "eval.run.output_item",
        "created_at": int(job.created_at),
        "run_id": job.id,
        "eval_id": job.parent,
        "status": item["status"],
        "datasource_item_id": number,
        "datasource_item": item["datasource_item"],
        "results": item["results"],
        "sample": {
            "input": sample.get("input", []),
            "output": sample.get("output", came_along),
            "finish_reason": sample.get("finish_reason"),
            "model": sample.get("model", ""),
            "usage": sample.get("usage"),
            "error": item.get("error"),
            "temperature": params.get("temperature"),
            "max_completion_tokens": params.get("max_completion_tokens"),
            "top_p": params.get("top_p"),
            "seed": params.get("seed"),
        },
    }
