"""Polling: every site is tried, and a device's wrong clock invents no energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from joinder import Counter, Live, Readings, ReadingsQuery, hookimpl
from joinder.clock import now
from joinder.errors import RateLimited, TransientError
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import spending
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings.poll import poll
from joinder.store.tables import CounterRow, Interval
from services.strict_vendor import StrictVendor


class Scripted(StrictVendor):
    """Answers what the test says."""

    asked: list[str]
    answer: Callable[[ReadingsQuery], Readings]

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        self.asked.append(query.site.vendor_id)
        return self.answer(query)


@pytest.fixture
def vendor() -> Scripted:
    made = Scripted()
    made.asked, made.answer = [], lambda query: Readings()
    return made


@pytest.fixture
async def enrollment_id(hub: Hub, vendor: Scripted, account_id: str, credentials_id: str) -> str:
    consent = vendor.consent("ada")
    consent = replace(consent, grant=replace(consent.grant, site_ids=("a", "b", "c")))
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor=vendor.name, credentials_id=credentials_id)
        )
        return row.id


async def test_one_failing_site_does_not_keep_the_others_waiting(
    hub: Hub, vendor: Scripted, enrollment_id: str
) -> None:
    def answer(query: ReadingsQuery) -> Readings:
        if query.site.vendor_id == "a":
            raise TransientError("503")
        return Readings(live=Live(measured_at=datetime.now(UTC), solar_w=1.0))

    vendor.answer = answer
    with pytest.raises(TransientError), spending("poll"):
        await poll(hub, enrollment_id)
    assert sorted(vendor.asked) == ["a", "b", "c"]


async def test_a_spent_quota_ends_the_poll(hub: Hub, vendor: Scripted, enrollment_id: str) -> None:
    def answer(_: ReadingsQuery) -> Readings:
        raise RateLimited("429")

    vendor.answer = answer
    with pytest.raises(RateLimited):
        await poll(hub, enrollment_id)
    assert len(vendor.asked) == 1


async def test_after_a_spent_quota_the_sites_that_waited_come_first(
    hub: Hub, vendor: Scripted, enrollment_id: str
) -> None:
    def answer(query: ReadingsQuery) -> Readings:
        if len(vendor.asked) % 2 == 0:
            raise RateLimited("429")
        return Readings(live=Live(measured_at=datetime.now(UTC), solar_w=1.0))

    vendor.answer = answer
    for _ in range(3):
        with pytest.raises(RateLimited):
            await poll(hub, enrollment_id)
    read = {one for index, one in enumerate(vendor.asked) if index % 2 == 0}
    assert read == {"a", "b", "c"}


async def test_registers_out_of_order_are_left_out(hub: Hub, vendor: Scripted, enrollment_id: str) -> None:
    """A steady 3 kW: 50 Wh a minute. Once the clock is an hour ahead, once half an hour behind."""
    begun = now() // 900 * 900 - 3600
    stamps = [begun + 60 * minute for minute in range(46)]
    stamps[20] += 7200
    stamps[30] -= 1800
    script = iter([(at, 50.0 * minute) for minute, at in enumerate(stamps)])
    current: list[tuple[int, float]] = []

    def answer(query: ReadingsQuery) -> Readings:
        if query.site.vendor_id != "a":
            return Readings()
        at, wh = current[0]
        return Readings(counters=(Counter(at=datetime.fromtimestamp(at, UTC), solar_wh=1000.0 + wh),))

    vendor.answer = answer
    for step in script:
        current[:] = [step]
        assert await poll(hub, enrollment_id)
    async with hub.store.read() as session:
        kept = (await session.execute(select(CounterRow))).scalars().all()
        rows = (await session.execute(select(Interval).order_by(Interval.start))).scalars().all()  # type: ignore[arg-type]
    assert len(kept) == len(stamps) - 2
    assert [row.solar_wh for row in rows] == pytest.approx([750.0, 750.0, 750.0])


async def test_the_last_seconds_of_skew_are_nothing(hub: Hub, vendor: Scripted, enrollment_id: str) -> None:
    at = datetime.now(UTC) + timedelta(seconds=60)
    vendor.answer = lambda query: Readings(counters=(Counter(at=at, solar_wh=1.0),))
    await poll(hub, enrollment_id)
    async with hub.store.read() as session:
        assert len((await session.execute(select(CounterRow))).scalars().all()) == 3
