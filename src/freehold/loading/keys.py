"""Typed access to a file's metadata: what is missing, mistyped or unknown is an error by name.

Room: loading. Must not know any family.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from freehold.errors import BadConfig, UnknownConfigKey

__all__ = ["Keys"]


@dataclass
class Keys:
    """The keys `{architecture}.*` of a file, each asked for once by the family that loads it."""

    metadata: Mapping[str, object]
    architecture: str
    asked: set[str] = field(default_factory=set)

    def _find(self, name: str) -> object | None:
        self.asked.add(name)
        found = self.metadata.get(f"{self.architecture}.{name}")
        return found.tolist() if isinstance(found, np.ndarray) else found

    def integer(
        self, name: str, *, default: int | None = None, least: int = 1, most: int = 1 << 24
    ) -> int:
        """A whole number within [least, most]. Raises: BadConfig."""
        found = self._find(name)
        if found is None and default is not None:
            return default
        if isinstance(found, bool) or not isinstance(found, int) or not least <= found <= most:
            raise self._bad(name, found, f"a whole number from {least} to {most}")
        return found

    def has(self, name: str) -> bool:
        """Whether the file sets the key."""
        return self._find(name) is not None

    def either(self, *names: str) -> str:
        """The first of these names of one thing that the file uses, else the last of them."""
        self.asked.update(names)
        present = [name for name in names if self._find(name) is not None]
        return present[0] if present else names[-1]

    def number(self, name: str, *, default: float | None = None, above: float = 0.0) -> float:
        """A finite number greater than `above`. Raises: BadConfig."""
        found = self._find(name)
        if found is None and default is not None:
            return default
        if isinstance(found, int | float) and not isinstance(found, bool):
            number = float(found)
            if math.isfinite(number) and number > above:
                return number
        raise self._bad(name, found, f"a finite number above {above:g}")

    def word(self, name: str, *, default: str, allowed: tuple[str, ...]) -> str:
        """One of `allowed`. Raises: BadConfig."""
        found = self._find(name)
        if found is None:
            return default
        if found not in allowed:
            raise self._bad(name, found, " or ".join(repr(word) for word in allowed))
        return str(found)

    def truth(self, name: str, *, default: bool) -> bool:
        """True or false. Raises: BadConfig."""
        found = self._find(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self._bad(name, found, "true or false")
        return found

    def switch(self, name: str, *, default: bool) -> bool:
        """True or false, or a number that is not 0. Raises: BadConfig."""
        found = self._find(name)
        if isinstance(found, bool) or not isinstance(found, int):
            return self.truth(name, default=default)
        return found != 0

    def words(self, name: str, *, allowed: tuple[str, ...]) -> tuple[str, ...]:
        """A list of words, each one of `allowed`; empty when absent. Raises: BadConfig."""
        found = self._find(name)
        if found is None:
            return ()
        if not isinstance(found, list | tuple) or any(word not in allowed for word in found):
            raise self._bad(name, found, "a list of " + " or ".join(allowed))
        return tuple(str(word) for word in found)

    def truths(self, name: str) -> tuple[bool, ...]:
        """A list of true or false; empty when there is none of that name. Raises: BadConfig."""
        found = self._find(name)
        if not isinstance(found, list | tuple):
            return ()
        if any(not isinstance(one, bool) for one in found):
            raise self._bad(name, found, "a list of true or false")
        return tuple(found)

    def integers(self, name: str, *, most: int = 1 << 24) -> tuple[int, ...]:
        """A list of whole numbers within [0, most]; empty when absent. Raises: BadConfig."""
        found = self._find(name)
        if found is None:
            return ()
        if not isinstance(found, list | tuple) or any(
            isinstance(i, bool) or not isinstance(i, int) or not 0 <= i <= most for i in found
        ):
            raise self._bad(name, found, f"a list of whole numbers from 0 to {most}")
        return tuple(found)

    def section(self, name: str) -> Keys:
        """The keys of an object inside this one; none when it is absent. Raises: BadConfig."""
        found = self._find(name)
        if found is not None and not isinstance(found, dict):
            raise self._bad(name, found, "an object")
        inner = f"{self.architecture}.{name}"
        return Keys({f"{inner}.{key}": value for key, value in (found or {}).items()}, inner)

    def integers_or_one(self, name: str, count: int) -> tuple[int, ...]:
        """A list of `count` whole numbers, or one that stands for all. Raises: BadConfig."""
        found = self._find(name)
        listed = self.integers(name) if isinstance(found, list | tuple) else ()
        if found is not None and listed and len(listed) != count:
            raise self._bad(name, found, f"{count} whole numbers, or one")
        return listed or (self.integer(name),) * count

    def absent_or(self, name: str, neutral: object, reason: str) -> None:
        """Accepts a key only at the value that changes nothing. Raises: BadConfig."""
        found = self._find(name)
        if found is not None and found != neutral:
            raise self._bad(name, found, f"{neutral!r} ({reason})")

    def ignore(self, name: str, reason: str) -> None:
        """Marks a key as known and without effect; the reason is for the reader."""
        assert reason, "an ignored key needs a reason"
        self.asked.add(name)

    def anything(self, name: str) -> object:
        """Whatever the file says, for the caller to judge; None when it says nothing."""
        return self._find(name)

    def finish(self) -> None:
        """Raises: UnknownConfigKey for a key of the architecture that nobody asked for."""
        prefix = self.architecture + "."
        for key in self.metadata:
            if key.startswith(prefix) and key[len(prefix) :] not in self.asked:
                raise UnknownConfigKey(
                    f"the file sets {key}, which this family does not understand",
                    family=self.architecture,
                    value=self.metadata[key],
                    expected="only known keys, since an ignored one could change the answers",
                    hint="this is probably a newer variant of the architecture",
                )

    def _bad(self, name: str, found: object, expected: str) -> BadConfig:
        words = "nothing" if found is None else repr(found)[:80]
        return BadConfig(
            f"bad value of {self.architecture}.{name}",
            family=self.architecture,
            value=found,
            expected=expected,
            found=words,
        )
