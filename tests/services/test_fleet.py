"""The installation at a glance: counts, consents that end next, what happened in the last day, who joins, audits."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from joinder import clock
from joinder.clock import now
from joinder.runtime.hub import Hub, audit, open_hub
from joinder.services.admin import audits, enrollment_stats, join_attempts
from joinder.services.calls import activity
from joinder.services.calls.activity import HOUR_S, HOURS, Activity
from joinder.services.join import vendor_credentials
from joinder.services.records import events, health
from joinder.services.refusals import NotFound
from joinder.settings import Settings
from joinder.store.audit_chain import SYSTEM
from joinder.store.tables import Enrollment, GrantRow, JoinSession
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry
from services.conftest import Enroll


async def change(hub: Hub, enrollment_id: str, **columns: object) -> None:
    async with hub.store.write() as session:
        row, grant = await session.get(Enrollment, enrollment_id), await session.get(GrantRow, enrollment_id)
        for name, value in columns.items():
            setattr(grant if name.endswith("expires_at") else row, name, value)


async def test_counts_by_vendor_and_health(hub: Hub, enroll: Enroll) -> None:
    ids = [await enroll(name) for name in ("ada", "bob", "eve")]
    await change(hub, ids[1], health="needs_consent", paused_at=1)
    await change(hub, ids[2], health="needs_consent", health_actor="owner")
    await change(hub, await enroll("dee"), health="needs_consent", health_actor="nobody", status="unenrolled")
    assert [
        (one.vendor, one.health, one.count, one.paused, one.actor) for one in await enrollment_stats.counts(hub)
    ] == [
        ("strict", "connecting", 1, 0, "nobody"),
        ("strict", "needs_consent", 1, 0, "nobody"),
        ("strict", "needs_consent", 2, 1, "owner"),
    ]


def test_what_was_ended_on_purpose_asks_nobody_for_anything() -> None:
    assert "stay ended" in str(health.next_step("needs_consent", "unenrolled", "nobody"))
    assert health.next_step("needs_consent", "unenrolled", "owner") == health.NEXT_STEP["needs_consent"]


def test_every_state_has_somebody_or_nobody_who_must_act() -> None:
    assert {state: health.actor_of(state) for state in ("ok", "quarantined", "needs_consent", "suspected")} == {
        "ok": "nobody",
        "quarantined": "operator",
        "needs_consent": "owner",
        "suspected": "vendor",
    }


async def test_what_ends_next_is_the_consent_not_the_access_token(hub: Hub, enroll: Enroll) -> None:
    """The vendor's tokens are renewed every hour; what ends is the refresh token."""
    ids = {name: await enroll(name) for name in ("soon", "late", "never", "lost", "over")}
    for name, ends_in in (("soon", 100), ("late", 9000), ("lost", 50), ("over", -5)):
        await change(hub, ids[name], refresh_expires_at=now() + ends_in)
    await change(hub, ids["lost"], health="needs_consent")
    found = await enrollment_stats.ending(hub)
    assert [one.enrollment_id for one in found] == [ids["soon"], ids["late"]]
    assert found[0].ends_at - now() in range(95, 101)


async def test_a_vendor_that_is_not_installed_counts_by_its_token(settings: Settings, enroll: Enroll, hub: Hub) -> None:
    enrollment_id = await enroll("ada")
    async with open_hub(settings, Registry()) as bare:
        assert [one.enrollment_id for one in await enrollment_stats.ending(bare)] == [enrollment_id]
        assert [one.count for one in await enrollment_stats.counts(bare)] == [1]


