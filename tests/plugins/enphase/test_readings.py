"""Sites and readings through the registry: days that change the clock, nights, single devices, failing endpoints."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from joinder import Callback, DeviceKind, MeterRole, Reading, ReadingsQuery, Secrets
from joinder.energy import PARTS_MISSING
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.physics import NO_LOAD
from joinder.simulate.home import Home
from joinder_enphase import api
from joinder_enphase.simulator import DEVELOPER_APP, PARTNER_APP

NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # 12:00 in US/Pacific
QUARTER = timedelta(minutes=15)
DATA = "/api/v4/systems"


async def test_a_home_and_its_devices(stand: Any) -> None:
    _, site = await stand.home()
    assert (site.vendor_id, site.name, site.timezone) == ("4100001", "Enphase home", "US/Pacific")
    assert site.operational_since == datetime(2026, 1, 1, 8, tzinfo=UTC)
    kinds = [device.kind for device in site.devices]
    assert (kinds.count(DeviceKind.INVERTER), kinds.count(DeviceKind.BATTERY)) == (6, 1)
    assert [device.role for device in site.devices if device.role] == [MeterRole.PRODUCTION, MeterRole.GRID]
    assert site.devices[-1].nameplate_wh == 10000.0


@pytest.mark.parametrize(
    ("midnight", "hours"),
    [
        (datetime(2026, 3, 8, 8, tzinfo=UTC), 23),
        (datetime(2026, 6, 1, 7, tzinfo=UTC), 24),
        (datetime(2026, 11, 1, 7, tzinfo=UTC), 25),
    ],
)
async def test_a_local_day_in_quarter_hours_and_as_a_whole(stand: Any, midnight: datetime, hours: int) -> None:
    end = midnight + timedelta(hours=hours)
    stand.cloud.clock.freeze((end + timedelta(days=2)).timestamp())
    grant, site = await stand.home()
    found = await stand.readings(grant, site, midnight, end)
    whole = await stand.readings(grant, site, midnight, end, resolution="day")
    assert not found.warnings
    assert [reading.start for reading in found.intervals] == [midnight + QUARTER * n for n in range(hours * 4)]
    _assert_measured(found.intervals)
    (day,) = whole.intervals
    assert (day.start, day.end, day.quality) == (midnight, end, "measured")
    energy = Home(seed=4100001, timezone="US/Pacific").energy(midnight.timestamp(), end.timestamp())
    for metric in ("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh"):
        assert getattr(day, metric) == pytest.approx(getattr(energy, metric), abs=3)
        quarters = sum(getattr(reading, metric) for reading in found.intervals)
        assert quarters == pytest.approx(getattr(energy, metric), abs=hours * 6)


def _assert_measured(readings: tuple[Reading, ...]) -> None:
    for reading in readings:
        assert reading.end - reading.start == QUARTER
        assert reading.quality == "measured"
        assert 0 <= (reading.soc_percent or -1) <= 100
        supply = reading.solar_wh + reading.discharge_wh - reading.charge_wh + reading.import_wh - reading.export_wh
        assert reading.load_wh == pytest.approx(supply, abs=3)


async def test_a_week_is_five_calls(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    before = sum((await stand.state())["calls"].values())
    found = await stand.readings(grant, site, NOON - timedelta(days=7), NOON)
    assert len(found.intervals) == 7 * 96
    assert sum((await stand.state())["calls"].values()) - before == 5


async def test_inverters_are_silent_at_night_and_silence_is_not_zero(stand: Any) -> None:
    stand.cloud.clock.freeze(datetime(2026, 6, 3, 4, tzinfo=UTC).timestamp())
    grant, site = await stand.home("two-sites", 1)
    midnight = datetime(2026, 6, 2, 4, tzinfo=UTC)
    found = await stand.readings(grant, site, midnight, midnight + timedelta(days=1))
    starts = [reading.start for reading in found.intervals]
    assert 40 < len(starts) < 60
    assert min(starts).hour >= 10
    assert all(reading.solar_wh and reading.load_wh is None for reading in found.intervals)
    assert (await stand.state())["calls"]["telemetry/production_micro"] == 1


async def test_nothing_outside_the_asked_span_and_nothing_after_the_last_report(open_stand: Any) -> None:
    async with open_stand(lag_s=3600) as stand:
        stand.cloud.clock.freeze(NOON.timestamp())
        grant, site = await stand.home()
        start = NOON - timedelta(hours=2, minutes=7)
        found = await stand.readings(grant, site, start, NOON)
        assert [reading.start for reading in found.intervals] == [
            NOON - timedelta(hours=2) + QUARTER * n for n in range(4)
        ]
        assert (await stand.readings(grant, site, NOON, NOON)).intervals == ()
        long_ago = NOON - timedelta(days=900)
        assert (await stand.readings(grant, site, long_ago, long_ago + QUARTER)).intervals == ()


async def test_days_before_the_site_and_the_running_day_are_left_out(stand: Any) -> None:
    stand.cloud.clock.freeze(datetime(2026, 1, 4, 20, tzinfo=UTC).timestamp())
    grant, site = await stand.home()
    start = datetime(2025, 12, 1, 8, tzinfo=UTC)
    found = await stand.readings(grant, site, start, datetime(2026, 1, 4, 20, tzinfo=UTC), resolution="day")
    assert [reading.start.day for reading in found.intervals] == [1, 2, 3]
    found = await stand.readings(grant, site, start, datetime(2026, 1, 5, 8, tzinfo=UTC), resolution="day")
    assert [reading.quality for reading in found.intervals] == ["measured"] * 3 + ["partial"]


async def test_a_site_without_time_zone_has_no_days(stand: Any) -> None:
    grant, site = await stand.home()
    with pytest.raises(NotSupported):
        await stand.readings(grant, replace(site, timezone=None), NOON - timedelta(days=2), NOON, resolution="day")


@pytest.mark.parametrize("hour", [2, 9, 12, 19])
async def test_live_power_balances(stand: Any, hour: int) -> None:
    now = datetime(2026, 6, 1, 7, 0, tzinfo=UTC) + timedelta(hours=hour)
    stand.cloud.clock.freeze(now.timestamp())
    grant, site = await stand.home()
    found = await stand.readings(grant, site, now, now, live=True)
    power = Home(seed=4100001, timezone="US/Pacific").power(now.timestamp())
    live = found.live
    assert live is not None
    assert live.measured_at == now
    assert (live.solar_w, live.battery_w, live.grid_w) == (power.solar_w, power.battery_w, power.grid_w)
    assert live.load_w == live.solar_w + live.battery_w + live.grid_w
    assert live.soc_percent is not None
    assert found.devices[0].soc_percent == live.soc_percent
    calls = (await stand.state())["calls"]
    assert (calls["latest_telemetry"], calls["telemetry/battery"], calls["summary"]) == (1, 1, 1)  # one by fetch_site


async def test_a_charge_of_long_ago_is_no_state_of_now(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    long_ago = NOON - timedelta(days=30)
    assert (await stand.readings(grant, site, long_ago, long_ago + QUARTER)).devices == ()
    await stand.readings(grant, site, long_ago, long_ago + QUARTER, live=True)
    assert (await stand.state())["calls"]["telemetry/battery"] == 3


async def test_live_of_inverters_alone_is_one_call(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home("two-sites", 1)
    before = (await stand.state())["calls"]
    live = (await stand.readings(grant, site, NOON, NOON, live=True)).live
    assert live is not None
    assert live.measured_at == NOON
    assert live.solar_w == Home(seed=4100002, timezone="US/Eastern", battery_wh=0).power(NOON.timestamp()).solar_w
    assert (live.battery_w, live.grid_w, live.load_w, live.soc_percent) == (None, None, None, None)
    after = (await stand.state())["calls"]
    assert {name: n - before.get(name, 0) for name, n in after.items() if n != before.get(name, 0)} == {"summary": 1}


async def test_a_total_meter_shows_the_load(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
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


async def test_single_devices(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    start = NOON - timedelta(hours=2)
    of_site = (await stand.readings(grant, site, start, NOON)).intervals
    for device in site.devices:
        found = (await stand.readings(grant, site, start, NOON, device_id=device.vendor_id)).intervals
        assert len(found) == 8
        assert {reading.device_id for reading in found} == {device.vendor_id}
        for alone, together in zip(found, of_site, strict=True):
            if device.kind is DeviceKind.BATTERY:
                assert (alone.charge_wh, alone.discharge_wh) == (together.charge_wh, together.discharge_wh)
            elif device.role is MeterRole.GRID:
                assert (alone.import_wh, alone.export_wh) == (together.import_wh, together.export_wh)
            else:
                share = 1 if device.kind is DeviceKind.METER else 6
                assert alone.solar_wh == pytest.approx(together.solar_wh / share, abs=2)


async def test_what_a_device_does_not_have(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    day = NOON - timedelta(days=2)
    with pytest.raises(NotSupported):
        await stand.readings(grant, site, day, NOON, device_id="unheard-of")
    with pytest.raises(NotSupported):
        await stand.readings(grant, site, day, NOON, device_id=site.devices[0].vendor_id, resolution="day")


async def test_a_plan_without_device_level_data_is_no_lost_consent(open_stand: Any) -> None:
    async with open_stand(plan_lacks=("devices/micros",)) as stand:
        stand.cloud.clock.freeze(NOON.timestamp())
        grant, site = await stand.home()
        with pytest.raises(NotSupported):
            await stand.readings(grant, site, NOON - QUARTER, NOON, device_id=site.devices[0].vendor_id)


async def test_a_plan_without_one_access_control_still_reads_the_rest(open_stand: Any) -> None:
    async with open_stand(plan_lacks=("telemetry/battery", "battery_lifetime")) as stand:
        stand.cloud.clock.freeze(NOON.timestamp())
        grant, site = await stand.home()
        found = await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert found.warnings == ("Battery: the app's Enphase plan does not include it",)
        assert found.intervals[0].solar_wh is not None
        assert (found.intervals[0].charge_wh, found.intervals[0].load_wh) == (None, None)


async def test_an_expired_access_token_is_said_so(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    stand.cloud.clock.freeze((NOON + timedelta(days=2)).timestamp())
    with pytest.raises(AuthorizationLost) as caught:
        await stand.readings(grant, site, NOON, NOON + QUARTER, live=True)
    assert grant.secrets["access_token"] not in f"{caught.value!r} {caught.value.detail}"


async def test_a_system_of_somebody_else(stand: Any) -> None:
    grant, _ = await stand.home()
    for site_id in ("4100002", "1", "../systems"):
        with pytest.raises(NotSupported):
            await stand.registry.fetch_site("enphase", stand.context(), grant, site_id)


@pytest.mark.parametrize(("fault", "settings"), [("5xx", {}), ("html", {}), ("cut", {}), ("lost", {})])
async def test_one_failing_endpoint_is_a_warning(stand: Any, fault: str, settings: dict[str, Any]) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home()
    await stand.fault(fault, f"{DATA}/4100001/telemetry/battery", **settings)
    found = await stand.readings(grant, site, NOON - QUARTER, NOON, live=True)
    assert len(found.intervals) == 1
    assert found.intervals[0].solar_wh is not None
    assert found.live is not None
    assert found.live.soc_percent is None
    assert [warning.partition(":")[0] for warning in found.warnings] == ["Battery", "State of charge"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("429", RateLimited), ("5xx", TransientError), ("html", UnexpectedPayload), ("lost", TransientError)],
)
async def test_when_all_fails_the_reason_is_raised(stand: Any, fault: str, expected: type[VendorError]) -> None:
    grant, site = await stand.home()
    await stand.fault(fault, DATA)
    now = stand.cloud.clock.now()
    with pytest.raises(VendorError) as caught:
        await stand.readings(grant, site, now - timedelta(hours=1), now, live=True)
    assert type(caught.value) is expected
    secrets = [*grant.secrets.values(), *stand.context().app.secrets.values()]
    assert not [secret for secret in secrets if secret in f"{caught.value!r} {vars(caught.value)}"]


async def test_a_slow_vendor_is_a_timeout(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, site = await stand.home()
    monkeypatch.setattr(api, "CALL_DEADLINE", 0.1)
    await stand.fault("slow", DATA, seconds=0.5)
    now = stand.cloud.clock.now()
    with pytest.raises(VendorTimeout):
        await stand.readings(grant, site, now, now, live=True)
    await asyncio.sleep(0.6)  # the simulator ends its answers before it is stopped


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
        assert sum((await stand.state())["calls"].values()) == 4 + 3 + 1


async def test_the_month_limit_lasts_to_the_months_end(open_stand: Any) -> None:
    async with open_stand(per_month=4) as stand:
        stand.cloud.clock.freeze(NOON.timestamp())
        grant, site = await stand.home()
        with pytest.raises(RateLimited) as caught:
            await stand.readings(grant, site, NOON - QUARTER, NOON)
        assert caught.value.retry_after == datetime(2026, 12, 1, tzinfo=UTC) - NOON


async def test_a_refused_api_key_is_the_operators_business(stand: Any) -> None:
    grant, site = await stand.home()
    context = stand.context({**DEVELOPER_APP, "apiKey": "key-of-another-app"})
    now = stand.cloud.clock.now()
    query = ReadingsQuery(site=site, start=now - timedelta(hours=1), end=now, live=True)
    with pytest.raises(AppCredentialsRejected):
        await stand.registry.fetch_readings("enphase", context, grant, query)


async def test_many_owners_at_once(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    homes = await asyncio.gather(*(stand.home() for _ in range(30)))
    found = await asyncio.gather(*(stand.readings(*home, NOON - timedelta(days=1), NOON) for home in homes))
    assert all(len(readings.intervals) == 96 for readings in found)
    assert len({grant.secrets["access_token"] for grant, _ in homes}) == 30


ONE_O_CLOCK = datetime(2026, 6, 1, 20, tzinfo=UTC)  # 13:00 in US/Pacific: for an hour a part of an odd home is silent


@pytest.mark.parametrize(("index", "metric"), [(0, "discharge_wh"), (1, "solar_wh"), (2, "solar_wh")])
async def test_quarter_hours_of_a_home_with_a_silent_part_are_partial(stand: Any, index: int, metric: str) -> None:
    stand.cloud.clock.freeze((ONE_O_CLOCK + timedelta(days=1)).timestamp())
    grant, site = await stand.home("odd-sites", index)
    hour = timedelta(hours=1)
    found = (await stand.readings(grant, site, ONE_O_CLOCK - hour, ONE_O_CLOCK + 2 * hour)).intervals
    assert [row.rule for row in found] == [None] * 4 + [PARTS_MISSING] * 4 + [None] * 4
    assert all(getattr(row, metric) is not None for row in found)
    assert {row.load_wh is None for row in found} == ({True} if index == 2 else {True, False})


async def test_live_power_of_a_home_with_a_silent_part_is_unknown(stand: Any) -> None:
    now = ONE_O_CLOCK + timedelta(minutes=30)
    stand.cloud.clock.freeze(now.timestamp())
    grant, site = await stand.home("odd-sites", 0)
    assert [device.stale for device in site.devices if device.kind is DeviceKind.BATTERY] == [False, True]
    live = (await stand.readings(grant, site, now, now, live=True)).live
    assert (live.battery_w, live.load_w) == (None, None)
    assert None not in (live.solar_w, live.grid_w)
    grant, site = await stand.home("odd-sites", 1)
    live = (await stand.readings(grant, site, now, now, live=True)).live
    assert (live.solar_w, live.grid_w, live.load_w) == (None, None, None)


async def test_a_live_load_below_zero_is_unknown_with_a_warning(stand: Any) -> None:
    stand.cloud.clock.freeze(NOON.timestamp())
    grant, site = await stand.home("odd-sites", 3)
    found = await stand.readings(grant, site, NOON, NOON, live=True)
    assert found.live.load_w is None
    assert found.warnings == (NO_LOAD,)
