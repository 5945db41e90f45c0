"""Copies of a file that other programs on this machine already hold, found by digest or by name.

Room: library. Looks in the caches of the hub's own library, of Ollama and of llama.cpp; must not
trust them: whoever uses a copy hashes it first.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from freehold.library.hub import RemoteFile, hub_cache
from freehold.library.names import RepoId, Sha256

__all__ = ["copies_of", "llama_cpp_cache", "ollama_store", "take"]


def ollama_store() -> Path:
    """Where Ollama keeps its models."""
    return Path(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models").expanduser()


def llama_cpp_cache() -> Path:
    """Where llama.cpp keeps the files that it fetched."""
    named = os.environ.get("LLAMA_CACHE")
    if named:
        return Path(named).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "llama.cpp"


def copies_of(file: RemoteFile, repo: RepoId) -> Iterator[Path]:
    """Regular files of the right size that may be this one, the real path of each."""
    digest = file.digest.hex
    owner, _, name = repo.text.partition("/")
    places = [hub_cache() / f"models--{owner}--{name}" / "blobs" / digest]
    if isinstance(file.digest, Sha256):
        places.append(ollama_store() / "blobs" / f"sha256-{digest}")
    flat = f"{owner}_{name}_{file.name.text.replace('/', '_')}"
    places += [llama_cpp_cache() / flat, llama_cpp_cache() / file.name.last]
    for place in places:
        try:
            if place.is_file() and place.stat().st_size == file.size_bytes:
                yield place.resolve()
        except OSError:
            continue


def take(source: Path, target: Path, *, across: Literal["link", "copy"] = "link") -> bool:
    """Put a file at `target` without a second copy where that can be; whether it is a link to it.

    A second name for the same bytes on one file system; `across` two, a symbolic link or a copy.
    Raises: OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError as error:
        # Another file system, one without hard links, or a file that is somebody else's.
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
    else:
        return False
    if across == "copy":
        shutil.copyfile(source, target)
        return False
    target.symlink_to(source)
    return True
