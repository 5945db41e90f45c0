"""A digest is over a model's bytes, can be had with coreutils, and is never a stale note."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from freehold.errors import BadReference, DigestMismatch
from freehold.library.hash_cache import Stamp
from freehold.library.identity import (
    Identity,
    files_of,
    hash_file,
    identity_of,
    pieces_differ,
)

MB = 1 << 20


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    written(folder / "config.json", b"{}")
    written(folder / "model.safetensors", os.urandom(3000))
    written(folder / "1_Pooling" / "config.json", b"[]")
    written(folder / "Zed.json", b"z")
    written(folder / "README.md", b"words")
    written(folder / "pytorch_model.bin", b"pickle")
    written(folder / ".cache" / "x.json", b"{}")
    return folder


def test_a_files_digest_is_its_sha256(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    identity = identity_of(written(tmp_path / "m.gguf", data))
    (file,) = identity.files
    assert identity.digest == "sha256:" + hashlib.sha256(data).hexdigest()
    assert (file.name, file.size_bytes, file.sha256) == ("m.gguf", 200_000, identity.digest[7:])


def test_a_directorys_digest_is_what_coreutils_says(directory: Path) -> None:
    identity = identity_of(directory)
    names = ["1_Pooling/config.json", "Zed.json", "config.json", "model.safetensors"]
    assert [file.name for file in identity.files] == names
    told = subprocess.run(
        f"LC_ALL=C; sha256sum {' '.join(names)} | sha256sum",
        shell=True,
        cwd=directory,
        capture_output=True,
        text=True,
        check=True,
    )
    assert identity.digest == "sha256:" + told.stdout.split()[0]


def test_words_about_a_model_do_not_change_it(directory: Path) -> None:
    before = identity_of(directory)
    (directory / "README.md").write_text("other words")
    assert identity_of(directory) == before
    (directory / "config.json").write_text("{ }")
    assert identity_of(directory).digest != before.digest


def test_a_split_model_is_all_its_files(tmp_path: Path) -> None:
    parts = [written(tmp_path / f"m-0000{i}-of-00002.gguf", bytes([i])) for i in (1, 2)]
    assert list(files_of(parts[0]).values()) == parts
    before = identity_of(parts[0])
    parts[1].write_bytes(b"x")
    assert identity_of(parts[0]).digest != before.digest


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "config.json", b"{}")
    with pytest.raises(BadReference, match="no model"):
        identity_of(tmp_path)


def test_a_name_that_could_forge_a_line_is_refused(directory: Path) -> None:
    written(directory / "a\nb.json", b"{}")
    with pytest.raises(BadReference) as caught:
        identity_of(directory)
    assert caught.value.found == repr("a\nb.json")


def reads(identity: Path) -> list[int]:
    """The bytes of every read that hashing the path takes: none when the cache knows it."""
    seen: list[int] = []
    identity_of(identity, progress=lambda phase, done, total: seen.append(done))
    return seen


def test_a_file_is_hashed_once(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", os.urandom(2 * MB))
    assert reads(path)
    assert reads(path) == []


def change_in_place(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"!")


def change_and_set_times_back(path: Path) -> None:
    status = path.stat()
    change_in_place(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def replace_and_set_times_back(path: Path) -> None:
    status = path.stat()
    other = written(path.with_name("other"), bytes(path.stat().st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize(
    "change", [change_in_place, change_and_set_times_back, replace_and_set_times_back]
)
def test_the_cache_does_not_hide_a_change(tmp_path: Path, change: object) -> None:
    assert callable(change)
    path = written(tmp_path / "m.gguf", os.urandom(MB))
    before = identity_of(path)
    change(path)
    after = identity_of(path)
    assert after.digest != before.digest
    assert after.digest == identity_of(path, fresh=True).digest


def test_fresh_does_not_ask_the_cache(tmp_path: Path, home: Path) -> None:
    path = written(tmp_path / "m.gguf", b"weights")
    right = identity_of(path)
    (entry,) = (home / "hashes").glob("*.json")
    entry.write_text(entry.read_text().replace(right.digest[7:], "0" * 64))
    assert identity_of(path).digest == "sha256:" + "0" * 64
    assert identity_of(path, fresh=True) == right


def test_a_damaged_or_unwritable_cache_costs_time_only(tmp_path: Path, home: Path) -> None:
    path = written(tmp_path / "m.gguf", b"weights")
    right = identity_of(path)
    (entry,) = (home / "hashes").glob("*.json")
    entry.write_text(entry.read_text()[:50])
    assert identity_of(path) == right
    assert identity_of(path, home=path / "no-directory") == right


def test_a_file_that_is_written_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", os.urandom(4 * MB))
    with pytest.raises(DigestMismatch, match="changed while it was read"):
        identity_of(path, progress=lambda phase, done, total: change_in_place(path))
    with pytest.raises(DigestMismatch, match="changed while it was read"):
        identity_of(path, progress=lambda phase, done, total: os.truncate(path, MB))


def both(path: Path, place: int) -> tuple[Identity, Identity]:
    before = identity_of(path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    return before, identity_of(path)


@pytest.mark.parametrize("place", [0, 65_535, 65_536, 299_999])
def test_one_byte_is_found_in_its_piece(tmp_path: Path, place: int) -> None:
    before, after = both(written(tmp_path / "m.gguf", os.urandom(300_000)), place)
    ((start, end),) = pieces_differ(before.files[0], after.files[0])
    assert start <= place < end
    assert end - start <= 65_536


def test_neighbouring_pieces_are_one_range_and_a_cut_reaches_the_end(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", os.urandom(300_000))
    before = identity_of(path)
    os.truncate(path, 200_000)
    after = identity_of(path)
    assert pieces_differ(before.files[0], after.files[0]) == [(196_608, 300_000)]
    assert pieces_differ(before.files[0], before.files[0]) == []


def test_pieces_stay_few_in_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.touch()
    os.truncate(path, 70 * MB)
    (file,) = identity_of(path).files
    assert file.piece_bytes == 128 << 10
    assert len(file.pieces) == 560 * 16


def test_a_new_file_is_known_after_a_moment(tmp_path: Path) -> None:
    path = written(tmp_path / "m.gguf", b"weights")
    assert Stamp.of(path).is_settled()


@pytest.mark.parametrize("size", [0, 1, 65_536, 196_608, 1_000_003])
@pytest.mark.parametrize("piece_bytes", [65_536, 196_608, 300_007])
def test_pieces_are_those_of_the_file_however_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, piece_bytes: int
) -> None:
    monkeypatch.setattr("freehold.library.identity._READ_BYTES", 100_000)
    data, seen = os.urandom(size), list[int]()
    path = written(tmp_path / "m.gguf", data)
    hashed = hash_file(path, "m.gguf", piece_bytes=piece_bytes, show=seen.append)
    parts = [data[at : at + piece_bytes] for at in range(0, size, piece_bytes)]
    assert hashed.pieces == "".join(hashlib.sha256(part).hexdigest()[:16] for part in parts)
    assert hashed.sha256 == hashlib.sha256(data).hexdigest()
    assert seen == sorted(seen)
    assert not size or seen[-1] == size
