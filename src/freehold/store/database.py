"""One database behind two doors: `read()` and `write()`, each a transaction.

Room: store. Knows SQLite's and PostgreSQL's habits and turns their errors into StoreUnusable; must
not know what the tables are for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from freehold.errors import StoreUnusable

if TYPE_CHECKING:
    from sqlalchemy.engine import URL, Connection, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["FILE_NAME", "Database", "connect"]

FILE_NAME = "freehold.db"

BUSY_S = 10.0
_POOL = 8
_POOL_MORE = 24
_WRITES = "freehold_writes"

# What SQLite's primary result codes mean to the person who runs the server.
_SQLITE = {
    5: ("another process kept the database locked", "end the process that writes to it"),
    8: ("the database is read-only", "make its file and directory writable for this user"),
    10: ("the disk failed while the database was read or written", "check the disk"),
    11: ("the database file is damaged", "restore a backup, or move the file away"),
    13: ("the disk is full", "free some space"),
    14: ("the database file cannot be opened", "check its path and permissions"),
    26: ("the file is not a database", "move it away, or set another database"),
}


class Database:
    """Connections to one database. Safe to use from many threads; blocking."""

    def __init__(self, engine: Engine, place: str) -> None:
        self.engine = engine
        self.place = place
        self.is_sqlite = engine.dialect.name == "sqlite"

    def insert(self, table: sa.Table) -> Any:
        """An insert that can say what becomes of a row that is there already."""
        # Both databases have the same one, in two modules that both take long to load.
        return import_module(f"sqlalchemy.dialects.{self.engine.dialect.name}").insert(table)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database and changes nothing.

        Raises: StoreUnusable.
        """
        with self._explained(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is kept when the block ends, and undone when it raises.

        On SQLite it holds the only write lock from its first moment, so what it reads stays true
        until it writes. Raises: StoreUnusable.
        """
        with self._explained(), self.engine.connect() as bare:
            connection = bare.execution_options(**{_WRITES: True})
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _unusable(self.place, error) from error
        except PoolTimeout as error:
            raise StoreUnusable(
                f"{self.place}: every connection is in use", hint="ask again in a moment"
            ) from error


def connect(url: str | None, home: Path) -> Database:
    """The database at `url`, or `freehold.db` in `home`; nothing is read yet.

    Mutates: creates the directory (0700) and the file (0600) where they are absent, and takes
    other people's rights to the file away.

    Raises: StoreUnusable.
    """
    parsed = _parsed(url, home)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _postgres(parsed)


def _parsed(url: str | None, home: Path) -> URL:
    if url is None:
        return sa.URL.create("sqlite", database=str(home / FILE_NAME))
    try:
        parsed = sa.make_url(url)
    except ArgumentError as error:
        # The text itself may hold a password.
        raise _wrong_url("something else") from error
    name = parsed.drivername
    if name == "sqlite" and parsed.database not in (None, "", ":memory:"):
        return parsed
    if name in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    raise _wrong_url(repr(f"{name}://"))


def _wrong_url(found: str) -> StoreUnusable:
    return StoreUnusable(
        "the database's URL is not one that Freehold can open",
        expected="postgresql://USER:PASSWORD@HOST/NAME or sqlite:////PATH",
        found=found,
        hint="leave the setting out to keep the database in the home directory",
    )


def _sqlite(url: URL) -> Database:
    path = Path(url.database or "").absolute()
    _make_private(path)
    engine = sa.create_engine(
        url.set(database=str(path)),
        hide_parameters=True,
        pool_size=_POOL,
        max_overflow=_POOL_MORE,
        connect_args={"timeout": BUSY_S},
    )
    sa.event.listen(engine, "connect", _on_connect)
    sa.event.listen(engine, "begin", _on_begin)
    return Database(engine, str(path))


def _make_private(path: Path) -> None:
    """Let nobody but this user read the file. SQLite gives its side files the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except FileExistsError:
            found = path.stat()
            if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) & 0o077:
                path.chmod(stat.S_IMODE(found.st_mode) & 0o700)
    except OSError as error:
        raise StoreUnusable(
            f"{path}: the database file cannot be made or made private",
            value=str(path),
            found=error.strerror or type(error).__name__,
            hint="check the home directory's permissions, or set another home",
        ) from error


def _on_connect(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # We say BEGIN ourselves: the driver's own choice would start to read and only later ask to
    # write, which fails at once when another process has written in between.
    connection.isolation_level = None
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
        "secure_delete = ON",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgres(url: URL) -> Database:
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_size=_POOL,
            max_overflow=_POOL_MORE,
            pool_pre_ping=True,
            connect_args={"connect_timeout": int(BUSY_S)},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise StoreUnusable(
            "the driver for PostgreSQL is not installed",
            expected="the package psycopg",
            hint="pip install 'freehold[postgres]'",
        ) from error
    return Database(engine, url.render_as_string(hide_password=True))


def _unusable(place: str, error: DBAPIError) -> StoreUnusable:
    """The driver's error in words, without the statement's values."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if isinstance(code, int):
        what, hint = _SQLITE.get(code & 0xFF, ("the database refused", ""))
        found = getattr(error.orig, "sqlite_errorname", "")
        return StoreUnusable(f"{place}: {what}", value=place, found=found, hint=hint)
    state = getattr(error.orig, "sqlstate", None)
    if state is None:
        what, hint = "the database does not answer", "check that it runs and that the URL is right"
    else:
        what, hint = "the database refused", ""
    return StoreUnusable(f"{place}: {what}", value=place, found=str(state or ""), hint=hint)
