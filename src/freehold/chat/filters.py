"""The filters and tests that templates may use, as Jinja defines them and within the limits.

Room: chat. Knows Jinja's filters; must not know messages. What is not in these tables does not
exist for a template: the ones left out can format, pad or repeat without bound, or are random.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

from jinja2.filters import FILTERS as JINJA_FILTERS
from jinja2.filters import make_attrgetter
from jinja2.tests import TESTS as JINJA_TESTS

from freehold.chat import methods
from freehold.chat.meter import ELEMENT_UNITS, METER, not_offered, over_limit

if TYPE_CHECKING:
    from freehold.chat.sandbox import Sandbox

__all__ = ["FILTERS", "TESTS", "apply_filter", "apply_test", "tojson"]

_MAX_INDENT = 64
_MAX_PRECISION = 20


def apply_filter(
    sandbox: Sandbox, name: str, value: object, args: list[Any], named: dict[str, Any]
) -> Any:
    """A filter's result, weighed. Raises: TemplateError for a filter that is not offered."""
    meter = METER.get()
    meter.step()
    if name not in FILTERS:
        raise not_offered("the filter", name)
    if name in _CHOOSING:
        result = _CHOOSING[name](sandbox, _elements(value), args, named)
    elif name in _WITH_SANDBOX:
        result = _WITH_SANDBOX[name](sandbox, value, *args, **named)
    else:
        result = FILTERS[name](value, *args, **named)
    if isinstance(result, Iterator):
        result = list(result)
    return meter.made(result)


def apply_test(name: str, value: object, args: list[Any], named: dict[str, Any]) -> bool:
    """A test's answer. Raises: TemplateError for a test that is not offered."""
    METER.get().step()
    if name not in TESTS:
        raise not_offered("the test", name)
    return bool(TESTS[name](value, *args, **named))


def _elements(value: object) -> list[Any]:
    """What a value holds, as a list. Iterating it costs steps, so that long lists count."""
    elements: list[Any] = [] if value is None else list(value)  # type: ignore[call-overload]
    METER.get().step(1 + len(elements) // 8)
    return elements


def tojson(
    value: object,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as the models' own tooling writes it: text as it is, nothing escaped for HTML."""
    if indent is not None and _width(indent) > _MAX_INDENT:
        raise over_limit("an indent's width", _MAX_INDENT)
    if separators is not None and sum(map(len, separators)) > _MAX_INDENT:
        raise over_limit("the length of separators", _MAX_INDENT)
    METER.get().weigh(value)
    return json.dumps(
        value,
        ensure_ascii=ensure_ascii,
        indent=indent,
        separators=separators,
        sort_keys=sort_keys,
    )


def _width(indent: int | str) -> int:
    return indent if isinstance(indent, int) else len(indent)


def _indent(text: str, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    if _width(width) > _MAX_INDENT:
        raise over_limit("an indent's width", _MAX_INDENT)
    METER.get().charge(len(text) + _width(width) * (1 + text.count("\n")))
    indented: str = JINJA_FILTERS["indent"](text, width, first, blank)
    return indented


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if abs(precision) > _MAX_PRECISION:
        raise over_limit("a precision", _MAX_PRECISION)
    rounded: float = JINJA_FILTERS["round"](value, precision, method)
    return rounded


def _replace(text: object, old: str, new: str, count: int | None = None) -> str:
    return methods.replace(str(text), str(old), str(new), count)


def _title(text: object) -> str:
    # Jinja's own goes word by word, a hundred times slower than other filters.
    METER.get().step(len(str(text)) // 4)
    titled: str = JINJA_FILTERS["title"](text)
    return titled


def _trim(text: object, chars: str | None = None) -> str:
    return methods.strip(str(text), chars)


def _list(value: object) -> list[Any]:
    if isinstance(value, str | range):
        METER.get().charge(ELEMENT_UNITS * len(value))
    return list(value)  # type: ignore[call-overload,no-any-return]


def _join(
    sandbox: Sandbox, value: object, d: object = "", attribute: str | int | None = None
) -> str:
    parts = _elements(value)
    if attribute is not None:
        parts = list(map(make_attrgetter(sandbox, attribute), parts))
    return methods.join(str(d), map(str, parts))


def _sum(
    sandbox: Sandbox, value: object, attribute: str | int | None = None, start: float = 0
) -> float:
    parts = _elements(value)
    if attribute is not None:
        parts = list(map(make_attrgetter(sandbox, attribute), parts))
    if not all(isinstance(part, int | float) for part in [*parts, start]):
        raise TypeError("only numbers can be summed")
    return sum(parts, start)


def _map(sandbox: Sandbox, items: list[Any], args: list[Any], named: dict[str, Any]) -> list[Any]:
    if not args and "attribute" in named:
        get = make_attrgetter(sandbox, named["attribute"], default=named.get("default"))
        METER.get().step(len(items))
        return [get(item) for item in items]
    name, *rest = args
    return [apply_filter(sandbox, name, item, rest, named) for item in items]


def _chooser(*, keep: bool, by_attribute: bool) -> Callable[..., list[Any]]:
    """One of select, reject, selectattr and rejectattr."""

    def choose(
        sandbox: Sandbox, items: list[Any], args: list[Any], named: dict[str, Any]
    ) -> list[Any]:
        get: Callable[[Any], Any] = lambda item: item  # noqa: E731 - the default of two
        if by_attribute:
            get, args = make_attrgetter(sandbox, args[0]), args[1:]
        METER.get().step(len(items))
        if not args:
            return [item for item in items if bool(get(item)) is keep]
        name, *rest = args
        return [item for item in items if apply_test(name, get(item), rest, named) is keep]

    return choose


_CHOOSING: Mapping[str, Callable[..., list[Any]]] = {
    "map": _map,
    "reject": _chooser(keep=False, by_attribute=False),
    "rejectattr": _chooser(keep=False, by_attribute=True),
    "select": _chooser(keep=True, by_attribute=False),
    "selectattr": _chooser(keep=True, by_attribute=True),
}

# Jinja's own, which take the environment first; and ours that look at attributes.
_WITH_SANDBOX: Mapping[str, Callable[..., Any]] = {
    **{name: JINJA_FILTERS[name] for name in ("first", "max", "min", "sort", "unique")},
    "join": _join,
    "last": JINJA_FILTERS["last"],
    "sum": _sum,
}

_AS_JINJA = (
    "abs capitalize count d default dictsort float int items length lower reverse string upper"
)

FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: JINJA_FILTERS[name] for name in _AS_JINJA.split()},
    **_CHOOSING,
    **_WITH_SANDBOX,
    "e": lambda text: str(JINJA_FILTERS["escape"](text)),
    "escape": lambda text: str(JINJA_FILTERS["escape"](text)),
    "indent": _indent,
    "list": _list,
    "replace": _replace,
    "round": _round,
    # Nothing is escaped unless asked, so there is nothing to protect from it.
    "safe": str,
    "tojson": tojson,
    "title": _title,
    "trim": _trim,
}

_WITHOUT = ("callable", "escaped", "filter", "test")
TESTS: Mapping[str, Callable[..., Any]] = {
    name: cast("Callable[..., Any]", test)
    for name, test in JINJA_TESTS.items()
    if name not in _WITHOUT
}
