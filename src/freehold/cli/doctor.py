"""`freehold doctor`: what this machine and this installation can do.

Room: cli. Prints a checkup; the figures are gathered in checkup.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from freehold.cli.options import AsJson

if TYPE_CHECKING:
    from freehold.cli.checkup import Checkup

__all__ = ["doctor"]


def doctor(*, as_json: AsJson = False) -> None:
    """Show what this machine can do.

    The instruction set in use, memory and its measured bandwidth, what is installed and what is
    missing.
    """
    import dataclasses

    from freehold.cli.checkup import check_up
    from freehold.cli.printing import print_json, table_console
    from freehold.config import resolve_settings

    checkup = check_up(resolve_settings())
    if as_json:
        print_json(dataclasses.asdict(checkup))
        return
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for name, text in _rows(checkup):
        table.add_row(name, text)
    table_console().print(table)


def _rows(checkup: Checkup) -> list[tuple[str, str]]:
    core, memory = checkup.core, checkup.memory
    rows = [("freehold", f"{checkup.version}, Python {checkup.python}")]
    if core is None:
        rows.append(("core", f"missing ({checkup.core_missing}): run `make setup`"))
    else:
        forced = f" (forced by FREEHOLD_ISA={core.isa_forced})" if core.isa_forced else ""
        rows += [
            ("instruction set", f"{core.isa}{forced}; available: {', '.join(core.isa_available)}"),
            ("threads", f"{core.threads} of {checkup.cores_usable} usable cores"),
            ("memory bandwidth", f"{core.bandwidth_bytes_per_s / 1e9:.1f} GB/s measured"),
        ]
    limit = f", limited to {_gb(memory.limit_bytes)}" if memory.limit_bytes is not None else ""
    rows.append(
        ("memory", f"{_gb(memory.total_bytes)}, {_gb(memory.available_bytes)} available{limit}")
    )
    for extra in checkup.extras:
        have = ", ".join(f"{name} {version}" for name, version in extra.installed.items())
        rows.append((f"extra [{extra.name}]", have or "nothing installed"))
        if extra.missing:
            rows.append(("", f"missing {', '.join(extra.missing)}: {extra.install}"))
    rows.append(("store", checkup.store))
    for name, present in checkup.models.items():
        rows.append((f"  {name}", "present" if present else f"absent: freehold pull {name}"))
    rows.append(("settings file", checkup.settings_file))
    for name, value in checkup.settings.items():
        rows.append((f"  {name}", f"{value} (from {checkup.settings_from[name]})"))
    return rows


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
