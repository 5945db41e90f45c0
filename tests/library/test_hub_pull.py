"""A pull from a hub ends published and correct, or absent and explained. The real huggingface_hub
talks to a server of the tests' own that can go wrong in every way."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from freehold.config import Settings, resolve_settings
from freehold.errors import (
    BadReference,
    DigestMismatch,
    DiskFull,
    DownloadFailed,
    FormatError,
    FreeholdError,
    UnknownLicence,
    UnknownModel,
)
from freehold.library import HubPulled, HubReference, held_models, pull_from_hub, resolve
from freehold.library.held_events import write_down
from freehold.library.record import open_record
from freehold.library.shelf import staging_dir
from tests.library import hub_server
from tests.library.hub_server import COMMIT, Hub, Repository
from tests.library.small_models import directory_files, gguf_bytes, split_gguf

Q4 = gguf_bytes(3)
Q8 = gguf_bytes(5)
FILE = "tiny-Q4_K_M.gguf"


def tiny() -> Repository:
    return Repository(
        {
            FILE: Q4,
            "tiny-Q8_0.gguf": Q8,
            "mmproj-tiny-Q4_K_M.gguf": b"not a model",
            "README.md": b"# Tiny",
            "convert.py": b"import os",
        }
    )


@pytest.fixture
def hub(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server.running(tiny()) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
        monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "llama.cpp"))
        monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
        monkeypatch.setattr("freehold.library.hub_fetch.WAIT_S", 0.0)
        # A database for each test would cost more than the test; one below writes for real.
        monkeypatch.setattr("freehold.library.hub_pull.write_down", lambda held, **_: None)
        yield hub


def pull(text: str = "acme/tiny", **more: Any) -> HubPulled:
    more.setdefault("progress", lambda phase, done, total: None)
    return pull_from_hub(HubReference.parse(text), settings=resolve_settings(), **more)


def settings() -> Settings:
    return resolve_settings()


def nothing_published() -> bool:
    return held_models(settings().models_dir) == ()


def partials() -> list[Path]:
    return sorted(staging_dir(settings().models_dir).glob("*/partial/*"))


def test_default_is_q4_k_m_with_its_terms_and_nothing_else(hub: Hub) -> None:
    pulled = pull()
    assert pulled.fetched
    assert pulled.held.path.read_bytes() == Q4
    names = {file.name.text for file in pulled.held.files}
    assert names == {FILE, "README.md"}
    on_disk = {path.name for path in (pulled.held.folder / "files").rglob("*")}
    assert on_disk == names
    assert list(staging_dir(settings().models_dir).glob("hub--*[!k]")) == []


def test_record_pins_commit_digests_and_licence(hub: Hub) -> None:
    held = pull("acme/tiny@main").held
    record = json.loads((held.folder / "record.json").read_text("utf-8"))
    assert record["origin"]["commit"] == COMMIT
    assert record["origin"]["revision"] == "main"
    assert record["licence"] == "apache-2.0"
    digests = {file["name"]: file["sha256"] for file in record["files"]}
    assert digests[FILE] == hub_server.sha256(Q4)
    assert digests["README.md"] == hub_server.sha256(b"# Tiny")


def test_hub_is_asked_for_the_model_and_nothing_else(hub: Hub) -> None:
    pull()
    kinds = {path.split("?")[0].split("/")[1] for path in hub.paths("GET") if path[:3] != "cdn"}
    assert kinds == {"api", "acme"}
    assert all(
        path.startswith(("/api/models/acme/tiny/", "/acme/tiny/", "cdn/"))
        for path in hub.paths("GET")
    )
    agents = {headers["user-agent"] for _, _, headers in hub.requests}
    assert not any("torch" in agent or "agent/" in agent for agent in agents)


def test_pull_is_in_the_record(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("freehold.library.hub_pull.write_down", write_down)
    held = pull().held
    with open_record(settings()) as events:
        (event,) = events.all()
    assert event.kind == "obtained"
    assert event.subject == f"sha256:{hub_server.sha256(Q4)}"
    assert event.body["source"] == {"kind": "hub", "reference": "acme/tiny", "revision": COMMIT}
    assert event.body["location"] == str(held.path)


def test_terms_are_asked_for_before_anything_is_fetched(hub: Hub) -> None:
    hub.repository.licence = None
    with pytest.raises(UnknownLicence):
        pull()
    assert nothing_published()
    assert hub.paths("HEAD") == []


def test_quantization_is_chosen_by_its_word(hub: Hub) -> None:
    assert pull("hf.co/acme/tiny:q8_0").held.path.read_bytes() == Q8
    assert resolve("acme/tiny:Q8_0").read_bytes() == Q8


def test_present_model_needs_no_request(hub: Hub) -> None:
    pull()
    hub.requests.clear()
    again = pull()
    assert not again.fetched
    assert resolve("acme/tiny") == resolve("hf.co/ACME/Tiny:q4_k_m") == again.held.path
    assert hub.requests == []


def test_two_quantizations_live_beside_each_other(hub: Hub) -> None:
    pull()
    pull("acme/tiny:Q8_0")
    assert resolve("acme/tiny").read_bytes() == Q4
    assert resolve("acme/tiny:Q8_0").read_bytes() == Q8
    assert len(held_models(settings().models_dir)) == 2


def test_moved_branch_comes_when_asked_for(hub: Hub) -> None:
    pull()
    newer = "beef" + "1" * 36
    hub.repository.files[FILE] = Q8
    hub.repository.commit = hub.repository.branches["main"] = newer
    assert not pull().fetched
    assert pull(update=True).held.path.read_bytes() == Q8
    assert resolve(f"acme/tiny@{COMMIT}").read_bytes() == Q4
    assert resolve(f"acme/tiny@{newer}").read_bytes() == Q8
    assert resolve("acme/tiny").read_bytes() == Q8


def test_directory_comes_without_pickles_code_or_graphs(hub: Hub) -> None:
    hub.repository.files = directory_files()
    held = pull().held
    assert resolve("acme/tiny") == held.path
    assert {file.name.text for file in held.files} == {
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "model.safetensors.index.json",
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "LICENSE",
        "README.md",
    }


def test_all_parts_of_a_split_model_come(hub: Hub) -> None:
    one, two = split_gguf()
    hub.repository.files = {
        "Q4_K_M/tiny-Q4_K_M-00001-of-00002.gguf": one,
        "Q4_K_M/tiny-Q4_K_M-00002-of-00002.gguf": two,
    }
    assert pull().held.path.name == "tiny-Q4_K_M-00001-of-00002.gguf"
    del hub.repository.files["Q4_K_M/tiny-Q4_K_M-00002-of-00002.gguf"]
    with pytest.raises(BadReference, match="not all there"):
        pull(update=True)


def test_long_list_of_files_comes_page_by_page(hub: Hub) -> None:
    hub.page_entries = 2
    assert pull("acme/tiny:Q8_0").held.path.read_bytes() == Q8


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("acme/tiny:Q2_K", "Q4_K_M (0.0 GB), Q8_0 (0.0 GB)"),
        ("acme/tiny:safetensors", "Q4_K_M"),
    ],
)
def test_absent_quantization_lists_what_there_is(hub: Hub, text: str, found: str) -> None:
    with pytest.raises(BadReference) as caught:
        pull(text)
    assert found in caught.value.found


def test_pickles_alone_are_refused_with_the_reason(hub: Hub) -> None:
    hub.repository.files = {"pytorch_model.bin": b"\x80", "config.json": b"{}"}
    with pytest.raises(BadReference) as caught:
        pull()
    assert "can run code" in caught.value.found


# --- interrupted ------------------------------------------------------------------------------


def test_cut_connection_is_continued_in_the_same_pull(hub: Hub) -> None:
    hub.cut_after = [100_000, 50_000]
    assert pull().held.path.read_bytes() == Q4
    ranges = [headers.get("Range") for _, path, headers in hub.requests if path.startswith("cdn")]
    assert ranges == [None, "bytes=100000-", "bytes=150000-"]


def test_interrupt_keeps_what_came_for_the_next_pull(hub: Hub) -> None:
    def interrupt(phase: str, done: int, total: int) -> None:
        if phase == "download" and done >= 100_000:
            raise KeyboardInterrupt

    hub.cut_after = [100_000]
    with pytest.raises(KeyboardInterrupt):
        pull(progress=interrupt)
    assert nothing_published()
    assert [path.stat().st_size for path in partials()] == [100_000]
    hub.requests.clear()
    assert pull().held.path.read_bytes() == Q4
    ranges = [headers.get("Range") for _, path, headers in hub.requests if path.startswith("cdn")]
    assert ranges == ["bytes=100000-"]


def test_finished_files_of_a_stopped_pull_are_not_fetched_again(hub: Hub) -> None:
    hub.repository.served["README.md"] = b"# Tony"
    with pytest.raises(DigestMismatch):
        pull()
    hub.repository.served.clear()
    hub.requests.clear()
    pull()
    assert [path for path in hub.paths("GET") if path.startswith("cdn")] == []


def test_server_without_ranges_sends_it_all_again(hub: Hub) -> None:
    hub.cut_after = [100_000]
    hub.ignore_ranges = True
    assert pull().held.path.read_bytes() == Q4


def test_range_that_begins_elsewhere_is_refused(hub: Hub) -> None:
    hub.cut_after = [100_000]
    hub.shift_ranges = 7
    with pytest.raises(DownloadFailed) as caught:
        pull()
    assert "from 100000 on" in caught.value.expected
    assert nothing_published()


def test_rotten_partial_file_is_thrown_away_and_fetched_whole(hub: Hub) -> None:
    hub.cut_after = [1000] + [0] * 5
    with pytest.raises(DownloadFailed):
        pull()
    (partial,) = partials()
    partial.write_bytes(b"x" * 70_000)
    assert pull().held.path.read_bytes() == Q4


def test_connection_that_never_brings_a_byte_is_given_up(hub: Hub) -> None:
    hub.cut_after = [0] * 5
    with pytest.raises(DownloadFailed) as caught:
        pull()
    assert "pull again" in caught.value.hint
    assert hub.cut_after == []


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


# --- already on this machine ------------------------------------------------------------------


def _hub_cache(tmp_path: Path) -> Path:
    return tmp_path / "hub-cache/models--acme--tiny/blobs" / hub_server.sha256(Q4)


def _ollama(tmp_path: Path) -> Path:
    return tmp_path / "ollama/blobs" / f"sha256-{hub_server.sha256(Q4)}"


def _llama_cpp(tmp_path: Path) -> Path:
    return tmp_path / "llama.cpp" / f"acme_tiny_{FILE}"


@pytest.mark.parametrize("place", [_hub_cache, _ollama, _llama_cpp])
def test_file_of_another_programs_cache_is_verified_and_shared(
    hub: Hub, tmp_path: Path, place: Any
) -> None:
    source = place(tmp_path)
    source.parent.mkdir(parents=True)
    source.write_bytes(Q4)
    pulled = pull()
    assert pulled.found_bytes == len(Q4)
    assert pulled.held.path.samefile(source)
    assert [path for path in hub.paths("GET") if path.startswith("cdn")] == []
    source.unlink()
    assert resolve("acme/tiny").read_bytes() == Q4


def test_rotten_file_of_another_programs_cache_is_left_alone(hub: Hub, tmp_path: Path) -> None:
    source = _hub_cache(tmp_path)
    source.parent.mkdir(parents=True)
    source.write_bytes(Q4[:-1] + b"x")
    assert pull().held.path.read_bytes() == Q4
    assert not resolve("acme/tiny").samefile(source)


def test_cache_on_another_file_system_is_referred_to(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _hub_cache(tmp_path)
    source.parent.mkdir(parents=True)
    source.write_bytes(Q4)

    def across(*_: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", across)
    held = pull().held
    assert held.path.is_symlink()
    assert held.weights.linked
    source.unlink()
    with pytest.raises(DigestMismatch, match="damaged") as caught:
        resolve("acme/tiny")
    assert "leads nowhere" in caught.value.found


# --- room and company -------------------------------------------------------------------------


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_full_disk_is_refused_before_the_download(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 99, 1))
    with pytest.raises(DiskFull, match="room"):
        pull()
    assert hub.paths("HEAD") == []


def _pull_without_room(results: multiprocessing.Queue[str]) -> None:
    # What a quota does: the kernel refuses to let a file grow, in the middle of the download.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
    try:
        pull()
    except DiskFull as error:
        results.put(error.hint)


def test_disk_that_fills_up_keeps_what_came_for_when_there_is_room(hub: Hub) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_pull_without_room, args=(results,))
    process.start()
    assert "free some space" in results.get(timeout=30)
    process.join(timeout=30)
    assert nothing_published()
    assert [path.stat().st_size for path in partials()] == [100_000]
    assert pull().held.path.read_bytes() == Q4


def _pull_in_child(results: multiprocessing.Queue[bool]) -> None:
    results.put(pull().fetched)


def test_two_pulls_at_once_fetch_once(hub: Hub) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bool] = context.Queue()
    pulls = [context.Process(target=_pull_in_child, args=(results,)) for _ in range(2)]
    for process in pulls:
        process.start()
    for process in pulls:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sorted(results.get(timeout=5) for _ in pulls) == [False, True]
    assert len([path for path in hub.paths("GET") if path.startswith("cdn")]) == 1


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
