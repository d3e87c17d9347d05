"""Limits of a grant, a site and a second stand beside those of the app."""

from __future__ import annotations

from datetime import timedelta

import pytest

from joinder.http import Meter
from joinder.runtime.hub import Hub
from joinder.services.calls import call_windows, rates
from joinder.services.calls.budgets import Budgets
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.calls.rates import KEPT_MOST, Rates
from joinder.vendor import Limits, Rate
from joinder.vendors import asked

APP, ADA, BOB = "cred-1", "enrl-ada", "enrl-bob"


def limits(*calls: Rate, **short: int) -> Limits:
    return Limits(poll_every=timedelta(hours=1), calls=calls, **short)


async def made(meter: Meter, most: int = 50) -> int:
    """Calls until the first refusal."""
    for number in range(most):
        try:
            async with meter.call(exchange=False):
                pass
        except BudgetSpent:
            return number
    return most


@pytest.fixture
def elapsed(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that sleeping moves."""
    passed = [0.0]

    async def sleep(seconds: float) -> None:
        passed[0] += seconds

    monkeypatch.setattr(rates, "monotonic", lambda: passed[0])
    monkeypatch.setattr(rates.asyncio, "sleep", sleep)
    return passed


def test_the_least_of_all_that_is_told_counts() -> None:
    told = limits(Rate(9, "minute"), Rate(3, "minute", "grant"), Rate(7, "hour"), calls_per_minute=5, calls_per_day=100)
    assert (told.most("minute"), told.most("minute", ("app", "grant")), told.most("hour")) == (5, 3, 7)
    assert (told.most("day"), told.most("month"), told.most("second", ("site",))) == (100, None, None)
    assert [(span.name, span.limit, span.end - span.start) for span in call_windows.spans(told, 1_700_000_000)] == [
        ("minute", 5, 60),
        ("hour", 7, 3600),
        ("day", 100, 86400),
    ]


async def test_each_grant_has_its_own_and_all_share_the_apps(hub: Hub) -> None:
    asked_for = limits(Rate(4, "day", "grant"), calls_per_day=6)
    ada, bob = (hub.budgets.of_grant(APP, asked_for, one) for one in (ADA, BOB))
    assert await made(ada) == 4
    assert await made(bob) == 2
    again = Budgets(hub.store).of_grant("cred-2", asked_for, ADA)  # another process, another app
    assert await made(again) == 0
    await hub.budgets.close()


async def test_where_the_app_is_the_owners_own_key_both_are_one(hub: Hub) -> None:
    meter = hub.budgets.of_grant(ADA, limits(Rate(3, "day", "grant"), calls_per_day=5), ADA)
    assert await made(meter) == 3


async def test_without_other_limits_nothing_stands_beside_the_app(hub: Hub) -> None:
    plain = limits(calls_per_day=5)
    assert hub.budgets.of_grant(APP, plain, ADA) is hub.budgets.meter(APP, plain)


async def test_each_site_has_its_own_and_calls_for_none_are_free(hub: Hub, elapsed: list[float]) -> None:
    meter = hub.budgets.of_grant(APP, limits(Rate(2, "minute", "site")), ADA)
    with asked.about("roof"):
        assert await made(meter) == 2
    with asked.about("barn"):
        assert await made(meter) == 2
    assert await made(meter) == 50
    elapsed[0] += 60.0
    with asked.about("roof"):
        assert await made(meter) == 2


async def test_a_full_second_is_waited_out(hub: Hub, elapsed: list[float]) -> None:
    meter = hub.budgets.of_grant(APP, limits(Rate(5, "second")), ADA)
    assert await made(meter, 12) == 12
    assert elapsed[0] == pytest.approx(2.0, abs=0.01)


async def test_a_token_exchange_is_never_held_up(hub: Hub) -> None:
    meter = hub.budgets.of_grant(APP, limits(Rate(1, "day", "grant"), Rate(1, "second", "grant")), ADA)
    assert await made(meter, 1) == 1
    async with meter.call(exchange=True):
        pass
    await hub.budgets.close()


async def test_windows_are_bounded_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "KEPT_MOST", 10)
    kept = Rates()
    for number in range(50):
        await kept.take(f"site-{number}", Rate(1, "day", "site"))
    assert len(kept._windows) == 10 < KEPT_MOST
