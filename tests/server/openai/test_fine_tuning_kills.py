"""SIGKILL at random moments, of a job's worker and of its server: nothing shows in what is told."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from openai import OpenAI
from openai.types.fine_tuning import FineTuningJob
from safetensors.numpy import load_file

from freehold.server.standing import process_birth
from tests.server.live import LiveServer, living
from tests.server.openai.teaching import begun, ended, events_of, lines, losses_told

checkpoints = pytest.importorskip(
    "freehold.tune.training.checkpoints", reason="training needs the extra `tune`"
)

EPOCHS, BATCH, STEPS = 3, 3, 18
KILLS_BY_LIFE = (8, 15, 20)  # of workers so far, when a server is killed or the job may end
PATIENCE = 3  # workers in a row that die without a checkpoint; the server gives up after five
RTOL = 1e-6  # the same sums in the same order; what is told goes through decimal text


@contextmanager
def life(starter_path: Path, home: Path) -> Iterator[tuple[LiveServer, OpenAI]]:
    with (
        living(starter_path, home) as server,
        OpenAI(api_key="none", base_url=server.openai_url) as client,
    ):
        yield server, client


def started(client: OpenAI, model: str, suffix: str) -> FineTuningJob:
    heldout = lines(4, start=100)
    return begun(client, model, suffix, EPOCHS, batch=BATCH, heldout=heldout)


def next_worker(folder: Path, before: int | None) -> tuple[int, object]:
    """The process that trains now, which is another than before; and when it was born."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            note = json.loads((folder / "worker.json").read_text("utf-8"))
        except (OSError, ValueError):
            note = {"pid": before}
        if note["pid"] != before and process_birth(note["pid"]) == note["birth"]:
            return note["pid"], note["birth"]
        time.sleep(0.02)
    pytest.fail("no other worker was started")


def kept(folder: Path) -> int:
    """How many checkpoints were told of."""
    path = folder / "events.jsonl"
    return path.read_bytes().count(b'"kind":"checkpoint"') if path.exists() else 0


class Killer:
    """Ends workers at moments that a seed decides."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.moments = random.Random(seed)
        self.pid: int | None = None
        self.kills = self.fruitless = 0

    def kill(self) -> None:
        before = kept(self.folder)
        self.pid, birth = next_worker(self.folder, self.pid)
        deadline = time.monotonic() + 60
        while (
            self.fruitless == PATIENCE
            and kept(self.folder) == before
            and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        time.sleep(self.moments.uniform(0.0, 1.0 if self.fruitless == PATIENCE else 2.5))
        if process_birth(self.pid) != birth:  # a killed server's, which the next one has ended
            return
        os.kill(self.pid, signal.SIGKILL)
        while process_birth(self.pid) == birth:
            time.sleep(0.005)
        self.kills += 1
        self.fruitless = self.fruitless + 1 if kept(self.folder) == before else 0
        for each in (self.folder / "checkpoints").glob("step-*"):
            checkpoints.at(each)  # whole, or it raises


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.alone
def test_twenty_kills_and_two_of_the_server_leave_what_an_undisturbed_job_tells(
    starter_path: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with life(starter_path, home) as (server, client):
        calm = ended(client, started(client, server.model, "calm"))
        assert calm.status == "succeeded", calm.error
        wanted = events_of(client, calm)
        job = started(client, server.model, "killed")
    killer = Killer(home / "tuned" / job.id, seed=6)
    for count in KILLS_BY_LIFE:
        with life(starter_path, home) as (server, client):
            while killer.kills < count:
                killer.kill()
            if count != KILLS_BY_LIFE[-1]:
                time.sleep(killer.moments.uniform(0.0, 2.0))
                os.kill(server.pid, signal.SIGKILL)
                continue
            job = ended(client, job, within_s=60)
            assert job.status == "succeeded", job.error
            told = events_of(client, job, page_size=7)
    numbers = [int(event.id.rsplit("-", 1)[1]) for event in told]
    assert numbers == [*range(1, len(told) + 1)], "an event is lost or doubled"
    for name in ("train_loss", "full_valid_loss"):
        here, there = losses_told(told, name), losses_told(wanted, name)
        assert [*here] == [*there]
        np.testing.assert_allclose([*here.values()], [*there.values()], rtol=RTOL)
    assert [*losses_told(told)] == [*range(1, STEPS + 1)]
    one, other = (
        load_file(home / "tuned" / each.id / "adapter" / "adapter_model.safetensors")
        for each in (calm, job)
    )
    for name, values in other.items():
        np.testing.assert_allclose(one[name], values, rtol=1e-5, atol=1e-7)
