"""The rates of this machine, measured once and kept in the store's home beside its identity.

Room: fit. Knows the file; must not know what the rates are used for.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import freehold
from freehold import ops
from freehold.engine.machine import processor_name
from freehold.engine.rates import MEASURED_TYPES, AttendRates, Rates, TypeRates, measure_rates
from freehold.errors import FormatError
from freehold.formats.json_file import read_json_object

__all__ = ["Measured", "machine_rates"]

_FILE = "machine.json"
_QUIET = 0.5


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Rates, which machine they are of, and when they were taken.

    `load` is how many programs wanted a core just before: above a few tenths the rates are low.
    """

    rates: Rates
    identity: dict[str, str | int]
    at: str
    load: float

    @property
    def disturbed(self) -> bool:
        """Whether other programs took a good part of the processor."""
        return self.load > _QUIET


def machine_rates(
    home: Path, *, again: bool = False, progress: Callable[[int, int], None] | None = None
) -> Measured:
    """What was measured before on this very machine, else a new measurement, which is kept.

    Another processor, instruction set, number of threads or version is another machine.
    """
    identity = _identity()
    kept = None if again else _read(home / _FILE, identity)
    if kept is not None:
        return kept
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    load = os.getloadavg()[0]
    measured = Measured(rates=measure_rates(progress), identity=identity, at=now, load=load)
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{_FILE}.part"
    part.write_text(json.dumps(dataclasses.asdict(measured), indent=1) + "\n", "utf-8")
    part.replace(home / _FILE)
    return measured


def _identity() -> dict[str, str | int]:
    return {
        "processor": processor_name(),
        "isa": ops.isa_name(),
        "threads": ops.threads(),
        "version": freehold.__version__,
    }


def _read(path: Path, identity: dict[str, str | int]) -> Measured | None:
    """What the file holds; None if it is of another machine, or was written by another form."""
    try:
        kept = read_json_object(path)
        if kept["identity"] != identity:
            return None
        measured = Measured(
            rates=_rates(kept["rates"]),
            identity=identity,
            at=str(kept["at"]),
            load=float(kept["load"]),
        )
    except (FormatError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a measurement costs seconds
    return measured if _is_whole(measured.rates) else None


def _rates(row: dict[str, Any]) -> Rates:
    types = {name: TypeRates(**_numbers(each)) for name, each in row["types"].items()}
    attend = {name: AttendRates(**_numbers(each)) for name, each in row["attend"].items()}
    plain = {key: value for key, value in row.items() if key not in ("types", "attend")}
    return Rates(**plain, types=types, attend=attend)


def _numbers(row: dict[str, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in row.items()}


def _is_whole(rates: Rates) -> bool:
    numbers = [rates.bandwidth_bytes_per_s, rates.state_one, rates.state_many]
    for kind in rates.types.values():
        numbers += dataclasses.astuple(kind)
    for attend in rates.attend.values():
        numbers += dataclasses.astuple(attend)
    named = {each.name for each in MEASURED_TYPES} <= rates.types.keys()
    return named and "latent" in rates.attend and all(number > 0 for number in numbers)
