"""Step 2: stored responses.

Room: store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """From a database that holds keys and usage."""
    op.create_table(
        "responses",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("previous_id", sa.String),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text, nullable=False),
    )
    op.create_index("ix_responses_owner", "responses", ["owner", "created_at"])
