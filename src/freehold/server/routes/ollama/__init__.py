"""Ollama's interface over the same residents. Room: server."""

from fastapi import APIRouter

from freehold.server.routes.ollama import chat, embed, models, refused

__all__ = ["router"]

router = APIRouter()
for _part in (chat, embed, models, refused):
    router.include_router(_part.router)