@pytest.fixture
def at_noon(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    moment = [1_700_000_000.0 // 86400 * 86400 + 43200]
    monkeypatch.setattr(clock, "civil_time", lambda: moment[0])
    return moment


async def test_the_last_day_hour_by_hour(hub: Hub, at_noon: list[float]) -> None:
    other = Activity(hub.store, type(hub.metrics)())
    for hour in range(30):
        hub.metrics.polled("a", "ok")
        hub.metrics.polled("a", "skipped")
        hub.metrics.polled("b", "failed")
        await hub.activity.flush()
        other._metrics.polled("a", "ok")
        await asyncio.gather(other.flush(), hub.activity.flush())
        at_noon[0] += HOUR_S if hour < 29 else 0
    found = await activity.last_day(hub.store)
    assert found == {"refreshed": [0] * HOURS, "polled": [2] * HOURS, "failed": [1] * HOURS}
    at_noon[0] += 2 * HOUR_S
    assert (await activity.last_day(hub.store))["polled"][-3:] == [2, 0, 0]
    at_noon[0] += activity.KEPT_S
    hub.metrics.polled("a", "ok")
    await hub.activity.flush()
    assert len(await hub.store.rows("SELECT hour FROM tally", {})) == 1


async def test_what_cannot_be_written_is_counted_on(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.metrics.polled("a", "ok")

    async def full(*_: object) -> list[int]:
        hub.metrics.polled("a", "ok")
        raise StoreTrouble("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(hub.store, "apply", full)
        await hub.activity.flush()
    assert hub.metrics.tally == Counter({("a", "polled"): 2})
    await hub.activity.flush()
    assert (await activity.last_day(hub.store))["polled"][-1] == 2


async def test_it_is_written_now_and_then(hub: Hub, at_noon: list[float]) -> None:
    hub.activity._written_at = now()
    hub.metrics.polled("a", "ok")
    await hub.activity.flush_sometimes()
    assert hub.metrics.tally
    at_noon[0] += activity.WRITTEN_EVERY_S
    await hub.activity.flush_sometimes()
    assert not hub.metrics.tally


async def session_row(hub: Hub, account_id: str, number: int, **columns: object) -> None:
    values = {"created_at": now() - number, "expires_at": now() + 60, "flow_id": "flow-a", **columns}
    async with hub.store.write() as session:
        session.add(
            JoinSession(
                token_hash=bytes([number]),
                account_id=account_id,
                vendor="strict",
                cookie_hash=b"",
                secrets_sealed=b"",
                client_redirect_uri="https://a.example/",
                **values,
            )
        )


async def test_who_is_at_it_and_who_did_not_finish(hub: Hub, account_id: str) -> None:
    await session_row(hub, account_id, 1)
    await session_row(hub, account_id, 2, expires_at=now() - 1, attempts=3)
    await session_row(hub, account_id, 3, enrollment_id="enrl-x", used_at=now(), expires_at=now() - 1)
    ended = {"used_at": now(), "ended_at": now(), "end_code": "user_denied", "end_text": "The owner said no"}
    await session_row(hub, account_id, 4, flow_id="flow-b", **ended)  # it is over before its time is
    await session_row(hub, "acct-other", 5, reconnects_id="enrl-y")
    found = await join_attempts.latest(hub)
    assert [one.outcome for one in found] == ["under way", "unfinished", "joined", "unfinished", "under way"]
    assert [one.code for one in found] == [None, "session_expired", "joined", "user_denied", None]
    assert [one.text for one in found][1:4:2] == ["The owner did not finish within 30 minutes.", "The owner said no"]
    assert [one.tries for one in found] == [0, 3, 0, 0, 0]
    assert [one.reconnects_id for one in await join_attempts.latest(hub, account_id="acct-other")] == ["enrl-y"]
    assert len(await join_attempts.latest(hub, flow_id="flow-b")) == 1
    assert [one.tries for one in await join_attempts.latest(hub, limit=2)] == [0, 3]


async def test_audits_newest_first_over_all_accounts(hub: Hub, account_id: str) -> None:
    async with hub.store.write() as session:
        for number in range(12):
            audit(session, f"acct-{number % 2}", "command line", f"act.{number}", f"target-{number % 3}")
    everything = await audits.latest(hub, limit=100)
    begun = [row.target for row in everything if row.account_id == SYSTEM]
    assert sorted(begun) == sorted(["acct-0", "acct-1", account_id])  # where each account's chain begins
    assert len(everything) - len(begun) == 13  # and the account's own
    found = await audits.latest(hub, account_id="acct-1", limit=100)
    pages, before = [], None
    while page := await audits.latest(hub, account_id="acct-1", before=before, limit=4):
        pages, before = [*pages, *page], page[-1]
    assert [row.id for row in pages] == [row.id for row in found]
    assert sorted((row.at, row.id) for row in found) == [(row.at, row.id) for row in reversed(found)]
    assert {row.target for row in await audits.latest(hub, target="target-2", limit=100)} == {"target-2"}


async def test_events_newest_first_over_all_accounts(hub: Hub, enroll: Enroll) -> None:
    ids = [await enroll(name) for name in ("ada", "bob", "eve")]
    async with hub.store.write() as session:
        for number in range(9):
            row = await session.get(Enrollment, ids[number % 3])
            assert row is not None
            health.write_event(session, row, "enrollment.health", {"number": number})
        events.write(session, "acct-x", "webhook.disabled", {})
    found = await events.latest(hub, limit=100)
    assert len(found) == 13
    pages: list[events.EventView] = []
    while page := await events.latest(hub, before=pages[-1].row if pages else None, limit=5):
        pages += page
    assert [one.row.id for one in pages] == [one.row.id for one in found]
    mine = await events.latest(hub, enrollment_id=ids[0], limit=100)
    assert {one.data["enrollmentID"] for one in mine} == {ids[0]}
    assert {one.data["vendor"] for one in mine} == {"strict"}


async def test_what_stands_in_the_way_of_deleting_credentials(
    hub: Hub, account_id: str, credentials_id: str, enroll: Enroll
) -> None:
    await enroll("ada")
    used = await vendor_credentials.dependents(hub, account_id, credentials_id)
    assert (used.flows, used.enrollments) == (0, 1)
    with pytest.raises(NotFound):
        await vendor_credentials.dependents(hub, "acct-bbbbbbbbbbbbbbbb", credentials_id)
