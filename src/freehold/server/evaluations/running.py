"""Runs an evaluation's job: each row asked and graded once, however often the server ends.

Room: server. A row's outcome is kept with its number before it counts. Must not know HTTP.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from freehold.errors import FreeholdError
from freehold.server.batches.answering import answered
from freehold.server.batches.lines import Line
from freehold.server.batches.running import asker_for
from freehold.server.context import Asker
from freehold.server.evaluations.filling import looked_up
from freehold.server.evaluations.grading import Refused, grade, messages_of
from freehold.server.evaluations.recording import record_run
from freehold.server.evaluations.rows import Rows, rows_of
from freehold.server.jobs import Outcome, Tell, error_state
from freehold.store import Job, Said

if TYPE_CHECKING:
    from freehold.server.context import House

__all__ = ["EvalRuns", "Tally"]

_AT_ONCE = 4
_CHECK_KEY_EVERY = 64  # rows
_PAGE = 500
_PATH = "/v1/chat/completions"
_COUNTED = {"pass": "passed", "fail": "failed", "error": "errored"}
_PASSED_ON = ("temperature", "top_p", "seed", "response_format", "tools", "reasoning_effort")

_log = logging.getLogger(__name__)


class EvalRuns:
    """The runner of evaluations' runs."""

    async def run(
        self, job: Job, *, house: House, tell: Tell, asked: Callable[[], str | None]
    ) -> Outcome:
        """Ask and grade what is not yet; sum up. Raises: what fails the whole run."""
        spec = job.spec
        rows = await asyncio.to_thread(
            rows_of, spec["source"], spec["item_schema"], house=house, owner=job.owner
        )
        return await _Work(job, house, tell, asked, rows).done()


