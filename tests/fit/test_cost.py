"""A month's cost, worked out by hand."""

from __future__ import annotations

import pytest

from freehold.fit import Month, Prices, Traffic, month_of
from freehold.loading.outline import Outline, Part
from freehold.models.base import KvSpec
from freehold.ops import LayerKv
from tests.fit.rates import made_rates

# One matrix of 10^9 elements: a prompt token takes 1/80 s, an answer's token 1/10 s.
OUTLINE = Outline(
    parts=(Part("layers.0.mlp.up", 100_000, 10_000, 8, 10**9),),
    kv=KvSpec((LayerKv(0, 0, 0),)),
    windows=(0,),
    heads=1,
    width=10_000,
    context_tokens=10_000,
)
TRAFFIC = Traffic(requests_per_day=1000, prompt_tokens=400, answer_tokens=50)
REQUEST_S = 400 / 80 + 50 / 10
REQUESTS = 1000 * 365.25 / 12


def month(traffic: Traffic = TRAFFIC, prices: Prices | None = None) -> Month:
    return month_of(OUTLINE, made_rates(), traffic, prices or Prices())


def test_a_request_is_its_prompt_and_its_answer() -> None:
    assert month().request_s == pytest.approx(REQUEST_S)


def test_busy_hours_are_the_requests_one_after_another() -> None:
    found = month()
    assert found.busy_hours == pytest.approx(REQUESTS * REQUEST_S / 3600)
    assert found.share == pytest.approx(1000 * REQUEST_S / 86400)
    assert found.machines == 1


def test_more_than_a_day_of_work_a_day_takes_more_machines() -> None:
    found = month(Traffic(requests_per_day=20_000, prompt_tokens=400, answer_tokens=50))
    assert found.share == pytest.approx(20_000 * REQUEST_S / 86400)
    assert found.machines == 3


def test_power_counts_busy_and_idle_hours() -> None:
    found = month(prices=Prices(watts=100, idle_watts=20, per_kwh=0.5))
    busy = REQUESTS * REQUEST_S / 3600
    idle = 365.25 / 12 * 24 - busy
    assert found.energy_kwh == pytest.approx((busy * 100 + idle * 20) / 1000)
    assert found.energy_cost == pytest.approx((busy * 100 + idle * 20) / 1000 * 0.5)
    assert found.own_cost == found.energy_cost


def test_the_machine_is_paid_off_over_its_years() -> None:
    assert month(prices=Prices(machine=2400, years=4)).machine_cost == pytest.approx(50)


def test_every_machine_that_is_needed_is_paid() -> None:
    many = Traffic(requests_per_day=20_000, prompt_tokens=400, answer_tokens=50)
    assert month(many, Prices(machine=2400, years=4)).machine_cost == pytest.approx(150)


def test_the_service_is_paid_by_the_token() -> None:
    found = month(prices=Prices(api_in=2.0, api_out=8.0))
    assert found.api_cost == pytest.approx(REQUESTS * (400 * 2 + 50 * 8) / 1e6)


def test_what_has_no_price_has_no_cost() -> None:
    found = month(prices=Prices(watts=100, api_in=2.0))
    assert found.energy_kwh is not None
    assert (found.energy_cost, found.own_cost, found.api_cost) == (None, None, None)
