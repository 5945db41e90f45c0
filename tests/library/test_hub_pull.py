"""A pull from a hub is pinned, resumed, shared with what is here, and safe beside another."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from freehold.errors import (
    BadReference,
    DigestMismatch,
    DiskFull,
    DownloadFailed,
    UnknownLicence,
)
from freehold.library import held_models, resolve
from freehold.library.held_events import write_down
from freehold.library.record import open_record
from freehold.library.shelf import staging_dir
from tests.library import hub_server
from tests.library.hub_server import COMMIT, Hub
from tests.library.pulling_from_hub import (
    FILE,
    Q4,
    Q8,
    hub,
    nothing_published,
    partials,
    pull,
    settings,
)
from tests.library.small_models import directory_files, split_gguf

__all__ = ["hub"]


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
