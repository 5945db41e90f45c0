"""Texts that are the same or nearly so, among themselves and beside another set.

Room: tune. Knows texts and their lines only. Nearly: after case, accents, digits and punctuation
are taken out, at least 0.8 of all runs of five characters in either text are in both. Candidates
come from 64 minimal hashes in 16 bands, and each is then compared in full, so that whatever is
reported is true; of pairs that are 0.8 alike, more than 0.999 become candidates.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALIKE", "Common", "Pair", "Seen", "normalised_text"]

ALIKE = 0.8
_RUN = 5
_HASHES, _BANDS = 64, 16
_MOST_RUNS = 1 << 14
_FEW = 10
_PRIME = np.uint64((1 << 31) - 1)
_RANDOM = np.random.default_rng(20260131)
_FACTORS = _RANDOM.integers(1, int(_PRIME), _HASHES, np.uint64)[:, None]
_ADDED = _RANDOM.integers(0, int(_PRIME), _HASHES, np.uint64)[:, None]
_NO_WORD = re.compile(r"[\W_\d]+")


@dataclass(frozen=True)
class Pair:
    """A line that says again what an earlier one, or another set's, says; `alike` 1: the same."""

    line: int
    other: int
    alike: float


def normalised_text(text: str) -> str:
    """Letters alone, in one case and without accents, words apart by one space."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(c for c in apart if not unicodedata.combining(c))
    words = _NO_WORD.sub(" ", plain).strip()
    # A text of digits and signs alone has nothing else to be known by.
    return words or text.strip()


class Common:
    """Lines of text that many examples have, such as an instruction: they make nothing alike."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._counts: Counter[int] = Counter()
        every = 0
        for every, text in enumerate(texts, start=1):  # noqa: B007 - counts them
            self._counts.update({hash(line) for line in text.splitlines()})
        self._most = max(_FEW, every // 20)

    def without(self, text: str) -> str:
        """The text without such lines, unless nothing else is in it."""
        own = [line for line in text.splitlines() if self._counts[hash(line)] <= self._most]
        return "\n".join(own) if any(map(str.strip, own)) else text


class Seen:
    """Texts that were seen, to find the same again. Peak memory: about 1 kB a text and its runs."""

    def __init__(self) -> None:
        self._exact: dict[bytes, int] = {}
        self._bands: dict[tuple[int, bytes], list[int]] = {}
        self._runs: dict[int, frozenset[int]] = {}

    def look(self, line: int, text: str) -> Pair | None:
        """The first text seen that this one repeats."""
        found = self._exact.get(_digest(text))
        if found is not None:
            return Pair(line, found, 1.0)
        alike = self.alike(line, text)
        # Never 1: the texts are not the same, only nearly.
        best = max(alike, key=lambda other: alike[other], default=None)
        return None if best is None else Pair(line, best, min(alike[best], 0.999))

    def alike(self, line: int, text: str) -> dict[int, float]:
        """The lines of all texts seen that are nearly this one, and how nearly."""
        runs = _runs(normalised_text(text))
        others = {other: _alike(runs, self._runs[other]) for other in self._candidates(runs)}
        return {o: a for o, a in others.items() if a >= ALIKE and o != line}

    def add(self, line: int, text: str) -> None:
        """Remember a text by its line."""
        self._exact.setdefault(_digest(text), line)
        runs = self._runs[line] = _runs(normalised_text(text))
        for band in _bands(runs):
            self._bands.setdefault(band, []).append(line)

    def _candidates(self, runs: frozenset[int]) -> Iterable[int]:
        found: dict[int, None] = {}
        for band in _bands(runs):
            found |= dict.fromkeys(self._bands.get(band, ()))
        return found


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()[:16]


def _runs(text: str) -> frozenset[int]:
    """Every run of five characters as a number, the same in each process."""
    raw = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    if len(raw) <= _RUN:
        raw = np.pad(raw, (0, _RUN + 1 - len(raw)))
    windows = np.lib.stride_tricks.sliding_window_view(raw[:_MOST_RUNS], _RUN)
    mixed = np.zeros(len(windows), np.uint64)
    for column in range(_RUN):
        mixed = (mixed * np.uint64(1_000_003) + windows[:, column]) % _PRIME
    return frozenset(mixed.tolist())


def _bands(runs: frozenset[int]) -> Iterator[tuple[int, bytes]]:
    values = np.fromiter(runs, np.uint64, len(runs))[None, :]
    least: NDArray[np.uint64] = ((values * _FACTORS + _ADDED) % _PRIME).min(axis=1)
    width = _HASHES // _BANDS
    for band in range(_BANDS):
        yield band, least[band * width : (band + 1) * width].tobytes()


def _alike(one: frozenset[int], other: frozenset[int]) -> float:
    return len(one & other) / max(1, len(one | other))
