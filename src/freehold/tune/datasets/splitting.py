"""A dataset in two parts of which neither repeats the other.

Room: tune. What is alike stays together; the same seed gives the same parts. Must not know stores.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.errors import BadDataset
from freehold.tune.datasets.checking import LEAST_EXAMPLES
from freehold.tune.datasets.examples import Example, Preference
from freehold.tune.datasets.likeness import Common, Seen

__all__ = ["Parts", "as_line", "split", "write_lines"]


@dataclass(frozen=True)
class Parts:
    """What is learned and what is held out; `together`: lines that had to stay beside another."""

    train: Sequence[Example | Preference]
    heldout: Sequence[Example | Preference]
    together: int


def split(
    examples: Iterable[Example | Preference], *, heldout: float | int, seed: int = 0
) -> Parts:
    """Two parts: a share (below 1) or a number of examples held out, as near as groups allow.

    Raises: BadDataset when either part would be too small.
    """
    groups = _groups(examples)
    every = sum(len(group) for group in groups)
    wanted = round(heldout * every) if heldout < 1 else int(heldout)
    order = sorted(groups, key=lambda group: _drawn(group[0], seed))
    held: list[Example | Preference] = []
    kept: list[Example | Preference] = []
    for group in order:
        fits = len(held) + len(group) <= wanted
        (held if fits else kept).extend(group)
    for name, part in (("train", kept), ("held out", held)):
        if len(part) < LEAST_EXAMPLES:
            raise BadDataset(
                f"too few examples would be {name}",
                value=len(part),
                expected=f"at least {LEAST_EXAMPLES}",
                found=f"{len(part)} of {every}",
            )
    alone = sum(len(group) == 1 for group in groups)
    kept.sort(key=lambda one: one.line)
    held.sort(key=lambda one: one.line)
    return Parts(kept, held, every - alone)


def _groups(examples: Iterable[Example | Preference]) -> list[list[Example | Preference]]:
    """Examples that ask alike, together with all that they are alike to."""
    every = list(examples)
    common = Common(one.asked for one in every)
    seen = Seen()
    group_of: dict[int, int] = {}
    groups: dict[int, list[Example | Preference]] = defaultdict(list)
    for one in every:
        asked = common.without(one.asked)
        pair = seen.look(one.line, asked)
        group = one.line if pair is None else group_of[pair.other]
        for other in seen.alike(one.line, asked):
            merged = group_of[other]
            if merged != group:
                for moved in groups.pop(merged):
                    group_of[moved.line] = group
                    groups[group].append(moved)
        group_of[one.line] = group
        groups[group].append(one)
        seen.add(one.line, asked)
    return list(groups.values())


def _drawn(one: Example | Preference, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\n{one.asked}".encode()).digest()


def as_line(one: Example | Preference) -> str:
    """The example as one line of JSON that is read back as the same."""
    made: dict[str, Any]
    if isinstance(one, Preference):
        made = {"prompt": one.prompt, "chosen": one.chosen, "rejected": one.rejected}
    elif one.text is not None:
        made = {"prompt": one.before, "completion": one.text} if one.before else {"text": one.text}
    else:
        made = {"messages": one.messages}
    if getattr(one, "tools", ()):
        made["tools"] = one.tools
    return json.dumps(made, ensure_ascii=False)


def write_lines(path: Path, examples: Iterable[Example | Preference]) -> None:
    """Writes examples as JSONL, whole or not at all. Raises: OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(as_line(one) + "\n" for one in examples)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
