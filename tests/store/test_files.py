"""Files: whole or not there, their owner's only, and gone when deleted."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import stat
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from freehold.errors import BadRequest, DiskFull, NotFound, StoreUnusable, TooLarge
from freehold.store import Files, Store, StoredFile, open_store

ROOM = 1 << 20


@pytest.fixture
def store(home: Path) -> Iterator[Store]:
    opened = open_store(None, home)
    yield opened
    opened.close()


@pytest.fixture
def files(store: Store) -> Files:
    return store.files


def put(
    files: Files,
    content: bytes = b"line\n",
    *,
    owner: str = "ann",
    purpose: str = "batch",
    expires_at: float | None = None,
) -> StoredFile:
    return files.put(
        owner=owner,
        filename="a.jsonl",
        purpose=purpose,
        content=[content],
        max_bytes=ROOM,
        expires_at=expires_at,
    )


def on_disk(files: Files) -> list[str]:
    return sorted(path.name for path in files.directory.iterdir())


def test_gives_back_what_was_put(files: Files) -> None:
    pieces = [b"a" * 1000, b"", b"bc"]
    kept = files.put(
        owner="ann", filename="ü.jsonl", purpose="batch", content=pieces, max_bytes=ROOM
    )
    assert (kept.bytes, kept.sha256) == (1002, hashlib.sha256(b"".join(pieces)).hexdigest())
    assert files.get(kept.id, owner="ann") == kept
    with files.open(kept.id, owner="ann") as handle:
        assert handle.read() == b"".join(pieces)


def test_takes_an_open_file(files: Files) -> None:
    kept = files.put(
        owner="ann", filename="a", purpose="batch", content=io.BytesIO(b"xyz"), max_bytes=3
    )
    assert kept.bytes == 3


def test_only_this_user_can_read_them(files: Files) -> None:
    kept = put(files)
    assert stat.S_IMODE(files.directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(files.place(kept.id).stat().st_mode) == 0o600


def test_another_owner_sees_nothing(files: Files) -> None:
    kept = put(files)
    assert files.get(kept.id, owner="bob") is None
    assert files.list(owner="bob") == []
    assert not files.delete(kept.id, owner="bob")
    with pytest.raises(NotFound):
        files.open(kept.id, owner="bob")
    assert files.get(kept.id, owner="ann") == kept


@pytest.mark.parametrize("name", ["../freehold.db", "/etc/passwd", "file-../../x", "", "file-1"])
def test_no_id_leads_out_of_the_directory(files: Files, name: str) -> None:
    with pytest.raises(NotFound):
        files.place(name)
    with pytest.raises(NotFound):
        files.open(name, owner="ann")


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 256, "\0"])
def test_an_unusable_name_is_refused_and_nothing_kept(files: Files, name: str) -> None:
    with pytest.raises(BadRequest):
        files.put(owner="ann", filename=name, purpose="batch", content=[b"x"], max_bytes=ROOM)
    assert on_disk(files) == []


def test_too_large_a_file_is_refused_and_nothing_kept(files: Files) -> None:
    with pytest.raises(TooLarge):
        files.put(owner="ann", filename="a", purpose="batch", content=[b"x" * 8] * 3, max_bytes=23)
    assert on_disk(files) == []
    assert files.list(owner="ann") == []


def test_content_that_breaks_off_leaves_nothing(files: Files) -> None:
    def breaking() -> Iterator[bytes]:
        yield b"some"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        files.put(owner="ann", filename="a", purpose="batch", content=breaking(), max_bytes=ROOM)
    assert on_disk(files) == []


def test_a_full_disk_is_said_before_it_is_full(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(1 << 40, 1 << 40, 1 << 20))
    with pytest.raises(DiskFull):
        put(files)
    assert on_disk(files) == []


def test_a_row_that_cannot_be_written_leaves_no_bytes(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stored: StoredFile) -> None:
        raise StoreUnusable(stored.id)

    monkeypatch.setattr(files, "admit", fail)
    with pytest.raises(StoreUnusable):
        put(files)
    assert on_disk(files) == []


def test_deleting_is_final(files: Files) -> None:
    kept = put(files)
    assert files.delete(kept.id, owner="ann")
    assert not files.delete(kept.id, owner="ann")
    assert files.get(kept.id, owner="ann") is None
    assert on_disk(files) == []


def test_an_expired_file_is_gone_before_it_is_swept(files: Files) -> None:
    kept = put(files, expires_at=time.time() - 1)
    stays = put(files, expires_at=time.time() + 1000)
    assert files.get(kept.id, owner="ann") is None
    assert files.list(owner="ann") == [stays]
    assert files.sweep() == 1
    assert on_disk(files) == [stays.id]


def test_what_a_crash_left_half_written_is_swept_and_whole_files_are_not(files: Files) -> None:
    kept = put(files)
    of_another_database = "file-" + "0" * 32
    for name in (of_another_database, "incoming-1", kept.id):
        (files.directory / name).touch()
        os.utime(files.directory / name, (0, 0))
    with files.incoming(max_bytes=ROOM) as incoming:
        incoming.write(b"x")
        assert files.sweep() == 1
        later = incoming.publish(owner="ann", filename="a", purpose="batch")
    assert on_disk(files) == sorted([kept.id, later.id, of_another_database])


def test_bytes_that_are_gone_are_an_error_not_an_empty_file(files: Files) -> None:
    kept = put(files)
    files.place(kept.id).unlink()
    with pytest.raises(StoreUnusable, match="bytes are gone"):
        files.open(kept.id, owner="ann")


def test_lists_by_purpose_in_pages(files: Files) -> None:
    made = [put(files, purpose=purpose).id for purpose in ("batch", "evals", "batch")]
    assert [file.id for file in files.list(owner="ann")] == made[::-1]
    assert [file.id for file in files.list(owner="ann", purpose="evals")] == [made[1]]
    first = files.list(owner="ann", limit=1, newest_first=False)
    rest = files.list(owner="ann", after=first[0].id, newest_first=False)
    assert [file.id for file in [*first, *rest]] == made
