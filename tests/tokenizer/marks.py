"""Short marks of token ids, four hexadecimal digits each."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

LENGTH = 4


def mark_of(ids: Sequence[int]) -> str:
    """The mark of a list of ids."""
    text = ",".join(map(str, ids))
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]
