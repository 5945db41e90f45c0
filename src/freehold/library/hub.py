"""What a hub says of a repository: its commit, its files with sizes and digests, its licence.

Room: library. Asks through huggingface_hub, whose variables, token and proxy apply; must not know
which files are wanted or where they go. Everything it hands on was parsed into strict types.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import BadReference, DownloadFailed
from freehold.library.hashing import Digest
from freehold.library.hub_errors import explained
from freehold.library.names import Commit, HubReference, RepoId, Revision, SafeName, Sha256

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoFile, RepoFolder

__all__ = ["Hub", "Listing", "RemoteFile", "hub_cache"]

_MAX_ENTRIES = 20_000
_MAX_FILE_BYTES = 1 << 44


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file of a repository: its name, its size, and the digest the hub's own tree pins it to."""

    name: SafeName
    size_bytes: int
    digest: Digest


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A repository at one commit. `licence` is the id that its card declares.

    Files whose names break the rules are left out; `unsafe` counts them.
    """

    repo: RepoId
    commit: Commit
    files: tuple[RemoteFile, ...]
    licence: str | None
    unsafe: int


def hub_cache() -> Path:
    """The cache that other programs share, as their variables name it."""
    environment = os.environ
    home = environment.get("HF_HOME")
    base = Path(environment.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    named = environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE")
    path = named or (Path(home) if home else base) / "hub"
    return Path(os.path.expandvars(path)).expanduser()


@dataclass(frozen=True)
class Hub:
    """The hub that the environment names. No request is made before it is asked something."""

    @property
    def endpoint(self) -> str:
        """The address that paths are added to."""
        from huggingface_hub import constants

        return (os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")

    @property
    def offline(self) -> bool:
        """Whether the environment forbids requests."""
        from huggingface_hub import constants

        words = [os.environ.get(name, "") for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")]
        return constants.is_offline_mode() or any(
            word.upper() in constants.ENV_VARS_TRUE_VALUES for word in words
        )

    def headers(self) -> dict[str, str]:
        """The headers of a request, with the person's token where there is one."""
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        headers: dict[str, str] = build_hf_headers(library_name="freehold")
        return headers

    def _say_nothing_else(self) -> None:
        # huggingface_hub would also ask which program runs it, and tell the hub what is installed.
        from huggingface_hub import constants

        constants.HF_HUB_DISABLE_TELEMETRY = True

    @contextmanager
    def asked(self, reference: HubReference) -> Iterator[None]:
        """Turns what goes wrong in a request into an error with a way out of it.

        Raises: DownloadFailed.
        """
        if self.offline:
            raise DownloadFailed(
                f"{reference} is not here, and the environment forbids asking the hub",
                value=str(reference),
                expected="the model in the store, or leave to fetch it",
                found="HF_HUB_OFFLINE is set",
                hint="unset HF_HUB_OFFLINE, or bring the model with `freehold import`",
            )
        self._say_nothing_else()
        with explained(reference, self.endpoint):
            yield

    def listing(self, reference: HubReference) -> Listing:
        """The repository at the commit that the reference's revision is now.

        Raises: DownloadFailed, BadReference.
        """
        from huggingface_hub import HfApi

        repo = reference.repo
        self._say_nothing_else()
        api = HfApi(endpoint=self.endpoint, library_name="freehold")
        revision = (reference.revision or Revision("main")).text
        with self.asked(reference):
            info = api.model_info(repo.text, revision=revision)
            commit = _commit(info.sha, reference)
            found = _renamed(repo, info.id)
            tree = api.list_repo_tree(repo.text, recursive=True, revision=commit.hex)
            entries = list(islice(tree, _MAX_ENTRIES + 1))
        if len(entries) > _MAX_ENTRIES:
            raise _odd(reference, f"at most {_MAX_ENTRIES} files", f"more than {_MAX_ENTRIES}")
        files, unsafe = _parsed(entries, reference)
        return Listing(
            repo=found, commit=commit, files=files, licence=_licence(info.tags), unsafe=unsafe
        )


def _commit(sha: object, reference: HubReference) -> Commit:
    try:
        return Commit(sha)  # type: ignore[arg-type]
    except BadReference as error:
        raise _odd(reference, "the whole hash of a commit", error.found) from error


def _renamed(asked: RepoId, answered: object) -> RepoId:
    """The repository in the hub's own spelling. Raises: BadReference where it is another one."""
    found = RepoId(answered)  # type: ignore[arg-type]
    if found.key != asked.key:
        raise BadReference(
            f"the hub answers for another repository than {asked}",
            value=asked.text,
            expected=asked.text,
            found=found.text,
            hint=f"it was renamed or replaced: pull {found} if that is the one you mean",
        )
    return found


def _licence(tags: Iterable[str] | None) -> str | None:
    for tag in tags or ():
        if tag.startswith("license:") and tag.isprintable():
            return tag.removeprefix("license:")[:100]
    return None


def _parsed(
    entries: Iterable[RepoFile | RepoFolder], reference: HubReference
) -> tuple[tuple[RemoteFile, ...], int]:
    """The files that have a safe name, and how many others there are."""
    files: list[RemoteFile] = []
    unsafe = 0
    for entry in entries:
        size, oid = getattr(entry, "size", None), getattr(entry, "blob_id", None)
        if oid is None:
            continue  # a folder
        try:
            name = SafeName(entry.path)
        except BadReference:
            # A hidden file is common and never wanted; a hostile one is never wanted either.
            unsafe += 1
            continue
        lfs = getattr(entry, "lfs", None)
        if not isinstance(size, int) or not 0 <= size <= _MAX_FILE_BYTES:
            raise _odd(reference, f"a size for {name}", repr(size)[:80])
        if lfs is not None and lfs.size != size:
            raise _odd(reference, f"one size for {name}", f"{size} and {lfs.size} bytes")
        try:
            digest: Digest = Sha256(lfs.sha256) if lfs is not None else Commit(oid)
        except BadReference as error:
            raise _odd(reference, f"a digest for {name}", error.found) from error
        files.append(RemoteFile(name=name, size_bytes=size, digest=digest))
    return tuple(files), unsafe


def _odd(reference: HubReference, expected: str, found: str) -> DownloadFailed:
    return DownloadFailed(
        f"the hub's list of files of {reference.repo} makes no sense",
        value=str(reference),
        expected=expected,
        found=found,
        hint="check HF_ENDPOINT: it may not be a hub",
    )
