"""Runs a fine-tuning job: a worker trains, its events are told, what comes of it is served.

Room: server. Knows the worker's folder; must not know torch or HTTP. What was asked for names files
of the store and a model's card; the paths are made here.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from freehold.engine.wire import error_from
from freehold.errors import (
    FreeholdError,
    NotAdmitted,
    NotFound,
    StoreUnusable,
    TuneError,
    UnknownModel,
)
from freehold.formats.json_file import read_json_object
from freehold.library.gate import require
from freehold.server.jobs import Outcome, Tell
from freehold.server.tuning.child import Child
from freehold.server.tuning.heard import heard, new_lines
from freehold.store import Job, Said
from freehold.tune.provenance import PROVENANCE
from freehold.tune.room import in_room
from freehold.tune.running import record_result
from freehold.tune.training.spec import TrainSpec, checked

if TYPE_CHECKING:
    from freehold.server.cards import ModelCard
    from freehold.server.context import House

__all__ = ["WORKER", "Tunings", "check_consent", "folder_of"]

WORKER = "freehold.tune.worker"
STOPPED = 3  # the worker's status when it was asked to stop

_LOOK_EVERY_S = 0.25
_MOST_DEATHS = 5  # in a row, none of which got as far as another checkpoint
_MOST_RESULT_BYTES = 256 << 20


def folder_of(house: House, job_id: str) -> Path:
    """Where a job's training lies."""
    return house.settings.home / "tuned" / job_id


def check_consent(house: House, digest: str) -> None:
    """Raises: NotAdmitted for data that was withdrawn."""
    if house.store.datasets.is_withdrawn(digest):
        raise NotAdmitted(
            "this data was withdrawn: nothing is trained on it any more",
            value=digest,
            hint="take other data",
        )


class Tunings:
    """The runner of fine-tuning jobs; `module` is what the worker runs."""

    def __init__(self, module: str = WORKER) -> None:
        self._module = module

    async def run(
        self, job: Job, *, house: House, tell: Tell, asked: Callable[[], str | None]
    ) -> Outcome:
        """Train, from the last checkpoint if there is one, and serve what comes of it."""
        with in_room(house.settings.home):
            return await self._run(job, house, tell, asked)

    async def _run(
        self, job: Job, house: House, tell: Tell, asked: Callable[[], str | None]
    ) -> Outcome:
        state = dict(job.state)
        folder = folder_of(house, job.id)
        card = await asyncio.to_thread(_prepare, house, job, folder)
        wish, status = await self._trained(folder, state, tell, asked)
        if wish == "cancel":
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            return Outcome("cancelled", state, (Said("The job was cancelled"),))
        if wish == "pause" and status == STOPPED:
            return Outcome("paused", state, (Said("The job was paused"),))
        if status != 0:
            _take_data(folder)
            raise await asyncio.to_thread(_failure, folder, status)
        return await self._finished(job, house, folder, card, state)

    async def _trained(
        self, folder: Path, state: dict[str, Any], tell: Tell, asked: Callable[[], str | None]
    ) -> tuple[str | None, int | None]:
        """What its owner asked for, and the worker's status; one that was killed goes on."""
        deaths, kept = 0, _last_kept(state)
        while True:
            child = Child(folder, self._module)
            try:
                wish = await self._watch(child, folder, state, tell, asked)
            finally:
                # Also when the server ends: the checkpoint is worth the wait.
                await asyncio.shield(child.stop())
            await _listen(folder, state, tell)
            status = child.status
            if wish is not None or status is None or status >= 0:
                return wish, status
            deaths = deaths + 1 if _last_kept(state) == kept else 0
            kept = _last_kept(state)
            if deaths == _MOST_DEATHS:
                return wish, status
            message = f"The training's process was ended by signal {-status}; it goes on"
            await tell(state, Said(f"{message} from step {kept}", "warn"))

    async def _watch(
        self,
        child: Child,
        folder: Path,
        state: dict[str, Any],
        tell: Tell,
        asked: Callable[[], str | None],
    ) -> str | None:
        """Until the worker has ended, or its owner asks for something."""
        await child.start()
        while child.status is None:
            await _listen(folder, state, tell)
            wish = asked()
            if wish == "cancel":
                child.kill()
                return wish
            if wish == "pause":
                await child.stop()
                return wish
            await asyncio.sleep(_LOOK_EVERY_S)
        return None

    async def _finished(
        self, job: Job, house: House, folder: Path, card: ModelCard, state: dict[str, Any]
    ) -> Outcome:
        result = await asyncio.to_thread(read_json_object, folder / "result.json")
        adapter = folder / str(result["adapter_dir"])
        if adapter.parent != folder or not adapter.is_dir():
            raise TuneError("the worker's result names no adapter of its own", value=job.id)
        name = job.spec["fine_tuned_model"]
        state["result"] = {key: result.get(key) for key in ("steps", "train_loss", "heldout_loss")}
        state["trained_tokens"] = result.get("tokens")
        state["result_file"] = await asyncio.to_thread(_results_kept, house, job, folder)
        state["adapter"] = adapter.name
        if (adapter / PROVENANCE).is_file():
            await asyncio.to_thread(
                record_result,
                house.store.events,
                folder,
                name,
                home=house.settings.home,
                licence=card.licence,
            )
        said = [Said(f"New fine-tuned model created: {name}", data={"model": name})]
        await house.residents.adopt(name, adapter, card.id)
        said.append(Said("The job has successfully completed"))
        _take_data(folder)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return Outcome("succeeded", state, tuple(said))


