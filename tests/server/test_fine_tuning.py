"""Fine-tuning jobs: refused early, told once, gone on with, served and deleted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from freehold.server.cards import ModelCard
from freehold.server.jobs import Background
from freehold.server.standing import process_birth
from freehold.server.tuning.running import Tunings, folder_of
from freehold.server.tuning.served import name_again
from freehold.store import Dataset, Job
from tests.server.whole import Whole, whole_app

PATH = "/v1/fine_tuning/jobs"
WORKER = "tests.server.teaching_worker"


@dataclass
class Teachable:
    """One model that takes adapters."""

    card: ModelCard
    adopted: dict[str, Path] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def cards(self) -> list[ModelCard]:
        return [self.card]

    def restore(self, name: str, path: Path, base: str) -> bool:
        self.adopted[name] = path
        return base == self.card.id

    async def adopt(self, name: str, path: Path, base: str) -> None:
        assert base == self.card.id
        assert path.is_dir()
        self.adopted[name] = path

    def unload_adapter(self, name: str) -> None:
        self.removed.append(name)


@pytest.fixture
def base(tmp_path: Path) -> ModelCard:
    path = tmp_path / "base.gguf"
    path.write_bytes(b"weights")
    return ModelCard(id="base", created=1, kind="chat", path=path, size_bytes=7)


@pytest.fixture
def whole(home: Path, base: ModelCard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    monkeypatch.setattr(
        "freehold.server.routes.openai.fine_tuning_asks.require", lambda *_args, **_more: None
    )
    monkeypatch.setattr("freehold.server.tuning.running.require", lambda *_args, **_more: None)
    with whole_app(home) as made:
        residents: Any = Teachable(base)
        made.house.residents = residents
        yield made


def upload(whole: Whole, script: dict[str, Any], **more: Any) -> str:
    said = {"role": "user", "content": json.dumps({"steps": 6, **script})}
    line = {"messages": [said, {"role": "assistant", "content": "so be it"}]}
    if more.pop("preferences", False):
        other = [{"role": "assistant", "content": "no"}]
        line = {"prompt": [said], "chosen": line["messages"][1:], "rejected": other}
    lines = (json.dumps(line) + "\n") * 12
    made = whole.client.post(
        "/v1/files",
        data={"purpose": more.pop("purpose", "fine-tune")},
        files={"file": ("train.jsonl", lines.encode())},
        **more,
    ).json()
    return str(made["id"])


def asked(whole: Whole, script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    preferences = more.get("method", {}).get("type") == "dpo"
    file = upload(whole, script or {}, preferences=preferences)
    body = {"model": "base", "training_file": file}
    return body | {"metadata": {"basis": "own"}} | more


def created(whole: Whole, script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    answer = whole.client.post(PATH, json=asked(whole, script, **more))
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def life(whole: Whole, job_id: str, until: Callable[[Job], bool]) -> Job:
    """One life of the background, until the job is as it should be."""

    async def run() -> Job:
        background = Background(whole.house, {"fine_tuning": (Tunings(WORKER), 1)})
        await background.start()
        try:
            async with asyncio.timeout(60):
                while True:
                    await asyncio.sleep(0.02)
                    job = whole.house.store.jobs.get(job_id, owner="local")
                    assert job is not None
                    if until(job):
                        return job
        finally:
            await background.close()

    return asyncio.run(run())


def ended(job: Job) -> bool:
    return job.status in ("succeeded", "failed", "cancelled", "paused")


def messages(whole: Whole, job_id: str) -> list[str]:
    return [event.message for event in whole.house.store.jobs.events(job_id, owner="local")]


STEPS = [f"Step {step}/6: training loss={1.0 / step:.4f}" for step in range(1, 7)]


def steps_told(whole: Whole, job_id: str) -> list[str]:
    return [said for said in messages(whole, job_id) if "training loss" in said]


def test_a_job_is_trained_told_and_served(whole: Whole) -> None:
    job = created(whole, suffix="desk", seed=7)
    assert (job["status"], job["fine_tuned_model"], job["seed"]) == ("queued", None, 7)
    assert job["hyperparameters"] == {
        "batch_size": 3,
        "learning_rate_multiplier": 1.0,
        "n_epochs": 3,
    }
    assert life(whole, job["id"], ended).status == "succeeded"
    shown = whole.client.get(f"{PATH}/{job['id']}").json()
    assert shown["fine_tuned_model"] == "base:ft-desk"
    assert (shown["trained_tokens"], shown["error"]) == (60, None)
    folder = folder_of(whole.house, job["id"])
    residents: Any = whole.house.residents
    assert residents.adopted == {"base:ft-desk": folder / "adapter"}
    assert steps_told(whole, job["id"]) == STEPS
    curve = whole.client.get(f"/v1/files/{shown['result_files'][0]}/content").text
    assert curve.splitlines()[:2] == ["step,train_loss,valid_loss", "1,1.0,"]
    assert curve.splitlines()[-1] == "6,,0.25"
    assert not (folder / "train.jsonl").exists()
    spec = json.loads((folder / "spec.json").read_text())
    assert (spec["epochs"], spec["batch_examples"], spec["seed"]) == (3, 3, 7)


def test_events_and_checkpoints_come_newest_first_in_pages(whole: Whole) -> None:
    job = created(whole)
    life(whole, job["id"], ended)
    first = whole.client.get(f"{PATH}/{job['id']}/events?limit=2").json()
    assert first["has_more"]
    assert [event["message"] for event in first["data"]] == messages(whole, job["id"])[:-3:-1]
    rest = whole.client.get(
        f"{PATH}/{job['id']}/events?limit=100&after={first['data'][-1]['id']}"
    ).json()
    assert len(rest["data"]) + 2 == len(messages(whole, job["id"]))
    step = next(event for event in rest["data"] if event["type"] == "metrics")
    assert step["object"] == "fine_tuning.job.event"
    kept = whole.client.get(f"{PATH}/{job['id']}/checkpoints").json()["data"]
    assert [each["step_number"] for each in kept] == [6, 4, 2]
    assert kept[-1]["metrics"] == {"step": 2, "train_loss": 0.5}


def test_a_worker_that_is_killed_goes_on_and_no_event_is_lost_or_told_twice(whole: Whole) -> None:
    job = created(whole, {"dies_at": 3})
    assert life(whole, job["id"], ended).status == "succeeded"
    assert steps_told(whole, job["id"]) == STEPS
    assert any("signal 9" in said and "step 2" in said for said in messages(whole, job["id"]))


def test_a_worker_that_is_killed_each_time_is_given_up(whole: Whole) -> None:
    job = created(whole, {"dies_at": 1, "always": True})
    assert life(whole, job["id"], ended).status == "failed"
    shown = whole.client.get(f"{PATH}/{job['id']}").json()
    assert shown["error"]["code"] == "tune"
    assert "status -9" in shown["error"]["message"]


def test_a_job_outlives_its_server(whole: Whole) -> None:
    job = created(whole, {"steps": 6, "step_s": 0.1})
    first = life(whole, job["id"], lambda job: job.state.get("step", 0) >= 3)
    assert first.status == "running"
    given_back = whole.house.store.jobs.get(job["id"], owner="local")
    assert given_back is not None
    assert given_back.status == "queued"
    assert life(whole, job["id"], ended).status == "succeeded"
    assert steps_told(whole, job["id"]) == STEPS


def test_a_worker_that_outlived_its_server_is_ended_before_another_begins(whole: Whole) -> None:
    job = created(whole, {"steps": 6, "step_s": 0.05})
    other = os.fork()
    if not other:
        signal.pause()
    folder = folder_of(whole.house, job["id"])
    folder.mkdir(parents=True)
    note = {"pid": other, "birth": process_birth(other)}
    (folder / "worker.json").write_text(json.dumps(note))
    try:
        assert life(whole, job["id"], ended).status == "succeeded"
        assert process_birth(other) is None
    finally:
        os.waitpid(other, 0)


def test_a_job_is_paused_with_a_checkpoint_and_resumed(whole: Whole) -> None:
    job = created(whole, {"step_s": 0.4})

    def pauses(job: Job) -> bool:
        if job.status == "running" and job.state.get("step", 0) >= 1 and not job.asked:
            assert whole.client.post(f"{PATH}/{job.id}/pause").status_code == 200
        return ended(job)

    life(whole, job["id"], pauses)
    assert whole.client.get(f"{PATH}/{job['id']}").json()["status"] == "paused"
    assert whole.client.post(f"{PATH}/{job['id']}/resume").json()["status"] == "queued"
    assert life(whole, job["id"], ended).status == "succeeded"
    assert steps_told(whole, job["id"]) == STEPS


def test_a_cancelled_job_leaves_nothing(whole: Whole) -> None:
    job = created(whole, {"step_s": 0.4})

    def cancels(job: Job) -> bool:
        if job.status == "running" and job.state.get("step") and not job.asked:
            whole.client.post(f"{PATH}/{job.id}/cancel")
        return ended(job)

    assert life(whole, job["id"], cancels).status == "cancelled"
    assert not folder_of(whole.house, job["id"]).exists()
    residents: Any = whole.house.residents
    assert residents.adopted == {}


def test_what_the_worker_refuses_is_the_jobs_error(whole: Whole) -> None:
    job = created(whole, {"error": "the assistant's turn is empty"})
    assert life(whole, job["id"], ended).status == "failed"
    error = whole.client.get(f"{PATH}/{job['id']}").json()["error"]
    assert "the assistant's turn is empty" in error["message"]
    assert error["code"] == "tune.bad_training"
    assert messages(whole, job["id"])[-1] == error["message"]


def test_a_model_is_deleted_by_its_owner_and_not_while_a_name_stands_for_it(whole: Whole) -> None:
    job = created(whole, suffix="desk")
    life(whole, job["id"], ended)
    model = "/v1/models/base:ft-desk"
    whole.house.store.promotions.promote(
        owner="local", name="desk", model="base:ft-desk", evidence={}
    )
    held = whole.client.delete(model)
    assert (held.status_code, "'desk'" in held.json()["error"]["message"]) == (400, True)
    whole.house.store.promotions.promote(owner="local", name="desk", model="base", evidence={})
    assert whole.client.delete(model).json() == {
        "id": "base:ft-desk",
        "object": "model",
        "deleted": True,
    }
    residents: Any = whole.house.residents
    assert residents.removed == ["base:ft-desk"]
    assert not folder_of(whole.house, job["id"]).exists()
    assert whole.client.delete(model).status_code == 404
    assert whole.client.delete("/v1/models/base").status_code == 403


def test_what_was_made_is_served_again_after_a_start(whole: Whole) -> None:
    job = created(whole, suffix="desk")
    life(whole, job["id"], ended)
    residents: Any = whole.house.residents
    residents.adopted.clear()
    name_again(whole.house)
    assert list(residents.adopted) == ["base:ft-desk"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "none"}, 404, "model"),
        ({"training_file": "file-1"}, 404, "training_file"),
        ({"training_file": "/etc/passwd"}, 404, "training_file"),
        ({"validation_file": "../x"}, 404, "validation_file"),
        ({"metadata": {}}, 400, "metadata.basis"),
        ({"metadata": {"basis": "because"}}, 400, "metadata.basis"),
        ({"metadata": {"basis": "consent"}}, 400, "metadata.consent"),
        ({"suffix": "../x"}, 400, "suffix"),
        ({"integrations": [{"type": "wandb"}]}, 400, "integrations"),
        ({"method": {"type": "reinforcement"}}, 400, "method.type"),
        ({"method": {"type": "supervised", "reinforcement": {}}}, 400, "method.reinforcement"),
        ({"method": {"type": "supervised", "dpo": {}}}, 400, "method.dpo"),
        (
            {"method": {"type": "supervised", "supervised": {"hyperparameters": {"beta": 1}}}},
            400,
            "method.supervised.hyperparameters.beta",
        ),
        ({"hyperparameters": {"n_epochs": 0}}, 400, "hyperparameters.n_epochs"),
        ({"hyperparameters": {"lora_rank": 8}}, 400, "hyperparameters.lora_rank"),
        ({"hyperparameters": {}, "method": {"type": "dpo"}}, 400, "hyperparameters"),
        ({"base": "/etc/passwd"}, 400, "base"),
        ({"seed": -1}, 400, "seed"),
    ],
)
def test_what_cannot_be_trained_is_refused_by_its_field(
    whole: Whole, change: dict[str, Any], status: int, param: str
) -> None:
    refused = whole.client.post(PATH, json=asked(whole) | change)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (status, param)
    assert whole.client.get(PATH).json()["data"] == []


def test_a_file_for_another_purpose_is_refused(whole: Whole) -> None:
    file = upload(whole, {}, purpose="batch")
    refused = whole.client.post(PATH, json=asked(whole) | {"training_file": file})
    assert refused.json()["error"]["param"] == "training_file"


def test_withdrawn_data_is_not_trained_on_even_by_a_queued_job(whole: Whole) -> None:
    job = created(whole)
    store = whole.house.store
    (data,) = store.datasets.list(owner="local")
    store.datasets.withdraw(data.name, owner="local")
    assert life(whole, job["id"], ended).status == "failed"
    again = whole.client.post(PATH, json=asked(whole))
    assert again.status_code == 403
    assert "withdrawn" in again.json()["error"]["message"]


def test_data_on_record_needs_no_word_in_the_request(whole: Whole) -> None:
    body = asked(whole) | {"metadata": None}
    assert whole.client.post(PATH, json=body).status_code == 400
    file = whole.house.store.files.get(body["training_file"], owner="local")
    assert file is not None
    whole.house.store.datasets.put(
        Dataset(
            owner="local",
            name="known",
            digest=f"sha256:{file.sha256}",
            rows=12,
            tokens=None,
            form="chat",
            licence="",
            basis="contract",
            consent=None,
            provenance="",
            created_at=1.0,
        )
    )
    assert whole.client.post(PATH, json=body).status_code == 200


def test_dpo_has_its_own_settings(whole: Whole) -> None:
    numbers = {"beta": 0.2, "n_epochs": "auto", "learning_rate_multiplier": 2.0}
    job = created(whole, method={"type": "dpo", "dpo": {"hyperparameters": numbers}})
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    life(whole, job["id"], ended)
    spec = json.loads((folder_of(whole.house, job["id"]) / "spec.json").read_text())
    assert (spec["method"], spec["beta"], spec["lr"]) == ("dpo", 0.2, pytest.approx(1e-4))


def test_another_key_sees_no_job(whole: Whole) -> None:
    mine, theirs = whole.key("a", "*"), whole.key("b", "*")
    body: dict[str, Any] = {"model": "base", "training_file": upload(whole, {}, headers=mine)}
    body |= {"metadata": {"basis": "own"}}
    assert whole.client.post(PATH, json=body, headers=theirs).status_code == 404
    job = whole.client.post(PATH, json=body, headers=mine).json()
    for path in ("", "/events", "/checkpoints"):
        assert whole.client.get(f"{PATH}/{job['id']}{path}", headers=theirs).status_code == 404
        assert whole.client.get(f"{PATH}/{job['id']}{path}", headers=mine).status_code == 200
    for what in ("cancel", "pause", "resume"):
        asked = whole.client.post(f"{PATH}/{job['id']}/{what}", headers=theirs)
        assert asked.status_code == 404
    assert whole.client.get(PATH, headers=whole.key("c", "generate")).status_code == 403


def test_a_name_is_given_once(whole: Whole) -> None:
    created(whole, suffix="desk")
    refused = whole.client.post(PATH, json=asked(whole, suffix="desk"))
    assert refused.json()["error"]["param"] == "suffix"
