"""A training's losses as a picture, and in TensorBoard's format.

Room: tune. Reads events; must not know torch or terminals.
Source: TensorBoard's event files are TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C
of them) of the protocol buffer tensorflow.Event; CRC-32C is RFC 3720's.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

__all__ = ["crc32c", "draw", "loss_picture", "tensorboard_records"]

_WIDE, _HIGH, _LEFT, _BOTTOM, _TOP, _RIGHT = 760, 380, 58, 44, 16, 20
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#4a5566}.axis{stroke:#dfe3e9}"
    ".train{fill:none;stroke:#a9bcd4;stroke-width:1}.smooth{fill:none;stroke:#2f6fb3;"
    "stroke-width:2}.heldout{fill:none;stroke:#c2410c;stroke-width:2}.dot{fill:#c2410c}"
    "@media(prefers-color-scheme:dark){text{fill:#aab4c3}.axis{stroke:#3a4250}}"
)


def draw(directory: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Writes loss.svg and tensorboard/ anew. Mutates: the directory. Raises: OSError."""
    _replace(directory / "loss.svg", loss_picture(events).encode())
    folder = directory / "tensorboard"
    folder.mkdir(exist_ok=True)
    records = b"".join(tensorboard_records(events))
    _replace(folder / "events.out.tfevents.0.freehold", records)


def _replace(path: Path, raw: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_bytes(raw)
    temporary.replace(path)


def _curve(events: Iterable[Mapping[str, Any]], kind: str) -> list[tuple[int, float]]:
    return [(int(e["step"]), float(e["loss"])) for e in events if e.get("kind") == kind]


def loss_picture(events: Sequence[Mapping[str, Any]]) -> str:
    """The losses of steps and of held-out text over steps, as SVG."""
    train, heldout = _curve(events, "step"), _curve(events, "heldout")
    every = [loss for _, loss in (*train, *heldout)] or [0.0, 1.0]
    last = max([step for step, _ in (*train, *heldout)] or [1]) or 1
    low, high = min(every), max(every)
    low = 0.0 if low < 0.25 * high else low
    high = high if high > low else low + 1

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + step / last * (_WIDE - _LEFT - _RIGHT)
        return x, _HIGH - _BOTTOM - (loss - low) / (high - low) * (_HIGH - _BOTTOM - _TOP)

    def line(points: Sequence[tuple[int, float]], of: str) -> str:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*each) for each in points))
        return f'<polyline class="{of}" points="{path}"/>' if points else ""

    parts = [_axes(low, high, last, place), line(train, "train"), line(_smooth(train), "smooth")]
    parts.append(line(heldout, "heldout"))
    for step, loss in heldout:
        x, y = place(step, loss)
        title = escape(f"held out, step {step}: {loss:.4f}")
        parts.append(f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">')
        parts.append(f"<title>{title}</title></circle>")
    legend = f'<text x="{_WIDE - _RIGHT}" y="{_TOP + 4}" text-anchor="end">'
    names = "training" + (" (blue), held out (orange)" if heldout else "")
    parts.append(f"{legend}loss in nats, {names}</text>")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE} {_HIGH}" role="img" '
        f'aria-label="loss by step"><style>{_STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _smooth(points: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """An average that follows about the last tenth."""
    share = 1 / max(1.0, len(points) / 10)
    smooth: list[tuple[int, float]] = []
    for step, loss in points:
        before = smooth[-1][1] if smooth else loss
        smooth.append((step, before + share * (loss - before)))
    return smooth


def _axes(low: float, high: float, last: int, place: Any) -> str:
    size = 10.0 ** math.floor(math.log10((high - low) / 2))
    size *= next(f for f in (1, 2, 5, 10) if (high - low) / (size * f) <= 6)
    ticks = [i * size for i in range(math.ceil(low / size), math.floor(high / size) + 1)]
    parts = []
    for loss in ticks:
        x, y = place(0, loss)
        parts.append(f'<path class="axis" d="M{_LEFT} {y:.1f}H{_WIDE - _RIGHT}"/>')
        parts.append(f'<text x="{x - 8}" y="{y + 4:.1f}" text-anchor="end">{loss:.4g}</text>')
    for step in sorted({round(last * share / 5) for share in range(6)}):
        x, y = place(step, low)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{step}</text>')
    x, y = place(last / 2, low)
    parts.append(f'<text x="{x:.1f}" y="{y + 36:.1f}" text-anchor="middle">step</text>')
    return "".join(parts)


_TAGS = {
    ("step", "loss"): "train/loss",
    ("step", "rate"): "train/rate",
    ("step", "gradient_norm"): "train/gradient_norm",
    ("step", "tokens_per_s"): "train/tokens_per_s",
    ("heldout", "loss"): "heldout/loss",
    ("heldout", "preferred"): "heldout/preferred",
}


def tensorboard_records(events: Iterable[Mapping[str, Any]]) -> Iterable[bytes]:
    """The events' numbers as records of a TensorBoard file."""
    yield _record(_double(1, 0.0) + _text(3, "brain.Event:2"))
    for event in events:
        values = b""
        for (kind, key), tag in _TAGS.items():
            if event.get("kind") == kind and key in event:
                values += _field(1, _text(1, tag) + _float(2, float(event[key])))
        if values:
            step = b"\x10" + _varint(int(event["step"]))
            yield _record(_double(1, float(event["at"])) + step + _field(5, values))


def _record(raw: bytes) -> bytes:
    length = struct.pack("<Q", len(raw))
    return length + _masked(length) + raw + _masked(raw)


def _masked(raw: bytes) -> bytes:
    crc = crc32c(raw)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _table() -> tuple[int, ...]:
    entries = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        entries.append(value)
    return tuple(entries)


_TABLE = _table()


def crc32c(raw: bytes) -> int:
    """CRC-32C of the bytes."""
    crc = 0xFFFFFFFF
    for byte in raw:
        crc = crc >> 8 ^ _TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _field(number: int, raw: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(raw)) + raw


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return bytes([number << 3 | 5]) + struct.pack("<f", value)
