"""Backfill: only what is missing, newest first, whatever interrupts it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from sqlmodel import select

from joinder import Device, DeviceKind, History, Limits, Reading, Readings, ReadingsQuery, Site, Vendor, clock, hookimpl
from joinder.clock import now
from joinder.errors import AuthorizationLost, NotSupported, PluginBug, RateLimited, TransientError
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import _purpose
from joinder.services.grants import standing
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import backfill, backfill_steps, history
from joinder.services.readings.backfill_steps import work_one
from joinder.services.refusals import Conflict, NotFound, Unprocessable
from joinder.services.work import leases
from joinder.store.tables import Backfill, Due, Enrollment, Event, Interval
from services.strict_vendor import StrictVendor

DAY = 86400
REACH = timedelta(days=30)
Answer = Callable[[ReadingsQuery], Readings]


def rows(query: ReadingsQuery) -> Readings:
    """One Wh in every period that begins inside."""
    step = DAY if query.resolution == "day" else 900
    first = -(-int(query.start.timestamp()) // step) * step
    starts = range(first, int(query.end.timestamp()), step)
    return Readings(
        intervals=tuple(
            Reading(
                start=datetime.fromtimestamp(at, UTC),
                end=datetime.fromtimestamp(at + step, UTC),
                device_id=query.device_id,
                solar_wh=1.0,
            )
            for at in starts
        )
    )


class Keeper(StrictVendor):
    """Keeps thirty days of quarter hours in windows of five, and days since the site was built."""

    queries: list[ReadingsQuery]
    purposes: list[str]
    answer: Answer
    before_answer: Callable[[], object] | None = None
    site: Site

    @hookimpl
    def describe_vendor(self) -> Vendor:
        vendor = super().describe_vendor()
        kept = (
            History(resolution="15mins", window=timedelta(days=5), reach=REACH),
            History(resolution="day", window=timedelta(days=40)),
        )
        return msgspec.structs.replace(vendor, limits=Limits(poll_every=timedelta(hours=1), history=kept))

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        return msgspec.structs.replace(self.site, vendor_id=site_id)

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        self.queries.append(query)
        self.purposes.append(_purpose.get())
        return self.answer(query)


@pytest.fixture(autouse=True)
def noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Days are counted here, and one that has just begun would be no whole one."""
    to_noon = 43200 - time.time() % DAY
    monkeypatch.setattr(clock, "civil_time", lambda: time.time() + to_noon)


@pytest.fixture
def vendor(noon: None) -> Keeper:
    made = Keeper()
    made.queries, made.purposes, made.answer = [], [], rows
    made.site = Site(vendor_id="", name="Home", operational_since=clock.utc_now() - timedelta(days=60))
    return made


@pytest.fixture
async def enrollment_id(hub: Hub, vendor: Keeper, account_id: str, credentials_id: str) -> str:
    consent = vendor.consent("ada")
    consent = replace(consent, grant=replace(consent.grant, site_ids=("a", "b")))
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor=vendor.name, credentials_id=credentials_id)
        )
        return row.id


async def begin(hub: Hub, account_id: str, enrollment_id: str, **span: int) -> Backfill:
    job, _ = await backfill.start(hub, account_id, "test", enrollment_id, **span)
    return job


async def work(hub: Hub, enrollment_id: str, most: int = 50) -> None:
    """As the worker does, while it is due."""
    for _ in range(most):
        if await backfill.due_at(hub, enrollment_id) > now():
            return
        assert await work_one(hub, enrollment_id)


async def shown(hub: Hub, account_id: str, job: Backfill) -> backfill.BackfillProgress:
    return await backfill.get(hub, account_id, job.id)


async def stored(hub: Hub) -> list[Interval]:
    async with hub.store.read() as session:
        return list((await session.execute(select(Interval))).scalars())


async def events(hub: Hub, kind: str) -> list[Event]:
    async with hub.store.read() as session:
        return list((await session.execute(select(Event).where(Event.type == kind))).scalars())  # type: ignore[arg-type]


async def missing(hub: Hub, enrollment_id: str, job: Backfill) -> list[history.FetchWindow]:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
    assert enrollment is not None
    limits = hub.registry.vendor(enrollment.vendor).limits
    return await history.missing(hub, job, limits, await history.sites_of(hub, enrollment, ask=False))


