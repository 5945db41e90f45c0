"""/v1/files: what batches, evaluations and trainings read, and what they wrote.

Room: server. A file is its owner's alone. Must not know what is in it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import StreamingResponse

from freehold.errors import BadRequest, NotFound, TooLarge, TooSlow
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS
from freehold.server.multipart import Form, FormReader, boundary_of
from freehold.server.routes.openai.pages import page, whole
from freehold.store import StoredFile
from freehold.store.files import Incoming

__all__ = [
    "create_file",
    "delete_file",
    "list_files",
    "retrieve_content",
    "retrieve_file",
    "router",
    "shown_file",
]

router = APIRouter(prefix="/v1/files", responses=OPENAPI_ERRORS, tags=["openai"])

MOST_BYTES = 512 << 20
_PAUSE_S = 30.0  # between two pieces of an upload
_PIECE_BYTES = 1 << 20
_PURPOSES = ("fine-tune", "batch", "evals")
_BATCH_KEPT_S = 30 * 24 * 3600
_EXPIRY = (3600, 30 * 24 * 3600)

_UPLOAD: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "purpose"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "purpose": {"type": "string", "enum": list(_PURPOSES)},
                        "expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
                        "expires_after[seconds]": {
                            "type": "integer",
                            "minimum": _EXPIRY[0],
                            "maximum": _EXPIRY[1],
                        },
                    },
                }
            }
        },
    }
}


@router.post("", openapi_extra=_UPLOAD)
async def create_file(request: Request, ctx: Context) -> dict[str, Any]:
    """Upload a file. Batches expire after 30 days, others when they are told to."""
    boundary = boundary_of(request.headers.get("content-type", ""))
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > MOST_BYTES + _PIECE_BYTES:
        raise TooLarge(
            "the file is too large",
            param="file",
            expected=f"at most {MOST_BYTES} bytes",
            found=f"{int(announced)} bytes announced",
        )
    with await asyncio.to_thread(ctx.house.store.files.incoming, max_bytes=MOST_BYTES) as incoming:
        form = await _received(request, boundary, incoming)
        purpose, expires_at = _wanted(form)
        stored = await asyncio.to_thread(
            incoming.publish,
            owner=ctx.asker.key_id,
            filename=form.filename or "",
            purpose=purpose,
            expires_at=expires_at,
        )
    return shown_file(stored)


@router.get("")
async def list_files(
    ctx: Context,
    purpose: Annotated[str | None, Query(max_length=64)] = None,
    after: Annotated[str | None, Query(max_length=100)] = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
) -> dict[str, Any]:
    """The asker's files."""
    found = await asyncio.to_thread(
        ctx.house.store.files.list,
        owner=ctx.asker.key_id,
        purpose=purpose,
        after=after,
        limit=limit + 1,
        newest_first=order == "desc",
    )
    return page([shown_file(stored) for stored in found], limit)


@router.get("/{file_id}")
async def retrieve_file(file_id: str, ctx: Context) -> dict[str, Any]:
    """What is known of a file."""
    return shown_file(await _file(file_id, ctx))


@router.get("/{file_id}/content", response_class=StreamingResponse)
async def retrieve_content(file_id: str, ctx: Context) -> StreamingResponse:
    """A file's bytes."""
    stored = await _file(file_id, ctx)
    handle = await asyncio.to_thread(ctx.house.store.files.open, file_id, owner=ctx.asker.key_id)

    def pieces() -> Any:
        with handle:
            while piece := handle.read(_PIECE_BYTES):
                yield piece

    headers = {
        "content-length": str(stored.bytes),
        # Nothing that was uploaded is shown by a browser as a page of this server.
        "content-disposition": f"attachment; filename*=UTF-8''{quote(stored.filename)}",
        "x-content-type-options": "nosniff",
    }
    return StreamingResponse(pieces(), media_type="application/octet-stream", headers=headers)


@router.delete("/{file_id}")
async def delete_file(file_id: str, ctx: Context) -> dict[str, Any]:
    """Forget a file for good."""
    files = ctx.house.store.files
    if not await asyncio.to_thread(files.delete, file_id, owner=ctx.asker.key_id):
        raise _unknown(file_id)
    return {"id": file_id, "object": "file", "deleted": True}


def shown_file(stored: StoredFile) -> dict[str, Any]:
    """A file as this interface has it."""
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.bytes,
        "created_at": int(stored.created_at),
        "expires_at": whole(stored.expires_at),
        "filename": stored.filename,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
    }


async def _file(file_id: str, ctx: Context) -> StoredFile:
    files = ctx.house.store.files
    stored = await asyncio.to_thread(files.get, file_id, owner=ctx.asker.key_id)
    if stored is None:
        raise _unknown(file_id)
    return stored


def _unknown(file_id: str) -> NotFound:
    return NotFound("no file of yours has this id", param="file_id", value=file_id[:100])


async def _received(request: Request, boundary: bytes, incoming: Incoming) -> Form:
    """The form; its file's bytes have gone into `incoming`."""
    waiting = bytearray()

    async def take(piece: bytes) -> None:
        waiting.extend(piece)
        if len(waiting) >= _PIECE_BYTES:
            await asyncio.to_thread(incoming.write, bytes(waiting))
            waiting.clear()

    reader = FormReader(boundary, file_field="file", sink=take)
    pieces = request.stream()
    while True:
        try:
            async with asyncio.timeout(_PAUSE_S):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise TooSlow(
                "the upload stood still for too long", expected=f"a piece every {_PAUSE_S:g} s"
            ) from None
        if piece is None:
            break
        await reader.feed(piece)
    form = reader.end()
    await asyncio.to_thread(incoming.write, bytes(waiting))
    return form


def _wanted(form: Form) -> tuple[str, float | None]:
    """The purpose, and when the file expires. Raises: BadRequest."""
    texts = dict(form.texts)
    if form.filename is None:
        raise BadRequest("the field 'file' is required", param="file")
    purpose = texts.pop("purpose", None)
    if purpose is None:
        raise BadRequest("the field 'purpose' is required", param="purpose")
    if purpose not in _PURPOSES:
        raise BadRequest(
            "files are not taken for this purpose",
            param="purpose",
            value=purpose[:64],
            expected=" or ".join(_PURPOSES),
        )
    anchor = texts.pop("expires_after[anchor]", None)
    seconds = texts.pop("expires_after[seconds]", None)
    if texts:
        name = min(texts)[:100]
        raise BadRequest(f"unknown field {name!r}", param=name, hint="remove it")
    if anchor is None and seconds is None:
        return purpose, time.time() + _BATCH_KEPT_S if purpose == "batch" else None
    usable = (seconds or "").isascii() and (seconds or "").isdigit() and len(seconds or "") < 10
    if anchor != "created_at" or not usable or not _EXPIRY[0] <= int(seconds or 0) <= _EXPIRY[1]:
        raise BadRequest(
            "the file's end is not usable",
            param="expires_after",
            expected=f"anchor created_at, and {_EXPIRY[0]} to {_EXPIRY[1]} seconds",
        )
    return purpose, time.time() + int(seconds or 0)
