"""The database: keys, usage, responses, the record of events; SQLite by default, PostgreSQL by URL.

Room: store. Knows rows; must not know HTTP, models or terminals.
"""

from __future__ import annotations

from freehold.store.chain import Head
from freehold.store.database import FILE_NAME, Database
from freehold.store.events import Event, Events
from freehold.store.keys import DEFAULT_SCOPES, SCOPES, KeyRecord, Keys, Limits, find_among
from freehold.store.responses import Responses, StoredResponse
from freehold.store.store import Store, open_store
from freehold.store.usage import Usage, UsageTotal

__all__ = [
    "DEFAULT_SCOPES",
    "FILE_NAME",
    "SCOPES",
    "Database",
    "Event",
    "Events",
    "Head",
    "KeyRecord",
    "Keys",
    "Limits",
    "Responses",
    "Store",
    "StoredResponse",
    "Usage",
    "UsageTotal",
    "find_among",
    "open_store",
]
