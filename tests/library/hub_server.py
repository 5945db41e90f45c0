"""A hub of the tests' own: the real protocol on one port, and the place of the bytes on another.

Each way in which a hub, or something in its stead, can go wrong is a field of the two states.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote, unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
LFS_FROM_BYTES = 1024


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repository:
    """What a repository has; a `tree` entry may lie about any file."""

    files: dict[str, bytes]
    id: str = "acme/tiny"
    commit: str = COMMIT
    branches: dict[str, str] = field(default_factory=lambda: {"main": COMMIT})
    licence: str | None = "apache-2.0"
    gated: bool = False
    private: bool = False
    served: dict[str, bytes] = field(default_factory=dict)
    """Files that are served with other bytes than the tree says."""
    tree: Callable[[list[dict[str, Any]]], list[dict[str, Any]]] = lambda entries: entries
    headers: dict[str, str] = field(default_factory=dict)
    """Headers of a HEAD that replace the true ones."""

    def entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for path, content in self.files.items():
            entry: dict[str, Any] = {"type": "file", "oid": git_oid(content), "size": len(content)}
            if len(content) >= LFS_FROM_BYTES:
                entry["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
            found.append(entry | {"path": path})
        return self.tree(found)


@dataclass
class Hub:
    """The state that both servers share with the test."""

    repository: Repository
    token: str = "secret"
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """(method, path, headers) of every request; the bytes' port has `cdn` before its paths."""
    cut_after: list[int] = field(default_factory=list)
    """For each of the next answers with bytes: after how many the connection is cut."""
    ignore_ranges: bool = False
    shift_ranges: int = 0
    redirect_to: str | None = None
    endless: bool = False
    page_entries: int = 1000
    broken_api: bytes | None = None
    url: str = ""
    cdn_url: str = ""

    def paths(self, method: str) -> list[str]:
        return [path for verb, path, _ in self.requests if verb == method]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub
    is_cdn = False

    def log_message(self, *_: object) -> None:
        """Tests read `requests` instead."""

    def _note(self) -> None:
        where = ("cdn" if self.is_cdn else "") + self.path
        self.hub.requests.append((self.command, where, dict(self.headers.items())))

    def _answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _bytes(self, content: bytes) -> None:
        hub = self.hub
        start = 0
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if wanted and not hub.ignore_ranges:
            start = int(wanted[1])
            self.send_response(206)
            shown = start + hub.shift_ranges
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if hub.endless:
            self.send_header("Connection", "close")
            self.end_headers()
            self._forever()
            return
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        cut = hub.cut_after.pop(0) if hub.cut_after else None
        self.wfile.write(content[start:] if cut is None else content[start : start + cut])
        if cut is not None:
            self.close_connection = True

    def _forever(self) -> None:
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"\xff" * 65536)
        except OSError:
            return


class _Origin(_Handler):
    """The hub itself: the API, and addresses of files that lead to the other port."""

    def do_HEAD(self) -> None:
        self._note()
        self._resolve()

    def do_GET(self) -> None:
        self._note()
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/api/models/"):
            self._api(path.removeprefix("/api/models/"))
        else:
            self._resolve()

    def _refused(self) -> bool:
        hub = self.hub
        allowed = self.headers.get("Authorization") == f"Bearer {hub.token}"
        if hub.repository.private and not allowed:
            self._answer(401, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return True
        if hub.repository.gated and not allowed:
            self._answer(403, X_Error_Code="GatedRepo", X_Error_Message="Access is restricted")
            return True
        return False

    def _commit(self, revision: str) -> str | None:
        repository = self.hub.repository
        known = {**repository.branches, repository.commit: repository.commit}
        return known.get(revision)

    def _api(self, rest: str) -> None:
        hub, repository = self.hub, self.hub.repository
        if hub.broken_api is not None:
            self._answer(200, hub.broken_api, Content_Type="application/json")
            return
        parts = rest.split("/")
        asked = "/".join(parts[:2])
        if asked.lower() not in (repository.id.lower(), "acme/renamed"):
            self._answer(404, X_Error_Code="RepoNotFound", X_Error_Message="Repository not found")
            return
        commit = self._commit("/".join(parts[3:])) if len(parts) > 3 else repository.commit
        if commit is None:
            self._answer(404, X_Error_Code="RevisionNotFound", X_Error_Message="Invalid rev id")
            return
        # The list of a gated repository is public, as on the real hub; a private one's is not.
        if repository.private and self._refused():
            return
        if parts[2] == "revision":
            tags = [f"license:{repository.licence}"] if repository.licence else []
            info = {"id": repository.id, "sha": commit, "tags": tags, "siblings": []}
            self._answer(200, json.dumps(info).encode(), Content_Type="application/json")
        else:
            self._tree(parts)

    def _tree(self, parts: list[str]) -> None:
        entries = self.hub.repository.entries()
        query = dict(part.split("=") for part in urlsplit(self.path).query.split("&") if part)
        start, size = int(query.get("cursor", "0")), self.hub.page_entries
        headers = {}
        if start + size < len(entries):
            where = (
                f"{self.hub.url}/api/models/{'/'.join(parts)}?recursive=true&cursor={start + size}"
            )
            headers["Link"] = f'<{where}>; rel="next"'
        body = json.dumps(entries[start : start + size]).encode()
        self._answer(200, body, Content_Type="application/json", **headers)

    def _resolve(self) -> None:
        hub, repository = self.hub, self.hub.repository
        if self._refused():
            return
        found = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", unquote(self.path))
        content = repository.files.get(found[3]) if found else None
        if found is None or content is None:
            self._answer(404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found")
            return
        is_lfs = len(content) >= LFS_FROM_BYTES
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{git_oid(content)}"'}
        if is_lfs:
            headers |= {"X-Linked-Etag": f'"{sha256(content)}"', "X-Linked-Size": str(len(content))}
            headers["Location"] = hub.redirect_to or f"{hub.cdn_url}/{quote(found[3])}?signed=1"
        headers |= repository.headers
        if not is_lfs and self.command == "GET":
            self._bytes(repository.served.get(found[3], content))
            return
        self.send_response(302 if is_lfs else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0" if is_lfs else str(len(content)))
        self.end_headers()


class _Cdn(_Handler):
    """Where the bytes of large files are; it must never see a token."""

    is_cdn = True

    def do_GET(self) -> None:
        self._note()
        name = unquote(urlsplit(self.path).path).lstrip("/")
        repository = self.hub.repository
        self._bytes(repository.served.get(name, repository.files[name]))


@contextmanager
def running(repository: Repository) -> Iterator[Hub]:
    """Both servers on free ports of the loopback, until the block ends."""
    hub = Hub(repository)
    servers = []
    for kind in (_Origin, _Cdn):
        handler = type(kind.__name__, (kind,), {"hub": hub})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        # A short poll, or every test waits half a second for the end.
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        servers.append((server, thread))
    hub.url, hub.cdn_url = (f"http://127.0.0.1:{server.server_address[1]}" for server, _ in servers)
    try:
        yield hub
    finally:
        for server, thread in servers:
            server.shutdown()
            server.server_close()
            thread.join()
