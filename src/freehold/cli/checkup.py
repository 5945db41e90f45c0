"""Gathers what `freehold doctor` reports.

Room: cli. Reads the machine and the installation; must not know how the report is printed.
"""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version

import freehold
from freehold.config import Settings, config_path
from freehold.engine.machine import Memory, read_memory
from freehold.library import shelf

__all__ = ["Checkup", "Core", "Extra", "check_up"]


@dataclass(frozen=True, kw_only=True)
class Core:
    """The compiled core as it runs here."""

    isa: str
    isa_available: list[str]
    isa_forced: str | None
    threads: int
    bandwidth_bytes_per_s: float


@dataclass(frozen=True, kw_only=True)
class Extra:
    """One optional extra of the package: what of it is here, and how to get the rest."""

    name: str
    installed: dict[str, str]
    missing: list[str]
    install: str


@dataclass(frozen=True, kw_only=True)
class Checkup:
    """Everything `freehold doctor` knows; where `core` is None, `core_missing` says why."""

    version: str
    python: str
    core: Core | None
    core_missing: str | None
    cores_usable: int
    memory: Memory
    extras: list[Extra]
    store: str
    models: dict[str, bool]
    settings_file: str
    settings: dict[str, str | None]
    settings_from: dict[str, str]


def check_up(settings: Settings) -> Checkup:
    """Look at the machine, the installation and the settings."""
    core, core_missing = _core(settings.threads)
    return Checkup(
        version=freehold.__version__,
        python=platform.python_version(),
        core=core,
        core_missing=core_missing,
        cores_usable=len(os.sched_getaffinity(0)),
        memory=read_memory(),
        extras=_extras(),
        store=str(settings.models_dir),
        models={row.entry.name: row.present for row in shelf(settings.models_dir)},
        settings_file=str(config_path(os.environ)),
        settings={name: settings.shown(name) for name in settings.origin},
        settings_from=dict(settings.origin),
    )


def _core(threads: int | None) -> tuple[Core | None, str | None]:
    try:
        from freehold import ops
    except ImportError as error:
        # Not built, or built for another Python or system: the loader's own words tell which.
        return None, str(error)
    if threads is not None:
        ops.set_threads(threads)
    core = Core(
        isa=ops.isa_name(),
        isa_available=list(ops.available_isas()),
        # The person sets it and the core itself reads it; here it is only shown.
        isa_forced=os.environ.get("FREEHOLD_ISA") or None,
        threads=ops.threads(),
        bandwidth_bytes_per_s=ops.measure_bandwidth_bytes_per_s(),
    )
    return core, None


def _extras() -> list[Extra]:
    try:
        requirements = requires("freehold") or []
    except PackageNotFoundError:
        return []  # run from a source folder: nothing declares the extras
    extras: dict[str, Extra] = {}
    for requirement in requirements:
        parts = re.match(r"""([\w.-]+).*extra\s*==\s*["']([\w-]+)["']""", requirement)
        if parts is None:
            continue
        package, name = parts.groups()
        extra = extras.setdefault(
            name,
            Extra(name=name, installed={}, missing=[], install=f"pip install 'freehold[{name}]'"),
        )
        try:
            extra.installed[package] = version(package)
        except PackageNotFoundError:
            extra.missing.append(package)
    return list(extras.values())
