"""SMA's rows: end stamps without offset, the false first row, clock changes, plants without a balance, nonsense."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from joinder import Device, DeviceKind, ReadingsQuery, physics
from joinder.errors import UnexpectedPayload
from joinder.http import Answer
from joinder.series import Days, Quarters, day_span
from joinder.testing.subject import Subject, standing
from joinder_sma import mapping
from joinder_sma.api import DeviceEntry, Measurements, Plant
from joinder_sma.simulator import BARN, Cloud, simulator

BERLIN = ZoneInfo("Europe/Berlin")


def answer(rows: list[dict[str, Any]], resolution: str = "FiveMinutes") -> Measurements:
    return msgspec.convert({"set": rows, "resolution": resolution}, Measurements)


def day_rows(day: date, **members: Any) -> list[dict[str, Any]]:
    """Every five minutes of a local day, stamped with the wall time of their end."""
    start, end = day_span(day, BERLIN)
    count = int((end - start).total_seconds() // 300)
    ends = [(start + timedelta(seconds=300 * step)).astimezone(BERLIN) for step in range(1, count + 1)]
    return [{"time": at.replace(tzinfo=None).isoformat(), **members} for at in ends]


def quarters(
    rows: list[dict[str, Any]], day: date, resolution: str = "FiveMinutes", **options: Any
) -> list[float | None]:
    start, end = day_span(day, BERLIN)
    found = Quarters(start, end)
    given = {"energies": True, "nameplate": None, **options}
    mapping.add_rows(found, answer(rows, resolution), BERLIN, **given)
    return [reading.solar_wh for reading in found.readings()]


@pytest.mark.parametrize(("day", "count"), [(date(2026, 3, 29), 92), (date(2026, 6, 1), 96), (date(2026, 10, 25), 100)])
def test_a_day_is_whole_whatever_its_clock_does(day: date, count: int) -> None:
    assert quarters(day_rows(day, pvGeneration=10.0), day) == [30.0] * count


def test_the_same_midnight_in_two_days_counts_once() -> None:
    day = date(2026, 6, 1)
    first, second = day_rows(day, pvGeneration=10.0), day_rows(day + timedelta(days=1), pvGeneration=10.0)
    merged = mapping.merge_days([answer(first), answer([first[-1], *second])])
    assert len(merged.rows) == 2 * 288


def test_a_false_first_row_is_unknown_not_zero() -> None:
    day = date(2026, 7, 4)
    rows = day_rows(day, pvGeneration=400.0)
    rows[0]["pvGeneration"] = 165763.0
    found = quarters(rows, day, nameplate=5000.0)
    assert found[0] == 800.0  # two of its three rows: partial
    assert set(found[1:]) == {1200.0}


def test_without_a_nameplate_nothing_is_judged() -> None:
    day = date(2026, 7, 4)
    assert quarters(day_rows(day, pvGeneration=400.0), day)[0] == 1200.0


@pytest.mark.parametrize(
    ("resolution", "wh"),
    [("OneMinute", None), ("FifteenMinutes", 2.5), ("OneHour", None), ("OneDay", None), ("Odd", None)],
)
def test_power_becomes_energy_by_the_resolution(resolution: str, wh: float | None) -> None:
    day = date(2026, 6, 1)
    rows = [{"time": "2026-06-01T00:15:00", "pvGeneration": 10.0}]
    found = quarters(rows, day, resolution, energies=False)
    assert found == ([wh] if wh else [pytest.approx(10 / 60, abs=1e-3)] if resolution == "OneMinute" else [])


@pytest.mark.parametrize("value", [None, -5.0])
def test_unknown_energy_is_no_reading(value: float | None) -> None:
    day = date(2026, 6, 1)
    assert quarters(day_rows(day, pvGeneration=value), day) == []


@pytest.mark.parametrize(
    "body",
    [
        b'{"set": [{"time": "yesterday", "pvGeneration": 1}]}',
        b'{"set": [{"pvGeneration": 1}]}',
        b'{"set": [{"time": "2026-06-01T00:05:00", "pvGeneration": "NaN"}]}',
        b'{"set": [{"time": "2026-06-01T00:05:00", "pvGeneration": 1e99}]}',
        b'{"set": [{"time": "2026-06-01T00:05:00", "pvGeneration": [1]}]}',
        b'{"set": {"time": 1}}',
        b"{}",
    ],
)
def test_other_types_are_unexpected(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        Answer(200, {}, body, "GET x").json(Measurements)


def test_devices_are_known_by_their_sets() -> None:
    """A charging station of the sandbox calls itself a solar inverter."""
    entries = [
        DeviceEntry(device_id=str(number), generator_power=0.0 if number == 1 else 5000.0) for number in range(5)
    ]
    sets = {
        "0": frozenset({"EnergyAndPowerPv", "PowerAc"}),
        "1": frozenset({"EnergyAndPowerPv"}),
        "2": frozenset({"EnergyAndPowerBattery", "EnergyAndPowerPv"}),
        "3": frozenset({"EnergyAndPowerInOut"}),
        "4": frozenset[str](),
    }
    site = mapping.site(Plant(plant_id="1"), entries, sets)
    assert [device.kind for device in site.devices] == ["inverter", "inverter", "battery", "inverter", "meter"]
    assert [device.vendor_id for device in site.devices] == ["0", "1", "2", "2.pv", "3"]  # 2 is a hybrid
    assert [device.max_power_w for device in site.devices[:2]] == [5000.0, None]
    assert physics.nameplate_w(site.devices) is None  # one of them is unknown


def test_the_nameplate_of_a_plant() -> None:
    devices = [Device(vendor_id=str(n), kind=DeviceKind.INVERTER, max_power_w=4000.0) for n in range(2)]
    assert physics.nameplate_w(devices) == 8000.0


@pytest.mark.parametrize("stamp_of_last", ["2026-06-30T00:00:00", "2026-07-01T00:00:00"])
def test_days_of_a_month_by_start_or_end_stamp(stamp_of_last: str) -> None:
    last = datetime.fromisoformat(stamp_of_last)
    rows = [{"time": (last - timedelta(days=back)).isoformat(), "pvGeneration": 1000.0 + back} for back in range(30)]
    start, end = day_span(date(2026, 6, 1), BERLIN)[0], day_span(date(2026, 6, 30), BERLIN)[1]
    found = Days(BERLIN, start, end)
    mapping.add_months(found, answer(rows, "OneDay"), "2026-06")
    readings = found.readings()
    assert len(readings) == 30
    assert readings[-1].solar_wh == 1000.0


def test_live_power_by_direction() -> None:
    row = {"time": "2026-06-01T14:00:00", "pvGeneration": 3000, "batteryCharging": 500, "batteryDischarging": 0}
    live = mapping.live(answer([{**row, "gridFeedIn": 1000, "gridConsumption": 0, "totalConsumption": 1500}]), BERLIN)
    assert live is not None
    assert live.measured_at == datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert (live.solar_w, live.battery_w, live.grid_w, live.load_w) == (3000, -500, -1000, 1500)
    alone = mapping.live(answer([{"time": "2026-06-01T14:00:00", "pvGeneration": 3000}]), BERLIN)
    assert alone is not None
    assert (alone.battery_w, alone.grid_w, alone.load_w, alone.soc_percent) == (None, None, None, None)
    assert mapping.live(answer([]), BERLIN) is None


async def test_a_plant_without_a_balance_is_read_by_its_devices() -> None:
    subject = Subject.installed("sma")
    subject.make_simulator = lambda: simulator(Cloud(spikes=True))
    async with standing(subject) as stand:
        grant = (await stand.consent(await stand.callback(owner="two-sites"))).grant
        site = await stand.registry.fetch_site("sma", stand.context(), grant, BARN.id)
        assert {device.kind for device in site.devices} == {DeviceKind.INVERTER, DeviceKind.METER}
        start = datetime(2026, 10, 27, 4, tzinfo=UTC)
        query = ReadingsQuery(site=site, start=start, end=start + timedelta(hours=24), live=True)
        found = await stand.registry.fetch_readings("sma", stand.context(), grant, query)
        assert len(found.intervals) == 96
        truth = BARN.home.energy(start.timestamp() + 900, start.timestamp() + 86400)
        for metric, wh in (("solar_wh", truth.solar_wh), ("import_wh", truth.import_wh), ("load_wh", truth.load_wh)):
            assert sum(getattr(row, metric) or 0 for row in found.intervals[1:]) == pytest.approx(wh, rel=0.01)
        assert found.live is not None
        assert (found.live.solar_w is not None, found.live.load_w) == (True, None)
