"""The database: keys, usage, jobs, files, the record of events; SQLite, or PostgreSQL by URL.

Room: store. Knows rows; must not know HTTP, models or terminals.
"""

from __future__ import annotations

from freehold.store.chain import Head
from freehold.store.database import FILE_NAME, Database
from freehold.store.datasets import BASES, Dataset, Datasets
from freehold.store.evals import Evals, StoredEval
from freehold.store.events import Event, Events
from freehold.store.files import Files, StoredFile
from freehold.store.jobs import ENDED, Job, JobEvent, Jobs, Said
from freehold.store.keys import DEFAULT_SCOPES, SCOPES, KeyRecord, Keys, Limits, find_among
from freehold.store.promotions import Promotion, Promotions
from freehold.store.responses import Responses, StoredResponse
from freehold.store.store import Store, open_store
from freehold.store.usage import Usage, UsageTotal

__all__ = [
    "BASES",
    "DEFAULT_SCOPES",
    "ENDED",
    "FILE_NAME",
    "SCOPES",
    "Database",
    "Dataset",
    "Datasets",
    "Evals",
    "Event",
    "Events",
    "Files",
    "Head",
    "Job",
    "JobEvent",
    "Jobs",
    "KeyRecord",
    "Keys",
    "Limits",
    "Promotion",
    "Promotions",
    "Responses",
    "Said",
    "Store",
    "StoredEval",
    "StoredFile",
    "StoredResponse",
    "Usage",
    "UsageTotal",
    "find_among",
    "open_store",
]
