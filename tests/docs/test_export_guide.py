"""What docs/export.md tells a reader to do, works."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from freehold.formats.gguf import open_gguf
from freehold.tune.export.drift import Bound
from freehold.tune.export.publishing import Form
from tests.loading.small import Dims
from tests.loading.small_adapter import small_adapter

ROOT = Path(__file__).resolve().parents[2]
STARTER = Dims(L=30, D=576, H=9, G=3, A=64, F=1536)
GUIDE = (ROOT / "docs" / "export.md").read_text("utf-8")


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```console\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
    return [shlex.split(line[2:]) for block in blocks for line in block.splitlines()]


@pytest.mark.weights
@pytest.mark.slow
def test_the_commands_of_the_guide(home: Path, starter_path: Path, tmp_path: Path) -> None:
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    adapter = small_adapter(STARTER)
    for name, values in adapter.tensors.items():
        adapter.tensors[name] = values / 4  # as trained ones are, small beside the model
    adapter.write(tmp_path / "poet")
    said = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hello to you."}]
    (tmp_path / "lines.jsonl").write_text(json.dumps({"messages": said}) + "\n")
    for words in commands():
        done = subprocess.run(
            [sys.executable, "-m", "freehold", *words[1:]],
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONUTF8": "1"},
            timeout=300,
        )
        assert done.returncode == 0, done.stderr.decode()
        assert b"nats a token from the adapter's answers" in done.stdout
        with open_gguf(tmp_path / words[words.index("--output") + 1]) as file:
            assert file.architecture == "llama"


def test_the_guide_names_every_form_and_the_bound() -> None:
    assert all(f"| `{form}` |" in GUIDE for form in get_args(Form))
    assert f"({Bound().mean_kl:g} nats)" in GUIDE
    assert f"`--agreement` ({Bound().agreement:g})" in GUIDE
    assert len(commands()) >= 3
