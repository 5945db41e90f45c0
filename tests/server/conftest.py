"""What tests of the server share."""

from __future__ import annotations

from tests.server.live import live_server

__all__ = ["live_server"]
