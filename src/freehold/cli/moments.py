"""Moments as people write them: a date, or a time from now.

Room: cli. Knows clocks only.
"""

from __future__ import annotations

import datetime
import re
import time

from freehold.errors import BadSetting

__all__ = ["day_since", "moment_after", "utc"]

_UNITS_S = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_SPAN = re.compile(r"([1-9][0-9]{0,4})([mhdw])")


def moment_after(text: str) -> float:
    """When `90d`, `12h`, `2w` from now is, or a date (UTC). Units: seconds since 1970.

    Raises: BadSetting.
    """
    span_s = _span_s(text)
    return time.time() + span_s if span_s is not None else _date(text).timestamp()


def day_since(text: str) -> datetime.date:
    """The day (UTC) that `7d` ago was, or a date. Raises: BadSetting."""
    span_s = _span_s(text)
    if span_s is None:
        return _date(text).date()
    return datetime.datetime.fromtimestamp(time.time() - span_s, datetime.UTC).date()


def utc(moment: float | None) -> str | None:
    """A moment as ISO 8601 to the second, in UTC."""
    if moment is None:
        return None
    at = datetime.datetime.fromtimestamp(int(moment), datetime.UTC)
    return at.isoformat().replace("+00:00", "Z")


def _span_s(text: str) -> int | None:
    found = _SPAN.fullmatch(text.strip())
    return int(found[1]) * _UNITS_S[found[2]] if found else None


def _date(text: str) -> datetime.datetime:
    try:
        at = datetime.datetime.fromisoformat(text.strip())
        return at.astimezone(datetime.UTC) if at.tzinfo else at.replace(tzinfo=datetime.UTC)
    except (ValueError, OverflowError) as error:
        raise BadSetting(
            f"{text!r} is no time",
            value=text,
            expected="a time such as 90d, 12h or 30m, or a date such as 2030-01-31",
        ) from error
