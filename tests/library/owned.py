"""A small house with a record: a source model, what was made of it, and an acceptance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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


def build(folder: Path) -> House:
    """Events 1 obtained, 2 accepted, 3 quantized, 4 to 8 served."""
    settings = resolve_settings()
    source = write_gguf(folder / "source.gguf", 1)
    small = write_gguf(folder / "small.gguf", 2)
    terms = Terms(licence="toy-licence")
    with open_record(settings) as events:
        record_obtained(
            events,
            Weights(identity=identity_of(source), name="org/toy", location=source, terms=terms),
            source=Source(kind="hub", reference="org/toy", revision="abc123"),
        )
        record_acceptance(
            events, licence="toy-licence", text=LICENCE_TEXT, by="ann@house", uses=["serve"]
        )
        record_quantized(
            events,
            Weights(identity=identity_of(small), name="toy-small", location=small, terms=terms),
            parent=identity_of(source),
            recipe={"type": "Q4_K_M"},
            loss=LOSS,
            calibration=Calibration(name="own.txt", sha256="d" * 64, tokens=100),
        )
        for _ in range(5):
            record_served(
                events,
                identity_of(small),
                name="toy-small",
                location=small,
                server={"url": "http://127.0.0.1:8460"},
            )
    return House(settings, source, small)
