"""What docs/licences.md tells a reader to do, works."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.errors import LicenceDenied
from freehold.library.gate import require, ruling_on
from freehold.library.terms import QUESTIONS, Profile, read_policy, write_profile
from freehold.library.terms.profile import INDIVIDUAL
from tests.cli.conftest import Run, freehold

__all__ = ["freehold"]

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "licences.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("console") for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if line.startswith("$ freehold ")]


def test_the_commands_of_the_guide_work_one_after_the_other(freehold: Run) -> None:
    assert len(commands()) >= 9
    for words in commands():
        ran = freehold(*words)
        assert ran.status == 0, (words, ran.err)
    assert ruling_on(
        "meta-llama/Llama-3.2-1B-Instruct", settings=resolve_settings()
    ).verdict.accepted


def test_a_command_of_the_guide_works_as_its_own_process(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "freehold", *commands()[0]],
        capture_output=True,
        env=os.environ,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert b"verdict   allow" in done.stdout


def test_the_policy_of_the_guide_is_one_and_does_what_it_says(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "policy.toml"
    path.write_text(text)
    policy = read_policy(path)
    assert policy.unknown == "deny"
    write_profile(replace(INDIVIDUAL, commercial=True))
    held = replace(resolve_settings(), policy=(path,))
    assert require("Qwen/Qwen3-0.6B", "pull", settings=held).outcome == "allow"
    overridden = require("mistralai/Ministral-8B-Instruct-2410", "pull", settings=held)
    assert overridden.outcome == "allow"
    for ref in ("google/gemma-3-1b-it", "meta-llama/Llama-3.1-8B-Instruct"):
        with pytest.raises(LicenceDenied):
            require(ref, "pull", settings=held)


def test_the_table_of_answers_is_the_profile() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .* \|$", GUIDE, re.MULTILINE)
    assert rows[: len(QUESTIONS)] == list(QUESTIONS) == [field.name for field in fields(Profile)]
