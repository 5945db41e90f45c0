"""Whatever a hub or something in its stead does, nothing but the pinned bytes is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import (
    BadReference,
    DigestMismatch,
    DownloadFailed,
    FormatError,
    FreeholdError,
    UnknownModel,
)
from freehold.library import resolve
from tests.library.hub_server import COMMIT, Hub
from tests.library.pulling_from_hub import (
    FILE,
    Q4,
    hub,
    nothing_published,
    partials,
    pull,
)
from tests.library.small_models import directory_files

__all__ = ["hub"]


# --- other bytes ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [FILE, "README.md"])
def test_wrong_hash_is_never_published(hub: Hub, name: str) -> None:
    true = hub.repository.files[name]
    hub.repository.served[name] = true[:-1] + b"x"
    with pytest.raises(DigestMismatch) as caught:
        pull()
    assert name in caught.value.message
    assert caught.value.expected != caught.value.found
    assert nothing_published()
    assert partials() == []


@pytest.mark.parametrize("content", [Q4[:-1], Q4 + b"x"], ids=["short", "long"])
def test_wrong_size_is_refused_before_the_bytes(hub: Hub, content: bytes) -> None:
    hub.repository.served[FILE] = content
    with pytest.raises(DigestMismatch) as caught:
        pull()
    assert "announced" in caught.value.found
    assert nothing_published()


def test_endless_answer_is_cut_at_the_pinned_size(hub: Hub) -> None:
    hub.endless = True
    with pytest.raises(DigestMismatch) as caught:
        pull()
    assert caught.value.expected == f"{len(Q4)} bytes"
    assert partials() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Linked-Etag", '"' + "0" * 64 + '"'),
        ("X-Linked-Size", "5"),
        ("X-Repo-Commit", "f" * 40),
    ],
)
def test_head_that_contradicts_the_tree_is_refused_before_the_bytes(
    hub: Hub, name: str, value: str
) -> None:
    hub.repository.headers = {name: value}
    with pytest.raises(DigestMismatch):
        pull()
    assert nothing_published()
    assert [path for path in hub.paths("GET") if path.startswith("cdn")] == []


def test_pinned_bytes_that_are_no_model_are_not_published(hub: Hub) -> None:
    hub.repository.files[FILE] = b"GGUF" + bytes(2000)
    with pytest.raises(FormatError):
        pull()
    assert nothing_published()


# --- elsewhere --------------------------------------------------------------------------------


def test_token_goes_to_the_hub_and_not_to_where_it_redirects(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repository.gated = True
    monkeypatch.setenv("HF_TOKEN", hub.token)
    pull()
    seen = {path[:3] == "cdn": headers.get("authorization") for _, path, headers in hub.requests}
    assert seen == {False: f"Bearer {hub.token}", True: None}


@pytest.mark.parametrize("address", ["file:///etc/passwd", "ftp://127.0.0.1/x", "gopher:x"])
def test_redirect_to_another_scheme_is_refused(hub: Hub, address: str) -> None:
    hub.redirect_to = address
    with pytest.raises(DownloadFailed, match="could not be fetched"):
        pull()
    assert nothing_published()


def test_redirect_to_a_dead_address_is_explained(hub: Hub) -> None:
    hub.redirect_to = "http://127.0.0.1:9/x"
    with pytest.raises(DownloadFailed) as caught:
        pull()
    assert "ConnectError" in caught.value.found


def test_renamed_repository_is_named_and_not_taken(hub: Hub) -> None:
    with pytest.raises(BadReference) as caught:
        pull("acme/renamed")
    assert "acme/tiny" in caught.value.hint


# --- tricks -----------------------------------------------------------------------------------


TRICKS = [
    "../../outside-Q4_K_M.gguf",
    "/etc/outside-Q4_K_M.gguf",
    "a/../../outside-Q4_K_M.gguf",
    "a\\..\\outside-Q4_K_M.gguf",
    "a\x00-Q4_K_M.gguf",
    "a\n-Q4_K_M.gguf",
    "C:outside-Q4_K_M.gguf",
    ".hidden-Q4_K_M.gguf",
    "con/x-Q4_K_M.gguf",
    "e\u0301-Q4_K_M.gguf",
    "\u202egp-Q4_K_M.gguf",
    "/".join("abcdefghi") + "/x-Q4_K_M.gguf",
    "x" * 300 + "-Q4_K_M.gguf",
]


@pytest.mark.parametrize("name", TRICKS, ids=lambda name: repr(name)[:30])
def test_file_with_a_tricky_name_is_no_file_to_choose(hub: Hub, name: str) -> None:
    hub.repository.files = {name: Q4}
    with pytest.raises(BadReference):
        pull()
    assert nothing_published()
    assert hub.paths("HEAD") == []


@pytest.mark.parametrize("twin", ["license", "LICENSE/x"])
def test_names_that_one_folder_cannot_hold_together_are_refused(hub: Hub, twin: str) -> None:
    hub.repository.files = directory_files() | {twin: b"terms"}
    if "/" in twin:
        assert pull().held.path.is_dir()  # nothing below LICENSE is wanted
        return
    with pytest.raises(BadReference, match="one folder"):
        pull()


def _with(change: dict[str, Any]) -> Any:
    def tree(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [entry | change if entry["path"] == FILE else entry for entry in entries]

    return tree


@pytest.mark.parametrize(
    "change",
    [
        {"lfs": {"oid": "../../x", "size": len(Q4), "pointerSize": 1}},
        {"lfs": {"oid": "A" * 64, "size": len(Q4), "pointerSize": 1}},
        {"lfs": {"oid": "0" * 64, "size": 3, "pointerSize": 1}},
        {"lfs": {"oid": 7, "size": len(Q4), "pointerSize": 1}},
        {"lfs": {"size": 1}},
        {"size": -1},
        {"size": 1 << 60},
        {"size": "big"},
        {"lfs": None, "oid": "../x"},
    ],
    ids=str,
)
def test_tree_that_makes_no_sense_is_refused(hub: Hub, change: dict[str, Any]) -> None:
    hub.repository.tree = _with(change)
    with pytest.raises(DownloadFailed):
        pull()
    assert nothing_published()
    assert hub.paths("HEAD") == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>captive portal</html>",
        b"[]",
        b"{}",
        b'{"id": "acme/tiny", "sha": "../../x"}',
        b"\xff",
    ],
)
def test_answer_that_is_no_hubs_is_explained(hub: Hub, body: bytes) -> None:
    hub.broken_api = body
    with pytest.raises((DownloadFailed, BadReference)) as caught:
        pull()
    assert caught.value.hint
    assert nothing_published()


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "change", "found", "hint"),
    [
        ("acme/tiny", {"gated": True}, "person by person", "HF_TOKEN"),
        ("acme/tiny", {"private": True}, "private", "HF_TOKEN"),
        ("acme/absent", {}, "none of this name", "spelling"),
        ("acme/tiny@nonesuch", {}, "no such branch", "after @"),
    ],
    ids=["gated", "private", "absent", "revision"],
)
def test_refusal_says_why_and_what_to_do(
    hub: Hub, text: str, change: dict[str, Any], found: str, hint: str
) -> None:
    for name, value in change.items():
        setattr(hub.repository, name, value)
    with pytest.raises(DownloadFailed) as caught:
        pull(text)
    assert found in caught.value.found
    assert hint in caught.value.hint
    assert nothing_published()


def test_offline_variable_forbids_every_request(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DownloadFailed) as caught:
        pull()
    assert "HF_HUB_OFFLINE" in caught.value.found
    monkeypatch.delenv("HF_HUB_OFFLINE")
    pull()
    hub.requests.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not pull().fetched
    assert hub.requests == []


# --- what is here -----------------------------------------------------------------------------


def test_damaged_file_is_found_by_size_at_once_and_by_digest_when_asked(hub: Hub) -> None:
    path = pull().held.path
    path.write_bytes(Q4[:-1] + b"x")
    assert not pull().fetched
    with pytest.raises(DigestMismatch, match="damaged"):
        pull(verify=True)
    path.write_bytes(b"short")
    for act in (pull, lambda: resolve("acme/tiny")):
        with pytest.raises(DigestMismatch):
            act()


@pytest.mark.parametrize(
    "change",
    [
        {"model": "../../../etc/passwd"},
        {"model": "README.md/../x"},
        {"files": []},
        {"files": [{"name": "../x", "size_bytes": 1, "sha256": "0" * 64}]},
        {"files": [{"name": FILE, "size_bytes": -1, "sha256": "0" * 64}]},
        {"format": 2},
        {"origin": {"kind": "hub", "repo": "acme/other", "commit": COMMIT, "quant": "Q4_K_M"}},
        {"name": "../x"},
    ],
    ids=str,
)
def test_altered_record_is_refused(hub: Hub, change: dict[str, Any]) -> None:
    record = pull().held.folder / "record.json"
    record.write_text(json.dumps(json.loads(record.read_text("utf-8")) | change))
    with pytest.raises(FreeholdError) as caught:
        resolve("acme/tiny")
    assert "record" in caught.value.message


def test_model_that_is_not_here_names_the_pull(home: Path) -> None:
    with pytest.raises(UnknownModel) as caught:
        resolve("acme/nothing:Q8_0")
    assert caught.value.hint == "`freehold pull acme/nothing:Q8_0`"
