"""Fine-tuning jobs that are refused, by the field, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.store import Dataset
from tests.server.teachable import PATH, asked, created, ended, life, teachable_app, upload
from tests.server.whole import Whole


@pytest.fixture
def whole(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    with teachable_app(home, tmp_path, monkeypatch) as made:
        yield made


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
        (
            {"method": {"type": "dpo", "dpo": {"hyperparameters": {"on_long": "split"}}}},
            400,
            "method.dpo.hyperparameters.on_long",
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


def test_too_little_to_learn_from_is_refused_before_it_is_admitted(whole: Whole) -> None:
    body = asked(whole) | {"training_file": upload(whole, {}, count=1)}
    refused = whole.client.post(PATH, json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "training_file")
    assert "at least 2 examples" in error["message"]
    assert not whole.house.store.datasets.list(owner="local")


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
