"""Alembic's door: runs the steps on the connection that the store hands over.

Room: store. Knows Alembic only.
"""

from __future__ import annotations

from alembic import context

__all__: list[str] = []


def _run() -> None:
    connection = context.config.attributes["connection"]
    # The store's own transaction is around all steps: either all are taken or none.
    context.configure(connection=connection, transactional_ddl=True)
    context.run_migrations()


# Alembic runs this file by its path; whoever merely imports it wants nothing done.
if __name__ != "freehold.store.migrations.env":
    _run()
