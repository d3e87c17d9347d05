"""A paused enrollment is read by nobody and kept alive; release lets go all that stood still."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import col, select

from joinder import DeviceKind, Live, Readings, ReadingsQuery, Site, hookimpl
from joinder.clock import now, utc_now
from joinder.errors import Paused, TransientError
from joinder.runtime import due
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing
from joinder.services.grants import approvals, expiry, refresh, standing
from joinder.services.join import enrollments, stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import backfill, backfill_steps, intervals, live, poll, readings, sites
from joinder.services.readings.backfill_steps import work_one
from joinder.services.readings.intervals import Window
from joinder.services.refusals import Conflict, NotFound
from joinder.services.work import leases
from joinder.store.tables import Audit, Backfill, Due, Enrollment, Event, GrantRow, LiveRow
from services.conftest import Enroll
from services.strict_vendor import StrictVendor
from services.test_backfill import Keeper, noon, rows

__all__ = ["noon"]


class Watched(Keeper):
    """Tells which hooks were called."""

    called: list[str]

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        self.called.append("site")
        return await super().fetch_site(site_id)

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        self.called.append("readings")
        return await super().fetch_readings(query)


@pytest.fixture
def vendor(noon: None) -> Watched:
    made = Watched()
    made.called, made.queries, made.purposes, made.answer = [], [], [], rows
    made.site = Site(vendor_id="", name="Home", operational_since=utc_now() - timedelta(days=60))
    return made


async def due_at(hub: Hub, enrollment_id: str, kind: str) -> int:
    async with hub.store.read() as session:
        row = await session.get(Due, (kind, enrollment_id))
    assert row is not None
    return row.due_at


async def put_off(hub: Hub, enrollment_id: str) -> None:
    """Nothing is due, as after five strikes."""
    async with hub.store.write() as session:
        for row in (await session.execute(select(Due).where(col(Due.enrollment_id) == enrollment_id))).scalars():
            row.due_at = leases.NEVER


async def worked(hub: Hub, kind: str, enrollment_id: str) -> None:
    """A worker's turn at one row."""
    run = {"poll": poll.poll, "refresh": refresh.refresh_due, "backfill": work_one}[kind]

    async def once(hub: Hub, row_id: str) -> None:
        await run(hub, row_id)

    await due.run_one(hub, due.Kind(kind, once), due.DueRow(enrollment_id, 0))


async def told(hub: Hub, enrollment_id: str) -> tuple[list[str], list[str]]:
    """Types of its events, and the actions of its audit."""
    async with hub.store.read() as session:
        events = await session.execute(select(Event.type).where(col(Event.enrollment_id) == enrollment_id))
        audits = await session.execute(select(Audit.action).where(col(Audit.target) == enrollment_id))
        return sorted(events.scalars()), sorted(audits.scalars())


