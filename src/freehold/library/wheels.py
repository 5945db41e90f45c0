"""The wheels that install this program, at the versions that are installed here.

Room: library. pip resolves and fetches, so that the user's own index, proxy and certificates apply;
what is here settles the versions. Must not know bundles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from freehold.errors import DownloadFailed
from freehold.library.hashing import hash_file
from freehold.library.names import SafeName, Sha256
from freehold.library.pip import run_pip
from freehold.library.progress import Progress

__all__ = [
    "PINNED",
    "SUMS",
    "Wheel",
    "collect_wheels",
    "installed_versions",
    "own_source",
    "pins_of",
    "sums_of",
]

PINNED, SUMS = "requirements.txt", "SHA256SUMS"
_OWN = "freehold"
_WHEEL = re.compile(r"([A-Za-z0-9_.]+)-([A-Za-z0-9_.!+]+)-[A-Za-z0-9_.]+-[A-Za-z0-9_.]+-\S+\.whl")


@dataclass(frozen=True, kw_only=True)
class Wheel:
    """A wheel on the disk, with its digest."""

    path: Path
    size_bytes: int
    sha256: Sha256

    @property
    def pin(self) -> str:
        """Its line of a requirements file: pip takes no other version and no other bytes."""
        name, version = _parts(self.path.name)
        return f"{name}=={version} --hash=sha256:{self.sha256.hex}"


def collect_wheels(
    folder: Path, *, own: str, versions: Mapping[str, str], progress: Progress
) -> tuple[Wheel, ...]:
    """The wheel of `own` and of all that it needs, into `folder`, at these versions and no others.

    `own` is a requirement, a wheel, or a source tree, which is built. Only wheels are fetched, and
    none of them is installed. Raises: DownloadFailed with what pip said.
    """
    staged = folder / "own"
    staged.mkdir(parents=True)
    constraints = folder / "constraints.txt"
    lines = [f"{name}=={version}" for name, version in sorted(versions.items())]
    constraints.write_text("\n".join(lines) + "\n", "utf-8")
    wheels = folder / "wheels"
    built = Path(own).is_dir()
    first = ["wheel", f"--wheel-dir={staged}"]
    if not built:
        first = ["download", "--only-binary=:all:", f"--dest={staged}"]

    def watch(done: int) -> None:
        progress("wheels", done, 0)

    run_pip(*first, "--no-deps", own, what="this program's wheel", temporary=folder, watch=watch)
    (wheel,) = staged.glob("*.whl")
    rest = ["--only-binary=:all:", f"--constraint={constraints}", f"--dest={wheels}", str(wheel)]
    what = "the wheels of this installation"
    run_pip("download", *rest, what=what, temporary=folder, watch=watch)
    return tuple(_hashed(path) for path in sorted(wheels.glob("*.whl")))


def sums_of(wheels: Sequence[Wheel]) -> bytes:
    """The digests in the form of sha256sum."""
    return "".join(f"{wheel.sha256.hex}  {wheel.path.name}\n" for wheel in wheels).encode()


def pins_of(wheels: Sequence[Wheel]) -> bytes:
    """A requirements file that takes these wheels and nothing else."""
    return "".join(f"{wheel.pin}\n" for wheel in wheels).encode()


def installed_versions() -> dict[str, str]:
    """The version of each distribution that is installed here, but this program's."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"] or "").lower()
        if name and name != _OWN:
            found.setdefault(name, one.version)
    return found


def own_source() -> str:
    """Where this program is had from: the tree or wheel it was installed from, else the index."""
    own = metadata.distribution(_OWN)
    said = json.loads(own.read_text("direct_url.json") or "{}").get("url", "")
    if said.startswith("file:"):
        path = Path(unquote(urlsplit(said).path))
        if path.exists():
            return str(path)
    return f"{_OWN}=={own.version}"


def _hashed(path: Path) -> Wheel:
    size_bytes = path.stat().st_size
    _parts(path.name)
    digests = hash_file(path, size_bytes=size_bytes, digest=None, passed=lambda _: None)
    return Wheel(path=path, size_bytes=size_bytes, sha256=digests.sha256)


def _parts(name: str) -> tuple[str, str]:
    """A wheel's name and version. Raises: DownloadFailed for a file that is called otherwise."""
    found = _WHEEL.fullmatch(name)
    if found is None:
        raise DownloadFailed("pip left a file that is no wheel", value=SafeName(name).text)
    return found[1].replace("_", "-"), found[2]
