"""The models that fine-tuning made: named again when the server starts, and deleted for good.

Room: server. Knows jobs and folders; must not know HTTP or how an adapter is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import BadRequest, Forbidden, UnknownModel
from freehold.server.tuning.running import folder_of

if TYPE_CHECKING:
    from freehold.server.context import Asker, House

__all__ = ["forget", "name_again"]

_log = logging.getLogger(__name__)


def name_again(house: House) -> None:
    """What earlier jobs made may be asked for. Raises: StoreUnusable."""
    for job in house.store.jobs.succeeded("fine_tuning"):
        folder = job.state.get("adapter")
        if folder is None:
            continue
        name, base = job.spec["fine_tuned_model"], job.spec["model"]
        if not house.residents.restore(name, folder_of(house, job.id) / folder, base):
            _log.warning("%s is not served: its base model or its adapter is gone", name)


async def forget(house: House, asker: Asker, model: str) -> None:
    """Deletes a model that a job of the asker's made; answers under way end as they began.

    Raises: as `_noted`.
    """
    folder = await asyncio.to_thread(_noted, house, asker, model)
    house.residents.unload_adapter(model)
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _noted(house: House, asker: Asker, model: str) -> Path:
    """Where the model lies that nobody may ask for any more.

    Raises: Forbidden for any other model; BadRequest while a name stands for it; UnknownModel.
    """
    jobs = house.store.jobs
    for job in jobs.list(owner=asker.key_id, kind="fine_tuning"):
        if job.spec["fine_tuned_model"] == model and job.state.get("adapter"):
            break
    else:
        if any(card.id == model for card in house.residents.cards()):
            raise Forbidden(
                "only a model that your own fine-tuning made can be deleted here",
                value=model,
                hint="`freehold rm` deletes models of the store",
            )
        raise UnknownModel("no model has this id", param="model", value=model)
    held = [
        name for name, now in house.store.promotions.all_current().items() if now.model == model
    ]
    if held:
        raise BadRequest(
            f"the name {held[0]!r} stands for this model",
            param="model",
            value=model,
            hint=f"`freehold promote --rollback {held[0]}`, or promote another, first",
        )
    state = {key: value for key, value in job.state.items() if key != "adapter"}
    jobs.note(job.id, state | {"deleted_at": time.time()}, owner=asker.key_id)
    return folder_of(house, job.id)
