"""A month of given traffic: on this machine, and at a price per token that somebody names.

Room: fit. Arithmetic alone; knows no price and no currency.
"""

from __future__ import annotations

from dataclasses import dataclass

from freehold.engine.rates import Rates
from freehold.fit.predict import times
from freehold.loading.outline import Outline

__all__ = ["MONTH_DAYS", "Month", "Prices", "Traffic", "month_of"]

MONTH_DAYS = 365.25 / 12


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """Requests a day, and the tokens of each."""

    requests_per_day: float
    prompt_tokens: int
    answer_tokens: int


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What is paid, in any one currency; None where it is not known. API prices: a million tokens.

    `watts` are drawn under load, `idle_watts` the rest of the day.
    """

    watts: float | None = None
    idle_watts: float = 0.0
    per_kwh: float | None = None
    machine: float | None = None
    years: float = 4.0
    api_in: float | None = None
    api_out: float | None = None


@dataclass(frozen=True, kw_only=True)
class Month:
    """A month's figures, one request at a time; costs are None where a price is missing.

    `share` is the busy part of the month: above 1 the machine is too slow for the traffic.
    """

    requests: float
    prompt_tokens: float
    answer_tokens: float
    request_s: float
    busy_hours: float
    share: float
    energy_kwh: float | None
    energy_cost: float | None
    machine_cost: float | None
    own_cost: float | None
    api_cost: float | None

    @property
    def machines(self) -> int:
        """How many such machines the traffic takes."""
        return max(1, -int(-self.share // 1))


def month_of(outline: Outline, rates: Rates, traffic: Traffic, prices: Prices) -> Month:
    """The month of this traffic; an answer's mean token stands at half its length."""
    depth = traffic.prompt_tokens + traffic.answer_tokens // 2
    took = times(outline, rates, prompt=traffic.prompt_tokens, depth=depth)
    request_s = took.prompt_s + traffic.answer_tokens * took.token_s
    requests = traffic.requests_per_day * MONTH_DAYS
    busy, hours = requests * request_s / 3600, MONTH_DAYS * 24
    machines = max(1, -int(-busy / hours // 1))
    kwh = None
    if prices.watts is not None:
        kwh = (busy * prices.watts + (machines * hours - busy) * prices.idle_watts) / 1000
    energy = None if kwh is None or prices.per_kwh is None else kwh * prices.per_kwh
    machine = None
    if prices.machine is not None:
        machine = machines * prices.machine / (prices.years * 12)
    known = [cost for cost in (energy, machine) if cost is not None]
    return Month(
        requests=requests,
        prompt_tokens=requests * traffic.prompt_tokens,
        answer_tokens=requests * traffic.answer_tokens,
        request_s=request_s,
        busy_hours=busy,
        share=busy / hours,
        energy_kwh=kwh,
        energy_cost=energy,
        machine_cost=machine,
        own_cost=sum(known) if known else None,
        api_cost=_api(requests, traffic, prices),
    )


def _api(requests: float, traffic: Traffic, prices: Prices) -> float | None:
    if prices.api_in is None or prices.api_out is None:
        return None
    spent = traffic.prompt_tokens * prices.api_in + traffic.answer_tokens * prices.api_out
    return requests * spent / 1e6
