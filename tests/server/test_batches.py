"""Batches: each line once, whole files at the end, and everything wrong said before the first."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import BadSampling, EngineDied, Forbidden, QueueFull
from freehold.server.ask import Ask
from freehold.server.batches import answering
from freehold.server.batches.running import Batches, asker_for
from freehold.server.context import Asker
from freehold.server.jobs import Background, Outcome
from freehold.store import Job, Said
from tests.server.scripted import MODEL, ScriptedAnswer, ScriptedResident
from tests.server.whole import Whole, whole_app

CHAT = "/v1/chat/completions"
TOLD: dict[str, dict[str, Any]] = {}


@dataclass
class Slow(ScriptedResident):
    """Answers at once, but for the texts in `held`, which wait for ever."""

    held: set[str] = field(default_factory=set)
    failing: dict[str, list[Exception]] = field(default_factory=dict)

    async def answer(self, ask: Ask, asker: Asker) -> ScriptedAnswer:
        text = (ask.messages or ({"content": ""},))[0]["content"]
        if text in self.held:
            await asyncio.get_running_loop().create_future()
        if self.failing.get(text):
            raise self.failing[text].pop()
        return await super().answer(ask, asker)


@pytest.fixture
def resident() -> Slow:
    return Slow()


@pytest.fixture
def whole(home: Path, resident: Slow) -> Iterator[Whole]:
    with whole_app(home, resident) as made:
        yield made


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answering, "_FIRST_PAUSE_S", 0.001)


def line(text: str, **changed: Any) -> dict[str, Any]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
    return {"custom_id": text, "method": "POST", "url": CHAT, "body": body, **changed}


def made(whole: Whole, lines: Sequence[dict[str, Any]] | bytes, **spec: Any) -> Job:
    content = lines if isinstance(lines, bytes) else b""
    if not isinstance(lines, bytes):
        content = b"".join(json.dumps(each).encode() + b"\n" for each in lines)
    file = whole.house.store.files.put(
        owner="local", filename="in.jsonl", purpose="batch", content=[content], max_bytes=1 << 30
    )
    wanted = {
        "input_file_id": file.id,
        "endpoint": CHAT,
        "completion_window": "24h",
        "metadata": None,
        "expires_at": time.time() + 3600,
        **spec,
    }
    return whole.house.store.jobs.create(owner="local", kind="batch", spec=wanted)


async def run(
    whole: Whole, job: Job, *, asked: str | None = None, until: int | None = None
) -> Outcome | None:
    """The batch run to its end, or cut off when so many lines are kept."""

    async def tell(state: Any, *say: Said) -> None:
        TOLD[job.id] = state

    work = asyncio.create_task(
        Batches().run(job, house=whole.house, tell=tell, asked=lambda: asked)
    )
    while until is not None and not work.done():
        await asyncio.sleep(0.01)
        if len(whole.house.store.evals.items(job.id, owner="local")) >= until:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
            return None
    return await work


def done(whole: Whole, job: Job, **how: Any) -> Outcome:
    outcome = asyncio.run(run(whole, job, **how))
    assert outcome is not None
    return outcome


def written(whole: Whole, outcome: Outcome, name: str) -> list[dict[str, Any]]:
    with whole.house.store.files.open(outcome.state[f"{name}_file_id"], owner="local") as file:
        return [json.loads(each) for each in file]


def test_answers_are_written_in_the_order_of_the_input(whole: Whole) -> None:
    names = [f"line {number}" for number in range(40)]
    outcome = done(whole, made(whole, [line(name) for name in names]))
    assert (outcome.status, outcome.state["completed"], outcome.state["failed"]) == (
        "succeeded",
        40,
        0,
    )
    records = written(whole, outcome, "output")
    assert [record["custom_id"] for record in records] == names
    assert records[0]["error"] is None
    response = records[0]["response"]
    assert response["status_code"] == 200
    assert response["body"]["choices"][0]["message"]["content"] == "Hello world"
    assert len({record["id"] for record in records}) == 40
    assert outcome.state["usage"] == [7 * 40, 2 * 40, 3 * 40, 1 * 40]
    assert "error_file_id" not in outcome.state


def test_everybody_else_comes_first(whole: Whole, resident: Slow) -> None:
    done(whole, made(whole, [line("a")]))
    assert [asker.background for asker in resident.askers] == [True]


def test_a_refused_line_is_in_the_file_of_errors(whole: Whole, resident: Slow) -> None:
    resident.failing = {"bad": [BadSampling("too hot", param="temperature")]}
    odd = line("odd")
    odd["body"]["nonsense"] = 1
    outcome = done(whole, made(whole, [line("good"), line("bad"), odd]))
    assert (outcome.status, outcome.state["completed"], outcome.state["failed"]) == (
        "succeeded",
        1,
        2,
    )
    bad, unknown = written(whole, outcome, "error")
    assert (bad["custom_id"], bad["response"]["status_code"]) == ("bad", 400)
    assert bad["response"]["body"]["error"]["param"] == "temperature"
    assert "nonsense" in unknown["response"]["body"]["error"]["message"]


def test_what_finds_no_room_waits_for_it(whole: Whole, resident: Slow) -> None:
    resident.failing = {"a": [QueueFull("full"), QueueFull("full")]}
    assert done(whole, made(whole, [line("a")])).state["completed"] == 1


def test_a_line_that_ends_the_engine_each_time_is_given_up(whole: Whole, resident: Slow) -> None:
    resident.failing = {"a": [EngineDied("gone") for _ in range(9)]}
    outcome = done(whole, made(whole, [line("a"), line("b")]))
    assert (outcome.state["completed"], outcome.state["failed"]) == (1, 1)
    assert len(resident.failing["a"]) == 6


def test_goes_on_after_the_server_ended_without_doing_a_line_twice(
    whole: Whole, resident: Slow
) -> None:
    names = [f"n{number}" for number in range(60)]
    resident.held = {"n20", "n30"}
    job = made(whole, [line(name) for name in names])
    assert asyncio.run(run(whole, job, until=30)) is None
    before = {ask.messages[0]["content"] for ask in resident.asks if ask.messages}
    resident.held = set()
    outcome = done(whole, job)
    texts = [ask.messages[0]["content"] for ask in resident.asks if ask.messages]
    assert outcome.state["completed"] == 60
    # Sixteen may have been under way, unanswered, when the server ended.
    assert sorted(set(texts)) == sorted(names)
    assert len(before) >= 30
    assert len(texts) - len(names) <= 16
    assert [each["custom_id"] for each in written(whole, outcome, "output")] == names


def test_a_file_that_was_written_before_the_end_is_not_written_twice(whole: Whole) -> None:
    job = made(whole, [line("a")])
    first = done(whole, job)
    second = done(whole, replace(job, state=TOLD[job.id]))
    assert first.state["output_file_id"] == second.state["output_file_id"]
    assert (second.status, second.state["completed"]) == ("succeeded", 1)
    assert len(whole.house.store.files.list(owner="local", purpose="batch_output")) == 1


def test_answers_stay_nowhere_but_in_the_files(whole: Whole) -> None:
    job = made(whole, [line("a")])
    done(whole, job)
    assert whole.house.store.evals.items(job.id, owner="local") == ()


def test_a_cancelled_batch_has_what_was_answered(whole: Whole, resident: Slow) -> None:
    resident.held = {"b"}
    outcome = done(whole, made(whole, [line("a"), line("b")]), asked="cancel")
    assert outcome.status == "cancelled"
    assert [each["custom_id"] for each in written(whole, outcome, "output")] == ["a"]
    assert "error_file_id" not in outcome.state


def test_an_expired_batch_says_which_lines_were_not_answered(whole: Whole, resident: Slow) -> None:
    resident.held = {"b"}
    outcome = done(whole, made(whole, [line("a"), line("b")], expires_at=time.time()))
    assert outcome.status == "expired"
    assert [each["custom_id"] for each in written(whole, outcome, "output")] == ["a"]
    (late,) = written(whole, outcome, "error")
    assert (late["custom_id"], late["error"]["code"], late["response"]) == (
        "b",
        "batch_expired",
        None,
    )
    assert outcome.state["failed"] == 1


@pytest.mark.parametrize(
    ("content", "code", "at"),
    [
        (b"", "empty_file", None),
        (b"\n  \n", "empty_file", None),
        (b"{", "invalid_json_line", 1),
        (b"[]", "invalid_json_line", 1),
        (b'{"custom_id": "a", "custom_id": "b"}', "invalid_json_line", 1),
        (b"\xff", "invalid_json_line", 1),
        ([line("a"), line("a")], "duplicate_custom_id", 2),
        ([line("a", custom_id=1)], "missing_required_parameter", 1),
        ([line("a", method="GET")], "invalid_method", 1),
        ([line("a", url="/v1/embeddings")], "mismatched_url", 1),
        ([line("a", url="http://elsewhere/v1/chat/completions")], "mismatched_url", 1),
        ([line("a", body=[])], "missing_required_parameter", 1),
        ([line("a", body={})], "missing_required_parameter", 1),
        ([line("a", body={"model": MODEL, "stream": True})], "invalid_request", 1),
        ([line("a"), line("b", body={"model": "other"})], "mismatched_model", 2),
        ([line("a", more=1)], "invalid_request", 1),
    ],
)
def test_a_file_that_is_not_valid_is_answered_not_at_all(
    whole: Whole, resident: Slow, content: Any, code: str, at: int | None
) -> None:
    outcome = done(whole, made(whole, content))
    assert outcome.status == "failed"
    (problem,) = outcome.state["errors"]
    assert (problem["code"], problem["line"]) == (code, at)
    assert resident.asks == []


def test_a_revoked_key_answers_no_more(whole: Whole) -> None:
    record, _ = whole.house.store.keys.create("a", ["jobs", "generate"])
    assert asker_for(whole.house, record.id, "x").scopes == {"jobs", "generate"}
    whole.house.store.keys.revoke(record.id)
    with pytest.raises(Forbidden):
        asker_for(whole.house, record.id, "x")


def test_over_http_a_batch_is_created_shown_listed_and_cancelled(whole: Whole) -> None:
    client = whole.client
    upload = client.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("in.jsonl", json.dumps(line("a")).encode())},
    ).json()
    assert (upload["purpose"], upload["status"], upload["bytes"] > 0) == (
        "batch",
        "processed",
        True,
    )
    asked = {"input_file_id": upload["id"], "endpoint": CHAT, "completion_window": "24h"}
    batch = client.post("/v1/batches", json={**asked, "metadata": {"a": "b"}}).json()
    assert (batch["status"], batch["metadata"]) == ("validating", {"a": "b"})
    assert client.get(f"/v1/batches/{batch['id']}").json() == batch
    listed = client.get("/v1/batches").json()
    assert (listed["data"], listed["has_more"]) == ([batch], False)
    assert client.post(f"/v1/batches/{batch['id']}/cancel").json()["status"] == "cancelled"
    again = client.post(f"/v1/batches/{batch['id']}/cancel")
    assert again.status_code == 400
    unknown = client.post("/v1/batches", json={**asked, "input_file_id": "file-1"})
    assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "input_file_id")
    wrong = client.post("/v1/batches", json={**asked, "endpoint": "/v1/moderations"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "endpoint")


def test_a_key_needs_the_scope_of_what_its_batch_asks(whole: Whole) -> None:
    headers = whole.key("a", "jobs")
    asked = {"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"}
    refused = whole.client.post("/v1/batches", json=asked, headers=headers)
    assert refused.status_code == 403
    assert "generate" in refused.json()["error"]["message"]


def test_another_key_sees_neither_file_nor_batch(whole: Whole) -> None:
    mine, theirs = whole.key("a", "*"), whole.key("b", "*")
    client = whole.client
    upload = client.post(
        "/v1/files",
        data={"purpose": "batch"},
        files={"file": ("in.jsonl", json.dumps(line("a")).encode())},
        headers=mine,
    ).json()
    asked = {"input_file_id": upload["id"], "endpoint": CHAT, "completion_window": "24h"}
    assert client.post("/v1/batches", json=asked, headers=theirs).status_code == 404
    batch = client.post("/v1/batches", json=asked, headers=mine).json()
    for path in (f"/v1/batches/{batch['id']}", f"/v1/files/{upload['id']}"):
        assert client.get(path, headers=theirs).status_code == 404
        assert client.get(path, headers=mine).status_code == 200
    for path in (f"/v1/files/{upload['id']}/content", f"/v1/batches?after={batch['id']}"):
        assert client.get(path, headers=theirs).status_code == 404
    assert client.delete(f"/v1/files/{upload['id']}", headers=theirs).status_code == 404
    assert client.get("/v1/batches", headers=theirs).json()["data"] == []


def test_the_background_carries_a_batch_and_goes_on_with_what_was_left(
    whole: Whole, resident: Slow
) -> None:
    house = whole.house
    resident.held = {"b"}
    job = made(whole, [line("a"), line("b")])

    async def life(until: str) -> None:
        background = Background(house, {"batch": (Batches(), 1)})
        await background.start()
        async with asyncio.timeout(20):
            while True:
                await asyncio.sleep(0.02)
                found = house.store.jobs.get(job.id, owner="local")
                assert found is not None
                if until == "one" and house.store.evals.items(job.id, owner="local"):
                    break
                if found.status == until:
                    break
        await background.close()

    asyncio.run(life("one"))
    given_back = house.store.jobs.get(job.id, owner="local")
    assert given_back is not None
    assert given_back.status == "queued"
    resident.held = set()
    asyncio.run(life("succeeded"))
    assert [ask.messages[0]["content"] for ask in resident.asks if ask.messages] == ["a", "b"]
