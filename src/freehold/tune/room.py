"""What a training writes, where the disk has no room for it.

Room: tune. Must not know torch or what is written.
"""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from freehold.errors import DiskFull

__all__ = ["in_room"]


@contextmanager
def in_room(folder: Path) -> Iterator[None]:
    """Writes of a training to this folder, which exists. Raises: DiskFull where the disk is."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise DiskFull(
            "there is no room for the training's files",
            value=str(folder),
            expected="room for its events and checkpoints",
            found=f"{shutil.disk_usage(folder).free / 1e6:.1f} MB free",
            hint="what is kept stays; make room and start the same again",
        ) from error
