"""/v1/files: bounded, its owner's alone, and the same bytes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.server.routes.openai import files
from tests.server.whole import Whole, whole_app

FORM = {"purpose": "batch"}


@pytest.fixture
def whole(home: Path) -> Iterator[Whole]:
    with whole_app(home) as made:
        yield made


def kept(whole: Whole) -> list[str]:
    folder = whole.house.store.files.directory
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def test_gives_the_same_bytes_back(whole: Whole) -> None:
    content = bytes(range(256)) * 9000
    made = whole.client.post("/v1/files", data=FORM, files={"file": ("a b.jsonl", content)}).json()
    assert (made["bytes"], made["filename"], made["object"]) == (len(content), "a b.jsonl", "file")
    assert made["expires_at"] - made["created_at"] == 30 * 24 * 3600
    assert whole.client.get(f"/v1/files/{made['id']}").json() == made
    answer = whole.client.get(f"/v1/files/{made['id']}/content")
    assert answer.content == content
    assert answer.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.jsonl"
    assert whole.client.delete(f"/v1/files/{made['id']}").json() == {
        "id": made["id"],
        "object": "file",
        "deleted": True,
    }
    assert whole.client.get(f"/v1/files/{made['id']}/content").status_code == 404
    assert kept(whole) == []


def test_lists_in_pages(whole: Whole) -> None:
    made = [
        whole.client.post(
            "/v1/files", data={"purpose": purpose}, files={"file": ("a", b"x")}
        ).json()
        for purpose in ("batch", "evals", "fine-tune")
    ]
    first = whole.client.get("/v1/files?limit=2&order=asc").json()
    assert (first["data"], first["has_more"]) == (made[:2], True)
    rest = whole.client.get(f"/v1/files?order=asc&after={first['last_id']}").json()
    assert (rest["data"], rest["has_more"]) == (made[2:], False)
    assert whole.client.get("/v1/files?purpose=evals").json()["data"] == [made[1]]
    assert made[1]["expires_at"] is None


@pytest.mark.parametrize(
    ("form", "param"),
    [
        ({}, "purpose"),
        ({"purpose": "assistants"}, "purpose"),
        ({"purpose": "batch", "more": "1"}, "more"),
        ({"purpose": "batch", "expires_after[anchor]": "created_at"}, "expires_after"),
        (
            {
                "purpose": "batch",
                "expires_after[anchor]": "created_at",
                "expires_after[seconds]": "1",
            },
            "expires_after",
        ),
    ],
)
def test_a_form_that_is_not_usable_is_refused_by_its_field(
    whole: Whole, form: dict[str, str], param: str
) -> None:
    refused = whole.client.post("/v1/files", data=form, files={"file": ("a", b"x")})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    assert kept(whole) == []


def test_a_form_without_a_file_is_refused(whole: Whole) -> None:
    refused = whole.client.post("/v1/files", data=FORM, files={"other": (None, b"x")})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "file")


def test_what_is_no_form_is_refused(whole: Whole) -> None:
    refused = whole.client.post("/v1/files", json={"purpose": "batch"})
    assert refused.status_code == 415


def test_too_large_a_file_is_refused_and_not_kept(
    whole: Whole, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MOST_BYTES", 1000)
    refused = whole.client.post("/v1/files", data=FORM, files={"file": ("a", b"x" * 1001)})
    assert (refused.status_code, refused.json()["error"]["param"]) == (413, "file")
    announced = whole.client.post("/v1/files", data=FORM, files={"file": ("a", b"x" * (2 << 20))})
    assert announced.status_code == 413
    assert kept(whole) == []


def test_a_key_without_the_scope_is_kept_out(whole: Whole) -> None:
    headers = whole.key("a", "generate")
    assert whole.client.get("/v1/files", headers=headers).status_code == 403