class _Work:
    """One run under way."""

    def __init__(
        self,
        job: Job,
        house: House,
        tell: Tell,
        asked: Callable[[], str | None],
        rows: Rows,
    ) -> None:
        self._job, self._house, self._tell, self._asked = job, house, tell, asked
        self._rows = rows
        self._items = house.store.evals
        self._criteria: list[dict[str, Any]] = job.spec["testing_criteria"]
        self._tally = Tally(len(rows.items), self._criteria)
        self._outcomes: dict[int, str] = {}
        self._asker: Asker | None = None

    async def done(self) -> Outcome:
        await asyncio.to_thread(self._take_up)
        left = iter([i for i in range(len(self._rows.items)) if i not in self._outcomes])
        await self._tell(self._tally.state())
        workers = [asyncio.create_task(self._worker(left)) for _ in range(_AT_ONCE)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        state = self._tally.state()
        if len(self._outcomes) < len(self._rows.items):
            return Outcome("cancelled", state, (Said("the run was cancelled"),))
        await self._record()
        counts = state["result_counts"]
        said = Said(f"{counts['passed']} of {counts['total']} passed")
        return Outcome("succeeded", state, (said,))

    def _take_up(self) -> None:
        """What an earlier life of the server has done of it."""
        after = -1
        while found := self._items.items(
            self._job.id, owner=self._job.owner, after=after, limit=_PAGE
        ):
            for number, item in found:
                self._count(number, item)
            after = found[-1][0]

    def _count(self, number: int, item: dict[str, Any]) -> None:
        self._tally.add(item)
        self._outcomes[number] = item["status"]

    async def _worker(self, left: Iterator[int]) -> None:
        """Takes rows until none is left or the run is cancelled."""
        for number in left:
            if self._asked() == "cancel":
                return
            if self._asker is None or number % _CHECK_KEY_EVERY == 0:
                # A key that was revoked asks for nothing more.
                self._asker = await asyncio.to_thread(
                    asker_for, self._house, self._job.owner, self._job.id
                )
            item = await self._one(number)
            await asyncio.to_thread(self._items.put_item, self._job.id, number, item)
            self._count(number, item)
            await self._tell(self._tally.state())

    async def _one(self, number: int) -> dict[str, Any]:
        """The outcome of a row; what a model or a text refuses is the row's own error."""
        item = self._rows.items[number]
        outcome: dict[str, Any] = {"datasource_item": item, "results": [], "models": []}
        try:
            sample = await self._sample(number, item, outcome)
            values = {"item": item, "sample": sample.get("values", {})}
            outcome["sample"] = sample
            for criterion in self._criteria:
                result = await grade(criterion, values, lambda b: self._post(b, outcome))
                outcome["results"].append(result)
        except Refused as refused:
            error = refused.error
            outcome["error"] = {"code": str(error.get("code")), "message": error.get("message")}
        except FreeholdError as error:
            told = error_state(error)
            outcome["error"] = {"code": told["code"], "message": told["message"]}
        passed = bool(outcome["results"]) and all(r["passed"] for r in outcome["results"])
        outcome["status"] = "error" if "error" in outcome else "pass" if passed else "fail"
        return outcome

    async def _sample(
        self, number: int, item: Mapping[str, Any], outcome: dict[str, Any]
    ) -> dict[str, Any]:
        """What there is to grade: the model's answer, or what came along with the row."""
        asking = self._job.spec["asking"]
        if asking is None:
            return {"values": self._rows.samples[number] or {}}
        body = _body(asking, item)
        answer = await self._post(body, outcome)
        choice = answer["choices"][0]
        text = choice["message"].get("content") or ""
        usage = answer.get("usage") or {}
        return {
            "input": body["messages"],
            "output": [{"role": "assistant", "content": text}],
            "model": answer.get("model", body["model"]),
            "finish_reason": choice.get("finish_reason"),
            "usage": _usage(usage),
            "values": _sample_values(text, choice),
        }

    async def _post(self, body: dict[str, Any], outcome: dict[str, Any]) -> dict[str, Any]:
        """A chat completion, asked as the run's owner, after everybody who waits for an answer."""
        assert self._asker is not None, "nobody asks"
        assert self._house.inside is not None, "a server without its routes"
        asker = replace(self._asker, request_id=self._job.id)
        line = Line("", body)
        record = await answered(self._house.inside, _PATH, line, asker, request_id=self._job.id)
        response = record["response"]
        if response["status_code"] != 200:
            raise Refused(response["body"].get("error", {}))
        answer: dict[str, Any] = response["body"]
        told = _usage(answer.get("usage") or {})
        outcome["models"].append({"model": body["model"], **told})
        return answer

    async def _record(self) -> None:
        """Into the model's record; a run is no worse for weights that nobody can hash now."""
        statuses = [self._outcomes[number] for number in range(len(self._rows.items))]
        try:
            await asyncio.to_thread(record_run, self._house, self._job, self._rows, statuses)
        except (FreeholdError, OSError) as error:
            _log.warning("%s could not be recorded: %s", self._job.id, error)


def _body(asking: Mapping[str, Any], item: Mapping[str, Any]) -> dict[str, Any]:
    """The request for a row. Raises: BadRequest."""
    params = asking["sampling_params"]
    body = {name: params[name] for name in _PASSED_ON if params.get(name) is not None}
    for name in ("max_completion_tokens", "max_completions_tokens"):
        if params.get(name) is not None:
            body["max_completion_tokens"] = params[name]
    values = {"item": item}
    if asking["item_reference"] is not None:
        found = looked_up(asking["item_reference"], values)
        messages = [{"role": "user", "content": found}] if isinstance(found, str) else found
    else:
        messages = messages_of(asking["template"], values)
    return {"model": asking["model"], "messages": messages, **body}


def _sample_values(text: str, choice: Mapping[str, Any]) -> dict[str, Any]:
    """What texts may name of a sample."""
    values: dict[str, Any] = {
        "output_text": text,
        "finish_reason": choice.get("finish_reason"),
        "output_tools": choice["message"].get("tool_calls") or [],
    }
    with suppress(ValueError, RecursionError):
        values["output_json"] = json.loads(text)
    return values


def _usage(usage: Mapping[str, Any]) -> dict[str, int]:
    details = usage.get("prompt_tokens_details") or {}
    return {
        "prompt_tokens": usage.get("prompt_tokens", 0),
        "completion_tokens": usage.get("completion_tokens", 0),
        "cached_tokens": details.get("cached_tokens", 0),
        "total_tokens": usage.get("total_tokens", 0),
    }


class Tally:
    """The counts over rows that are done, as the run's state has them."""

    def __init__(self, total: int, criteria: Sequence[Mapping[str, Any]]) -> None:
        self._counts = {"total": total, "passed": 0, "failed": 0, "errored": 0}
        self._by_criterion = {each["name"]: {"passed": 0, "failed": 0} for each in criteria}
        self._by_model: dict[str, dict[str, int]] = {}

    def add(self, item: Mapping[str, Any]) -> None:
        """One more row."""
        self._counts[_COUNTED[item["status"]]] += 1
        for result in item["results"]:
            self._by_criterion[result["name"]]["passed" if result["passed"] else "failed"] += 1
        for used in item["models"]:
            into = self._by_model.setdefault(used["model"], {"invocation_count": 0})
            into["invocation_count"] += 1
            for name, value in used.items():
                if name != "model":
                    into[name] = into.get(name, 0) + value

    def state(self) -> dict[str, Any]:
        """All counts."""
        return {
            "result_counts": dict(self._counts),
            "by_criterion": self._by_criterion,
            "by_model": self._by_model,
        }