async def test_nobody_reads_it(hub: Hub, vendor: Watched, account_id: str, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await backfill.start(hub, account_id, "test", enrollment_id)
    await pausing.pause(hub, account_id, enrollment_id, "test")
    await worked(hub, "poll", enrollment_id)
    await worked(hub, "backfill", enrollment_id)
    (site_id,) = (await enrollments.get(hub, account_id, enrollment_id)).site_ids
    window = Window("hour", now() - 7200, now(), 50)
    for read in (
        lambda: poll.poll(hub, enrollment_id),
        lambda: sites.get_site(hub, account_id, site_id),
        lambda: live.get_live(hub, account_id, site_id),
        lambda: intervals.of_site(hub, account_id, site_id, DeviceKind.INVERTER, window),
    ):
        with pytest.raises(Paused):
            await read()
    assert vendor.called == []
    assert await due_at(hub, enrollment_id, "poll") == leases.NEVER
    assert await due_at(hub, enrollment_id, "backfill") == leases.NEVER
    row = (await enrollments.get(hub, account_id, enrollment_id)).row
    assert (row.health, row.failures) == ("connecting", 0)


async def test_what_is_stored_is_served_and_said_to_be_stale(
    hub: Hub, vendor: Watched, account_id: str, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    (site_id,) = (await enrollments.get(hub, account_id, enrollment_id)).site_ids
    window = Window("hour", now() - 86400, now() - 3600, 50)
    kind = DeviceKind.INVERTER
    assert (await intervals.of_site(hub, account_id, site_id, kind, window)).as_of is None
    async with hub.store.write() as session:
        session.add(LiveRow(site_id=site_id, measured_at=1, fetched_at=1, solar_w=1.0))
    await pausing.pause(hub, account_id, enrollment_id, "test")
    before = list(vendor.called)
    page = await intervals.of_site(hub, account_id, site_id, kind, Window("hour", now() - 4 * 86400, now() - 3600, 50))
    assert page.as_of is not None
    assert page.totals
    assert (await live.get_live(hub, account_id, site_id)).stale
    assert vendor.called == before


async def test_its_token_is_kept_alive(hub: Hub, vendor: Watched, account_id: str, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await pausing.pause(hub, account_id, enrollment_id, "test")
    async with hub.store.write() as session:
        await leases.schedule(session, "refresh", enrollment_id, now())
    await worked(hub, "refresh", enrollment_id)
    assert vendor.exchanges == 1
    async with hub.store.read() as session:
        grant = await session.get(GrantRow, enrollment_id)
    assert grant is not None
    assert (grant.version, grant.obtained_by) == (2, "refresh")
    await refresh.refresh(hub, enrollment_id)
    assert vendor.exchanges == 2
    assert (await enrollments.get(hub, account_id, enrollment_id)).row.paused_at is not None


async def test_a_new_consent_leaves_it_paused(hub: Hub, vendor: Watched, account_id: str, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await pausing.pause(hub, account_id, enrollment_id, "test")
    assert await enroll("ada") == enrollment_id
    await worked(hub, "poll", enrollment_id)
    assert vendor.called == []
    assert (await enrollments.get(hub, account_id, enrollment_id)).row.paused_at is not None


async def test_resuming_reads_at_once_and_goes_on_with_its_backfill(
    hub: Hub, vendor: Watched, account_id: str, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    await backfill.start(hub, account_id, "test", enrollment_id)
    for _ in range(2):
        await pausing.pause(hub, account_id, enrollment_id, "test")
    await worked(hub, "poll", enrollment_id)
    await worked(hub, "backfill", enrollment_id)
    for _ in range(2):
        await pausing.resume(hub, account_id, enrollment_id, "test")
    assert await due_at(hub, enrollment_id, "poll") <= now()
    assert await due_at(hub, enrollment_id, "backfill") <= now()
    await worked(hub, "poll", enrollment_id)
    assert "readings" in vendor.called
    events, audits = await told(hub, enrollment_id)
    assert [kind for kind in events if kind.endswith("ed")] == [
        "enrollment.created",
        "enrollment.paused",
        "enrollment.resumed",
    ]
    assert audits == ["enrollment.consent", "enrollment.pause", "enrollment.resume"]


async def test_a_resume_between_a_refused_turn_and_its_end_is_not_lost(
    hub: Hub, account_id: str, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The turn that found it paused must not put it off for ever afterwards."""
    enrollment_id = await enroll("ada")
    await backfill.start(hub, account_id, "test", enrollment_id)
    await pausing.pause(hub, account_id, enrollment_id, "test")
    ask, note = poll._asked_about, backfill_steps._note

    async def as_it_was_a_moment_ago(hub: Hub, row_id: str) -> Any:
        asked = await ask(hub, row_id)
        await pausing.resume(hub, account_id, row_id, "test")
        return asked

    monkeypatch.setattr(poll, "_asked_about", as_it_was_a_moment_ago)
    with pytest.raises(Paused):
        await poll.poll(hub, enrollment_id)
    assert await due_at(hub, enrollment_id, "poll") < leases.NEVER

    await pausing.pause(hub, account_id, enrollment_id, "test")

    async def noted(hub: Hub, job: Backfill, reason: str) -> None:
        await note(hub, job, reason)
        await pausing.resume(hub, account_id, enrollment_id, "test")

    monkeypatch.setattr(backfill_steps, "_note", noted)
    assert await work_one(hub, enrollment_id)
    assert await due_at(hub, enrollment_id, "backfill") <= now()


async def test_a_read_under_way_ends_and_the_next_site_is_left_out(
    hub: Hub, vendor: Watched, account_id: str, credentials_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent = vendor.consent("ada")
    consent = replace(consent, grant=replace(consent.grant, site_ids=("a", "b")))
    async with hub.store.write() as session:
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor=vendor.name, credentials_id=credentials_id)
        )
    pauses: list[asyncio.Task[Enrollment]] = []

    def answer(_: ReadingsQuery) -> Readings:
        pauses.append(asyncio.create_task(pausing.pause(hub, account_id, row.id, "test")))
        return Readings(live=Live(measured_at=utc_now(), solar_w=1.0))

    async def fetched(*arguments: object, **options: object) -> Readings:
        got = await fetch(*arguments, **options)  # type: ignore[arg-type]
        await asyncio.gather(*pauses)
        return got

    fetch, vendor.answer = readings.fetch, answer
    with monkeypatch.context() as patched:
        patched.setattr(readings, "fetch", fetched)
        with pytest.raises(Paused):
            await poll.poll(hub, row.id)
    assert vendor.called.count("readings") == 1
    assert await due_at(hub, row.id, "poll") == leases.NEVER
    assert len(await hub.store.rows("SELECT site_id FROM live", {})) == 1


async def quarantined(hub: Hub, enrollment_id: str, *, status: str = "enrolled") -> None:
    await put_off(hub, enrollment_id)
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        row.failures, row.status = 5, status
        await standing.settle(hub, session, row, "quarantined", reason="it broke")


async def test_release_tries_everything_that_stood_still(
    hub: Hub, vendor: StrictVendor, account_id: str, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    await backfill.start(hub, account_id, "test", enrollment_id)
    await quarantined(hub, enrollment_id)
    row = await pausing.release(hub, account_id, enrollment_id, "test")
    assert (row.health, row.health_reason, row.health_actor, row.failures) == ("connecting", None, None, 0)
    for kind in ("refresh", "poll", "backfill", expiry.KIND):
        assert await due_at(hub, enrollment_id, kind) <= now(), kind
    assert await due_at(hub, enrollment_id, approvals.KIND) == leases.NEVER
    with pytest.raises(Conflict, match="its health is connecting"):
        await pausing.release(hub, account_id, enrollment_id, "test")
    assert (await told(hub, enrollment_id))[1].count("enrollment.release") == 1


async def test_release_of_one_that_waits_for_approval_asks_again(hub: Hub, account_id: str, enroll: Enroll) -> None:
    """It has no token yet: neither a renewal nor a read could work."""
    enrollment_id = await enroll("ada")
    await quarantined(hub, enrollment_id, status="pendingvendor")
    row = await pausing.release(hub, account_id, enrollment_id, "test")
    assert (row.health, row.status) == ("pending_approval", "pendingvendor")
    assert await due_at(hub, enrollment_id, approvals.KIND) <= now()
    for kind in ("refresh", "poll"):
        assert await due_at(hub, enrollment_id, kind) == leases.NEVER, kind


async def test_resuming_one_the_vendor_rejected_polls_nothing(hub: Hub, account_id: str, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await put_off(hub, enrollment_id)
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        row.status = "rejected"
    await pausing.pause(hub, account_id, enrollment_id, "test")
    await pausing.resume(hub, account_id, enrollment_id, "test")
    assert await due_at(hub, enrollment_id, "poll") == leases.NEVER


async def test_only_its_own_account(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    for act in (pausing.pause, pausing.resume, pausing.release):
        for account, row_id in (("acct-bbbbbbbbbbbbbbbb", enrollment_id), ("acct-bbbbbbbbbbbbbbbb", "'")):
            with pytest.raises(NotFound):
                await act(hub, account, row_id, "test")


async def test_a_pause_does_not_count_as_a_failed_poll(
    hub: Hub, account_id: str, enroll: Enroll, vendor: Watched
) -> None:
    enrollment_id = await enroll("ada")

    def answer(_: ReadingsQuery) -> Readings:
        raise TransientError("503")

    await pausing.pause(hub, account_id, enrollment_id, "test")
    await worked(hub, "poll", enrollment_id)
    assert not [key for key in hub.metrics.tally if key[1] == "failed"]
    await pausing.resume(hub, account_id, enrollment_id, "test")
    vendor.answer = answer
    await worked(hub, "poll", enrollment_id)
    assert hub.metrics.tally[vendor.name, "failed"] == 1
