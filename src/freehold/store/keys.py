"""Keys: who may use the server, for what, how much and until when.

Room: store. Knows rows and digests; must not know HTTP or which path needs which scope.

A secret is 256 random bits, so there is nothing to guess and nothing for a slow password hash to
slow down: its SHA-256 is kept, the secret is shown once and then known to its holder only.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from freehold.errors import BadSetting, NotFound
from freehold.store.schema import keys as table

if TYPE_CHECKING:
    from sqlalchemy.engine import RowMapping

    from freehold.store.database import Database

__all__ = [
    "DEFAULT_SCOPES",
    "SCOPES",
    "KeyRecord",
    "Keys",
    "Limits",
    "digest_of",
    "find_among",
]

# What a key can be good for. Which path needs which of these is the doors' table.
SCOPES: Mapping[str, str] = {
    "generate": "chat, completions, responses, messages; counting and splitting into tokens",
    "embed": "embeddings and reranking",
    "read": "which models there are, which run, the server's version and its API description",
    "jobs": "files, batches, evaluations",
    "tune": "fine-tuning; deleting the models that came of it",
    "metrics": "/metrics",
    "admin": "load and unload models, stop the server",
    "*": "everything",
}
DEFAULT_SCOPES = ("generate", "embed", "read")

_SECRET = "fh_"  # noqa: S105 - what every secret begins with, so that scanners can find leaked ones
_SHOWN = 9
_LONGEST_NAME = 100
_LONGEST_SECRET = 200
_MOST = 2**31 - 1
# How often a key's last use is written down, at most.
_USED_EVERY_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much a key may use; None is no limit. Both rates hold for any 60 seconds."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    concurrent: int | None = None


@dataclass(frozen=True, kw_only=True)
class KeyRecord:
    """All that is kept of a key. Units: times in seconds since 1970."""

    id: str
    name: str
    prefix: str
    scopes: frozenset[str]
    limits: Limits
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    digest: str = field(repr=False)

    def state(self, now: float) -> str:
        """One of "valid", "expired" and "revoked"."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "valid"