async def test_everything_the_vendor_keeps_is_fetched_once(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    job = await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    done = await shown(hub, account_id, job)
    assert (done.job.status, done.percent, done.job.reason) == ("done", 100.0, None)
    assert done.job.windows_done == done.job.windows_total == len(vendor.queries)
    assert await missing(hub, enrollment_id, job) == []
    found = await stored(hub)
    quarter_days = {row.start // DAY for row in found if row.resolution == "15mins"}
    whole_days = {row.start // DAY for row in found if row.resolution == "day"}
    assert len(quarter_days) == 30
    assert len(whole_days) == 60
    assert await backfill.due_at(hub, enrollment_id) == leases.NEVER
    assert [event.data["windows"] for event in await events(hub, "backfill.done")] == [len(vendor.queries)]
    assert set(vendor.purposes) == {"backfill"}

    asked = len(vendor.queries)
    again = await begin(hub, account_id, enrollment_id, end=now() - 3 * DAY)
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, again)).job.status == "done"
    assert len(vendor.queries) == asked


async def test_newest_first_over_all_sites_quarter_hours_before_days(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    for resolution in ("15mins", "day"):
        ends = [query.end for query in vendor.queries if query.resolution == resolution]
        assert all(newer >= older for newer, older in pairwise(ends))
    order = [query.resolution for query in vendor.queries]
    assert order == sorted(order)
    assert {query.site.vendor_id for query in vendor.queries[:2]} == {"a", "b"}


async def test_devices_with_a_series_of_their_own_are_fetched_too(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    kinds = {"i1": DeviceKind.INVERTER, "i2": DeviceKind.INVERTER, "b1": DeviceKind.BATTERY}
    devices = tuple(Device(vendor_id=name, kind=kind) for name, kind in kinds.items())
    vendor.site = msgspec.structs.replace(vendor.site, devices=devices)
    await begin(hub, account_id, enrollment_id, start=now() - 4 * DAY)
    await work(hub, enrollment_id)
    assert {query.device_id for query in vendor.queries} == {None, "i1", "i2"}


async def test_a_step_is_short_and_shows_how_far_it_got(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backfill_steps, "STEP_WINDOWS", 4)
    job = await begin(hub, account_id, enrollment_id)
    await work_one(hub, enrollment_id)
    half = await shown(hub, account_id, job)
    assert half.job.status == "running"
    assert half.job.windows_done == 4
    assert half.job.windows_total > 4
    assert 0 < half.percent < 100
    assert half.reached is not None
    assert abs(now() - 10 * DAY - half.reached) < DAY
    assert await backfill.due_at(hub, enrollment_id) <= now()


async def test_a_pause_the_vendor_asks_for_is_kept(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    def answer(query: ReadingsQuery) -> Readings:
        if len(vendor.queries) == 3:
            raise RateLimited("Too many calls", retry_after=timedelta(hours=1))
        return rows(query)

    vendor.answer = answer
    job = await begin(hub, account_id, enrollment_id)
    before = now()
    await work(hub, enrollment_id)
    waiting = await shown(hub, account_id, job)
    assert (waiting.job.status, waiting.job.reason) == ("running", "Too many calls")
    assert len(vendor.queries) == 3
    assert before + 3600 <= await backfill.due_at(hub, enrollment_id) <= now() + 3601


@pytest.mark.parametrize("cut", [asyncio.CancelledError, KeyError])
async def test_cut_off_anywhere_it_asks_at_most_one_window_twice(
    hub: Hub,
    vendor: Keeper,
    account_id: str,
    enrollment_id: str,
    cut: type[BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def lost(*_: object) -> bool:
        monkeypatch.undo()
        raise cut

    job = await begin(hub, account_id, enrollment_id)
    monkeypatch.setattr(backfill_steps, "_note_window", lost)
    with pytest.raises(cut):
        await work_one(hub, enrollment_id)
    async with hub.store.write(enrollment_id) as session:
        await leases.schedule(session, backfill.KIND, enrollment_id, now())
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "done"
    spans = [(q.site.vendor_id, q.resolution, q.start.date()) for q in vendor.queries]
    assert len(spans) - len(set(spans)) <= 1


async def test_a_withdrawn_consent_waits_and_a_new_one_lets_it_go_on(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    def refuse(_: ReadingsQuery) -> Readings:
        raise AuthorizationLost("Withdrawn")

    vendor.answer = refuse
    vendor.revoked.add("ada")
    job = await begin(hub, account_id, enrollment_id)
    async with hub.store.write() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        assert enrollment is not None
        await standing.settle(hub, session, enrollment, "needs_consent", reason="The owner withdrew the consent")
    await work(hub, enrollment_id)
    assert vendor.queries == []
    waiting = await shown(hub, account_id, job)
    assert (waiting.job.status, waiting.job.reason) == ("running", "The owner withdrew the consent")
    assert now() < await backfill.due_at(hub, enrollment_id) < leases.NEVER

    vendor.answer = rows
    async with hub.store.write() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        assert enrollment is not None
        await standing.settle(hub, session, enrollment, "ok")
        await leases.schedule(session, backfill.KIND, enrollment_id, now())
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "done"


async def test_what_the_vendor_does_not_have_is_asked_once(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    def answer(query: ReadingsQuery) -> Readings:
        if query.resolution == "day":
            raise NotSupported("No days")
        return rows(query)

    vendor.answer = answer
    job = await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "done"
    days = [query for query in vendor.queries if query.resolution == "day"]
    assert len({(query.site.vendor_id, query.start) for query in days}) == len(days) == 4


async def test_one_broken_window_does_not_keep_the_others_waiting(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest: list[ReadingsQuery] = []

    def answer(query: ReadingsQuery) -> Readings:
        newest.append(query)
        if (query.site.vendor_id, query.end) == (newest[0].site.vendor_id, newest[0].end):
            raise TransientError("503 for ever")
        return rows(query)

    vendor.answer = answer
    job = await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    stuck = await shown(hub, account_id, job)
    assert (stuck.job.status, stuck.job.reason) == ("running", "503 for ever")
    assert stuck.job.windows_total - stuck.job.windows_done == 1
    assert await backfill.due_at(hub, enrollment_id) > now()

    monkeypatch.setattr(backfill_steps, "GIVE_UP_S", -1)
    await work_one(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "failed"
    assert [event.data["reason"] for event in await events(hub, "backfill.failed")] == ["503 for ever"]


async def test_a_plugin_that_breaks_does_not_end_the_job_at_once(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str
) -> None:
    def answer(_: ReadingsQuery) -> Readings:
        raise PluginBug("Broken")

    vendor.answer = answer
    job = await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "running"
    assert len(vendor.queries) == backfill_steps.BROKEN_MOST


async def test_a_second_start_widens_the_one_that_runs(hub: Hub, account_id: str, enrollment_id: str) -> None:
    moment = now()
    first, is_new = await backfill.start(
        hub, account_id, "test", enrollment_id, start=moment - 20 * DAY, end=moment - 10 * DAY
    )
    second, is_new_too = await backfill.start(hub, account_id, "test", enrollment_id, start=moment - 15 * DAY)
    assert (is_new, is_new_too) == (True, False)
    assert second.id == first.id
    assert second.start == moment - 20 * DAY
    assert second.end >= moment


async def test_widened_while_its_last_window_is_fetched_it_goes_on(
    hub: Hub, vendor: Keeper, account_id: str, enrollment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await begin(hub, account_id, enrollment_id, start=now() - 3 * DAY)
    real = backfill_steps._after

    async def widened(hub: Hub, step: backfill_steps.Step, *, is_finished: bool) -> int:
        await begin(hub, account_id, enrollment_id, start=now() - 20 * DAY)
        monkeypatch.undo()
        return await real(hub, step, is_finished=is_finished)

    monkeypatch.setattr(backfill_steps, "_after", widened)
    await work(hub, enrollment_id)
    assert (await shown(hub, account_id, job)).job.status == "done"
    assert min(query.start for query in vendor.queries) <= datetime.fromtimestamp(now() - 20 * DAY, UTC)


async def test_cancelled_it_stops_after_the_window_under_way(
    hub: Hub, account_id: str, enrollment_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await begin(hub, account_id, enrollment_id)
    stop, reached = asyncio.Event(), asyncio.Event()
    fetched: list[history.FetchWindow] = []

    async def fetch(hub: Hub, window: history.FetchWindow) -> None:
        fetched.append(window)
        reached.set()
        await stop.wait()

    monkeypatch.setattr(backfill_steps, "_fetch", fetch)
    task = asyncio.create_task(work_one(hub, enrollment_id))
    await reached.wait()
    assert await work_one(hub, enrollment_id) is False  # the lease is taken
    await backfill.cancel(hub, account_id, "test", job.id)
    stop.set()
    await task
    assert len(fetched) == 1
    assert (await shown(hub, account_id, job)).job.status == "cancelled"
    assert await backfill.due_at(hub, enrollment_id) == leases.NEVER
    await backfill.cancel(hub, account_id, "test", job.id)


async def test_what_cannot_work_is_refused(hub: Hub, account_id: str, enrollment_id: str) -> None:
    with pytest.raises(Unprocessable, match="past"):
        await begin(hub, account_id, enrollment_id, start=now() + DAY)
    with pytest.raises(NotFound):
        await begin(hub, "acct-aaaaaaaaaaaaaaaa", enrollment_id)
    job = await begin(hub, account_id, enrollment_id)
    await work(hub, enrollment_id)
    with pytest.raises(Conflict, match="done"):
        await backfill.cancel(hub, account_id, "test", job.id)


async def test_the_due_row_says_whose_budget_it_is_on(
    hub: Hub, account_id: str, enrollment_id: str, credentials_id: str
) -> None:
    await begin(hub, account_id, enrollment_id)
    async with hub.store.read() as session:
        row = await session.get(Due, (backfill.KIND, enrollment_id))
    assert row is not None
    assert row.app == credentials_id
