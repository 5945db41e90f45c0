"""Sixteen adapters and their base together: each promoted to a name, rolled back and removed while
others are asked, and no request fails."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from freehold.config import resolve_settings
from freehold.store import Store, open_store
from tests.loading.small import Dims, small
from tests.loading.small_adapter import small_adapter
from tests.server.live import LiveServer, living

DIMS = Dims(kind="Q8_0", D=64, H=2, G=1, A=32, F=64, context_tokens=2048)
COUNT = 16
ADAPTERS = [f"tuned-{number}" for number in range(COUNT)]
PROMPT = "Say something about rivers, and then about the sea."

pytestmark = [pytest.mark.slow, pytest.mark.alone]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small(DIMS).write(tmp_path / "base.gguf")
    for seed, name in enumerate(ADAPTERS):
        small_adapter(DIMS, seed=seed).write(tmp_path / "adapters" / name)
    return tmp_path


@pytest.fixture
def server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    configuration = folder / "config" / "freehold"
    configuration.mkdir(parents=True)
    place = folder / "adapters"
    (configuration / "config.toml").write_text(f'adapter_dirs = ["{place}"]\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
    named = [f"--adapter={name}={place / name}" for name in ADAPTERS]
    (folder / "home").mkdir()
    with living(folder / "base.gguf", folder / "home", *named) as running:
        yield running


@pytest.fixture
def store(folder: Path, server: LiveServer) -> Iterator[Store]:
    """The server's own database, as another process opens it."""
    settings = resolve_settings({"home": folder / "home"})
    opened = open_store(settings.database, settings.home)
    yield opened
    opened.close()


def said(client: httpx.Client, model: str) -> str:
    answer = client.post(
        "/completions",
        json={"model": model, "prompt": PROMPT, "max_tokens": 8, "temperature": 0, "logprobs": 0},
    )
    assert answer.status_code == 200, (model, answer.status_code, answer.text)
    return str(answer.json()["choices"][0]["logprobs"]["tokens"])


@dataclass
class Asking:
    """Threads that ask for a name again and again until told to stop; all that went wrong."""

    url: str
    wrong: list[str] = field(default_factory=list)
    answered: int = 0
    _threads: dict[str, tuple[threading.Thread, threading.Event]] = field(default_factory=dict)

    def begin(self, model: str, allowed: Callable[[str], bool]) -> None:
        """Answers must be among the allowed ones."""
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=self.url, timeout=60) as client:
                while not stop.is_set():
                    try:
                        text = said(client, model)
                    except (AssertionError, httpx.HTTPError) as error:
                        self.wrong.append(f"{model}: {error!r}")
                        return
                    self.answered += 1
                    if not allowed(text):
                        self.wrong.append(f"{model} answered as another model")

        thread = threading.Thread(target=ask)
        self._threads[model] = (thread, stop)
        thread.start()

    def end(self, model: str) -> None:
        """Waits for the answer under way."""
        thread, stop = self._threads.pop(model)
        stop.set()
        thread.join()

    def end_all(self) -> None:
        """All of them."""
        for model in list(self._threads):
            self.end(model)


def until(happens: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if happens():
            return
        time.sleep(0.05)
    pytest.fail(f"it did not happen: {what}")


def test_each_is_promoted_rolled_back_and_removed_while_all_are_asked(
    server: LiveServer, store: Store
) -> None:
    asking = Asking(server.openai_url)
    with httpx.Client(base_url=server.openai_url, timeout=60) as client:
        texts = {name: said(client, name) for name in ("base", *ADAPTERS)}
        assert len(set(texts.values())) > COUNT // 2, "adapters that answer alike show nothing"
        promotions = store.promotions
        promotions.promote(owner="local", name="desk", model="base", evidence={})
        until(lambda: _is_named(client, "desk"), "the name is known")
        every = set(texts.values())
        try:
            for name, text in texts.items():
                asking.begin(name, lambda found, text=text: found == text)  # type: ignore[misc]
            asking.begin("desk", lambda found: found in every)
            for name in ADAPTERS:
                promotions.promote(owner="local", name="desk", model=name, evidence={})
                until(lambda name=name: said(client, "desk") == texts[name], name)  # type: ignore[misc]
                promotions.rollback("desk", owner="local")
                until(lambda: said(client, "desk") == texts["base"], "the rollback")
                asking.end(name)
                gone = client.post("/unload_lora_adapter", json={"lora_name": name})
                assert gone.status_code == 200, gone.text
                assert not _is_named(client, name)
        finally:
            asking.end_all()
        assert not asking.wrong, asking.wrong[:5]
        assert asking.answered > 10 * COUNT
        assert said(client, "base") == texts["base"]


def _is_named(client: httpx.Client, model: str) -> bool:
    return any(each["id"] == model for each in client.get("/models").json()["data"])
