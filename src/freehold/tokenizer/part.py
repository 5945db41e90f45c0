"""One object of a tokenizer.json: its type and its fields, each asked for by name.

Room: tokenizer. Knows nothing of what the fields mean.
"""

from __future__ import annotations

from collections.abc import Mapping

from freehold.errors import BadTokenizer, UnknownTokenizer

__all__ = ["Part", "parts_of"]

# The deepest published sequence has seven stages.
_MAX_STAGES = 32


class Part:
    """An object of which every field is asked for, or refused by name."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            found = type(value).__name__
            raise BadTokenizer(f"{where}: is not an object", expected="an object", found=found)
        self.where = where
        self._fields = value
        self._asked = {"type"}

    @property
    def kind(self) -> str:
        """Its `type`. Raises: BadTokenizer without one."""
        kind = self._fields.get("type")
        if not isinstance(kind, str):
            raise self.bad("type", kind, "a name")
        return kind

    def field(self, name: str) -> object:
        """A field of any type, None where it is absent."""
        self._asked.add(name)
        return self._fields.get(name)

    def truth(self, name: str, *, default: bool) -> bool:
        """A field that is true or false; null is absent. Raises: BadTokenizer."""
        found = self.field(name)
        if found is None:
            return default
        if not isinstance(found, bool):
            raise self.bad(name, found, "true or false")
        return found

    def text(self, name: str, *, longest: int = 64) -> str:
        """A field that is a text. Raises: BadTokenizer."""
        found = self.field(name)
        if not isinstance(found, str) or len(found) > longest or not found.isprintable():
            raise self.bad(name, found, f"a text of at most {longest} printable characters")
        return found

    def number(self, name: str, *, most: int) -> int:
        """A field that is a whole number from 0. Raises: BadTokenizer."""
        found = self.field(name)
        if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found <= most:
            raise self.bad(name, found, f"a whole number from 0 to {most}")
        return found

    def choice(self, name: str, allowed: tuple[str, ...], *, default: str | None = None) -> str:
        """A field that is one of these words. Raises: BadTokenizer."""
        found = self.field(name)
        if found is None and default is not None:
            return default
        if not isinstance(found, str) or found not in allowed:
            raise self.bad(name, found, " or ".join(allowed))
        return found

    def neutral(self, name: str, *values: object) -> None:
        """A field that is absent, null, or of no effect as it is. Raises: BadTokenizer."""
        found = self.field(name)
        if found is not None and not any(found is v or found == v for v in values):
            raise self.bad(name, found, " or ".join(["null", *map(repr, values)]))

    def ignore(self, *names: str) -> None:
        """Marks fields as known and without effect on what is read here."""
        self._asked.update(names)

    def finish(self) -> None:
        """Raises: BadTokenizer for a field that nobody asked for."""
        for name in self._fields:
            if name not in self._asked:
                raise BadTokenizer(
                    f"{self.where}: has a field that is not known",
                    value=str(name)[:80],
                    expected="only known fields, since an ignored one could change the tokens",
                    found=repr(name)[:80],
                )

    def bad(self, name: str, found: object, expected: str) -> BadTokenizer:
        """The error for a field's value."""
        words = "nothing" if found is None else repr(found)[:80]
        return BadTokenizer(f"{self.where}.{name}: bad value", expected=expected, found=words)

    def unknown(self, known: tuple[str, ...]) -> UnknownTokenizer:
        """The error for a part of a type that is not carried."""
        return UnknownTokenizer(
            f"{self.where}: is of a type that is not carried",
            value=self.kind[:80],
            expected=" or ".join(known),
            found=repr(self.kind[:80]),
        )


def parts_of(value: object, where: str, inner: str) -> list[Part]:
    """A part, or those of a `Sequence` in order; none for null. Raises: BadTokenizer."""
    if value is None:
        return []
    part = Part(value, where)
    if part.kind != "Sequence":
        return [part]
    stages = part.field(inner)
    part.finish()
    if not isinstance(stages, list) or len(stages) > _MAX_STAGES:
        raise part.bad(inner, stages, f"a list of at most {_MAX_STAGES}")
    found = [Part(stage, f"{where}.{inner}[{index}]") for index, stage in enumerate(stages)]
    for stage in found:
        if stage.kind == "Sequence":
            raise stage.unknown(("anything but a sequence in a sequence",))
    return found
