"""Reads tables of TOML into typed data, and refuses whatever it does not know.

Room: library. Must not know what a licence or a policy is good for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from freehold.errors import BadSetting

__all__ = ["Table"]

T = TypeVar("T")


class Table:
    """A table of a file, from which each key is taken once; `done` refuses what is left."""

    def __init__(self, values: Mapping[str, Any], *, where: str) -> None:
        self._left = dict(values)
        self._where = where

    @classmethod
    def parsed(cls, raw: bytes, *, where: str) -> Table:
        """The table that a file holds. Raises: BadSetting when it is not TOML."""
        try:
            return cls(tomllib.loads(raw.decode()), where=where)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadSetting(
                f"{where} is not a TOML file",
                value=where,
                expected="TOML 1.0 in UTF-8",
                found=str(error),
            ) from None

    def wrong(self, key: str, *, expected: str, found: object) -> BadSetting:
        """The error for a value that does not suit."""
        return BadSetting(
            f"{key!r} in {self._where} is not usable",
            value=key,
            expected=expected,
            found=repr(found)[:200],
        )

    def text(self, key: str, default: str | None = None) -> str:
        """A line or more of text, not empty. Raises: BadSetting, also where it is missing."""
        value = self._left.pop(key, default)
        if not isinstance(value, str) or not value.strip():
            raise self.wrong(key, expected="text", found=value)
        return " ".join(value.split())

    def text_or_none(self, key: str) -> str | None:
        """The same where the key may be missing."""
        return self.text(key) if key in self._left else None

    def word(self, key: str, words: tuple[str | None, ...], default: str | None = None) -> Any:
        """One of some words; None among them lets the key be missing. Raises: BadSetting."""
        value = self._left.pop(key, default)
        if value not in words:
            raise self.wrong(key, expected="one of: " + ", ".join(filter(None, words)), found=value)
        return value

    def words(self, key: str) -> tuple[str, ...]:
        """A list of texts, empty where the key is missing. Raises: BadSetting."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.wrong(key, expected="a list of texts", found=value)
        return tuple(value)

    def flag(self, key: str) -> bool | None:
        """True, false, or None where the key is missing. Raises: BadSetting."""
        value = self._left.pop(key, None)
        if not isinstance(value, bool | None):
            raise self.wrong(key, expected="true or false", found=value)
        return value

    def amount(self, key: str) -> int | None:
        """A whole number from 0, or None where the key is missing. Raises: BadSetting."""
        value = self._left.pop(key, None)
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62
        ):
            raise self.wrong(key, expected="a whole number, 0 or more", found=value)
        return value

    def tables(self, key: str, read: Callable[[Table], T]) -> tuple[T, ...]:
        """A list of tables, each read whole. Raises: BadSetting."""
        value = self._left.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self.wrong(key, expected="tables", found=value)
        return tuple(self._inner(one, f"{key} {n}", read) for n, one in enumerate(value, start=1))

    def _inner(self, values: Mapping[str, Any], name: str, read: Callable[[Table], T]) -> T:
        inner = Table(values, where=f"{self._where}, {name}")
        result = read(inner)
        inner.done()
        return result

    def done(self) -> None:
        """Raises: BadSetting for a key that nobody asked for."""
        for key, value in self._left.items():
            raise BadSetting(
                f"unknown key {key!r} in {self._where}",
                value=key,
                expected="only keys that mean something here",
                found=repr(value)[:200],
                hint="remove it or correct its name",
            )
