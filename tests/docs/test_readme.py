"""What README.md tells a reader to do, works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from tests.cli.conftest import Run, freehold
from tests.server.live import LiveServer

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
SERVER = "http://127.0.0.1:8460"
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def commands(program: str) -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    split = [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]
    return [words for words in split if words[0] == program]


def test_the_readme_names_the_port_of_the_settings() -> None:
    assert SERVER.endswith(f":{resolve_settings(environment={}).port}")
    assert SERVER in README


def needs_weights(words: list[str]) -> bool:
    return words[1] in {"run", "bench", "pull"}


def as_parameters() -> list[object]:
    return [
        pytest.param(
            words,
            id=" ".join(words)[:40],
            marks=[pytest.mark.weights] if needs_weights(words) else [],
        )
        for words in commands("freehold")
    ]


@pytest.fixture
def store(request: pytest.FixtureRequest, home: Path) -> Path:
    """A store that holds the starter model, by a link to the real file."""
    if request.node.get_closest_marker("weights"):
        starter: Path = request.getfixturevalue("starter_path")
        place = home / "models" / "starter" / starter.name
        place.parent.mkdir(parents=True)
        place.symlink_to(starter.absolute())
    return home


@pytest.mark.parametrize("words", as_parameters())
def test_freehold_command_of_the_readme(
    words: list[str], store: Path, freehold: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    ran = freehold(*words[1:])
    assert ran.status == 0, ran.err
    assert ran.out or ran.err


@pytest.mark.weights
@pytest.mark.parametrize("source", blocks("python"), ids=lambda source: source.splitlines()[0])
def test_python_of_the_readme(source: str, store: Path, request: pytest.FixtureRequest) -> None:
    if SERVER in source:
        # The same server, at another port and with the file's own name for its model.
        live: LiveServer = request.getfixturevalue("live_server")
        source = source.replace(SERVER, live.url).replace('"starter"', repr(live.model))
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, cwd=ROOT, env=os.environ, timeout=120
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"Paris" in done.stdout


@pytest.mark.parametrize("words", commands("make"), ids=lambda words: words[1])
def test_make_command_of_the_readme_names_a_target(words: list[str]) -> None:
    # Not run for real: `make test` is what runs this test.
    done = subprocess.run(
        ["make", "--dry-run", *words[1:]], capture_output=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()


def test_the_readme_has_something_to_run() -> None:
    assert len(commands("make")) >= 2
    assert len(commands("freehold")) >= 4
    assert blocks("python")


def test_ci_runs_a_command_of_the_readme() -> None:
    last = (ROOT / ".ci" / "run").read_text("utf-8").strip().splitlines()[-1]
    assert shlex.split(last)[1:] in commands("make")


@pytest.mark.parametrize(
    "page",
    sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"))),
    ids=lambda page: str(page.relative_to(ROOT)),
)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target
