"""A whole application with one model that takes adapters, and a worker that only counts.

What is asked of it, and one life of the background after another.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from freehold.server.cards import ModelCard
from freehold.server.jobs import Background
from freehold.server.tuning.running import Tunings
from freehold.store import Job
from tests.server.whole import Whole, whole_app

PATH = "/v1/fine_tuning/jobs"
WORKER = "tests.server.teaching_worker"


@dataclass
class Teachable:
    """One model that takes adapters."""

    card: ModelCard
    adopted: dict[str, Path] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)

    def cards(self) -> list[ModelCard]:
        return [self.card]

    def restore(self, name: str, path: Path, base: str) -> bool:
        self.adopted[name] = path
        return base == self.card.id

    async def adopt(self, name: str, path: Path, base: str) -> None:
        assert base == self.card.id
        assert path.is_dir()
        self.adopted[name] = path

    def unload_adapter(self, name: str) -> None:
        self.removed.append(name)


@contextmanager
def teachable_app(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Whole]:
    """The application; the base's file lies in the folder, and every licence allows tuning."""
    path = folder / "base.gguf"
    path.write_bytes(b"weights")
    for module in ("routes.openai.fine_tuning_asks", "tuning.running"):
        monkeypatch.setattr(f"freehold.server.{module}.require", lambda *_args, **_more: None)
    with whole_app(home) as made:
        card = ModelCard(id="base", created=1, kind="chat", path=path, size_bytes=7)
        residents: Any = Teachable(card)
        made.house.residents = residents
        yield made


def upload(whole: Whole, script: dict[str, Any], *, count: int = 12, **more: Any) -> str:
    said = {"role": "user", "content": json.dumps({"steps": 6, **script})}
    line = {"messages": [said, {"role": "assistant", "content": "so be it"}]}
    if more.pop("preferences", False):
        other = [{"role": "assistant", "content": "no"}]
        line = {"prompt": [said], "chosen": line["messages"][1:], "rejected": other}
    lines = (json.dumps(line) + "\n") * count
    made = whole.client.post(
        "/v1/files",
        data={"purpose": more.pop("purpose", "fine-tune")},
        files={"file": ("train.jsonl", lines.encode())},
        **more,
    ).json()
    return str(made["id"])


def asked(whole: Whole, script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    preferences = more.get("method", {}).get("type") == "dpo"
    file = upload(whole, script or {}, preferences=preferences)
    body = {"model": "base", "training_file": file}
    return body | {"metadata": {"basis": "own"}} | more


def created(whole: Whole, script: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    answer = whole.client.post(PATH, json=asked(whole, script, **more))
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def life(whole: Whole, job_id: str, until: Callable[[Job], bool]) -> Job:
    """One life of the background, until the job is as it should be."""

    async def run() -> Job:
        background = Background(whole.house, {"fine_tuning": (Tunings(WORKER), 1)})
        await background.start()
        try:
            async with asyncio.timeout(60):
                while True:
                    await asyncio.sleep(0.02)
                    job = whole.house.store.jobs.get(job_id, owner="local")
                    assert job is not None
                    if until(job):
                        return job
        finally:
            await background.close()

    return asyncio.run(run())


def ended(job: Job) -> bool:
    return job.status in ("succeeded", "failed", "cancelled", "paused")


def messages(whole: Whole, job_id: str) -> list[str]:
    return [event.message for event in whole.house.store.jobs.events(job_id, owner="local")]
