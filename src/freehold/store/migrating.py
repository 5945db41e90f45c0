"""Brings a database to today's schema when it is opened, or refuses it.

Room: store. Knows versions; must not know what the tables are for.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from freehold.errors import StoreUnusable
from freehold.store.schema import meta

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy.engine import Connection

    from freehold.store.database import Database

__all__ = ["HEAD", "KNOWN", "alembic_config", "bring_up_to_date"]

# Every step's number, oldest first; a test compares this with the files of the steps.
KNOWN = ("0001", "0002", "0003", "0004")
HEAD = KNOWN[-1]

_OURS = "freehold"
# One number that all processes agree on, for PostgreSQL's lock around the steps.
_LOCK = 0x66726565686F6C64


def bring_up_to_date(database: Database) -> None:
    """Take the steps that are missing, in one transaction, one process at a time.

    Raises: StoreUnusable for a database of a newer Freehold or of another program.
    """
    with database.read() as connection:
        if _version(connection, database) == HEAD:
            return
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
        # Another process may have been here while we waited.
        if _version(connection, database) != HEAD:
            _upgrade(connection)


def _upgrade(connection: Connection) -> None:
    # A database is nearly always up to date, and Alembic takes a while to import.
    from alembic import command  # noqa: PLC0415

    command.upgrade(alembic_config(connection), "head")


def alembic_config(connection: Connection) -> Config:
    """Alembic, pointed at the steps inside the package and at this connection."""
    from alembic.config import Config  # noqa: PLC0415

    config = Config(attributes={"connection": connection})
    steps = str(Path(__file__).parent / "migrations")
    config.set_main_option("script_location", steps.replace("%", "%%"))
    return config


def _version(connection: Connection, database: Database) -> str | None:
    """The number of the last step taken; None for an empty database."""
    tables = set(sa.inspect(connection).get_table_names())
    if not tables:
        return None
    if not {"alembic_version", meta.name} <= tables or _owner(connection) != _OURS:
        raise StoreUnusable(
            f"{database.place}: the database belongs to another program",
            value=database.place,
            expected="an empty database, or one that Freehold made",
            found=f"{len(tables)} tables of something else",
            hint="set another database",
        )
    found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
    if found not in KNOWN:
        raise StoreUnusable(
            f"{database.place}: the database was written by a newer Freehold",
            value=database.place,
            expected=f"schema {HEAD} or older",
            found=f"schema {found}",
            hint="install that version again, or set another database",
        )
    return str(found)


def _owner(connection: Connection) -> str | None:
    query = sa.select(meta.c.value).where(meta.c.name == "application")
    return connection.execute(query).scalar()
