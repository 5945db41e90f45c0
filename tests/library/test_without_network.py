"""What is here works in a network namespace that has nothing but its own loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.config import resolve_settings
from freehold.library import HubReference, pull_from_hub
from tests.library import hub_server
from tests.library.small_models import gguf_bytes

ALONE = ["unshare", "--map-root-user", "--net"]
REACHES = "import socket; socket.create_connection(('192.0.2.1', 80), 2)"


def alone(*words: str, home: Path, **more: str) -> str:
    """What a command prints in a namespace of its own."""
    done = subprocess.run(
        [*ALONE, sys.executable, "-m", "freehold", *words],
        capture_output=True,
        env=os.environ | {"FREEHOLD_HOME": str(home)} | more,
        stdin=subprocess.DEVNULL,
        timeout=120,
        text=True,
    )
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.weights
def test_all_of_it_works_without_network(
    home: Path, starter_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("unshare") is None or subprocess.run([*ALONE, "true"]).returncode != 0:
        pytest.skip("this machine permits no network namespaces")
    done = subprocess.run([*ALONE, sys.executable, "-c", REACHES], capture_output=True)
    assert b"unreachable" in done.stderr
    place = home / "models" / "starter" / starter_path.name
    place.parent.mkdir(parents=True)
    place.symlink_to(starter_path.absolute())
    repository = hub_server.Repository({"tiny-Q4_K_M.gguf": gguf_bytes(), "README.md": b"# Tiny"})
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with hub_server.running(repository) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        pull_from_hub(
            HubReference.parse("acme/tiny"),
            settings=resolve_settings(),
            progress=lambda phase, done, total: None,
        )
    assert "already here" in alone("pull", "acme/tiny", home=home)
    assert "already here" in alone("pull", "acme/tiny", home=home, HF_HUB_OFFLINE="1")
    assert "already here" in alone("pull", "starter", "--verify", home=home)
    alone("bundle", "keygen", str(tmp_path / "key"), home=home)
    bundle = str(tmp_path / "all.tar")
    alone(
        "bundle", "starter", "acme/tiny", "--out", bundle, "--key", str(tmp_path / "key"), home=home
    )
    other = tmp_path / "other"
    told = alone("import", bundle, "--trust", str(tmp_path / "key.pub"), home=other)
    assert "signed by the key you trust" in told
    assert "acme/tiny:Q4_K_M" in alone("list", home=other)
    assert "Apache-2.0" in alone("license", "starter", home=other)
    alone("inspect", "starter", home=other)
    alone("deed", "starter", "--verify", home=other)
    assert "Paris" in alone("run", "starter", "What is the capital of France?", home=other)
