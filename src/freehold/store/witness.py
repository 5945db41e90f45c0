"""A note outside the database of the last event that this home has seen.

Room: store. Knows a small file; must not know what an event means.

Whoever can write the database can cut events off its end and set its own head back. This file then
still says how far the record had come. It is no secret and no signature: whoever can write the
whole home can change both.
"""

from __future__ import annotations

import fcntl
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import BadReference, ChainBroken
from freehold.store.chain import Head

__all__ = ["FILE_NAME", "Witness"]

FILE_NAME = "record.heads"

_log = logging.getLogger(__name__)


class Witness:
    """The note about one database, in the home's file of them."""

    def __init__(self, home: Path, place: str) -> None:
        self.path = home / FILE_NAME
        inside = Path(place).is_absolute() and Path(place).is_relative_to(home)
        # A home that is moved takes its database along.
        self._place = str(Path(place).relative_to(home)) if inside else place

    def head(self) -> Head | None:
        """The last event that was seen; None when there was never one. Raises: ChainBroken."""
        text = self._read().get(self._place)
        if text is None:
            return None
        try:
            return Head.parse(text)
        except BadReference as error:
            raise self._damaged(error.found) from error

    def saw(self, head: Head) -> None:
        """Note an event, unless a later one is noted already.

        The event is in the database by now, so what is wrong here is not the caller's: a note that
        cannot be read stays for `head` to complain about, one that cannot be written is logged.
        """
        try:
            with self._alone():
                before = self.head()
                if before is None or before.seq < head.seq:
                    self._write(self._read() | {self._place: str(head)})
        except ChainBroken:
            return
        except OSError as error:
            _log.warning("%s: the last event cannot be noted: %s", self.path, error.strerror)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self.path.read_text("utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise self._damaged(type(error).__name__) from error
        if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
            raise self._damaged("something else")
        return found

    def _write(self, heads: dict[str, str]) -> None:
        fresh = self.path.with_name(f"{FILE_NAME}.new")
        fresh.write_text(json.dumps(heads, indent=1, sort_keys=True) + "\n", "utf-8")
        fresh.chmod(0o600)
        fresh.replace(self.path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.path.with_name(f"{FILE_NAME}.lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _damaged(self, found: str) -> ChainBroken:
        return ChainBroken(
            f"this home's note of the last event cannot be read: {self.path}",
            value=str(self.path),
            expected="databases and their heads, as JSON",
            found=found,
            hint="restore it from a backup; without it events missing at the end are not missed",
        )
