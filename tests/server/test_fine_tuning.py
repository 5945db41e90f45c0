"""Fine-tuning jobs: told once, gone on with, served and deleted."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.server.standing import process_birth
from freehold.server.tuning.running import folder_of
from freehold.server.tuning.served import name_again
from freehold.store import Job
from tests.server.teachable import (
    PATH,
    created,
    ended,
    life,
    messages,
    teachable_app,
)
from tests.server.whole import Whole


@pytest.fixture
def whole(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    with teachable_app(home, tmp_path, monkeypatch) as made:
        yield made


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


def test_a_full_disk_is_the_jobs_error_whoever_met_it(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"error": "there is no room for the training's files", "code": "library.disk_full"}
    met_by_worker = created(whole, said)
    assert life(whole, met_by_worker["id"], ended).status == "failed"

    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    met_by_server = created(whole)
    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfile", full)
    assert life(whole, met_by_server["id"], ended).status == "failed"
    for job in (met_by_worker, met_by_server):
        error = whole.client.get(f"{PATH}/{job['id']}").json()["error"]
        assert error["code"] == "library.disk_full"
        assert "no room for the training's files" in error["message"]
        assert str(whole.house.settings.home) not in error["message"]


def test_long_examples_are_split_where_that_was_asked_for(whole: Whole) -> None:
    settings = {"hyperparameters": {"on_long": "split"}}
    job = created(whole, method={"type": "supervised", "supervised": settings})
    assert job["hyperparameters"]["on_long"] == "split"
    life(whole, job["id"], ended)
    spec = json.loads((folder_of(whole.house, job["id"]) / "spec.json").read_text())
    assert spec["on_long"] == "split"


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


def test_dpo_has_its_own_settings(whole: Whole) -> None:
    numbers = {"beta": 0.2, "n_epochs": "auto", "learning_rate_multiplier": 2.0}
    job = created(whole, method={"type": "dpo", "dpo": {"hyperparameters": numbers}})
    assert job["method"]["dpo"]["hyperparameters"]["beta"] == 0.2
    life(whole, job["id"], ended)
    spec = json.loads((folder_of(whole.house, job["id"]) / "spec.json").read_text())
    assert (spec["method"], spec["beta"], spec["lr"]) == ("dpo", 0.2, pytest.approx(1e-4))
