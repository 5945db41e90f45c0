"""Which weights these are: a digest over the bytes of a model's files.

Room: library. Knows paths and hashes; must not know what is inside a file.

A file's digest is its sha256. A model of several files has the sha256 of their list as `sha256sum`
prints it, sorted by name:

    LC_ALL=C; sha256sum config.json model.safetensors | sha256sum

Beside each file's digest stand those of its pieces, so that a change can be told by its place.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import BadReference, DigestMismatch
from freehold.library.hash_cache import HashCache, Stamp
from freehold.library.progress import Progress, silent

__all__ = [
    "HashedFile",
    "Identity",
    "digest_of_files",
    "files_of",
    "hash_file",
    "identity_of",
    "pieces_differ",
]

"""Called with "verify", the bytes done and the bytes in all."""

_READ_BYTES = 4 << 20
_MOST_PIECES = 1024
_LEAST_PIECE_BYTES = 1 << 16
# A piece's digest only says where; that nothing changed is said by the whole file's.
_PIECE_DIGITS = 16

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)
# What makes an answer: weights, shapes, vocabularies, templates. Words about a model are not it.
_PARTS = frozenset({".gguf", ".safetensors", ".json", ".jinja", ".model", ".tiktoken"})
_TEXT_PARTS = frozenset({"vocab.txt", "merges.txt"})


@dataclass(frozen=True, kw_only=True)
class HashedFile:
    """One file by its sha256, and the first digits of its pieces' one after the other, if known."""

    name: str
    size_bytes: int
    sha256: str
    piece_bytes: int = 0
    pieces: str = ""

    def facts(self) -> dict[str, object]:
        """As an event keeps it."""
        return dict(vars(self))

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> HashedFile:
        """From an event or the cache. Raises: KeyError, TypeError, ValueError."""
        return cls(
            name=str(facts["name"]),
            size_bytes=int(facts["size_bytes"]),
            sha256=str(facts["sha256"]),
            piece_bytes=int(facts.get("piece_bytes", 0)),
            pieces=str(facts.get("pieces", "")),
        )


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A model's digest, "sha256:" and 64 digits, and the files it covers."""

    digest: str
    files: tuple[HashedFile, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.size_bytes for file in self.files)


def identity_of(
    path: Path, *, home: Path | None = None, fresh: bool = False, progress: Progress = silent
) -> Identity:
    """The identity of the model at `path`: a file, the first file of a split one, or a directory.

    Each file is hashed once, then known by path, size, times and inode from the cache in `home`;
    `fresh` hashes without asking it.
    Raises: BadReference for a directory without weights or with unprintable names;
    DigestMismatch for a file that changes while it is read; OSError.
    """
    files = files_of(path)
    cache = HashCache(home)
    total = sum(file.stat().st_size for file in files.values())
    done, hashed = 0, []
    for name, file in files.items():
        before = done

        def show(read: int, before: int = before) -> None:
            progress("verify", before + read, total)

        known = None if fresh else _from_cache(cache, file, name)
        hashed.append(known or _hash_into(cache, file, name, show))
        done += hashed[-1].size_bytes
    return Identity(digest=digest_of_files(hashed), files=tuple(hashed))


def digest_of_files(files: Sequence[HashedFile]) -> str:
    """The digest of a model by those of its files, in the order of their names."""
    if len(files) == 1:
        return f"sha256:{files[0].sha256}"
    lines = "".join(f"{file.sha256}  {file.name}\n" for file in files)
    return f"sha256:{hashlib.sha256(lines.encode()).hexdigest()}"


def files_of(path: Path) -> dict[str, Path]:
    """A model's files by the names its digest has them under, sorted.

    Raises: BadReference.
    """
    if not path.is_dir():
        return {file.name: file for file in _split_files(path)}
    found = {
        file.relative_to(path).as_posix(): file
        for file in path.rglob("*")
        if _is_part(file.relative_to(path)) and file.is_file()
    }
    odd = [name for name in found if not name.isprintable() or "\\" in name]
    if odd or not any(name.endswith((".safetensors", ".gguf")) for name in found):
        raise BadReference(
            f"there is no model in this directory: {path}",
            value=str(path),
            expected="a .safetensors or .gguf file, and names that can be printed",
            found=repr(odd[0]) if odd else f"{len(found)} files of a model's other parts",
            hint="name the directory that holds config.json and the weights",
        )
    return dict(sorted(found.items(), key=lambda item: item[0].encode()))


def _is_part(path: Path) -> bool:
    if any(part.startswith(".") for part in path.parts):
        return False
    return path.suffix in _PARTS or path.name in _TEXT_PARTS


