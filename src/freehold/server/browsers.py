"""Keeps web pages away from a server that asks for no key.

Room: server. Knows host names and origins; must not know routes or keys.

A page in this machine's browser can reach a loopback address as well as its user can. Two things
give it away: a name that is not this machine's in `Host` (a name that was made to point here), and
another place than this server in `Origin` or, where a browser sends none, in `Sec-Fetch-Site`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import ip_address
from urllib.parse import urlsplit

from freehold.errors import Forbidden

__all__ = ["check_browser", "is_loopback"]

_LONGEST_SHOWN = 100


def is_loopback(name: str) -> bool:
    """Whether a host name or an address without a port can only be this machine."""
    name = name.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ip_address(name.removeprefix("[").removesuffix("]")).is_loopback
    except ValueError:
        return False


def check_browser(
    headers: Sequence[tuple[bytes, bytes]],
    *,
    allowed_hosts: Collection[str],
    allowed_origins: Collection[str],
) -> None:
    """Let pass who is no page, a page of this server, or a page that the settings name.

    Raises: Forbidden.
    """
    hosts = [_text(value) for name, value in headers if name == b"host"]
    host = _name_in(hosts[0]) if len(hosts) == 1 else ""
    if not is_loopback(host) and host not in {name.lower() for name in allowed_hosts}:
        raise Forbidden(
            "the Host header names another machine",
            value=_short(host),
            expected="a loopback name or address",
            found=repr(_short(host)),
            hint="add the name to the setting allowed_hosts, or create a key",
        )
    origins = [_text(value) for name, value in headers if name == b"origin"]
    for origin in origins:
        _check_origin(origin, hosts[0], allowed_origins)
    if not origins:
        _check_fetch({name: value for name, value in headers if name.startswith(b"sec-fetch-")})


def _check_origin(origin: str, host: str, allowed: Collection[str]) -> None:
    known = {name.lower().rstrip("/") for name in allowed}
    if "*" in known or origin.lower() in known:
        return
    try:
        parts = urlsplit(origin)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower():
        return
    raise Forbidden(
        "a web page of another origin may not use this server",
        value=_short(origin),
        found=repr(_short(origin)),
        hint="add the origin to the setting allowed_origins, or create a key",
    )


def _check_fetch(headers: dict[bytes, bytes]) -> None:
    """A page that loads an image or a script from here sends no Origin, but says where it is."""
    foreign = headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site")
    if foreign and headers.get(b"sec-fetch-mode") != b"navigate":
        raise Forbidden(
            "a web page of another origin may not use this server",
            hint="add the origin to the setting allowed_origins, or create a key",
        )


def _name_in(host: str) -> str:
    """The host name in a Host header, in lower case and without the port."""
    if host.startswith("["):
        return host[: host.find("]") + 1].lower()
    return host.partition(":")[0].lower()


def _text(value: bytes) -> str:
    return value.decode("latin-1").strip()


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
