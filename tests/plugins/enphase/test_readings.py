"""The calls a reading of the Monitoring API costs, its plans and limits, and whose systems it tells of."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from joinder import Callback, MeterRole, ReadingsQuery, Secrets
from joinder.errors import AuthorizationLost, NotSupported, RateLimited
from joinder.simulate.home import Home
from joinder_enphase.simulator import PARTNER_APP

NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # 12:00 in US/Pacific
QUARTER = timedelta(minutes=15)


async def test_a_week_is_five_calls(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    before = await stand.calls()
    found = await stand.readings(grant, site, NOON - timedelta(days=7), NOON)
    assert len(found.intervals) == 7 * 96
    assert await stand.calls() - before == 5


async def test_live_power_is_two_calls(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    await stand.readings(grant, site, NOON, NOON, live=True)
    calls = (await stand.state())["calls"]
    assert (calls["latest_telemetry"], calls["telemetry/battery"], calls["summary"]) == (1, 1, 1)  # one by fetch_site


async def test_a_charge_of_long_ago_is_no_state_of_now(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    long_ago = NOON - timedelta(days=30)
    assert (await stand.readings(grant, site, long_ago, long_ago + QUARTER)).devices == ()
    await stand.readings(grant, site, long_ago, long_ago + QUARTER, live=True)
    assert (await stand.state())["calls"]["telemetry/battery"] == 3


async def test_a_total_meter_shows_the_load(stand: Any) -> None:
    stand.freeze(NOON)
    partner = stand.context(PARTNER_APP)
    grant = (await stand.registry.handle_callback("enphase", partner, Callback(values=Secrets({})))).grant
    site = await stand.registry.fetch_site("enphase", partner, grant, grant.site_ids[103])
    assert [device.role for device in site.devices if device.role] == [MeterRole.PRODUCTION, MeterRole.LOAD]
    query = ReadingsQuery(site=site, start=NOON - timedelta(hours=1), end=NOON, live=True)
    found = await stand.registry.fetch_readings("enphase", partner, grant, query)
    home = Home(seed=int(site.vendor_id), timezone="US/Pacific", battery_wh=0)
    power = home.power(NOON.timestamp())
    assert (found.live.grid_w, found.live.load_w, found.live.battery_w) == (power.grid_w, power.load_w, None)
    first = home.energy(query.start.timestamp(), query.start.timestamp() + 900)
    assert found.intervals[0].load_wh == pytest.approx(first.load_wh, abs=1)


async def test_a_plan_without_device_level_data_is_no_lost_consent(open_stand: Any) -> None:
    async with open_stand(plan_lacks=("devices/micros",)) as stand:
        stand.freeze(NOON)
        grant, site = await stand.home()
        with pytest.raises(NotSupported):
            await stand.readings(grant, site, NOON - QUARTER, NOON, device_id=site.devices[0].vendor_id)


async def test_a_plan_without_one_access_control_still_reads_the_rest(open_stand: Any) -> None:
    async with open_stand(plan_lacks=("telemetry/battery", "battery_lifetime")) as stand:
        stand.freeze(NOON)
        grant, site = await stand.home()
        found = await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert found.warnings == ("Battery: the app's Enphase plan does not include it",)
        assert found.intervals[0].solar_wh is not None
        assert (found.intervals[0].charge_wh, found.intervals[0].load_wh) == (None, None)


async def test_an_expired_access_token_is_said_so(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    stand.freeze(NOON + timedelta(days=2))
    with pytest.raises(AuthorizationLost) as caught:
        await stand.readings(grant, site, NOON, NOON + QUARTER, live=True)
    assert grant.secrets["access_token"] not in f"{caught.value!r} {caught.value.detail}"


async def test_a_system_of_somebody_else(stand: Any) -> None:
    grant, _ = await stand.home()
    for site_id in ("4100002", "1", "../systems"):
        with pytest.raises(NotSupported):
            await stand.registry.fetch_site("enphase", stand.context(), grant, site_id)


async def test_the_minute_limit_stops_the_rest_of_the_calls(open_stand: Any) -> None:
    async with open_stand(per_minute=6) as stand:
        stand.cloud.clock.freeze(NOON.timestamp() + 10)
        grant, site = await stand.home()  # four calls
        found = await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert len(found.warnings) == 1
        assert found.intervals[0].solar_wh is not None
        assert found.intervals[0].import_wh is None
        with pytest.raises(RateLimited) as caught:
            await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert caught.value.retry_after == timedelta(seconds=50)
        assert await stand.calls() == 4 + 3 + 1


async def test_the_month_limit_lasts_to_the_months_end(open_stand: Any) -> None:
    async with open_stand(per_month=4) as stand:
        stand.freeze(NOON)
        grant, site = await stand.home()
        with pytest.raises(RateLimited) as caught:
            await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert caught.value.retry_after == datetime(2026, 12, 1, tzinfo=UTC) - NOON


async def test_many_owners_at_once(stand: Any) -> None:
    stand.freeze(NOON)
    homes = await asyncio.gather(*(stand.home() for _ in range(30)))
    found = await asyncio.gather(*(stand.readings(*home, NOON - timedelta(days=1), NOON) for home in homes))
    assert all(len(readings.intervals) == 96 for readings in found)
    assert len({grant.secrets["access_token"] for grant, _ in homes}) == 30
