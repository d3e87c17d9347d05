"""What others see of a process's breakers: soon after they change, and no longer than it lives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from joinder import clock
from joinder.runtime import serve
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls import breaker_states
from joinder.services.calls.breaker_states import BELIEVED_S, REPEATED_EVERY_S, Told, standing, worst_of
from joinder.services.calls.breakers import THRESHOLD, Breakers
from joinder.services.operations import doctor
from joinder.settings import Settings
from joinder.store.types import Write
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from services.test_breakers import OTHER, call, fail


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Both clocks, which stand until they are moved on."""
    at = [clock.civil_time()]
    monkeypatch.setattr(clock, "civil_time", lambda: at[0])
    monkeypatch.setattr(breaker_states, "monotonic", lambda: at[0])
    return at


@pytest.fixture
def writes(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[Write]:
    """Counts what is written."""
    made: list[Write] = []
    apply = hub.store.apply

    async def counted(*given: Write, serialize_on: str = "") -> list[int]:
        made.extend(given)
        return await apply(*given, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", counted)
    return made


async def states(hub: Hub) -> dict[tuple[str, str], tuple[str, int]]:
    return {(one.vendor, one.hook): (one.state, one.since) for one in await standing(hub.store)}


async def test_it_is_written_when_it_changes_and_for_no_call(hub: Hub, writes: list[Write], time: list[float]) -> None:
    breakers = Breakers()
    told = Told(hub.store, breakers, "a")
    await told.tell()
    assert writes == []  # nothing was called
    began = int(time[0])
    for _ in range(3):
        await call(breakers)
        await told.tell()
    assert len(writes) == 2  # what was there goes, what is there comes
    assert await states(hub) == {("sunny", "fetch_site"): ("closed", began)}
    time[0] += 7
    await fail(breakers, THRESHOLD)
    await told.tell()
    await told.tell()
    assert len(writes) == 4
    assert await states(hub) == {("sunny", "fetch_site"): ("opened", began + 7)}
    assert [one.text for one in await doctor.vendors(hub)] == ["sunny does not answer fetch_site, for 0 s by now"]
    await told.leave()
    assert await states(hub) == {}
    assert await doctor.vendors(hub) == []


async def test_what_a_killed_process_said_is_soon_nobodys_word(hub: Hub, time: list[float]) -> None:
    killed, lives = Breakers(), Breakers()
    await fail(killed, THRESHOLD)
    await Told(hub.store, killed, "killed").tell()
    await fail(lives, THRESHOLD, vendor=OTHER)
    told = Told(hub.store, lives, "lives")
    await told.tell()
    began = int(time[0])
    for _ in range(BELIEVED_S // REPEATED_EVERY_S + 1):
        assert {vendor for vendor, _ in await states(hub)} == {"sunny", "other"}
        time[0] += REPEATED_EVERY_S
        await told.tell()
    assert await states(hub) == {("other", "fetch_site"): ("opened", began)}
    assert [tuple(row) for row in await hub.store.rows("SELECT process FROM breaker", {})] == [("lives",)]


async def test_what_a_clock_far_ahead_said_is_nobodys_word_once_it_is_put_right(hub: Hub, time: list[float]) -> None:
    time[0] += 86_400
    breakers = Breakers()
    await fail(breakers, THRESHOLD)
    await Told(hub.store, breakers, "ahead").tell()
    time[0] -= 86_400
    assert await states(hub) == {}
    others = Breakers()
    await call(others)
    await Told(hub.store, others, "right").tell()
    assert await hub.store.rows("SELECT process FROM breaker WHERE process = 'ahead'", {}) == []


async def test_it_stands_so_since_it_was_seen_whenever_it_could_be_written(
    hub: Hub, time: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    breakers = Breakers()
    told, apply = Told(hub.store, breakers, "a"), hub.store.apply
    await call(breakers)
    await told.tell()
    await fail(breakers, THRESHOLD)
    opened = int(time[0])

    async def away(*_: Write, serialize_on: str = "") -> list[int]:
        raise StoreTrouble("away")

    monkeypatch.setattr(hub.store, "apply", away)
    for _ in range(3):
        with pytest.raises(StoreTrouble):
            await told.tell()
        time[0] += 200
    monkeypatch.setattr(hub.store, "apply", apply)
    await told.tell()
    assert await states(hub) == {("sunny", "fetch_site"): ("opened", opened)}


async def test_the_worst_of_all_processes_counts(hub: Hub, time: list[float]) -> None:
    well, away = Breakers(), Breakers()
    await call(well)
    await call(well, hook="refresh")
    await fail(away, THRESHOLD)
    time[0] += 1
    for process, breakers in (("a", well), ("b", away), ("c", well)):
        await Told(hub.store, breakers, process).tell()
    found = await standing(hub.store)
    assert [(one.hook, one.state) for one in found] == [("fetch_site", "opened"), ("refresh", "closed")]
    assert worst_of(found) == found[0]
    assert {one.state for one in await standing(hub.store, besides="b")} == {"closed"}
    assert worst_of([]) is None


async def test_what_could_not_be_written_is_news_still(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object) -> list[int]:
        raise StoreTrouble("disk full")

    breakers = Breakers()
    await fail(breakers, THRESHOLD)
    told = Told(hub.store, breakers, "a")
    with monkeypatch.context() as patched:
        patched.setattr(hub.store, "apply", full)
        with pytest.raises(StoreTrouble):
            await told.tell()
    await told.tell()
    assert [state for state, _ in (await states(hub)).values()] == ["opened"]


@pytest.mark.parametrize("works", [True, False])
async def test_a_server_and_a_worker_tell_and_take_it_back(
    settings: Settings, registry: Registry, hub: Hub, works: bool
) -> None:
    async with _running(settings, registry, works) as other:
        await fail(other.breakers, THRESHOLD)
        async with asyncio.timeout(100):  # it is looked at every second
            while ("sunny", "fetch_site") not in await states(hub):
                await asyncio.sleep(0.05)
    assert await states(hub) == {}


@asynccontextmanager
async def _running(settings: Settings, registry: Registry, works: bool) -> AsyncIterator[Hub]:
    async with open_hub(settings, registry) as other, serve._working(other, works):
        yield other
