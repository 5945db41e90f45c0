"""/v1/evals: what is asked and graded, what a run that was cut off does, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import PromptTooLong
from freehold.evals import compare_recorded, evaluations_of
from freehold.library.identity import identity_of
from freehold.server.ask import Ask, Finish, TextDelta
from freehold.server.context import Asker
from freehold.server.evaluations.filling import filled
from freehold.server.evaluations.running import EvalRuns
from freehold.server.jobs import Outcome
from freehold.store import Said
from tests.server.scripted import MODEL, USAGE, ScriptedAnswer, ScriptedResident
from tests.server.whole import Whole, whole_app

Body = dict[str, Any]
SCHEMA = {
    "type": "object",
    "properties": {"question": {"type": "string"}, "answer": {"type": "string"}},
    "required": ["question", "answer"],
}
CHECK: Body = {
    "type": "string_check",
    "name": "right",
    "input": "{{sample.output_text}}",
    "reference": "{{ item.answer }}",
    "operation": "eq",
}


@dataclass
class Echoing(ScriptedResident):
    """Says the last message again; a form that is asked for is filled with its first choice."""

    async def answer(self, ask: Ask, asker: Asker) -> ScriptedAnswer:
        text = str((ask.messages or ({"content": ""},))[-1]["content"])
        if "too long" in text:
            raise PromptTooLong("too long")
        if ask.response_format is not None:
            schema: Any = ask.response_format.schema
            text = json.dumps(_filled_in(schema, text))
        self.events = (TextDelta(0, text), Finish(0, "stop"), USAGE)
        return await super().answer(ask, asker)


def _filled_in(schema: Mapping[str, Any], text: str) -> Body:
    ((name, said),) = schema["properties"].items()
    labels = said.get("enum")
    if labels:
        return {name: next(label for label in labels if label in text)}
    return {name: said["maximum"] if "good" in text else said["minimum"]}


@pytest.fixture
def whole(home: Path, tmp_path: Path) -> Iterator[Whole]:
    with whole_app(home, Echoing()) as made:
        made.house.residents.weights = tmp_path / "weights.gguf"  # type: ignore[attr-defined]
        (tmp_path / "weights.gguf").write_bytes(b"weights")
        yield made


def post(whole: Whole, path: str, body: Body | None = None, status: int = 200) -> Body:
    reply = whole.client.post(f"/v1/evals{path}", json=body)
    assert reply.status_code == status, reply.text
    found: Body = reply.json()
    return found


def get(whole: Whole, path: str) -> Body:
    reply = whole.client.get(f"/v1/evals{path}")
    assert reply.status_code == 200, reply.text
    found: Body = reply.json()
    return found


def defined(whole: Whole, *criteria: Body) -> str:
    config = {"type": "custom", "item_schema": SCHEMA, "include_sample_schema": True}
    body = {"name": "e", "data_source_config": config, "testing_criteria": list(criteria)}
    made = post(whole, "", body)
    assert made["data_source_config"]["schema"]["properties"]["item"] == SCHEMA
    return str(made["id"])


def rows(*pairs: tuple[str, str]) -> list[Body]:
    return [{"item": {"question": question, "answer": answer}} for question, answer in pairs]


def asked(content: list[Body], **changed: Any) -> Body:
    source = {"type": "file_content", "content": content}
    template = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "{{item.question}}"}]},
    ]
    data = {
        "type": "completions",
        "source": source,
        "model": MODEL,
        "input_messages": {"type": "template", "template": template},
        "sampling_params": {"temperature": 0.0, "max_completion_tokens": 9},
    }
    return {"name": "r", "data_source": data | changed}


def done(whole: Whole, run_id: str, *, stop: str | None = None) -> Outcome:
    """The run carried to its end, as the background does it."""
    jobs = whole.house.store.jobs

    async def carried() -> Outcome:
        job = jobs.claim("eval_run", "w")
        assert job is not None
        assert job.id == run_id

        async def tell(state: Any, *say: Said) -> None:
            jobs.beat(run_id, "w", state, say=say)

        outcome = await EvalRuns().run(job, house=whole.house, tell=tell, asked=lambda: stop)
        jobs.finish(run_id, "w", outcome.status, outcome.state, say=outcome.say)
        return outcome

    return asyncio.run(carried())


def test_rows_are_asked_and_graded(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    run = post(whole, f"/{eval_id}/runs", asked(rows(("a", "a"), ("b", "x"), ("c", "c"))), 201)
    assert (run["status"], run["result_counts"]["total"]) == ("queued", 3)
    done(whole, run["id"])
    run = get(whole, f"/{eval_id}/runs/{run['id']}")
    assert run["status"] == "completed"
    assert run["result_counts"] == {"total": 3, "errored": 0, "failed": 1, "passed": 2}
    assert run["per_testing_criteria_results"] == [
        {"testing_criteria": "right", "passed": 2, "failed": 1}
    ]
    (usage,) = run["per_model_usage"]
    assert (usage["model_name"], usage["invocation_count"], usage["total_tokens"]) == (MODEL, 3, 30)
    items = get(whole, f"/{eval_id}/runs/{run['id']}/output_items")["data"]
    assert [item["status"] for item in items] == ["pass", "fail", "pass"]
    assert items[1]["sample"]["output"] == [{"role": "assistant", "content": "b"}]
    assert items[1]["sample"]["input"][1] == {"role": "user", "content": "b"}
    one = get(whole, f"/{eval_id}/runs/{run['id']}/output_items/{items[1]['id']}")
    assert one == items[1]


def test_whoever_waits_for_an_answer_comes_first(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    run = post(whole, f"/{eval_id}/runs", asked(rows(("a", "a"))), 201)
    done(whole, run["id"])
    resident: Any = whole.house.residents
    assert [asker.background for asker in resident.resident.askers] == [True]


def test_answers_that_came_along_are_graded_without_asking(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    content = [
        {"item": {"question": "q", "answer": "4"}, "sample": {"output_text": said}}
        for said in ("4", "5")
    ]
    data = {"type": "jsonl", "source": {"type": "file_content", "content": content}}
    run = post(whole, f"/{eval_id}/runs", {"data_source": data}, 201)
    done(whole, run["id"])
    found = get(whole, f"/{eval_id}/runs/{run['id']}")
    assert found["result_counts"]["passed"] == 1
    assert (found["model"], found["per_model_usage"]) == ("", [])


def test_rows_come_from_an_uploaded_file(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    content = "".join(json.dumps(row) + "\n" for row in rows(("a", "a"), ("b", "b")))
    file = whole.client.post(
        "/v1/files", data={"purpose": "evals"}, files={"file": ("rows.jsonl", content)}
    ).json()
    body = asked([])
    body["data_source"]["source"] = {"type": "file_id", "id": file["id"]}
    run = post(whole, f"/{eval_id}/runs", body, 201)
    assert done(whole, run["id"]).state["result_counts"]["passed"] == 2
    assert get(whole, f"/{eval_id}/runs/{run['id']}")["data_source"]["source"]["id"] == file["id"]


def model_criterion(**changed: Any) -> Body:
    return {
        "name": "judged",
        "model": MODEL,
        "input": [{"role": "user", "content": "Judge: {{sample.output_text}}"}],
        **changed,
    }


@pytest.mark.parametrize(
    ("criterion", "question", "passes", "score"),
    [
        ({**CHECK, "operation": "ne"}, "x", True, 1.0),
        ({**CHECK, "operation": "like"}, "so it is a!", True, 1.0),
        ({**CHECK, "operation": "like"}, "so it is A!", False, 0.0),
        ({**CHECK, "operation": "ilike"}, "SO IT IS A!", True, 1.0),
        (
            {"type": "text_similarity", "name": "alike", "input": "{{sample.output_text}}",
             "reference": "a b c d", "evaluation_metric": "rouge_1", "pass_threshold": 0.5},
            "a b x y", True, 0.5,
        ),
        (
            model_criterion(type="label_model", labels=["rude", "kind"], passing_labels=["kind"]),
            "how kind of you", True, 1.0,
        ),
        (
            model_criterion(type="label_model", labels=["rude", "kind"], passing_labels=["kind"]),
            "how rude", False, 0.0,
        ),
        (model_criterion(type="score_model", range=[1, 5]), "good", True, 5.0),
        (model_criterion(type="score_model", range=[1, 5]), "bad", False, 1.0),
        (model_criterion(type="score_model", pass_threshold=0.0), "bad", True, 0.0),
    ],
)  # fmt: skip
def test_each_criterion_grades_as_it_says(
    whole: Whole, criterion: Body, question: str, passes: bool, score: float
) -> None:
    eval_id = defined(whole, criterion)
    run = post(whole, f"/{eval_id}/runs", asked(rows((question, "a"))), 201)
    done(whole, run["id"])
    (item,) = get(whole, f"/{eval_id}/runs/{run['id']}/output_items")["data"]
    (result,) = item["results"]
    assert (result["passed"], result["score"]) == (passes, score)
    assert item["status"] == ("pass" if passes else "fail")


def test_a_row_that_a_model_refuses_is_an_error_of_its_own(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    run = post(whole, f"/{eval_id}/runs", asked(rows(("too long", "a"), ("b", "b"))), 201)
    outcome = done(whole, run["id"])
    assert outcome.state["result_counts"] == {"total": 2, "passed": 1, "failed": 0, "errored": 1}
    item = get(whole, f"/{eval_id}/runs/{run['id']}/output_items?status=error")["data"][0]
    assert item["sample"]["error"]["code"] == "context_length_exceeded"


def test_a_run_that_was_cut_off_asks_no_row_twice(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    content = rows(*((str(i), str(i)) for i in range(20)))
    run = post(whole, f"/{eval_id}/runs", asked(content), 201)
    job = whole.house.store.jobs.get(run["id"], owner="local")
    assert job is not None
    keeps = whole.house.store.evals

    async def cut_off() -> None:
        async def tell(state: Any, *say: Said) -> None:
            await asyncio.sleep(0.01)

        work = asyncio.create_task(
            EvalRuns().run(job, house=whole.house, tell=tell, asked=lambda: None)
        )
        while len(keeps.items(run["id"], owner="local")) < 5:
            await asyncio.sleep(0.001)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    asyncio.run(cut_off())
    resident: Any = whole.house.residents
    kept = len(keeps.items(run["id"], owner="local"))
    assert 5 <= kept < 20
    resident.resident.asks.clear()
    assert done(whole, run["id"]).state["result_counts"]["passed"] == 20
    assert len(resident.resident.asks) == 20 - kept


def test_a_cancelled_run_keeps_what_is_done(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    run = post(whole, f"/{eval_id}/runs", asked(rows(("a", "a"))), 201)
    waiting = post(whole, f"/{eval_id}/runs/{run['id']}/cancel")
    assert waiting["status"] == "canceled"
    run = post(whole, f"/{eval_id}/runs", asked(rows(("a", "a"))), 201)
    assert done(whole, run["id"], stop="cancel").status == "cancelled"
    assert get(whole, f"/{eval_id}/runs/{run['id']}")["status"] == "canceled"


def test_two_runs_over_the_same_rows_can_be_compared_from_the_record(whole: Whole) -> None:
    eval_id = defined(whole, CHECK)
    residents: Any = whole.house.residents
    digests = []
    for name in ("one", "two"):
        residents.weights = residents.weights.with_name(f"{name}.gguf")
        residents.weights.write_bytes(name.encode())
        digests.append(identity_of(residents.weights).digest)
        run = post(whole, f"/{eval_id}/runs", asked(rows(("a", "a"), ("b", "x"))), 201)
        done(whole, run["id"])
    events = whole.house.store.events
    first, second = (evaluations_of(events, digest)[-1] for digest in digests)
    assert first.estimate.value == 0.5
    assert compare_recorded(first, second).difference.n == 2


def test_evaluations_are_listed_renamed_and_forgotten(whole: Whole) -> None:
    ids = [defined(whole, CHECK) for _ in range(3)]
    listed = get(whole, "?limit=2")
    assert [one["id"] for one in listed["data"]] == ids[:2]
    assert listed["has_more"] is True
    assert get(whole, f"?after={ids[1]}")["data"][0]["id"] == ids[2]
    changed = post(whole, f"/{ids[0]}", {"name": "new", "metadata": {"k": "v"}})
    assert (changed["name"], changed["metadata"]) == ("new", {"k": "v"})
    run = post(whole, f"/{ids[0]}/runs", asked(rows(("a", "a"))), 201)
    assert get(whole, f"/{ids[0]}/runs?status=queued")["data"][0]["id"] == run["id"]
    assert get(whole, f"/{ids[0]}/runs?status=failed")["data"] == []
    refused = whole.client.delete(f"/v1/evals/{ids[0]}")
    assert refused.status_code == 400
    done(whole, run["id"])
    gone = whole.client.delete(f"/v1/evals/{ids[0]}").json()
    assert gone == {"object": "eval.deleted", "deleted": True, "eval_id": ids[0]}
    assert whole.client.get(f"/v1/evals/{ids[0]}/runs/{run['id']}").status_code == 404


def test_nobody_sees_anothers_evaluations(whole: Whole) -> None:
    mine, yours = whole.key("mine", "jobs", "generate"), whole.key("yours", "jobs", "generate")
    config = {"type": "custom", "item_schema": SCHEMA}
    body = {"data_source_config": config, "testing_criteria": [CHECK]}
    made = whole.client.post("/v1/evals", json=body, headers=mine).json()
    path = f"/v1/evals/{made['id']}"
    assert whole.client.get(path, headers=mine).status_code == 200
    assert whole.client.get(path, headers=yours).status_code == 404
    run = whole.client.post(f"{path}/runs", json=asked(rows(("a", "a"))), headers=yours)
    assert run.status_code == 404
    bare = whole.key("bare", "jobs")
    made = whole.client.post("/v1/evals", json=body, headers=bare).json()
    run = whole.client.post(
        f"/v1/evals/{made['id']}/runs", json=asked(rows(("a", "a"))), headers=bare
    )
    assert run.status_code == 403


@pytest.mark.parametrize(
    ("criterion", "param"),
    [
        ({"type": "python", "name": "p", "source": "def grade(): ..."}, "testing_criteria.0.type"),
        ({**CHECK, "input": "{{sample.output_text}} {{os.environ}}"}, "testing_criteria.0.input"),
        ({**CHECK, "operation": "matches"}, "testing_criteria.0.string_check.operation"),
        (
            {"type": "text_similarity", "name": "t", "input": "", "reference": "",
             "evaluation_metric": "cosine", "pass_threshold": 1.0},
            "testing_criteria.0.evaluation_metric",
        ),
        (
            model_criterion(type="label_model", labels=["a"], passing_labels=["b"]),
            "testing_criteria.0.passing_labels",
        ),
        (model_criterion(type="score_model", range=[1, 1]), "testing_criteria.0.range"),
    ],
)  # fmt: skip
def test_a_criterion_that_cannot_be_had_is_refused_by_name(
    whole: Whole, criterion: Body, param: str
) -> None:
    config = {"type": "custom", "item_schema": SCHEMA}
    body = {"data_source_config": config, "testing_criteria": [criterion]}
    assert post(whole, "", body, 400)["error"]["param"] == param


def test_other_data_than_the_askers_own_is_refused(whole: Whole) -> None:
    body = {"data_source_config": {"type": "logs"}, "testing_criteria": [CHECK]}
    assert post(whole, "", body, 400)["error"]["param"] == "data_source_config.type"


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (asked(rows(("a", "a")), model="nobody"), 404, "nobody"),
        (asked([{"item": {"question": "a"}}]), 400, "row 1"),
        (asked([*rows(("a", "a")), {"item": {"question": 3, "answer": "b"}}]), 400, "row 2"),
        (asked([]), 400, "content"),
        (asked([], source={"type": "file_id", "id": "file-" + "0" * 32}), 404, "file"),
        (asked([], source={"type": "stored_completions", "limit": 3}), 400, "file_content"),
        (
            asked(rows(("a", "a")), input_messages={"type": "item_reference",
                  "item_reference": "sample"}), 201, "",
        ),
        (
            asked(rows(("a", "a")), input_messages={"type": "item_reference",
                  "item_reference": "__class__"}), 400, "item.name",
        ),
    ],
)  # fmt: skip
def test_a_run_is_judged_before_it_waits(whole: Whole, body: Body, status: int, said: str) -> None:
    eval_id = defined(whole, CHECK)
    reply = whole.client.post(f"/v1/evals/{eval_id}/runs", json=body)
    assert reply.status_code == status, reply.text
    assert said in reply.text


def test_texts_are_filled_and_never_run() -> None:
    values = {"item": {"a": {"b": ["x", {"c": 1}]}, "t": "{{item.a}}"}, "sample": {}}
    assert filled("{{item.a.b[0]}} {{ item.a.b[1].c }} {{item.t}}", values) == "x 1 {{item.a}}"
    for name in ("item.a.missing", "item.__class__", "item.a.b[9]", "item.t[0]", "sample.x"):
        with pytest.raises(Exception, match="no such field"):
            filled("{{" + name + "}}", values)
