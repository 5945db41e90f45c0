"""The loss curve as SVG, and as TensorBoard's records.

Oracle: CRC-32C of RFC 3720, appendix B.4; the records' framing and protobuf are read back by hand.
"""

from __future__ import annotations

import struct
import xml.etree.ElementTree as Xml
from typing import Any

import pytest

from freehold.tune.training.pictures import crc32c, loss_picture, tensorboard_records

EVENTS: list[dict[str, Any]] = [
    {"seq": 1, "at": 10.0, "kind": "started", "step": 0},
    {"seq": 2, "at": 11.5, "kind": "heldout", "step": 0, "loss": 4.0},
    {"seq": 3, "at": 12.0, "kind": "step", "step": 1, "loss": 3.5, "rate": 0.001},
    {"seq": 4, "at": 12.5, "kind": "step", "step": 300, "loss": 1.25, "rate": 0.0005},
    {"seq": 5, "at": 13.0, "kind": "heldout", "step": 300, "loss": 1.5},
]


@pytest.mark.parametrize(
    ("raw", "crc"),
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (b"123456789", 0xE3069283),
    ],
)
def test_crc_is_that_of_the_standard(raw: bytes, crc: int) -> None:
    assert crc32c(raw) == crc


def fields(raw: bytes) -> dict[int, list[Any]]:
    """A protobuf message's fields by number."""
    found: dict[int, list[Any]] = {}
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = raw[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(raw):
        key = varint()
        kind = key & 7
        if kind == 0:
            value: Any = varint()
        elif kind == 2:
            length = varint()
            value = raw[at : at + length]
            at += length
        else:
            width, form = (8, "<d") if kind == 1 else (4, "<f")
            (value,) = struct.unpack(form, raw[at : at + width])
            at += width
        found.setdefault(key >> 3, []).append(value)
    return found


def masked(raw: bytes) -> int:
    crc = crc32c(raw)
    return ((crc >> 15) | (crc << 17) & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF


def test_records_are_framed_and_say_the_numbers() -> None:
    raw = b"".join(tensorboard_records(EVENTS))
    said: dict[tuple[str, int], float] = {}
    version = None
    while raw:
        (length,) = struct.unpack("<Q", raw[:8])
        body = raw[12 : 12 + length]
        assert struct.unpack("<I", raw[8:12])[0] == masked(raw[:8])
        assert struct.unpack("<I", raw[12 + length : 16 + length])[0] == masked(body)
        raw = raw[16 + length :]
        event = fields(body)
        if 3 in event:
            version = event[3][0]
            continue
        for value in fields(event[5][0])[1]:
            part = fields(value)
            said[part[1][0].decode(), event[2][0]] = part[2][0]
    assert version == b"brain.Event:2"
    assert said["train/loss", 300] == 1.25
    assert said["heldout/loss", 300] == 1.5
    assert said["heldout/loss", 0] == 4.0
    assert said["train/rate", 1] == pytest.approx(0.001)


@pytest.mark.parametrize("events", [EVENTS, EVENTS[:1], EVENTS[:2]], ids=["all", "none", "one"])
def test_the_picture_is_sound_whatever_there_is(events: list[dict[str, Any]]) -> None:
    picture = Xml.fromstring(loss_picture(events))
    circles = picture.findall("{http://www.w3.org/2000/svg}circle")
    assert len(circles) == sum(event["kind"] == "heldout" for event in events)
