"""The loop that finds due work."""

from __future__ import annotations

import asyncio

import pytest

from joinder.clock import now
from joinder.errors import RateLimited
from joinder.runtime import due, worker
from joinder.runtime.hub import Hub
from joinder.services.work import leases
from joinder.store.tables import Due, Enrollment, GrantRow
from services.conftest import Enroll
from services.strict_vendor import StrictVendor


async def due_of(hub: Hub, kind: str, enrollment_id: str) -> Due:
    async with hub.store.read() as session:
        row = await session.get(Due, (kind, enrollment_id))
    assert row is not None
    return row


async def make_due(hub: Hub, kind: str, enrollment_id: str) -> None:
    async with hub.store.write() as session:
        await leases.schedule(session, kind, enrollment_id, now() - 1)


async def until(condition) -> None:  # type: ignore[no-untyped-def]
    for _ in range(500):
        if await condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not happen")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "LOOK_EVERY_S", 0.02)


async def test_due_refreshes_and_polls_are_done_and_planned_anew(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    await make_due(hub, "refresh", enrollment_id)

    async def done() -> bool:
        planned = [(await due_of(hub, kind, enrollment_id)) for kind in ("refresh", "poll")]
        return all(row.due_at > now() and row.lease is None for row in planned)

    async with worker.working(hub):
        await until(done)
    async with hub.store.read() as session:
        grant = await session.get(GrantRow, enrollment_id)
    assert grant is not None
    assert grant.version == 2


async def test_one_broken_row_does_not_stop_the_others(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    broken, sound = await enroll("ada"), await enroll("ben")
    async with hub.store.write() as session:
        enrollment = await session.get(Enrollment, broken)
        assert enrollment is not None
        enrollment.vendor = "gone"
    for one in (broken, sound):
        await make_due(hub, "refresh", one)

    async def both_planned() -> bool:
        return all([(await due_of(hub, "refresh", one)).due_at > now() for one in (broken, sound)])

    async with worker.working(hub):
        await until(both_planned)
    assert vendor.exchanges == 1


@pytest.mark.parametrize("is_deleted", [True, False])
async def test_what_is_deleted_while_it_is_read_is_no_trouble(
    hub: Hub, enroll: Enroll, caplog: pytest.LogCaptureFixture, is_deleted: bool
) -> None:
    """What was read of it finds no place any more; of one that is still there that is a bug."""
    enrollment_id = await enroll("ada")

    async def read(hub: Hub, one: str) -> None:
        if is_deleted:
            async with hub.store.write(one) as session:
                await session.delete(await session.get(Enrollment, one))
        refused = "INSERT INTO due (kind, enrollment_id, due_at, strikes) VALUES ('x', 'enrl-aaaaaaaaaaaaaaaa', 0, 0)"
        await hub.store.apply((refused, {}))

    await due.run_one(hub, due.Kind("poll", read), due.DueRow(enrollment_id, 0))
    errors = [one for one in caplog.records if one.levelname == "ERROR"]
    assert bool(errors) != is_deleted, errors


async def test_the_vendor_s_own_wait_is_kept(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    from datetime import timedelta

    enrollment_id = await enroll("ada")
    vendor.fail = RateLimited("429", retry_after=timedelta(hours=2))
    await make_due(hub, "refresh", enrollment_id)

    async def planned() -> bool:
        return (await due_of(hub, "refresh", enrollment_id)).due_at > now()

    async with worker.working(hub):
        await until(planned)
    assert (await due_of(hub, "refresh", enrollment_id)).due_at >= now() + 7100


async def test_stopping_gives_leases_back_and_keeps_the_token(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    started = asyncio.Event()

    async def slow(_: str) -> None:
        started.set()
        await asyncio.sleep(0.2)

    vendor.after = slow
    await make_due(hub, "refresh", enrollment_id)
    async with worker.working(hub):
        await started.wait()
    await hub.drain()
    assert (await due_of(hub, "refresh", enrollment_id)).lease is None
    async with hub.store.read() as session:
        grant = await session.get(GrantRow, enrollment_id)
    assert grant is not None
    assert (grant.version, grant.intent_id) == (2, None)
