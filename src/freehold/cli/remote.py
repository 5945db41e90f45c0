"""Asks the server that runs for this home.

Room: cli. Knows where it runs and how it says no; must not know commands.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from freehold.errors import (
    Forbidden,
    FreeholdError,
    NotFound,
    SetupError,
    Unauthenticated,
    UnknownModel,
)

if TYPE_CHECKING:
    from freehold.server.standing import Standing

__all__ = ["KEY_VARIABLE", "ask", "standing_here"]

# Not a setting and not a flag: a secret belongs neither in a file of settings nor in a list of
# processes.
KEY_VARIABLE = "FREEHOLD_API_KEY"

_BY_CODE: Mapping[str, type[FreeholdError]] = {
    "model_not_found": UnknownModel,
    "invalid_api_key": Unauthenticated,
    "insufficient_permissions": Forbidden,
}


def standing_here() -> Standing | None:
    """The server of this home, if one runs."""
    from freehold.config import resolve_settings
    from freehold.server.standing import standing_server

    return standing_server(resolve_settings().home)


def ask(
    standing: Standing | None, method: str, path: str, body: Mapping[str, object] | None = None
) -> dict[str, Any]:
    """The server's answer. A 503 with a body that is no error is an answer, too.

    Raises: NotFound where none runs; SetupError where it does not answer; what it refuses with.
    """
    import httpx

    if standing is None:
        raise NotFound("no server runs for this home", hint="`freehold serve` starts one")
    # A proxy of the environment has no business between this machine and itself.
    transport = httpx.HTTPTransport(uds=standing.socket)
    secret = os.environ.get(KEY_VARIABLE, "")
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    try:
        with httpx.Client(transport=transport, base_url=standing.url, timeout=120.0) as client:
            answer = client.request(method, path, json=body, headers=headers)
            found: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise SetupError(
            f"the server at {standing.url} does not answer",
            value=standing.url,
            found=type(error).__name__,
            hint="its log says more",
        ) from error
    if "error" in found:
        raise _refusal(found["error"])
    return found


def _refusal(said: Mapping[str, Any]) -> FreeholdError:
    kind = _BY_CODE.get(str(said.get("code")), SetupError)
    hint = f"{KEY_VARIABLE} holds the key to show" if kind in (Unauthenticated, Forbidden) else ""
    return kind(f"the server says: {said.get('message')}", hint=hint)
