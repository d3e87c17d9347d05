"""A grant is dead when its vendor has said so twice, and not of many at once (R8)."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest

from joinder.errors import AuthorizationLost
from joinder.grants import Context, Grant
from joinder.runtime.hub import Hub
from joinder.services.grants.refresh import refresh
from joinder.services.readings.vendor_calls import with_grant
from joinder.services.work import leases
from joinder.settings import Settings
from misbehaving import Served, http_answer
from reliability.over_http import at_vendor
from reliability.simulated import (
    DAY,
    HOUR,
    MINUTE,
    Clock,
    due_of,
    healths,
    move_due,
    renewals_until,
    rows_of,
    told,
)
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

FLEET = 6
OWNER_STATES = ("needs_consent", "lost_in_flight")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("joinder.clock.civil_time", made.time)
    return made


@pytest.fixture
def vendor(clock: Clock) -> StrictVendor:
    return StrictVendor(refuses=set())


async def refused(hub: Hub, enrollment_id: str) -> None:
    with pytest.raises(AuthorizationLost):
        await refresh(hub, enrollment_id)


async def access_token(ctx: Context, grant: Grant) -> str:
    return grant.secrets["access_token"]


async def test_one_refusal_is_no_death_and_the_second_after_minutes_is(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    vendor.refuses = {"ada"}
    await refused(hub, enrollment_id)
    assert (await due_of(hub, enrollment_id)).due_at == clock.at + 5 * MINUTE
    clock.at += 5 * MINUTE - 1
    await refused(hub, enrollment_id)
    assert await healths(hub) == {"degraded": 1}
    assert await told(hub, *OWNER_STATES) == []
    await renewals_until(hub, clock, clock.at + MINUTE)
    assert await healths(hub) == {"needs_consent": 1}
    assert (await due_of(hub, enrollment_id)).due_at == leases.NEVER
    assert vendor.exchanges == 3


async def test_the_access_token_serves_while_it_is_valid_and_mends_nothing(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    enrollment_id = await enroll("ada")
    vendor.refuses = {"ada"}
    await move_due(hub, enrollment_id, clock.at)
    for health in ("degraded", "needs_consent"):
        await renewals_until(hub, clock, clock.at + (1 if health == "degraded" else 10 * MINUTE))
        assert await with_grant(hub, enrollment_id, access_token) == "access-ada#1"
        assert await healths(hub) == {health: 1}
    clock.at += HOUR
    exchanges = vendor.exchanges
    with pytest.raises(AuthorizationLost):
        await with_grant(hub, enrollment_id, access_token)
    assert vendor.exchanges == exchanges
    assert len(await told(hub, "needs_consent")) == 1
    assert await told(hub, "connecting") == []


async def test_a_newer_token_in_between_wins(hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    vendor.refuses = {"ada"}
    await refused(hub, enrollment_id)
    clock.at += 10 * MINUTE

    async def consents_again(_: str) -> None:
        assert await enroll("ada") == enrollment_id

    vendor.before = consents_again
    await refused(hub, enrollment_id)
    enrollment, grant = await rows_of(hub, enrollment_id)
    assert (enrollment.health, grant.version, grant.refused_at) == ("connecting", 2, None)
    assert (await due_of(hub, enrollment_id)).lease is None
    assert await told(hub, *OWNER_STATES) == []


async def test_fifteen_of_a_hundred_refused_at_once_are_not_believed(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll, caplog: pytest.LogCaptureFixture
) -> None:
    """The incident of twenty: 15 accounts were called dead in bursts, and still refreshed fine."""
    ids = [await enroll(f"owner-{number}") for number in range(100)]
    begin = clock.at
    for number, enrollment_id in enumerate(ids[:15]):
        await move_due(hub, enrollment_id, begin + 6 * number)
    vendor.refuses = {f"owner-{number}" for number in range(15)}
    with caplog.at_level(logging.ERROR, "joinder.refresh"):
        await renewals_until(hub, clock, begin + 4 * MINUTE)
        assert await healths(hub) == {"connecting": 85, "degraded": 15}
        vendor.refuses -= {f"owner-{number}" for number in range(5)}
        await renewals_until(hub, clock, begin + 20 * MINUTE)
        assert await healths(hub) == {"connecting": 90, "suspected": 10}
        vendor.refuses = set()
        await renewals_until(hub, clock, begin + HOUR)
    assert await healths(hub) == {"connecting": 100}
    assert await told(hub, *OWNER_STATES) == []
    assert len(alarms(caplog)) == 1


def alarms(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "at once" in record.getMessage()]


async def test_it_asks_about_every_half_hour(hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll) -> None:
    ids = await a_refused_fleet(hub, vendor, clock, enroll)
    await renewals_until(hub, clock, clock.at + 10 * MINUTE)
    before, begin = vendor.exchanges, clock.at
    await renewals_until(hub, clock, begin + 6 * HOUR)
    rounds = (vendor.exchanges - before) / len(ids)
    assert 6 * HOUR / (33 * MINUTE) - 1 <= rounds <= 6 * HOUR / (27 * MINUTE) + 1


async def a_refused_fleet(hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll) -> list[str]:
    ids = [await enroll(f"owner-{number}") for number in range(FLEET)]
    vendor.refuses = {f"owner-{number}" for number in range(FLEET)}
    for enrollment_id in ids:
        await move_due(hub, enrollment_id, clock.at)
    return ids


async def test_refused_for_more_than_a_day_is_believed_once(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    await a_refused_fleet(hub, vendor, clock, enroll)
    await renewals_until(hub, clock, clock.at + 23 * HOUR)
    assert await healths(hub) == {"suspected": FLEET}
    assert await told(hub, *OWNER_STATES) == []
    await renewals_until(hub, clock, clock.at + 3 * HOUR)
    assert await healths(hub) == {"needs_consent": FLEET}
    exchanges = vendor.exchanges
    await renewals_until(hub, clock, clock.at + 3 * DAY)
    assert vendor.exchanges == exchanges
    assert len(await told(hub, "needs_consent")) == FLEET
    assert len(await told(hub, "suspected")) == FLEET


async def test_a_fleet_long_dead_does_not_hide_one_more_death(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    await a_refused_fleet(hub, vendor, clock, enroll)
    await renewals_until(hub, clock, clock.at + 2 * DAY)
    later = await enroll("later")
    vendor.refuses |= {"later"}
    await move_due(hub, later, clock.at)
    await renewals_until(hub, clock, clock.at + 10 * MINUTE)
    assert await healths(hub) == {"needs_consent": FLEET + 1}


async def test_fewer_than_five_are_no_burst(hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(20)]
    vendor.refuses = {f"owner-{number}" for number in range(4)}
    for enrollment_id in ids[:4]:
        await move_due(hub, enrollment_id, clock.at)
    await renewals_until(hub, clock, clock.at + 10 * MINUTE)
    assert await healths(hub) == {"needs_consent": 4, "connecting": 16}


async def test_five_of_more_than_a_hundred_are_no_burst_either(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    ids = [await enroll(f"owner-{number}") for number in range(101)]
    vendor.refuses = {f"owner-{number}" for number in range(5)}
    for enrollment_id in ids[:5]:
        await move_due(hub, enrollment_id, clock.at)
    await renewals_until(hub, clock, clock.at + 10 * MINUTE)
    assert await healths(hub) == {"needs_consent": 5, "connecting": 96}


async def test_tokens_that_end_hours_apart_are_one_incident_all_the_same(
    hub: Hub, vendor: StrictVendor, clock: Clock, enroll: Enroll
) -> None:
    """The first few are believed dead, one at a time; the brake recalls them when it takes hold."""
    vendor.life = timedelta(hours=20)
    ids = [await enroll(f"owner-{number}") for number in range(12)]
    begin = clock.at
    vendor.refuses = {f"owner-{number}" for number in range(12)}
    for number, enrollment_id in enumerate(ids):
        await move_due(hub, enrollment_id, begin + number * 20 * MINUTE)
    await renewals_until(hub, clock, begin + 5 * HOUR)
    assert await healths(hub) == {"suspected": 12}
    vendor.refuses = set()
    await renewals_until(hub, clock, begin + 6 * HOUR)
    assert await healths(hub) == {"connecting": 12}
    assert len(await told(hub, *OWNER_STATES)) == 4


async def test_a_whole_fleet_told_to_log_in_again_for_hours(
    fresh_database: Settings, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The incident of Tesla, early 2024. Another vendor's grant, refused in the same minutes, is not excused by it."""
    tesla = Served([http_answer(b'{"error": "login_required"}', "401 Unauthorized")])
    strict = Served([http_answer(b'{"error": "invalid_grant"}', "400 Bad Request")])
    servers = [await asyncio.start_server(each.handle, "127.0.0.1", 0) for each in (tesla, strict)]
    port, other_port = (each.sockets[0].getsockname()[1] for each in servers)
    async with at_vendor("tesla", port, fresh_database, other_port=other_port) as here:
        fleet = [await here.enroll(f"owner-{number}") for number in range(8)]
        begin = clock.at
        other = await here.elsewhere("ben")
        for number, enrollment_id in enumerate([*fleet, other]):
            await move_due(here.hub, enrollment_id, begin + number)
        with caplog.at_level(logging.ERROR, "joinder.refresh"):
            await renewals_until(here.hub, clock, begin + 4 * HOUR)
            assert await healths(here.hub) == {"suspected": 8, "needs_consent": 1}
            assert (await rows_of(here.hub, other))[0].health == "needs_consent"
            tesla.script = [http_answer(b'{"access_token": "new", "refresh_token": "newer", "expires_in": 28800}')]
            await renewals_until(here.hub, clock, begin + 5 * HOUR)
        assert await healths(here.hub) == {"connecting": 8, "needs_consent": 1}
        assert {event.enrollment_id for event in await told(here.hub, *OWNER_STATES)} == {other}
        assert {(await rows_of(here.hub, one))[1].version for one in fleet} == {2}
        assert len(alarms(caplog)) == 1
    for server in servers:
        server.close()