def _take_data(folder: Path) -> None:
    """The data stays with its owner."""
    for copy in ("train.jsonl", "heldout.jsonl"):
        (folder / copy).unlink(missing_ok=True)


def _last_kept(state: dict[str, Any]) -> int:
    return max((int(one["step"]) for one in state.get("checkpoints", ())), default=0)


def _prepare(house: House, job: Job, folder: Path) -> ModelCard:
    """The folder with data and specification. Raises: what there is against this training."""
    card = next((c for c in house.residents.cards() if c.id == job.spec["model"]), None)
    if card is None or card.parent is not None:
        raise UnknownModel("the base model is gone", param="model", value=job.spec["model"])
    require(card.path, "tune", settings=house.settings, name=card.id)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for field, name in (("training_file", "train.jsonl"), ("validation_file", "heldout.jsonl")):
        file_id = job.spec[field]
        if file_id is not None:
            check_consent(house, job.spec["digests"][file_id])
            _linked(house, job, file_id, field, folder / name)
    heldout = folder / "heldout.jsonl"
    spec = checked(
        TrainSpec(
            base=str(card.path),
            base_name=card.id,
            system=card.system,
            data=str(folder / "train.jsonl"),
            heldout=str(heldout) if job.spec["validation_file"] else None,
            threads=house.settings.threads,
            **_typed(job.spec["train"]),
        )
    )
    fresh = folder / ".spec.json.part"
    fresh.write_text(spec.as_json(), "utf-8")
    fresh.replace(folder / "spec.json")
    return card


def _typed(train: dict[str, Any]) -> dict[str, Any]:
    if "dataset_digests" in train:
        train = {**train, "dataset_digests": tuple(train["dataset_digests"])}
    return train


def _linked(house: House, job: Job, file_id: str, field: str, place: Path) -> None:
    """The file under a name of the folder's own; it stays when the upload is deleted."""
    if place.exists():
        return
    if house.store.files.get(file_id, owner=job.owner) is None:
        raise NotFound("the file is gone", param=field, value=file_id)
    source = house.store.files.place(file_id)
    try:
        os.link(source, place)
    except FileNotFoundError as error:
        raise StoreUnusable(f"{file_id}: the file's bytes are gone from the home") from error
    except OSError:  # another file system, or one without links
        part = place.with_suffix(".part")
        shutil.copyfile(source, part)
        part.replace(place)


async def _listen(folder: Path, state: dict[str, Any], tell: Tell) -> None:
    """Tells what the worker said since, each line once: the place is kept with the words."""
    before = state.get("heard_bytes", 0)
    while True:
        start = state.get("heard_bytes", 0)
        events, end = await asyncio.to_thread(new_lines, folder / "events.jsonl", start)
        if end == start:
            break
        said = [told for event in events if (told := heard(event, state)) is not None]
        state["heard_bytes"] = end
        await tell(state, *said)
    assert state.get("heard_bytes", 0) >= before, "events were taken back"


def _failure(folder: Path, status: int | None) -> FreeholdError:
    """Why the worker ended."""
    with contextlib.suppress(OSError, ValueError, FreeholdError, KeyError):
        said = read_json_object(folder / "error.json")
        facts = {key: str(said[key]) for key in ("expected", "found", "hint") if said.get(key)}
        return error_from({"code": said["code"], "message": str(said["message"]), **facts})
    return TuneError(
        "the training's process ended without a word",
        found=f"status {status}",
        hint="is there enough memory? the server's log may say more",
    )


def _results_kept(house: House, job: Job, folder: Path) -> str:
    """The curves as a file of the owner's, written once."""
    digest = hashlib.sha256(f"{job.id} results".encode()).hexdigest()
    file_id = f"file-{digest[:32]}"
    if house.store.files.get(file_id, owner=job.owner) is not None:
        return file_id
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["step", "train_loss", "valid_loss"])
    start = 0
    while True:
        events, end = new_lines(folder / "events.jsonl", start)
        if end == start:
            break
        start = end
        for event in events:
            if event.get("kind") == "step":
                writer.writerow([event.get("step"), event.get("loss"), ""])
            elif event.get("kind") == "heldout":
                writer.writerow([event.get("step"), "", event.get("loss")])
    with house.store.files.incoming(max_bytes=_MOST_RESULT_BYTES) as incoming:
        incoming.write(text.getvalue().encode())
        incoming.publish(
            owner=job.owner,
            filename="step_metrics.csv",
            purpose="fine-tune-results",
            file_id=file_id,
        )
    return file_id
