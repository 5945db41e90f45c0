"""A small house with a record: a source model, what was made of it, and an acceptance.

It is built once in a run of the tests; each test gets it back as it was.
"""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from freehold.config import Settings, resolve_settings
from freehold.library.identity import identity_of
from freehold.library.record import (
    Calibration,
    MeasuredLoss,
    Source,
    Terms,
    Weights,
    open_record,
    record_acceptance,
    record_obtained,
    record_quantized,
    record_served,
)
from tests.formats.gguf_build import Gguf, tensor

TENSOR_BYTES = 128 << 10
LICENCE_TEXT = "You may use this.\nYou may not say that we wrote it.\n"

LOSS = MeasuredLoss(
    mean_kl=0.0123,
    p99_kl=0.21,
    agreement=0.957,
    perplexity=13.4,
    source_perplexity=13.1,
    text="held-out",
    text_sha256="c" * 64,
    tokens=4096,
)


def write_gguf(path: Path, fill: int) -> Path:
    """Five tensors of 128 KiB each: a.weight to e.weight."""
    names = "abcde"
    return Gguf(
        tensors=[
            tensor(f"{name}.weight", [TENSOR_BYTES // 4], 0, TENSOR_BYTES * number)
            for number, name in enumerate(names)
        ],
        data=bytes([fill]) * (TENSOR_BYTES * len(names)),
    ).write(path.parent, path.name)


@dataclass(frozen=True)
class House:
    """Where everything is."""

    settings: Settings
    source: Path
    small: Path

    def damage(self, path: Path, place: int) -> None:
        data = bytearray(path.read_bytes())
        data[place] ^= 1
        path.write_bytes(data)


_built: dict[str, Path] = {}


def house(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> House:
    """The house as it was built; `$FREEHOLD_HOME` is its home."""
    if not _built:
        folder = tmp_path_factory.mktemp("owned")
        _build(folder / "lived-in")
        shutil.copytree(folder / "lived-in", folder / "kept")
        _built["folder"] = folder
    place = _built["folder"] / "lived-in"
    shutil.rmtree(place)
    shutil.copytree(_built["folder"] / "kept", place)
    monkeypatch.setenv("FREEHOLD_HOME", str(place / "home"))
    return House(resolve_settings(), place / "source.gguf", place / "small.gguf")


def _build(folder: Path) -> None:
    """Events 1 obtained, 2 accepted, 3 quantized, 4 to 8 served."""
    folder.mkdir()
    settings = dataclasses.replace(resolve_settings(), home=folder / "home")
    source = write_gguf(folder / "source.gguf", 1)
    small = write_gguf(folder / "small.gguf", 2)
    whole = identity_of(source, home=settings.home)
    less = identity_of(small, home=settings.home)
    terms = Terms(licence="toy-licence")
    with open_record(settings) as events:
        record_obtained(
            events,
            Weights(identity=whole, name="org/toy", location=source, terms=terms),
            source=Source(kind="hub", reference="org/toy", revision="abc123"),
        )
        record_acceptance(
            events, licence="toy-licence", text=LICENCE_TEXT, by="ann@house", uses=["serve"]
        )
        record_quantized(
            events,
            Weights(identity=less, name="toy-small", location=small, terms=terms),
            parent=whole,
            recipe={"type": "Q4_K_M"},
            loss=LOSS,
            calibration=Calibration(name="own.txt", sha256="d" * 64, tokens=100),
        )
        server = {"url": "http://127.0.0.1:8460"}
        for _ in range(5):
            record_served(events, less, name="toy-small", location=small, server=server)
