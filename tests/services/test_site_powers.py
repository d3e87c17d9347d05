"""What the sites of a page give, now and over the day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from joinder.clock import now
from joinder.energy import Live, Reading
from joinder.runtime.hub import Hub
from joinder.services.admin import site_names, site_powers
from joinder.store import readings
from services.conftest import Enroll


async def sites(hub: Hub) -> dict[str, str]:
    return {row[0]: row[1] for row in await hub.store.rows("SELECT enrollment_id, id FROM site", {})}


async def test_power_now_and_the_last_day_hour_by_hour_are_of_what_is_stored(hub: Hub, enroll: Enroll) -> None:
    sunny, dark, unread = await enroll("ada"), await enroll("bob"), await enroll("cyd")
    site = await sites(hub)
    hour = datetime.fromtimestamp(now() - now() % 3600, UTC)
    quarters = [hour - timedelta(hours=2) + timedelta(minutes=15 * index) for index in range(4)]
    rows = [(site[sunny], Reading(start=at, end=at + timedelta(minutes=15), solar_wh=250.0)) for at in quarters]
    old = hour - timedelta(hours=30)
    rows.append((site[dark], Reading(start=old, end=old + timedelta(minutes=15), solar_wh=9.0)))
    moment = datetime.fromtimestamp(now(), UTC)
    await hub.store.apply(
        readings.intervals("15mins", rows, now()),
        readings.live(site[sunny], Live(measured_at=moment, solar_w=1200.0), now()),
        readings.live(site[dark], Live(measured_at=moment - timedelta(hours=3), solar_w=700.0), now()),
    )
    found = await site_powers.of_enrollments(hub, [sunny, dark, unread])
    assert set(found) == {sunny}
    assert found[sunny].solar_w == 1200.0
    assert found[sunny].day_wh == 1000.0
    assert found[sunny].hours_wh[-3] == 1000.0
    assert [value for value in found[sunny].hours_wh if value is not None] == [1000.0]
    assert await site_powers.of_enrollments(hub, []) == {}


async def test_an_enrollment_is_called_by_its_site_where_it_has_one(hub: Hub, enroll: Enroll) -> None:
    enrollment_id = await enroll("ada")
    (name,) = (await hub.store.rows("SELECT name FROM site", {}))[0]
    assert await site_names.of_enrollments(hub, [enrollment_id, None, "enrl-aaaaaaaaaaaaaaaa"]) == {enrollment_id: name}
    assert await site_names.of_enrollments(hub, []) == {}
