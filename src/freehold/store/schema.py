"""The tables, as the code of today wants them; `migrations/` gets a database there.

Room: store. Knows names and types only; must not know connections or queries. A test holds this
file and the migrations together: whoever changes one changes the other.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

__all__ = [
    "datasets",
    "eval_items",
    "evals",
    "event_head",
    "events",
    "files",
    "job_events",
    "jobs",
    "keys",
    "meta",
    "metadata",
    "promotions",
    "responses",
    "usage",
]

metadata = MetaData()

# Facts about the database as a whole; `application` tells ours from a file of somebody else.
meta = Table(
    "meta",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", Text, nullable=False),
)

# The secret itself is never here: `digest` is its SHA-256, `prefix` its first characters, for
# people to recognise it by. Times are seconds since 1970 in UTC.
keys = Table(
    "keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("prefix", String, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("scopes", Text, nullable=False),
    Column("requests_per_minute", Integer),
    Column("tokens_per_minute", Integer),
    Column("concurrent", Integer),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Column("revoked_at", Double),
    Column("last_used_at", Double),
    Index("ix_keys_digest", "digest", unique=True),
)

# One row per key, model and day (UTC). No foreign key: `local`, who needs no key, is counted too.
usage = Table(
    "usage",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("model", String, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("prompt_tokens", BigInteger, nullable=False),
    Column("completion_tokens", BigInteger, nullable=False),
    Column("cached_tokens", BigInteger, nullable=False),
)

# Stored responses; `owner` is a key's id or `local`, and every query names it. `previous_id` is
# no foreign key, because an owner may delete an earlier turn and keep a later one.
responses = Table(
    "responses",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("model", String, nullable=False),
    Column("previous_id", String),
    Column("input", Text, nullable=False),
    Column("output", Text, nullable=False),
    Index("ix_responses_owner", "owner", "created_at"),
)

# In SQLite the number of the row itself, so that no index of it can be damaged.
_RowNumber = BigInteger().with_variant(Integer, "sqlite")

# What happened to weights and data. Triggers let it only grow; `parents` and `body` are JSON whose
# every byte is under the hash.
events = Table(
    "events",
    metadata,
    Column("seq", _RowNumber, primary_key=True, autoincrement=False),
    Column("at", String(27), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("subject", String(71), nullable=False),
    Column("parents", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
)

# One row, the last event's number and hash: without it nobody would miss an event at the end.
event_head = Table(
    "event_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
)

# What was uploaded or made by a job; the bytes lie in the home under the file's id.
files = Table(
    "files",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("filename", Text, nullable=False),
    Column("purpose", String, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double),
    Index("ix_files_owner", "owner", "created_at"),
)

# Work in the background. `worker` holds a running job until `leased_until`; `told` counts its
# events; `asked` is what its owner wants of it next; `spec` and `state` are JSON.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("parent", String),
    Column("status", String, nullable=False),
    Column("spec", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked", String),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("finished_at", Double),
    Column("worker", String),
    Column("leased_until", Double),
    Column("told", BigInteger, nullable=False),
    Index("ix_jobs_owner", "owner", "kind", "created_at"),
    Index("ix_jobs_waiting", "kind", "status", "created_at"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("level", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("data", Text, nullable=False),
)

# Evaluations; each run of one is a job whose `parent` it is, and has its items here.
evals = Table(
    "evals",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("spec", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("ix_evals_owner", "owner", "created_at"),
)

eval_items = Table(
    "eval_items",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("item", Text, nullable=False),
)

# Data that may be trained on, and why it may; withdrawn ones stay to be found.
datasets = Table(
    "datasets",
    metadata,
    Column("owner", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("digest", String(71), nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("tokens", BigInteger),
    Column("form", String, nullable=False),
    Column("licence", Text, nullable=False),
    Column("basis", String, nullable=False),
    Column("consent", Text),
    Column("provenance", Text, nullable=False),
    Column("facts", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("withdrawn_at", Double),
    Index("ix_datasets_digest", "digest"),
)

# Which model a name stands for: every decision is kept, the last one holds.
promotions = Table(
    "promotions",
    metadata,
    Column("name", String, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("owner", String, nullable=False),
    Column("action", String, nullable=False),
    Column("model", String, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)
