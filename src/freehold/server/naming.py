"""Errors of the runtime in the words of an interface that calls a field otherwise.

Room: server. Pure; must not know any interface's names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from freehold.errors import RequestError

__all__ = ["named_as"]


@contextmanager
def named_as(names: Mapping[str, str]) -> Iterator[None]:
    """Lets an error name the field as `names` has it, by its first part. Mutates: the error."""
    try:
        yield
    except RequestError as error:
        if error.param is not None:
            first, dot, rest = error.param.partition(".")
            error.param = names.get(first, first) + dot + rest
        raise