def digest_of(secret: str) -> str:
    """What is stored of a secret: its SHA-256 in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def find_among(records: Mapping[str, KeyRecord], secret: str) -> KeyRecord | None:
    """The key with this secret, among keys by digest; valid or not.

    Finding by digest tells a guesser nothing: digests near a right one say nothing of the secret.
    The comparison that decides takes the same time wherever the first difference is.
    """
    if not secret.startswith(_SECRET) or len(secret) > _LONGEST_SECRET:
        return None
    digest = digest_of(secret)
    record = records.get(digest)
    if record is None or not hmac.compare_digest(record.digest, digest):
        return None
    return record


class Keys:
    """The keys of one database. Safe to use from many threads; blocking."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._seen: dict[str, float] = {}
        self._written: dict[str, float] = {}

    def create(
        self,
        name: str,
        scopes: Collection[str] = DEFAULT_SCOPES,
        limits: Limits = Limits(),
        *,
        expires_at: float | None = None,
    ) -> tuple[KeyRecord, str]:
        """A new key and its secret, which cannot be had again.

        Raises: BadSetting for a name that is taken or not printable, an unknown scope, a limit
        below 1, an end that has passed. StoreUnusable.
        """
        now = time.time()
        _check(name, scopes, limits)
        if expires_at is not None and not now < expires_at < float("inf"):
            raise _bad("the key's end", expires_at, "a time to come")
        secret = _SECRET + secrets.token_urlsafe(32)
        row = {
            "id": "key_" + secrets.token_hex(6),
            "name": name,
            "prefix": secret[:_SHOWN],
            "digest": digest_of(secret),
            "scopes": json.dumps(sorted(set(scopes))),
            "requests_per_minute": limits.requests_per_minute,
            "tokens_per_minute": limits.tokens_per_minute,
            "concurrent": limits.concurrent,
            "created_at": now,
            "expires_at": expires_at,
            "revoked_at": None,
            "last_used_at": None,
        }
        with self._database.write() as connection:
            taken = sa.select(table.c.id).where(table.c.name == name, table.c.revoked_at.is_(None))
            if connection.execute(taken).first() is not None:
                raise _bad("the key's name", name, "a name that no unrevoked key has")
            connection.execute(sa.insert(table).values(row))
        return _record(row), secret

    def list(self) -> list[KeyRecord]:
        """Every key ever made, the oldest first."""
        query = sa.select(table).order_by(table.c.created_at, table.c.id)
        with self._database.read() as connection:
            return [_record(row) for row in connection.execute(query).mappings()]

    def by_digest(self) -> dict[str, KeyRecord]:
        """Every key ever made, for `find_among`: valid or not, because the doors tell which."""
        return {record.digest: record for record in self.list()}

    def find(self, secret: str) -> KeyRecord | None:
        """The valid key with this secret, straight from the database."""
        query = sa.select(table).where(table.c.digest == digest_of(secret))
        with self._database.read() as connection:
            row = connection.execute(query).mappings().first()
        record = find_among({row["digest"]: _record(row)}, secret) if row is not None else None
        return record if record is not None and record.state(time.time()) == "valid" else None

    def revoke(self, ref: str) -> KeyRecord:
        """End a key, named by its id or by the name it has among unrevoked keys, for good.

        A key that was revoked before stays as it is. Raises: NotFound, StoreUnusable.
        """
        named = sa.and_(table.c.name == ref, table.c.revoked_at.is_(None))
        query = sa.select(table).where(sa.or_(table.c.id == ref, named))
        with self._database.write() as connection:
            row = connection.execute(query.order_by(table.c.id != ref)).mappings().first()
            if row is None:
                raise NotFound(
                    f"no key has the id or the name {ref!r}",
                    value=ref,
                    hint="`freehold keys list` shows them; revoked ones go by their id only",
                )
            changed = dict(row)
            if changed["revoked_at"] is None:
                changed["revoked_at"] = time.time()
                connection.execute(
                    sa.update(table)
                    .where(table.c.id == changed["id"])
                    .values(revoked_at=changed["revoked_at"])
                )
        return _record(changed)

    def used(self, key_id: str) -> None:
        """Note that a key was used now. Does not touch the database: `flush` does."""
        with self._lock:
            self._seen[key_id] = time.time()

    def flush(self) -> None:
        """Write down the last uses, each key's at most once a minute. Raises: StoreUnusable."""
        with self._lock:
            due = {
                key_id: at
                for key_id, at in self._seen.items()
                if at - self._written.get(key_id, 0.0) >= _USED_EVERY_S
            }
        if not due:
            return
        with self._database.write() as connection:
            for key_id, at in due.items():
                newer = sa.or_(table.c.last_used_at.is_(None), table.c.last_used_at < at)
                connection.execute(
                    sa.update(table).where(table.c.id == key_id, newer).values(last_used_at=at)
                )
        with self._lock:
            self._written |= due


def _check(name: str, scopes: Collection[str], limits: Limits) -> None:
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or name != name.strip():
        raise _bad("the key's name", name, f"1 to {_LONGEST_NAME} printable characters")
    if name.startswith("key_"):
        raise _bad("the key's name", name, "a name that does not look like an id")
    unknown = sorted(set(scopes) - SCOPES.keys())
    if unknown or not scopes:
        raise _bad("a scope", ", ".join(unknown), "one or more of " + ", ".join(SCOPES))
    for label, limit in (
        ("requests per minute", limits.requests_per_minute),
        ("tokens per minute", limits.tokens_per_minute),
        ("concurrent requests", limits.concurrent),
    ):
        if limit is not None and not 1 <= limit <= _MOST:
            raise _bad(f"the limit of {label}", limit, f"1 to {_MOST}")


def _bad(what: str, value: object, expected: str) -> BadSetting:
    return BadSetting(f"{what} is not usable", value=value, expected=expected, found=repr(value))


def _record(row: Mapping[str, Any] | RowMapping) -> KeyRecord:
    return KeyRecord(
        id=row["id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=frozenset(json.loads(row["scopes"])),
        limits=Limits(
            requests_per_minute=row["requests_per_minute"],
            tokens_per_minute=row["tokens_per_minute"],
            concurrent=row["concurrent"],
        ),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        digest=row["digest"],
    )
