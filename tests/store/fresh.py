"""A new store at the price of a copied file: its tables are made once."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from freehold.store import FILE_NAME, Store, open_store

__all__ = ["fresh_store"]


@cache
def _empty() -> bytes:
    """The database of a home that nobody has used yet."""
    with TemporaryDirectory() as folder:
        open_store(None, Path(folder)).close()
        return (Path(folder) / FILE_NAME).read_bytes()


def fresh_store(home: Path) -> Store:
    """The store of a home, whose database is there from now on."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / FILE_NAME
    if not file.exists():
        file.write_bytes(_empty())
    return open_store(None, home)
