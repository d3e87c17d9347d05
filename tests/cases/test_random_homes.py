"""No wrong number is served as measured: random homes, careless vendors, reads in any order, against the truth.

Outside of what can be told, and therefore not made here: a value that is wrong without any trace (a spike below every
bound, a sum that silently lacks a part nobody names, a day's total that lacks what its rows never had, a register that
jumps by less than a home can make), which of several meters is wrong where only their balance shows it, and how the
sun shone inside of five minutes that lie across the edge of a quarter hour.
"""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from cases.homes import random_home
from cases.life import Stage, Tally, Time, enrolled, lived
from joinder.runtime.hub import Hub
from joinder.settings import Settings

DATABASES = ("sqlite",)


@pytest.mark.timeout(900)  # on a machine with much else to do
async def test_nothing_wrong_is_served_as_measured(fresh_database: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    await _all_right(fresh_database, monkeypatch, range(10))


@pytest.mark.proof
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 3000, 250))
async def test_nothing_wrong_is_served_as_measured_of_thousands(
    fresh_database: Settings, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    await _all_right(fresh_database, monkeypatch, range(first, first + 250))


async def _all_right(settings: Settings, monkeypatch: pytest.MonkeyPatch, seeds: range) -> None:
    time, tally, stage = Time(), Tally(), Stage(settings)
    monkeypatch.setattr("joinder.clock.civil_time", time)
    async with AsyncExitStack() as exits:
        hubs = [await exits.enter_async_context(stage.open())]

        async def again() -> Hub:
            await exits.aclose()
            hubs.append(await exits.enter_async_context(stage.open()))
            return hubs[-1]

        for seed in seeds:
            home = random_home(seed)
            time.now = home.start + 3600
            life = await enrolled(stage, hubs[-1], home, time, tally)
            await lived(life, again)
            stage.forget(home)
    print(f"\n{tally}")
    assert not tally.wrong, "\n".join([str(tally), *tally.wrong[:40]])
    assert tally.values > 100 * tally.homes  # or nothing was proven
