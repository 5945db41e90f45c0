"""Where the server listens: sockets, bound before anything slow is done.

Room: server. Must not know what is served.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from freehold.errors import BadSetting

__all__ = ["Listening", "listen_at", "listen_on"]

_BACKLOG = 1024


@dataclass(frozen=True)
class Listening:
    """Bound sockets, and the URL under which this machine reaches them."""

    sockets: list[socket.socket]
    url: str
    path: Path | None = None

    def close(self) -> None:
        """Close the sockets, and remove what one left in the file system."""
        for each in self.sockets:
            each.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def listen_at(host: str, port: int) -> Listening:
    """Listen at every address of a host name. Port 0 takes a free one, the same for all.

    Raises: BadSetting, saying which of host and port is at fault.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise BadSetting(
            f"cannot listen at {host!r}",
            value=host,
            expected="an address of this machine",
            found=getattr(error, "strerror", None) or "no such name",
        ) from error
    addresses = list(dict.fromkeys((family, str(address[0])) for family, *_, address in found))
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            sockets.append(_bound(family, address, port))
            port = sockets[-1].getsockname()[1]
    except OSError as error:
        for each in sockets:
            each.close()
        raise _unusable(host, port, error) from error
    return Listening(sockets, _url(addresses[0][1], port))


def listen_on(path: Path) -> Listening:
    """Listen on a Unix socket that only its owner can open. Raises: BadSetting."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _clear_away(path)
        listener.bind(str(path))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise BadSetting(
            f"cannot listen on the socket {path}",
            value=str(path),
            expected="a path in a directory one may write to, below 108 bytes",
            found=error.strerror or str(error),
        ) from error
    finally:
        os.umask(mask)
    return Listening([listener], "http://localhost", path)


def _clear_away(path: Path) -> None:
    """Remove a socket that nobody listens on any more. Raises: OSError where somebody does."""
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise FileExistsError(errno.EEXIST, "a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise OSError(errno.EADDRINUSE, "another process listens there")
    path.unlink()


def _bound(family: int, address: str, port: int) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((address, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _unusable(host: str, port: int, error: OSError) -> BadSetting:
    if error.errno == errno.EADDRINUSE:
        return BadSetting(
            f"port {port} at {host} is in use",
            value=port,
            expected="a free port",
            found="another process listens there",
            hint="give another with --port; 0 takes any free one",
        )
    if error.errno == errno.EACCES:
        return BadSetting(
            f"port {port} may not be used by this user",
            value=port,
            expected="a port above 1023",
            found=error.strerror or "",
        )
    return BadSetting(
        f"cannot listen at {host}:{port}",
        value=host,
        expected="an address of this machine",
        found=error.strerror or type(error).__name__,
    )


def _url(address: str, port: int) -> str:
    """How this machine reaches the address: one that means all of them is reached as loopback."""
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    shown = f"[{address}]" if ":" in address else address
    return f"http://{shown}:{port}"
