"""Where templates run: Jinja's immutable sandbox, with every door but the needed ones closed.

Room: chat. Knows Jinja's environment and the meter; must not know messages or models.

A template sees copies of plain values, the methods in `methods`, the filters and tests in
`filters`, and the four functions here. Of anything else there is no attribute to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from types import BuiltinMethodType, MethodType
from typing import Any, Final

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context, LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from freehold.chat.filters import apply_filter, apply_test
from freehold.chat.meter import CONTAINERS, ELEMENT_UNITS, METER, not_offered, over_limit
from freehold.chat.methods import GUARDED, METHODS
from freehold.chat.rewrite import GATES, BoundedSource, MarkedAnswer

__all__ = ["Offered", "Refused", "Sandbox"]

_LOOP = frozenset(
    {
        "changed",
        "cycle",
        "depth",
        "depth0",
        "first",
        "index",
        "index0",
        "last",
        "length",
        "nextitem",
        "previtem",
        "revindex",
        "revindex0",
    }
)
_MAX_DATE_FORMAT = 256


class Refused(Exception):  # noqa: N818 - not an error of ours: the template's own word
    """A template called `raise_exception`; the argument is what it said."""


class Offered:
    """A function that templates may call."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function


class _Namespace(Namespace):
    """Jinja's namespace, whose print does not walk through what it holds."""

    def __repr__(self) -> str:
        return "<Namespace>"


def _range(*bounds: int) -> range:
    numbers = range(*bounds)
    most = METER.get().limits.range_length
    if len(numbers) > most:
        raise over_limit("the length of a range", most)
    return numbers


def _raise_exception(message: object) -> None:
    raise Refused(str(message))


def _strftime_now(date_format: str) -> str:
    if len(date_format) > _MAX_DATE_FORMAT:
        raise over_limit("a date format's length", _MAX_DATE_FORMAT, "characters")
    return (METER.get().now or datetime.now().astimezone()).strftime(date_format)


_GLOBALS: Final = {
    "dict": Offered(dict),
    "namespace": Offered(_Namespace),
    "raise_exception": Offered(_raise_exception),
    "range": Offered(_range),
    "strftime_now": Offered(_strftime_now),
}


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment in which every chat template is compiled and run."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=["jinja2.ext.loopcontrols", MarkedAnswer, BoundedSource],
            cache_size=0,
        )
        self.globals = dict(_GLOBALS)
        self.tests = {}
        self.filters = dict(zip(GATES, _GATE_FUNCTIONS, strict=True))

    def call_binop(self, _context: Context, sign: str, left: Any, right: Any) -> Any:
        """Arithmetic; what could explode is charged before it is done."""
        meter = METER.get()
        meter.step()
        if isinstance(left, Undefined) or isinstance(right, Undefined):
            return self.binop_table[sign](left, right)
        if sign == "%" and isinstance(left, str):
            raise not_offered("the operation", "%")
        if sign == "**":
            _check_power(left, right, meter.limits.number_bits)
        elif sign == "*":
            _charge_product(left, right)
        elif sign == "+" and isinstance(left, CONTAINERS) and isinstance(right, CONTAINERS):
            meter.charge(ELEMENT_UNITS * (len(left) + len(right)))
        return meter.made(self.binop_table[sign](left, right))

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`: a method or member that is offered, or a mapping's value."""
        METER.get().step()
        return self._member(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`: an element, or else what `obj.argument` gives."""
        METER.get().step()
        if isinstance(obj, Undefined):
            return obj[argument]
        if isinstance(obj, (str, *CONTAINERS)):
            try:
                return obj[argument]  # type: ignore[index]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str):
            return self._member(obj, argument)
        return self.undefined(obj=obj, name=argument)

    def _member(self, obj: Any, name: str) -> Any:
        kind = type(obj)
        if isinstance(obj, Undefined):
            # Says that it is undefined, by raising.
            return obj[name]
        if name in METHODS.get(kind, ()):
            return getattr(obj, name)
        if kind is dict and name in obj:
            return obj[name]
        if kind is _Namespace and not name.startswith("_"):
            return getattr(obj, name, self.undefined(obj=obj, name=name))
        if isinstance(obj, LoopContext) and name in _LOOP:
            return getattr(obj, name)
        if name.startswith("_") or hasattr(kind, name):
            raise not_offered(f"{kind.__name__.lower()}'s", name)
        return self.undefined(obj=obj, name=name)


def _check_power(base: Any, exponent: Any, most_bits: int) -> None:
    if isinstance(base, float) or isinstance(exponent, float):
        return
    if not isinstance(base, int) or not isinstance(exponent, int):
        raise TypeError("not numbers")
    if abs(exponent) > most_bits or base.bit_length() * abs(exponent) > most_bits:
        raise over_limit("the size of a number", most_bits, "bits")


def _charge_product(left: Any, right: Any) -> None:
    meter = METER.get()
    for text, times in ((left, right), (right, left)):
        if isinstance(times, int) and times > 0:
            if isinstance(text, str):
                meter.charge(len(text) * times)
            elif isinstance(text, CONTAINERS):
                meter.charge(ELEMENT_UNITS * len(text) * times)


@pass_context
def _call(_context: Context, target: Any, args: list[Any], named: dict[str, Any]) -> Any:
    meter = METER.get()
    meter.step()
    if isinstance(target, Undefined):
        return target()
    if isinstance(target, Offered):
        return meter.made(target.function(*args, **named))
    if isinstance(target, BuiltinMethodType) and type(target.__self__) in METHODS:
        if isinstance(target.__self__, str) and target.__name__ in GUARDED:
            return meter.made(GUARDED[target.__name__](target.__self__, *args, **named))
        return meter.made(target(*args, **named))
    if isinstance(target, MethodType) and isinstance(target.__self__, LoopContext):
        return target(*args, **named)
    if isinstance(target, LoopContext):
        target, args = target.__call__, [_Counted(args[0])]
    elif not isinstance(target, Macro):
        raise not_offered("a call of", type(target).__name__)
    meter.deeper()
    try:
        return meter.made(target(*args, **named))
    finally:
        meter.depth -= 1


@pass_context
def _filter(context: Context, value: Any, name: str, args: list[Any], named: Any) -> Any:
    return apply_filter(context.environment, name, value, args, named)  # type: ignore[arg-type]


@pass_context
def _test(_context: Context, value: Any, name: str, args: list[Any], named: Any) -> bool:
    return apply_test(name, value, args, named)


class _Counted:
    """Something to loop over, each round of which is a step."""

    __slots__ = ("_items",)

    def __init__(self, items: Any) -> None:
        if not isinstance(items, (str, *CONTAINERS, Undefined)):
            raise TypeError("not a list")
        self._items = items

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        meter = METER.get()
        for item in self._items:
            meter.step()
            yield item


@pass_context
def _each(_context: Context, value: Any) -> _Counted:
    METER.get().step()
    return _Counted(value)


@pass_context
def _out(_context: Context, value: Any) -> str:
    meter = METER.get()
    meter.step()
    return meter.made(str(value))


@pass_context
def _made(_context: Context, value: Any) -> Any:
    meter = METER.get()
    meter.step()
    return meter.made(value)


@pass_context
def _concat(_context: Context, values: list[Any]) -> str:
    meter = METER.get()
    meter.step(len(values))
    texts = [str(value) for value in values]
    meter.charge(sum(map(len, texts)))
    return "".join(texts)


@pass_context
def _step(_context: Context, value: Any) -> Any:
    METER.get().step()
    return value


# In the order of GATES.
_GATE_FUNCTIONS: Final = (_call, _filter, _test, _each, _out, _made, _concat, _step)
