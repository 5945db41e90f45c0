"""Step 4: files, jobs with their events, evaluations, data sets and promotions.

Room: store.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

__all__ = ["upgrade"]

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """From a database that holds keys, usage, responses and the record of events."""
    op.create_table(
        "files",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double),
    )
    op.create_index("ix_files_owner", "files", ["owner", "created_at"])
    _jobs()
    op.create_table(
        "evals",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("ix_evals_owner", "evals", ["owner", "created_at"])
    op.create_table(
        "eval_items",
        sa.Column("run_id", sa.String, primary_key=True),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("item", sa.Text, nullable=False),
    )
    op.create_table(
        "datasets",
        sa.Column("owner", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("tokens", sa.BigInteger),
        sa.Column("form", sa.String, nullable=False),
        sa.Column("licence", sa.Text, nullable=False),
        sa.Column("basis", sa.String, nullable=False),
        sa.Column("consent", sa.Text),
        sa.Column("provenance", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("withdrawn_at", sa.Double),
    )
    op.create_index("ix_datasets_digest", "datasets", ["digest"])
    op.create_table(
        "promotions",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("evidence", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )


def _jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("owner", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("parent", sa.String),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("asked", sa.String),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("finished_at", sa.Double),
        sa.Column("worker", sa.String),
        sa.Column("leased_until", sa.Double),
        sa.Column("told", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_jobs_owner", "jobs", ["owner", "kind", "created_at"])
    op.create_index("ix_jobs_waiting", "jobs", ["kind", "status", "created_at"])
    op.create_table(
        "job_events",
        sa.Column("job_id", sa.String, primary_key=True),
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
    )
