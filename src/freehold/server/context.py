"""What a route is given: who asks, and the parts of the running server.

Room: server. Filled in by the doors before any route runs; must not know any surface.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request

from freehold.server.accounting import Accounting

if TYPE_CHECKING:
    from freehold.config import Settings
    from freehold.server.inside import Inside
    from freehold.server.jobs import Background
    from freehold.server.residents import Residents
    from freehold.store import Store

__all__ = ["Asker", "Context", "House", "RouteContext", "asker_of"]


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Who sent a request. Without keys, on loopback, everybody is the one `local` owner.

    What a job asks for is asked in the `background`: it takes what others leave.
    """

    key_id: str = "local"
    scopes: frozenset[str] = frozenset({"*"})
    request_id: str = ""
    background: bool = False

    def may(self, scope: str) -> bool:
        """Whether the asker's key covers this scope."""
        return "*" in self.scopes or scope in self.scopes


@dataclass
class House:
    """The parts that live as long as the server."""

    settings: Settings
    residents: Residents
    store: Store
    draining: bool = field(default=False)
    accounting: Accounting = field(default_factory=Accounting)
    inside: Inside | None = field(default=None)
    background: Background | None = field(default=None)

    def wake(self) -> None:
        """Tells the background, where there is one, that there is something new to do."""
        if self.background is not None:
            self.background.wake()


@dataclass(frozen=True)
class RouteContext:
    """The asker and the house, for one request."""

    asker: Asker
    house: House


def asker_of(request: Request) -> Asker:
    """The asker that the doors found. Absent only if the doors were left out: a bug of ours."""
    asker = request.scope["state"].get("asker")
    assert isinstance(asker, Asker), "a route ran without the doors"
    return asker


async def _context(request: Request) -> RouteContext:
    return RouteContext(asker_of(request), request.app.state.house)


Context = Annotated[RouteContext, Depends(_context)]
