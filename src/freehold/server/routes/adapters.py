"""Adapters of a running server, in vLLM's shapes.

Room: server. For administrators; a path is taken only below the directories that the settings name.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import PlainTextResponse

from freehold.errors import BadRequest, FormatError, LoadError
from freehold.server.adapters import permitted
from freehold.server.context import Context
from freehold.server.http_errors import OPENAPI_ERRORS

__all__ = ["LoadAdapterBody", "UnloadAdapterBody", "load_adapter", "router", "unload_adapter"]

router = APIRouter(responses=OPENAPI_ERRORS, tags=["server"])

_Name = Annotated[str, Field(min_length=1, max_length=200)]


class LoadAdapterBody(BaseModel):
    """An adapter's name and place; the model it is for, where several could be meant."""

    model_config = ConfigDict(extra="forbid")

    lora_name: _Name
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]
    base_model_name: Annotated[str, Field(min_length=1, max_length=1000)] | None = None


class UnloadAdapterBody(BaseModel):
    """Which adapter to take away. Numbers are not given out here."""

    model_config = ConfigDict(extra="forbid")

    lora_name: _Name
    lora_int_id: None = None


@router.post("/v1/load_lora_adapter", response_class=PlainTextResponse)
async def load_adapter(body: LoadAdapterBody, ctx: Context) -> PlainTextResponse:
    """Load a LoRA adapter; from then on its name is a model that may be asked for."""
    house = ctx.house
    path = await asyncio.to_thread(permitted, body.lora_path, house.settings.adapter_dirs)
    try:
        await house.residents.load_adapter(body.lora_name, path, body.base_model_name)
    except (FormatError, LoadError) as error:  # of the file that this request named
        raise BadRequest(
            error.message,
            param="lora_path",
            expected=error.expected,
            found=error.found,
            hint=error.hint,
        ) from error
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' added successfully.")


@router.post("/v1/unload_lora_adapter", response_class=PlainTextResponse)
async def unload_adapter(body: UnloadAdapterBody, ctx: Context) -> PlainTextResponse:
    """Take an adapter's name away; answers under way keep it until they end."""
    ctx.house.residents.unload_adapter(body.lora_name)
    return PlainTextResponse(f"Success: LoRA adapter '{body.lora_name}' removed successfully.")
