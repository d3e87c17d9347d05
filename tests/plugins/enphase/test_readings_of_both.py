"""What holds of sites and readings through either of the maker's APIs: odd days, nights, devices, failing endpoints."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from enphase_stands import grid_services_stand, monitoring_stand
from joinder import DeviceKind, MeterRole, Reading, ReadingsQuery
from joinder.energy import PARTS_MISSING
from joinder.errors import (
    AppCredentialsRejected,
    NotSupported,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.physics import NO_LOAD
from joinder.simulate.home import Home

NOON = datetime(2026, 11, 20, 20, 0, tzinfo=UTC)  # 12:00 in US/Pacific
ONE_O_CLOCK = datetime(2026, 6, 1, 20, tzinfo=UTC)  # 13:00 there: for an hour a part of an odd home is silent
QUARTER = timedelta(minutes=15)
ENERGIES = ("solar_wh", "charge_wh", "discharge_wh", "import_wh", "export_wh", "load_wh")
Open = Callable[..., AbstractAsyncContextManager[Any]]


@pytest.fixture(params=[monitoring_stand, grid_services_stand], ids=["enphase", "enphasevpp"])
def open_stand(request: pytest.FixtureRequest) -> Open:
    opened: Open = request.param
    return opened


@pytest.fixture
async def stand(open_stand: Open) -> AsyncIterator[Any]:
    async with open_stand() as opened:
        yield opened


async def test_a_home_and_its_devices(stand: Any) -> None:
    _, site = await stand.home()
    assert (site.vendor_id, site.name) == (str(stand.system.system_id), stand.system.name)
    assert (site.timezone, site.operational_since) == ("US/Pacific", datetime(2026, 1, 1, 8, tzinfo=UTC))
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
    stand.freeze(end + timedelta(days=2))
    grant, site = await stand.home()
    found = await stand.readings(grant, site, midnight, end)
    whole = await stand.readings(grant, site, midnight, end, resolution="day")
    assert not found.warnings
    assert [reading.start for reading in found.intervals] == [midnight + QUARTER * n for n in range(hours * 4)]
    _assert_measured(found.intervals, stand.truth)
    (day,) = whole.intervals
    assert (day.start, day.end, day.quality) == (midnight, end, "measured")
    energy = stand.truth.energy(midnight.timestamp(), end.timestamp())
    for metric in ENERGIES:
        assert getattr(day, metric) == pytest.approx(getattr(energy, metric), abs=3)
        quarters = sum(getattr(reading, metric) for reading in found.intervals)
        assert quarters == pytest.approx(getattr(energy, metric), abs=hours * 6)


def _assert_measured(readings: tuple[Reading, ...], truth: Home) -> None:
    for reading in readings:
        assert reading.end - reading.start == QUARTER
        assert reading.quality == "measured"
        assert 0 < (reading.soc_percent or -1) <= 100
        load_wh = truth.energy(reading.start.timestamp(), reading.end.timestamp()).load_wh
        assert reading.load_wh == pytest.approx(load_wh, abs=3)


async def test_inverters_are_silent_at_night_and_silence_is_not_zero(stand: Any) -> None:
    """Without meters: five-minute rows of one call, no load, no grid."""
    noon = datetime(2026, 6, 3, 16, tzinfo=UTC)
    stand.freeze(noon)
    grant, site, system = await stand.bare_home()
    midnight = datetime.fromtimestamp(system.midnight(noon.date() - timedelta(days=1)), UTC)
    before = await stand.calls()
    found = await stand.readings(grant, site, midnight, midnight + timedelta(days=1))
    assert await stand.calls() - before == 1
    starts = [reading.start for reading in found.intervals]
    assert 40 < len(starts) < 60
    assert min(starts) > midnight + timedelta(hours=4)
    assert all(reading.solar_wh and reading.load_wh is None for reading in found.intervals)
    total = system.home.energy(midnight.timestamp(), midnight.timestamp() + 86400)
    assert sum(reading.solar_wh or 0 for reading in found.intervals) == pytest.approx(total.solar_wh, rel=0.01)


@pytest.mark.parametrize("hour", [7, 20])  # UTC: the sun is down, the sun is up
async def test_live_power_of_inverters_alone_is_one_call_for_the_summary(stand: Any, hour: int) -> None:
    now = datetime(2026, 6, 3, hour, tzinfo=UTC)
    stand.freeze(now)
    grant, site, system = await stand.bare_home()
    before = await stand.calls()
    live = (await stand.readings(grant, site, now, now, live=True)).live
    assert (live.measured_at, live.solar_w) == (now, system.home.power(now.timestamp()).solar_w)
    assert (live.battery_w, live.grid_w, live.load_w, live.soc_percent) == (None, None, None, None)
    assert await stand.calls() - before == 1
    assert not [name for name in (await stand.state())["calls"] if "latest_telemetry" in name]


async def test_nothing_outside_the_asked_span_and_nothing_after_the_last_report(open_stand: Open) -> None:
    async with open_stand(lag_s=3600) as stand:
        stand.freeze(NOON)
        grant, site = await stand.home()
        start = NOON - timedelta(hours=2, minutes=7)
        found = await stand.readings(grant, site, start, NOON)
        assert [reading.start for reading in found.intervals] == [
            NOON - timedelta(hours=2) + QUARTER * n for n in range(4)
        ]
        assert (await stand.readings(grant, site, NOON, NOON)).intervals == ()
        long_ago = NOON - timedelta(days=900)
        found = await stand.readings(grant, site, long_ago, long_ago + QUARTER)
        assert (found.intervals, found.warnings) == ((), ())


async def test_days_before_the_site_are_left_out_and_the_running_day_is_partial(stand: Any) -> None:
    now = datetime(2026, 1, 4, 20, tzinfo=UTC)
    stand.freeze(now)
    grant, site = await stand.home()
    start = datetime(2025, 12, 1, 8, tzinfo=UTC)
    found = await stand.readings(grant, site, start, now, resolution="day")
    assert [reading.start.day for reading in found.intervals] == [1, 2, 3]
    found = await stand.readings(grant, site, start, now + timedelta(hours=12), resolution="day")
    assert [reading.quality for reading in found.intervals] == ["measured"] * 3 + ["partial"]


async def test_a_site_without_time_zone_has_no_days(stand: Any) -> None:
    grant, site = await stand.home()
    with pytest.raises(NotSupported):
        await stand.readings(grant, replace(site, timezone=None), NOON - timedelta(days=2), NOON, resolution="day")


@pytest.mark.parametrize("hour", [2, 9, 12, 19])
async def test_live_power_balances(stand: Any, hour: int) -> None:
    now = datetime(2026, 6, 1, 7, 0, tzinfo=UTC) + timedelta(hours=hour)
    stand.freeze(now)
    grant, site = await stand.home()
    found = await stand.readings(grant, site, now, now, live=True)
    power, live = stand.truth.power(now.timestamp()), found.live
    assert live.measured_at == now
    assert (live.solar_w, live.battery_w, live.grid_w) == (power.solar_w, power.battery_w, power.grid_w)
    assert live.load_w == live.solar_w + live.battery_w + live.grid_w
    assert live.soc_percent == pytest.approx(stand.truth.power(now.timestamp() - 1).soc_percent, abs=0.5)
    assert found.devices[0].soc_percent == live.soc_percent


async def test_single_devices(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    start = NOON - timedelta(hours=2)
    of_site = (await stand.readings(grant, site, start, NOON)).intervals
    for device in site.devices:
        found = (await stand.readings(grant, site, start, NOON, device_id=device.vendor_id)).intervals
        assert len(found) == 8
        assert {reading.device_id for reading in found} == {device.vendor_id}
        for alone, together in zip(found, of_site, strict=True):
            assert alone.load_wh is None
            if device.kind is DeviceKind.BATTERY:
                assert (alone.charge_wh, alone.discharge_wh) == (together.charge_wh, together.discharge_wh)
            elif device.role is MeterRole.GRID:
                assert (alone.import_wh, alone.export_wh) == (together.import_wh, together.export_wh)
            else:
                share = 1 if device.kind is DeviceKind.METER else 6
                assert alone.solar_wh == pytest.approx(together.solar_wh / share, abs=2)


async def test_what_a_device_does_not_have(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    day = NOON - timedelta(days=2)
    for device_id, resolution in (("unheard-of", "15mins"), (site.devices[0].vendor_id, "day")):
        with pytest.raises(NotSupported):
            await stand.readings(grant, site, day, NOON, device_id=device_id, resolution=resolution)


@pytest.mark.parametrize("fault", ["5xx", "html", "cut", "lost"])
async def test_one_failing_endpoint_is_a_warning(stand: Any, fault: str) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    await stand.fault(fault, f"{stand.data}/{site.vendor_id}/telemetry/battery")
    found = await stand.readings(grant, site, NOON - QUARTER, NOON, live=True)
    (reading,) = found.intervals
    assert reading.solar_wh is not None
    assert (reading.charge_wh, reading.load_wh, found.live.soc_percent) == (None, None, None)
    assert [warning.partition(":")[0] for warning in found.warnings] == ["Battery", "State of charge"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("429", RateLimited), ("5xx", TransientError), ("html", UnexpectedPayload), ("lost", TransientError)],
)
async def test_when_all_fails_the_reason_is_raised(stand: Any, fault: str, expected: type[VendorError]) -> None:
    grant, site = await stand.home()
    await stand.fault(fault, stand.data)
    now = stand.cloud.clock.now()
    with pytest.raises(VendorError) as caught:
        await stand.readings(grant, site, now - timedelta(hours=1), now, live=True)
    assert type(caught.value) is expected
    secrets = [*grant.secrets.values(), *stand.context().app.secrets.values()]
    assert not [secret for secret in secrets if secret in f"{caught.value!r} {vars(caught.value)}"]


async def test_a_full_quota_ends_the_calls(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.home()
    await stand.fault("429", f"{stand.data}/{site.vendor_id}/telemetry/battery")
    before = await stand.calls()
    found = await stand.readings(grant, site, NOON - QUARTER, NOON, live=True)
    assert (len(found.warnings), found.intervals[0].import_wh, found.live) == (1, None, None)
    assert await stand.calls() - before == 1  # the fault stands before what counts them


async def test_a_slow_vendor_is_a_timeout(stand: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    grant, site = await stand.home()
    monkeypatch.setattr(stand.api, "CALL_DEADLINE", 0.1)
    await stand.fault("slow", stand.data, seconds=0.5)
    now = stand.cloud.clock.now()
    with pytest.raises(VendorTimeout):
        await stand.readings(grant, site, now, now, live=True)
    await asyncio.sleep(0.6)  # the simulator ends its answers before it is stopped


async def test_a_refused_api_key_is_the_operators_business(stand: Any) -> None:
    grant, site = await stand.home()
    context = stand.context({**stand.app, "apiKey": "key-of-another-app"})
    now = stand.cloud.clock.now()
    query = ReadingsQuery(site=site, start=now - timedelta(hours=1), end=now, live=True)
    with pytest.raises(AppCredentialsRejected):
        await stand.registry.fetch_readings(stand.vendor, context, grant, query)


@pytest.mark.parametrize(
    ("part", "metric"), [("battery", "discharge_wh"), ("meter", "solar_wh"), ("micros", "solar_wh")]
)
async def test_quarter_hours_of_a_home_with_a_silent_part_are_partial(stand: Any, part: str, metric: str) -> None:
    stand.freeze(ONE_O_CLOCK + timedelta(days=1))
    grant, site = await stand.odd_home(part)
    hour = timedelta(hours=1)
    found = (await stand.readings(grant, site, ONE_O_CLOCK - hour, ONE_O_CLOCK + 2 * hour)).intervals
    assert [row.rule for row in found] == [None] * 4 + [PARTS_MISSING] * 4 + [None] * 4
    assert all(getattr(row, metric) is not None for row in found)
    assert {row.load_wh is None for row in found} == ({True} if part == "micros" else {True, False})


async def test_live_power_of_a_home_with_a_silent_part_is_unknown(stand: Any) -> None:
    now = ONE_O_CLOCK + timedelta(minutes=30)
    stand.freeze(now)
    grant, site = await stand.odd_home("battery")
    assert [device.stale for device in site.devices if device.kind is DeviceKind.BATTERY] == [False, True]
    live = (await stand.readings(grant, site, now, now, live=True)).live
    assert (live.battery_w, live.load_w) == (None, None)
    assert None not in (live.solar_w, live.grid_w)
    grant, site = await stand.odd_home("meter")
    live = (await stand.readings(grant, site, now, now, live=True)).live
    assert (live.solar_w, live.grid_w, live.load_w) == (None, None, None)


async def test_a_live_load_below_zero_is_unknown_with_a_warning(stand: Any) -> None:
    stand.freeze(NOON)
    grant, site = await stand.odd_home("load")
    found = await stand.readings(grant, site, NOON, NOON, live=True)
    assert found.live.load_w is None
    assert found.warnings == (NO_LOAD,)
