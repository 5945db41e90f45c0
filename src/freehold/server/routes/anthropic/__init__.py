"""Anthropic's Messages interface over the same residents. Room: server."""

from freehold.server.routes.anthropic.messages import router

__all__ = ["router"]
