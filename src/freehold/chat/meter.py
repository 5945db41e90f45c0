"""What one rendering may cost, and the count of what it has cost so far.

Room: chat. Knows numbers only; must not know templates or messages.

A template is a program from a stranger. Three things hold it, together:
1. Every operation that can repeat or grow counts a step, and every few steps the processor time of
   the thread is looked at. Threads that wait for a processor are not charged for waiting.
2. Every value made is weighed before the template can use it, counting what it holds as often as
   it holds it. No value is ever heavier than `value_units`, so no single operation on values
   (compare, print, sort, search) takes longer than some tens of milliseconds.
3. What is made is charged for good, so the sum bounds memory, whatever the template keeps.
Operations whose result can be far larger than their operands are charged before they run.
"""

from __future__ import annotations

import time
from collections.abc import ItemsView, KeysView, ValuesView
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from freehold.errors import TemplateError

__all__ = [
    "CONTAINERS",
    "ELEMENT_UNITS",
    "METER",
    "Limits",
    "Meter",
    "not_offered",
    "over_limit",
]

Value = TypeVar("Value")

# What a list's element or a number weighs beside a character of text; about its bytes.
ELEMENT_UNITS = 64
_STEPS_PER_LOOK = 16
CONTAINERS = (list, tuple, dict, range, KeysView, ValuesView, ItemsView)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a template may cost. The largest published one has 17,000 characters, 2,500 tokens.

    Units: a unit is one character of text, or 1/64 of an element of a list.
    """

    source_chars: int = 1 << 17
    source_tokens: int = 15_000
    steps: int = 1_000_000
    cpu_s: float = 1.0
    value_units: int = 1 << 23
    total_units: int = 1 << 25
    output_chars: int = 1 << 23
    range_length: int = 100_000
    number_bits: int = 4096
    depth: int = 50


METER: ContextVar[Meter] = ContextVar("meter")


def over_limit(what: str, most: float, unit: str = "") -> TemplateError:
    """The error for a limit that was hit."""
    return TemplateError(
        f"the chat template went over its limit of {what}",
        value=what,
        expected=f"at most {most:,} {unit}".rstrip(),
        hint="send the prompt without a chat template, or use another template",
    )


def not_offered(kind: str, name: str) -> TemplateError:
    """The error for a name that no template gets, such as `str.encode`.

    A name that is not the template's own may be a word of a message, and is not shown.
    """
    what = f"{kind} {name[:80] if name in METER.get().source else '…'}"
    return TemplateError(f"the chat template asks for what is not offered: {what}", value=what)


@dataclass(slots=True)
class Meter:
    """The cost of one rendering. Raises: TemplateError naming the limit that was hit."""

    limits: Limits
    source: str = ""
    now: datetime | None = None
    steps: int = 0
    units: int = 0
    depth: int = 0
    started_s: float = field(default_factory=time.thread_time)

    def step(self, count: int = 1) -> None:
        """Count one operation."""
        before, self.steps = self.steps, self.steps + count
        if before // _STEPS_PER_LOOK != self.steps // _STEPS_PER_LOOK:
            self.look()

    def look(self) -> None:
        """Compare steps and time with their limits."""
        if self.steps > self.limits.steps:
            raise over_limit("steps", self.limits.steps)
        if time.thread_time() - self.started_s > self.limits.cpu_s:
            raise over_limit("processor time", self.limits.cpu_s, "s")

    def charge(self, units: int) -> None:
        """Account for a value about to be made, of so many units."""
        self.units += units
        if units > self.limits.value_units:
            raise over_limit("the size of one value", self.limits.value_units, "units")
        if self.units > self.limits.total_units:
            raise over_limit("the size of all values", self.limits.total_units, "units")
        if units >= 1 << 16:
            self.look()

    def made(self, value: Value) -> Value:
        """A value just made, weighed and charged for."""
        if isinstance(value, str):
            self.charge(len(value))
        elif isinstance(value, CONTAINERS):
            self.weigh(value)
            self.charge(ELEMENT_UNITS * (1 if isinstance(value, range) else 1 + len(value)))
        elif isinstance(value, int) and value.bit_length() > self.limits.number_bits:
            raise over_limit("the size of a number", self.limits.number_bits, "bits")
        return value

    def weigh(self, value: object) -> int:
        """The units of a value, with what it holds counted as often as it holds it."""
        total = 0
        pending = [value]
        while pending:
            item = pending.pop()
            if isinstance(item, str):
                total += len(item)
            elif isinstance(item, range):
                total += ELEMENT_UNITS * len(item)
            elif isinstance(item, CONTAINERS):
                # Before looking inside: the list of what is pending must stay short too.
                total += ELEMENT_UNITS * (1 + len(item)) * (2 if isinstance(item, dict) else 1)
                if total <= self.limits.value_units:
                    pending.extend(item.items() if isinstance(item, dict) else item)
            if total > self.limits.value_units:
                raise over_limit("the size of one value", self.limits.value_units, "units")
        return total

    def deeper(self) -> None:
        """Enter a call. The caller leaves it by taking one from `depth`."""
        self.depth += 1
        if self.depth > self.limits.depth:
            raise over_limit("nested calls", self.limits.depth)
