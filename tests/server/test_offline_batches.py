"""The file of answers of a batch without a server."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PosixPath
from typing import Any

from freehold.server.batches.offline import _Kept


class SlowToOpen(PosixPath):
    """A path that takes its time, so that threads meet where it is opened."""

    opened = 0

    def open(self, *args: Any, **named: Any) -> Any:
        SlowToOpen.opened += 1
        time.sleep(0.05)
        return super().open(*args, **named)


def test_threads_that_answer_at_once_share_one_open_file(tmp_path: Path) -> None:
    SlowToOpen.opened = 0
    path = SlowToOpen(tmp_path / "out.jsonl")
    with _Kept(path) as kept, ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: kept.add({"custom_id": f"n{n}"}), range(40)))
    assert SlowToOpen.opened == 1
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    found = [json.loads(line)["custom_id"] for line in lines]
    assert sorted(found) == sorted(f"n{n}" for n in range(40))
