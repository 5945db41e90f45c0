"""One file of a repository into the staging folder: resumed, counted, hashed on the way.

Room: library. Knows HTTP ranges and bytes; must not know which files are wanted or where they are
published. huggingface_hub gives address, headers and session; the bytes are taken here, because it
deletes what a stopped download left and counts by ten megabytes.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from freehold.errors import DigestMismatch, DiskFull, DownloadFailed
from freehold.library.hashing import Digests
from freehold.library.hub import Hub, Listing, RemoteFile
from freehold.library.names import HubReference, Sha256

if TYPE_CHECKING:
    from httpx2 import Response

__all__ = ["WAIT_S", "Fetch", "disk_full"]

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0
WAIT_S = 1.0
_MAX_TRIES = 5
"""Tries in a row that bring not one byte."""


def disk_full(what: str, place: Path, needed_bytes: int, found: str) -> DiskFull:
    """The error for a disk without room for `needed_bytes` at `place`."""
    return DiskFull(
        f"not enough room for {what}",
        value=str(place),
        expected=f"{needed_bytes / 1e6:.0f} MB free",
        found=found,
        hint="free some space, or set FREEHOLD_HOME to a larger disk",
    )


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """Brings files of one listing. `passed` is called with the bytes that arrived."""

    hub: Hub
    reference: HubReference
    listing: Listing
    passed: Callable[[int], None]

    def fetch(self, file: RemoteFile, partial: Path) -> Sha256:
        """The file at `partial`, whole and as pinned; its sha256.

        What an earlier try left there is hashed and continued; where the whole then does not
        match, it is fetched once more from the start.
        Raises: DigestMismatch, DownloadFailed, DiskFull; the bytes so far stay for the next try.
        """
        partial.parent.mkdir(parents=True, exist_ok=True)
        resumed = partial.exists()
        try:
            digests = self._complete(file, partial)
            if resumed and digests.mismatch() is not None:
                partial.unlink()
                self.passed(-digests.count_bytes)
                digests = self._complete(file, partial)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            reason = error.strerror or "no space left"
            raise disk_full(str(file.name), partial, file.size_bytes, reason) from error
        wrong = digests.mismatch()
        if wrong is not None:
            partial.unlink()
            raise self._mismatch(file, *wrong)
        return digests.sha256

    def _complete(self, file: RemoteFile, partial: Path) -> Digests:
        digests = Digests(size_bytes=file.size_bytes, digest=file.digest)
        with partial.open("a+b") as output:
            self._take_in(output, digests, file)
            failures = 0
            while digests.count_bytes < file.size_bytes:
                before = digests.count_bytes
                self._attempt(file, output, digests, last=failures + 1 >= _MAX_TRIES)
                failures = 0 if digests.count_bytes > before else failures + 1
                if digests.count_bytes < file.size_bytes:
                    time.sleep(WAIT_S * failures)
            output.flush()
            os.fsync(output.fileno())
        return digests

    def _take_in(self, output: BinaryIO, digests: Digests, file: RemoteFile) -> None:
        """Hashes what is there already; more than the whole file is no part of it."""
        if output.seek(0, os.SEEK_END) > file.size_bytes:
            output.truncate(0)
        output.seek(0)
        while chunk := output.read(_CHUNK_BYTES):
            digests.update(chunk)
            self.passed(len(chunk))

    def _attempt(self, file: RemoteFile, output: BinaryIO, digests: Digests, *, last: bool) -> None:
        """One request for what is missing. A connection that ends early is no error but the last.

        Raises: DownloadFailed, DigestMismatch, OSError.
        """
        import httpx2
        from huggingface_hub import get_session, hf_raise_for_status

        with self.hub.asked(self.reference):
            try:
                url, headers = self._address(file)
                if digests.count_bytes:
                    headers["Range"] = f"bytes={digests.count_bytes}-"
                with get_session().stream(
                    "GET", url, headers=headers, timeout=_TIMEOUT_S
                ) as response:
                    hf_raise_for_status(response)
                    if digests.count_bytes and response.status_code == 200:
                        self._start_over(output, digests)
                    self._check_answer(file, response, digests.count_bytes)
                    for chunk in response.iter_raw():
                        output.write(chunk)
                        digests.update(chunk)
                        self.passed(len(chunk))
                        if digests.count_bytes > file.size_bytes:
                            return
                if last and digests.count_bytes < file.size_bytes:
                    raise httpx2.RemoteProtocolError("the answer ends early, again and again")
            except httpx2.TransportError:
                if last:
                    raise

    def _start_over(self, output: BinaryIO, digests: Digests) -> None:
        """Forgets what is there: the server sends the whole file instead of the missing part."""
        output.truncate(0)
        self.passed(-digests.count_bytes)
        digests.restart()

    def _address(self, file: RemoteFile) -> tuple[str, dict[str, str]]:
        """Where the bytes are, and the headers to ask with: the token goes to the hub alone."""
        from huggingface_hub import get_hf_file_metadata, hf_hub_url

        url = hf_hub_url(
            self.listing.repo.text,
            file.name.text,
            revision=self.listing.commit.hex,
            endpoint=self.hub.endpoint,
        )
        headers = self.hub.headers() | {"Accept-Encoding": "identity"}
        found = get_hf_file_metadata(url, headers=headers, timeout=_TIMEOUT_S)
        if found.commit_hash not in (None, self.listing.commit.hex):
            raise self._mismatch(
                file, f"commit {self.listing.commit}", f"{found.commit_hash!r:.60}"
            )
        if found.size is not None and found.size != file.size_bytes:
            raise self._mismatch(file, f"{file.size_bytes} bytes", f"{found.size} bytes announced")
        if isinstance(file.digest, Sha256) and found.etag != file.digest.hex:
            raise self._mismatch(file, f"sha256 {file.digest}", f"{found.etag!r:.80} announced")
        to, home = urlsplit(found.location), urlsplit(self.hub.endpoint)
        if to.scheme != "https" and (to.scheme, home.scheme) != ("http", "http"):
            raise self._failed(file, "an https address", f"a redirect to {to.scheme!r:.20}")
        if (to.scheme, to.netloc) != (home.scheme, home.netloc):
            headers.pop("authorization", None)
        return found.location, headers

    def _check_answer(self, file: RemoteFile, response: Response, start: int) -> None:
        """That the answer is the missing part. Raises: DownloadFailed, DigestMismatch."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise self._failed(file, "the file as it is", "a compressed answer")
        span = response.headers.get("Content-Range", "")
        if start and (response.status_code != 206 or not span.startswith(f"bytes {start}-")):
            raise self._failed(file, f"the bytes from {start} on", f"{span!r:.60}")
        announced = response.headers.get("Content-Length", "")
        if announced.isascii() and announced.isdigit():
            total = start + int(announced)
            if total != file.size_bytes:
                raise self._mismatch(file, f"{file.size_bytes} bytes", f"{total} bytes announced")

    def _mismatch(self, file: RemoteFile, expected: str, found: str) -> DigestMismatch:
        return DigestMismatch(
            f"{file.name} is not the file that the hub's own list names",
            value=str(self.reference),
            expected=expected,
            found=found,
            hint="nothing was published; pull again, and distrust HF_ENDPOINT if it stays",
        )

    def _failed(self, file: RemoteFile, expected: str, found: str) -> DownloadFailed:
        return DownloadFailed(
            f"{file.name} could not be fetched",
            value=str(self.reference),
            expected=expected,
            found=found,
            hint="check HF_ENDPOINT and the proxy",
        )
