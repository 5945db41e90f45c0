"""The steps lead from every earlier schema to the tables that the code uses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from freehold.errors import StoreUnusable
from freehold.store import Database, open_store
from freehold.store.database import connect
from freehold.store.migrating import HEAD, KNOWN, alembic_config, bring_up_to_date
from freehold.store.schema import metadata


@pytest.fixture
def empty(home: Path) -> Iterator[Database]:
    database = connect(None, home)
    yield database
    database.close()


def migrate(database: Database, to: str) -> None:
    with database.write() as connection:
        command.upgrade(alembic_config(connection), to)


def version(database: Database) -> object:
    with database.read() as connection:
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


def columns(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Name, type, whether null is refused and place in the primary key, of every column."""
    with database.read() as connection:
        return {
            name: [
                (row.name, row.type, row.notnull, row.pk)
                for row in connection.exec_driver_sql(f"PRAGMA table_info({name})")
            ]
            for name in metadata.tables
        }


def test_the_steps_end_in_the_schema(empty: Database) -> None:
    bring_up_to_date(empty)
    with empty.read() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_steps_make_the_same_columns_as_the_schema(empty: Database, tmp_path: Path) -> None:
    bring_up_to_date(empty)
    direct = connect(None, tmp_path / "direct")
    with direct.write() as connection:
        metadata.create_all(connection)
    assert columns(empty) == columns(direct)
    direct.close()


def test_the_comparison_notices_a_difference(empty: Database) -> None:
    bring_up_to_date(empty)
    other = sa.MetaData()
    for table in metadata.tables.values():
        table.to_metadata(other)
    other.tables["keys"].append_column(sa.Column("colour", sa.Text))
    with empty.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), other) != []


def test_every_step_is_known_and_in_one_row(empty: Database) -> None:
    with empty.read() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    steps = [step.revision for step in script.walk_revisions()]
    assert tuple(reversed(steps)) == KNOWN
    assert script.get_heads() == [HEAD]


@pytest.mark.parametrize("old", KNOWN)
def test_an_older_database_keeps_its_rows(home: Path, empty: Database, old: str) -> None:
    migrate(empty, old)
    assert version(empty) == old
    with empty.write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO keys (id, name, prefix, digest, scopes, created_at)"
            " VALUES ('key_1', 'old', 'fh_abc', 'digest', '[\"read\"]', 5.0)"
        )
    store = open_store(None, home)
    assert version(store.database) == HEAD
    (record,) = store.keys.list()
    assert (record.name, record.scopes, record.created_at) == (
        "old",
        frozenset({"read"}),
        5.0,
    )
    assert store.responses.get("resp_1", owner="local") is None
    store.close()


def test_an_open_of_a_current_database_runs_no_step(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_store(None, home).close()
    monkeypatch.setattr(command, "upgrade", None)
    open_store(None, home).close()


def test_a_newer_database_is_refused_and_left_alone(home: Path, empty: Database) -> None:
    bring_up_to_date(empty)
    with empty.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreUnusable, match="newer Freehold") as error:
        open_store(None, home)
    assert error.value.found == "schema 9999"
    assert version(empty) == "9999"


def test_a_step_that_fails_leaves_the_database_as_it_was(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(empty, "0001")
    with empty.write() as connection:
        # In the way of the last step's index.
        connection.exec_driver_sql("CREATE TABLE ix_responses_owner (x)")
    with pytest.raises(StoreUnusable):
        bring_up_to_date(empty)
    assert version(empty) == "0001"
    with empty.read() as connection:
        assert "responses" not in sa.inspect(connection).get_table_names()
