"""A bundle carries the program too: the wheels that are installed here, and no other bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from freehold.cli.import_ import _say_wheels
from freehold.config import Settings
from freehold.errors import BadBundle, DigestMismatch, DownloadFailed
from freehold.library.bundle_read import import_bundle
from freehold.library.wheels import (
    Wheel,
    collect_wheels,
    installed_versions,
    own_source,
    pins_of,
    sums_of,
)
from tests.library.bundling import bundle, made, quiet, settings, take_in

__all__ = ["made", "settings"]


def wheel(folder: Path, name: str, version: str, *needs: str) -> Path:
    """A wheel with nothing in it but what it needs."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    head += "".join(f"Requires-Dist: {need}\n" for need in needs)
    files = {
        f"{info}/METADATA": head,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{name}.py": f"VERSION = {version!r}\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{n},,\n" for n in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for name_, text in files.items():
            archive.writestr(name_, text)
    return path


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels in place of a package index, as pip's own settings name one."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    wheel(folder, "toyapp", "1.0", "toydep>=1")
    for version in ("1.0", "2.0"):
        wheel(folder, "toydep", version)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def collected(folder: Path, own: str = "toyapp==1.0", **versions: str) -> tuple[Wheel, ...]:
    return collect_wheels(folder / "work", own=own, versions=versions, progress=quiet)


def test_each_package_comes_at_the_version_that_is_installed(shelf: Path, tmp_path: Path) -> None:
    wheels = collected(tmp_path, toydep="1.0", unneeded="9.9")
    names = ["toyapp-1.0-py3-none-any.whl", "toydep-1.0-py3-none-any.whl"]
    assert [one.path.name for one in wheels] == names
    digests = [hashlib.sha256((shelf / name).read_bytes()).hexdigest() for name in names]
    assert pins_of(wheels).decode().splitlines() == [
        f"toyapp==1.0 --hash=sha256:{digests[0]}",
        f"toydep==1.0 --hash=sha256:{digests[1]}",
    ]
    assert sums_of(wheels).decode().splitlines()[0] == f"{digests[0]}  {names[0]}"


def test_a_version_that_nobody_has_is_said_in_pip_s_words(shelf: Path, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed) as caught:
        collected(tmp_path, toydep="1.5")
    assert "toydep" in caught.value.found


def test_the_wheels_arrive_and_install_without_an_index(
    shelf: Path, tmp_path: Path, made: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    wheels = collected(tmp_path, toydep="1.0")
    out = tmp_path / "with.tar"
    bundle(made, str(out), wheels=wheels, key_file=made / "key")
    came = take_in(out, settings)
    assert [name.removeprefix("wheels/") for name in came.wheels] == [w.path.name for w in wheels]
    _say_wheels(out, len(came.wheels))
    tar, pip = [line.strip() for line in capsys.readouterr().err.splitlines()[1:]]
    subprocess.run(tar, shell=True, check=True, cwd=tmp_path)
    subprocess.run(["sha256sum", "-c", "SHA256SUMS"], check=True, cwd=tmp_path / "wheels")
    there = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    command = pip.replace("python3", sys.executable, 1) + " --target installed"
    subprocess.run(command, shell=True, check=True, cwd=tmp_path, env=there, capture_output=True)
    assert (tmp_path / "installed/toydep.py").read_text() == "VERSION = '1.0'\n"
    # pip refuses other bytes of the same name.
    wheel(tmp_path / "wheels", "toydep", "1.0", "toyapp")
    again = subprocess.run(
        command + "2", shell=True, cwd=tmp_path, env=there, capture_output=True, text=True
    )
    assert again.returncode != 0
    assert "HASHES" in again.stderr.upper()


def test_an_altered_wheel_stops_the_bundle(
    shelf: Path, tmp_path: Path, made: Path, settings: Settings
) -> None:
    wheels = collected(tmp_path, toydep="1.0")
    bundle(made, str(tmp_path / "folder"), wheels=wheels)
    place = tmp_path / "folder/wheels/toydep-1.0-py3-none-any.whl"
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    with pytest.raises(DigestMismatch, match="toydep"):
        import_bundle(tmp_path / "folder", settings=settings, trust=None, progress=quiet)
    place.unlink()
    with pytest.raises(BadBundle):
        import_bundle(tmp_path / "folder", settings=settings, trust=None, progress=quiet)
    wheels[1].path.write_bytes(b"other")
    with pytest.raises(DigestMismatch):
        bundle(made, str(tmp_path / "none.tar"), wheels=wheels)


def test_this_installation_knows_its_versions_and_where_it_is_from() -> None:
    versions = installed_versions()
    assert versions["numpy"] == metadata.version("numpy")
    assert "freehold" not in versions
    assert Path(own_source()).exists() or own_source().startswith("freehold==")


@pytest.mark.slow
@pytest.mark.network
def test_everything_this_program_needs_is_had_from_the_index(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    needs = metadata.requires("freehold") or []
    own = wheel(tmp_path / "own", "freehold", metadata.version("freehold"), *needs)
    wheels = collect_wheels(
        tmp_path / "work", own=str(own), versions=installed_versions(), progress=quiet
    )
    pins = {line.split(" ")[0] for line in pins_of(wheels).decode().splitlines()}
    assert f"numpy=={metadata.version('numpy')}" in pins
    (tmp_path / "requirements.txt").write_bytes(pins_of(wheels))
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--require-hashes"]
    command += ["--find-links", str(wheels[0].path.parent), "--target", str(tmp_path / "there")]
    command += ["-r", str(tmp_path / "requirements.txt"), "--no-compile"]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
