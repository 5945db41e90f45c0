"""One open database with everything that is kept in it.

Room: store. Puts the parts together and writes in the background; must not know who asks.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from freehold.errors import StoreUnusable
from freehold.store.database import connect
from freehold.store.datasets import Datasets
from freehold.store.evals import Evals
from freehold.store.events import Events
from freehold.store.files import Files
from freehold.store.jobs import Jobs
from freehold.store.keys import Keys
from freehold.store.migrating import bring_up_to_date
from freehold.store.promotions import Promotions
from freehold.store.responses import Responses
from freehold.store.usage import Usage
from freehold.store.witness import Witness

if TYPE_CHECKING:
    from freehold.store.database import Database

__all__ = ["Store", "open_store"]

_FLUSH_EVERY_S = 2.0
_FILES = "files"

_log = logging.getLogger(__name__)


class Store:
    """Everything that is kept in one database, and the files beside it.

    What is only counted reaches the database from a thread, every two seconds and at the end.
    """

    def __init__(
        self,
        database: Database,
        *,
        witness: Witness | None = None,
        files: Path | None = None,
        flush_every_s: float = _FLUSH_EVERY_S,
    ) -> None:
        self.database = database
        self.events = Events(database, witness)
        self.keys = Keys(database)
        self.usage = Usage(database)
        self.responses = Responses(database)
        self.files = Files(database, files or Path(database.place).parent / _FILES)
        self.jobs = Jobs(database)
        self.evals = Evals(database)
        self.datasets = Datasets(database)
        self.promotions = Promotions(database)
        self._every_s = flush_every_s
        self._ending = threading.Event()
        self._writer = threading.Thread(target=self._write, name="freehold-store", daemon=True)
        self._writer.start()

    def flush(self) -> None:
        """Write down now what was counted. Raises: StoreUnusable."""
        self.usage.flush()
        self.keys.flush()

    def close(self) -> None:
        """Write down what was counted, and close. Again does nothing. Raises: StoreUnusable."""
        if self._ending.is_set():
            return
        self._ending.set()
        self._writer.join()
        try:
            self.flush()
        finally:
            self.database.close()

    def _write(self) -> None:
        while not self._ending.wait(self._every_s):
            try:
                self.flush()
            except StoreUnusable as error:
                # Nothing is lost: what could not be written is tried again with the rest.
                _log.warning("usage could not be written: %s", error)


def open_store(url: str | None, home: Path) -> Store:
    """Open the database at `url`, or `freehold.db` in `home`, and bring it to today's schema.

    Raises: StoreUnusable.
    """
    database = connect(url, home)
    try:
        bring_up_to_date(database)
    except BaseException:
        database.close()
        raise
    return Store(database, witness=Witness(home, database.place), files=home / _FILES)
