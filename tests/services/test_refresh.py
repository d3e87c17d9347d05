"""No grant is ever lost (the design's reliability notes, §0)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    OutcomeUnknown,
    RateLimited,
    TransientError,
    UnexpectedPayload,
)
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import refresh as refresh_module
from joinder.services.grants import saving
from joinder.services.grants.refresh import refresh, refresh_due
from joinder.services.join import enrollments, vendor_credentials
from joinder.services.records.opened_grant import open_grant
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.store.tables import Due, Enrollment, GrantRow, VendorCredentials
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor


async def grant_of(hub: Hub, enrollment_id: str) -> GrantRow:
    async with hub.store.read() as session:
        row = await session.get(GrantRow, enrollment_id)
    assert row is not None
    return row


async def token_of(hub: Hub, enrollment_id: str) -> str:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        assert enrollment is not None
        await hub.vault.unlock(session, enrollment.account_id)
    row = await grant_of(hub, enrollment_id)
    return open_grant(hub, enrollment.account_id, row).secrets["refresh_token"]


async def health_of(hub: Hub, enrollment_id: str) -> str:
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, enrollment_id)
    assert enrollment is not None
    return enrollment.health


def move_on(monkeypatch: pytest.MonkeyPatch, seconds: int) -> None:
    later = refresh_module.now() + seconds
    monkeypatch.setattr("joinder.clock.civil_time", lambda: float(later))


async def due_of(hub: Hub, enrollment_id: str) -> Due:
    async with hub.store.read() as session:
        row = await session.get(Due, ("refresh", enrollment_id))
    assert row is not None
    return row


async def test_many_callers_share_one_exchange(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    vendor.latency_s = 0.1
    await asyncio.gather(*(refresh(hub, enrollment_id, newer_than=1) for _ in range(50)))
    assert (vendor.exchanges, await token_of(hub, enrollment_id)) == (1, "ada#2")
    row = await grant_of(hub, enrollment_id)
    assert (row.version, row.refresh_count, row.obtained_by, row.intent_id) == (2, 1, "refresh", None)


async def test_the_lineage_tells_where_the_last_tokens_came_from(
    hub: Hub, account_id: str, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    monkeypatch.setattr(saving, "VERSIONS_KEPT", 3)
    monkeypatch.setattr(saving, "FORGET_EVERY", 2)
    for _ in range(4):
        await refresh(hub, enrollment_id)
    rows = await enrollments.lineage(hub, account_id, enrollment_id)
    stored = await hub.store.rows("SELECT count(*) FROM grant_version WHERE enrollment_id = :id", {"id": enrollment_id})
    assert stored[0][0] == 4  # of the versions 1 to 5: the fourth forgot what was three before it
    assert [(row.version, row.obtained_by) for row in rows] == [(number, "refresh") for number in (5, 4, 3)]
    async with hub.store.read() as session:
        grant = await session.get(GrantRow, enrollment_id)
    assert grant is not None
    assert (rows[0].version, rows[0].expires_at) == (grant.version, grant.expires_at)


async def test_two_processes_never_use_one_token_twice(
    hub: Hub, settings: Settings, registry: Registry, vendor: StrictVendor, enroll: Enroll
) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(8)]
    vendor.latency_s = 0.02
    async with open_hub(settings, registry) as other:
        for version in range(1, 9):
            both = [refresh(each, one, newer_than=version) for one in ids for each in (hub, other)]
            await asyncio.gather(*both)
    assert (vendor.reuse_seen, vendor.overlaps, len(vendor.revoked)) == (0, 0, 0)
    assert vendor.exchanges == 8 * 8


async def make_due(hub: Hub, enrollment_id: str) -> None:
    async with hub.store.write(enrollment_id) as session:
        await leases.schedule(session, "refresh", enrollment_id, refresh_module.now() - 1)


async def test_workers_that_find_the_same_row_renew_it_once(
    hub: Hub, settings: Settings, registry: Registry, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    vendor.latency_s = 0.1
    await make_due(hub, enrollment_id)
    async with open_hub(settings, registry) as other:
        await asyncio.gather(refresh_due(hub, enrollment_id), refresh_due(other, enrollment_id))
        await refresh_due(other, enrollment_id)
    assert vendor.exchanges == 1
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_a_caller_is_not_content_with_a_worker_that_stood_back(
    hub: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    worker = asyncio.create_task(refresh_due(hub, enrollment_id))  # it is not due
    while not hub.refreshes:
        await asyncio.sleep(0)
    await refresh(hub, enrollment_id)
    await worker
    assert vendor.exchanges == 1


async def test_what_waits_for_its_turn_at_a_stop_is_not_begun(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(2 * hub.strict_refreshes._value)]
    answers = asyncio.Event()

    async def held_back(owner: str) -> None:
        await answers.wait()

    vendor.before = held_back
    for enrollment_id in ids[1:]:
        await make_due(hub, enrollment_id)
    working = [asyncio.create_task(refresh_due(hub, enrollment_id)) for enrollment_id in ids[1:]]
    while not hub.strict_refreshes.locked() or vendor.exchanges < 4:
        await asyncio.sleep(0.01)
    asked = asyncio.create_task(refresh(hub, ids[0]))
    await asyncio.sleep(0)
    hub.stopping.set()
    answers.set()
    await asyncio.gather(*working)
    with pytest.raises(TransientError, match="stopping"):
        await asked
    assert vendor.exchanges == 4


async def test_a_cancelled_caller_loses_nothing(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    rotated, go_on = asyncio.Event(), asyncio.Event()

    async def pause(_: str) -> None:
        rotated.set()
        await go_on.wait()

    vendor.after = pause
    caller = asyncio.create_task(refresh(hub, enrollment_id))
    await rotated.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await hub.drain()
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_a_caller_who_stops_waiting_loses_nothing(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    vendor.latency_s = 0.3
    with pytest.raises(TransientError):
        await refresh(hub, enrollment_id, wait_s=0.05)
    await hub.drain()
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_the_intent_is_on_disk_before_the_vendor_is_called(
    hub: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    seen: list[tuple[Any, ...]] = []

    async def look(_: str) -> None:
        row, due = await grant_of(hub, enrollment_id), await due_of(hub, enrollment_id)
        seen.append((row.intent_id is not None, row.intent_count, due.lease is not None))

    vendor.before = look
    await refresh(hub, enrollment_id)
    assert seen == [(True, 1, True)]
    assert (await due_of(hub, enrollment_id)).lease is None


async def test_a_slow_vendor_is_an_unknown_outcome_and_the_token_waits(
    hub: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    vendor.latency_s = 3.0
    with pytest.raises(OutcomeUnknown):
        await refresh(hub, enrollment_id)
    assert (await grant_of(hub, enrollment_id)).intent_count == 1
    vendor.latency_s = 0.0
    with pytest.raises(TransientError):
        await refresh(hub, enrollment_id)
    assert vendor.exchanges == 1


async def cut_off_after_rotation(hub: Hub, vendor: StrictVendor, enrollment_id: str, monkeypatch: Any) -> None:
    async def cut(_: str) -> None:
        raise OutcomeUnknown("cut")

    vendor.after = cut
    with pytest.raises(OutcomeUnknown):
        await refresh(hub, enrollment_id)
    vendor.after = None
    move_on(monkeypatch, 60)


async def test_a_lost_answer_is_repaired_where_the_vendor_has_grace(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    vendor.grace = True
    enrollment_id = await enroll("ada")
    await cut_off_after_rotation(hub, vendor, enrollment_id, monkeypatch)
    await refresh(hub, enrollment_id)
    assert await token_of(hub, enrollment_id) == "ada#3"
    assert (await health_of(hub, enrollment_id), (await grant_of(hub, enrollment_id)).intent_count) == ("connecting", 0)


async def test_a_lost_answer_of_a_strict_vendor_is_called_by_its_name(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    await cut_off_after_rotation(hub, vendor, enrollment_id, monkeypatch)
    for after_s, health in ((0, "degraded"), (301, "lost_in_flight")):
        move_on(monkeypatch, after_s)
        with pytest.raises(AuthorizationLost):
            await refresh(hub, enrollment_id)
        assert await health_of(hub, enrollment_id) == health
    assert (await due_of(hub, enrollment_id)).due_at == leases.NEVER
    assert vendor.exchanges == 3


async def test_one_refusal_is_no_proof_of_death(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    vendor.fail = AuthorizationLost("no")
    for _ in range(3):
        with pytest.raises(AuthorizationLost):
            await refresh(hub, enrollment_id)
    assert await health_of(hub, enrollment_id) == "degraded"
    move_on(monkeypatch, 301)
    with pytest.raises(AuthorizationLost):
        await refresh(hub, enrollment_id)
    assert await health_of(hub, enrollment_id) == "needs_consent"
    assert (await due_of(hub, enrollment_id)).due_at == leases.NEVER


async def test_a_refusal_that_passes_leaves_no_trace(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    vendor.fail = AuthorizationLost("a hiccup")
    with pytest.raises(AuthorizationLost):
        await refresh(hub, enrollment_id)
    vendor.fail = None
    await refresh(hub, enrollment_id)
    row = await grant_of(hub, enrollment_id)
    assert (await health_of(hub, enrollment_id), row.refused_at, row.version) == ("connecting", None, 2)


@pytest.mark.parametrize("error", [TransientError("503"), RateLimited("429"), UnexpectedPayload("html")])
async def test_passing_trouble_keeps_the_token_and_tries_again(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, error: Exception
) -> None:
    enrollment_id = await enroll("ada")
    before = (await due_of(hub, enrollment_id)).due_at
    vendor.fail = error
    with pytest.raises(type(error)):
        await refresh(hub, enrollment_id)
    due = await due_of(hub, enrollment_id)
    assert (due.lease, due.due_at < before, await token_of(hub, enrollment_id)) == (None, True, "ada#1")


async def test_a_refused_app_is_one_alarm_for_all_its_grants(
    hub: Hub,
    vendor: StrictVendor,
    enroll: Enroll,
    account_id: str,
    credentials_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = [await enroll(owner) for owner in ("ada", "ben", "cy")]
    vendor.fail = AppCredentialsRejected("invalid_client")
    with pytest.raises(AppCredentialsRejected):
        await refresh(hub, ids[0])
    with pytest.raises(TransientError):
        await refresh(hub, ids[1])
    assert {await health_of(hub, one) for one in ids} == {"connecting"}
    move_on(monkeypatch, 301)
    with pytest.raises(AppCredentialsRejected):
        await refresh(hub, ids[1])
    assert {await health_of(hub, one) for one in ids} == {"operator_action"}
    with pytest.raises(AppCredentialsRejected):
        await refresh(hub, ids[2])
    assert vendor.exchanges == 2, "the vendor is not asked again before the next test"
    vendor.fail = None
    patch = {"credentials": {"clientSecret": "a-better-secret"}}
    await vendor_credentials.change(hub, account_id, credentials_id, "test", patch=patch)
    async with hub.store.read() as session:
        row = await session.get(VendorCredentials, credentials_id)
    assert row is not None
    assert row.rejected_at is None
    await refresh(hub, ids[1])
    assert await health_of(hub, ids[1]) == "connecting"


async def test_a_disk_in_trouble_is_waited_out(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, monkeypatch: pytest.MonkeyPatch
) -> None:
    enrollment_id = await enroll("ada")
    apply, failures = hub.store.apply, [2]

    async def flaky(*statements: Any, serialize_on: str = "") -> list[int]:
        if failures[0] and statements[0][0].startswith('UPDATE "grant"'):
            failures[0] -= 1
            raise StoreTrouble("disk I/O error")
        return await apply(*statements, serialize_on=serialize_on)

    monkeypatch.setattr(hub.store, "apply", flaky)
    await refresh(hub, enrollment_id)
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_a_token_that_comes_after_its_lease_is_kept_when_nobody_has_a_newer(
    hub: Hub, vendor: StrictVendor, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")

    async def steal(_: str) -> None:
        async with hub.store.write() as session:
            due = await session.get(Due, ("refresh", enrollment_id))
            assert due is not None
            due.lease = "somebody-else"

    vendor.after = steal
    await refresh(hub, enrollment_id)
    assert await token_of(hub, enrollment_id) == "ada#2"


async def test_a_newer_token_is_never_overwritten(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")

    async def newer(_: str) -> None:
        async with hub.store.write() as session:
            row = await session.get(GrantRow, enrollment_id)
            assert row is not None
            row.version = 7

    vendor.after = newer
    await refresh(hub, enrollment_id)
    assert (await grant_of(hub, enrollment_id)).version == 7


async def test_a_lease_left_by_a_dead_process_ends_by_itself(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        assert await leases.take(session, "refresh", enrollment_id, 0.5)
    await refresh(hub, enrollment_id)
    assert vendor.exchanges == 1


async def test_a_lease_of_another_boot_does_not_count(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    async with hub.store.write() as session:
        due = await session.get(Due, ("refresh", enrollment_id))
        assert due is not None
        due.lease, due.lease_boot, due.lease_until = "old", "another-boot", 1e12
    await refresh(hub, enrollment_id, wait_s=5)


async def test_strict_exchanges_in_flight_are_capped(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(12)]
    most, four = 0, asyncio.Event()

    async def count(_: str) -> None:
        nonlocal most
        most = max(most, sum(vendor.in_flight.values()))
        if most >= 4:
            four.set()
        await four.wait()

    vendor.before = count
    await asyncio.gather(*(refresh(hub, one) for one in ids))
    assert most == 4
    assert vendor.exchanges == 12
