"""Which names a chat template's code reads, found without running it.

Room: chat. Knows Jinja's outer syntax; must not know what any name means.
"""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["reads"]

_CODE = re.compile(r"\{%.*?%\}|\{\{.*?\}\}", re.DOTALL)
_TEXT = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")


@lru_cache(maxsize=256)  # asked for every prompt, of long templates
def reads(source: str, name: str) -> bool:
    """Whether the name stands in the template's code, not in a text or after a dot."""
    code = _TEXT.sub("''", " ".join(_CODE.findall(source)))
    return re.search(rf"(?<![\w.]){re.escape(name)}\b", code) is not None
