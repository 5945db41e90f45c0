"""Step 3: the record of events, which can only grow.

Room: store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0003"
down_revision = "0002"

_REFUSED = "the record of events can only grow"

# In SQLite a REPLACE deletes without asking the triggers for deletions.
_SQLITE = (
    f"""CREATE TRIGGER events_keep_update BEFORE UPDATE ON events
        BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    f"""CREATE TRIGGER events_keep_delete BEFORE DELETE ON events
        BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    """CREATE TRIGGER events_keep_insert BEFORE INSERT ON events
        WHEN NEW.seq <= (SELECT max(seq) FROM events)
        BEGIN SELECT RAISE(ABORT, 'the record of events can only grow'); END""",
    f"""CREATE TRIGGER event_head_update BEFORE UPDATE ON event_head
        WHEN NEW.id <> OLD.id OR NEW.seq <= OLD.seq
        BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    f"""CREATE TRIGGER event_head_delete BEFORE DELETE ON event_head
        BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
    f"""CREATE TRIGGER event_head_insert BEFORE INSERT ON event_head
        BEGIN SELECT RAISE(ABORT, '{_REFUSED}'); END""",
)

_POSTGRES = (
    f"""CREATE OR REPLACE FUNCTION freehold_events_keep() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION '{_REFUSED}'; END $$""",
    """CREATE TRIGGER events_keep BEFORE UPDATE OR DELETE ON events
        FOR EACH ROW EXECUTE FUNCTION freehold_events_keep()""",
    """CREATE TRIGGER events_keep_all BEFORE TRUNCATE ON events
        FOR EACH STATEMENT EXECUTE FUNCTION freehold_events_keep()""",
    """CREATE TRIGGER event_head_update BEFORE UPDATE ON event_head
        FOR EACH ROW WHEN (NEW.id <> OLD.id OR NEW.seq <= OLD.seq)
        EXECUTE FUNCTION freehold_events_keep()""",
    """CREATE TRIGGER event_head_keep BEFORE INSERT OR DELETE ON event_head
        FOR EACH ROW EXECUTE FUNCTION freehold_events_keep()""",
    """CREATE TRIGGER event_head_keep_all BEFORE TRUNCATE ON event_head
        FOR EACH STATEMENT EXECUTE FUNCTION freehold_events_keep()""",
)


def upgrade() -> None:
    """From a database that holds keys, usage and responses."""
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "events",
        sa.Column("seq", number, primary_key=True, autoincrement=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("subject", sa.String(71), nullable=False),
        sa.Column("parents", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    head = op.create_table(
        "event_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "hash": "0" * 64}])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in _SQLITE if is_sqlite else _POSTGRES:
        op.execute(statement)