def _split_files(path: Path) -> list[Path]:
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    names = (f"{match['stem']}-{i + 1:05}-of-{match['count']}.gguf" for i in range(count))
    return [path.with_name(name) for name in names]


def pieces_differ(one: HashedFile, other: HashedFile) -> list[tuple[int, int]]:
    """The byte ranges in which two states of a file differ, neighbours joined; empty if unknown.

    A range that reaches past the end of the shorter one means that it ends early.
    """
    if one.piece_bytes != other.piece_bytes or not one.piece_bytes:
        return []
    longer = max(one.size_bytes, other.size_bytes)
    ranges: list[tuple[int, int]] = []
    for start in range(0, longer, one.piece_bytes):
        at = start // one.piece_bytes * _PIECE_DIGITS
        if one.pieces[at : at + _PIECE_DIGITS] == other.pieces[at : at + _PIECE_DIGITS]:
            continue
        end = min(start + one.piece_bytes, longer)
        if ranges and ranges[-1][1] == start:
            ranges[-1] = (ranges[-1][0], end)
        else:
            ranges.append((start, end))
    return ranges


def _from_cache(cache: HashCache, path: Path, name: str) -> HashedFile | None:
    facts = cache.get(path)
    try:
        return None if facts is None else HashedFile.from_facts({**facts, "name": name})
    except (KeyError, TypeError, ValueError):
        return None


def _hash_into(cache: HashCache, path: Path, name: str, show: Callable[[int], None]) -> HashedFile:
    """Hashes a file, and lets the cache know it unless it could change unseen."""
    before = Stamp.of(path)
    is_settled = before.is_settled()
    hashed = hash_file(path, name, show=show)
    if is_settled and Stamp.of(path) == before:
        cache.put(path, before, hashed.facts())
    return hashed


def hash_file(
    path: Path, name: str, *, piece_bytes: int = 0, show: Callable[[int], None]
) -> HashedFile:
    """Reads a whole file and hashes it, and each piece of it, by `piece_bytes` or its size.

    Raises: DigestMismatch for a file that changes meanwhile; OSError.
    """
    before = Stamp.of(path)
    hashed = _hashed(path, name, before.size_bytes, piece_bytes, show)
    if Stamp.of(path) != before:
        raise DigestMismatch(
            f"the file changed while it was read: {path}",
            value=str(path),
            expected="a file that nobody writes to",
            found="other times or another size",
            hint="wait until whatever writes it is done",
        )
    return hashed


def _piece_bytes(size_bytes: int) -> int:
    piece_bytes = _LEAST_PIECE_BYTES
    while piece_bytes * _MOST_PIECES < size_bytes:
        piece_bytes *= 2
    return piece_bytes


def _hashed(
    path: Path, name: str, size_bytes: int, piece_bytes: int, show: Callable[[int], None]
) -> HashedFile:
    if piece_bytes < _LEAST_PIECE_BYTES:
        piece_bytes = _piece_bytes(size_bytes)
    whole, pieces, done = hashlib.sha256(), _Pieces(piece_bytes), 0
    buffer = memoryview(bytearray(min(_READ_BYTES, max(size_bytes, 1))))
    # One thread for the pieces beside this one for the whole: hashing lets both run.
    with path.open("rb", buffering=0) as source, ThreadPoolExecutor(1, "hashing") as beside:
        while done < size_bytes:
            data = buffer[: source.readinto(buffer[: size_bytes - done])]
            if not data:
                break  # it became shorter, which its times will say
            taken = beside.submit(pieces.update, data)
            whole.update(data)
            taken.result()
            done += len(data)
            show(done)
    return HashedFile(
        name=name,
        size_bytes=size_bytes,
        sha256=whole.hexdigest(),
        piece_bytes=piece_bytes,
        pieces=pieces.digits(),
    )


class _Pieces:
    """The first digits of each piece's sha256, from data that come in any lengths."""

    def __init__(self, piece_bytes: int) -> None:
        self._piece_bytes = piece_bytes
        self._done: list[str] = []
        self._piece = hashlib.sha256()
        self._room = piece_bytes

    def update(self, data: memoryview) -> None:
        """Mutates: this."""
        while data:
            part, data = data[: self._room], data[self._room :]
            self._piece.update(part)
            self._room -= len(part)
            if not self._room:
                self._end()

    def digits(self) -> str:
        """Of all pieces, the last of which may be shorter. Call it once."""
        if self._room < self._piece_bytes:
            self._end()
        return "".join(self._done)

    def _end(self) -> None:
        self._done.append(self._piece.hexdigest()[:_PIECE_DIGITS])
        self._piece, self._room = hashlib.sha256(), self._piece_bytes
