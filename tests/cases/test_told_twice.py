"""One row of one answer told twice: the same is one, and of two that differ neither is right. Inputs are made."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
from msgspec import structs

from api.conftest import anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant, vendors
from api.fakes import HOME, Vendors, connect_site
from cases.test_core_cases import NOON, clock, solar, told
from joinder import Device, DeviceKind, MeterRole, Reading, Readings, ReadingsQuery, Site
from joinder.runtime.hub import Hub
from joinder.series import QUARTER, Days, Quarters, day_span, once
from joinder_enphase import intervals as enphase
from joinder_enphase import shapes
from joinder_enphase_vpp import intervals as grid
from joinder_sma import api as sma_api
from joinder_sma import mapping as sma
from joinder_solaredge import api as solaredge_api
from joinder_solaredge import mapping as solaredge
from joinder_solaredge import v1, v1_storage
from joinder_solis import api as solis_api
from joinder_solis import mapping as solis
from joinder_tesla import api as tesla_api
from joinder_tesla import mapping as tesla

__all__ = ["anonymous", "api", "app", "apps", "browser", "clock", "hub", "new_browser", "new_tenant", "public_url"]
__all__ += ["tenant", "vendors"]
DATABASES = ("sqlite",)
UTC_ZONE = ZoneInfo("UTC")
ROOF = Site(vendor_id="1", name="x", timezone="UTC", devices=(Device(vendor_id="i", kind=DeviceKind.INVERTER),))
END = NOON + QUARTER
QUERY = ReadingsQuery(site=ROOF, start=NOON, end=END)
Told = Callable[[list[float]], tuple[Reading, ...]]


def of_enphase(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"end_at": int(END.timestamp()), "enwh": wh, "devices_reporting": 1} for wh in watt_hours]
    into = Quarters(NOON, END)
    answer = msgspec.convert({"intervals": rows, "total_devices": 1}, shapes.Telemetry)
    enphase.add_rows(into, of_quarters(enphase.SOLAR_MICRO), answer, ROOF)
    return into.readings()


def of_grid_services(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"end_at": int(END.timestamp()), "wh_del": wh} for wh in watt_hours]
    into = Quarters(NOON, END)
    enphase.add_rows(into, grid.SOLAR_METER, msgspec.convert({"intervals": rows}, shapes.Telemetry), ROOF)
    return into.readings()


def of_quarters(series: enphase.Series) -> enphase.Series:
    """The same series, whose lone rows last a quarter of an hour."""
    return enphase.Series(title=series.title, path=series.path, columns=series.columns, counts=series.counts)


def of_solaredge(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"timestamp": NOON.isoformat(), "value": wh} for wh in watt_hours]
    energy = msgspec.convert({"unit": "WH", "values": rows}, solaredge_api.Series)
    return solaredge.quarters(solaredge.energies([{"energy": energy}], solaredge.SOLAR), NOON, END, None)


def of_solaredge_v1(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"date": NOON.strftime("%Y-%m-%d %H:%M:%S"), "value": wh} for wh in watt_hours]
    meters = [{"type": "Production", "values": rows}]
    return v1.quarters(msgspec.convert({"unit": "Wh", "meters": meters}, v1._Energies), QUERY, UTC_ZONE)


def of_sma(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"time": END.strftime("%Y-%m-%dT%H:%M:%S"), "pvGeneration": wh * 4} for wh in watt_hours]
    into = Quarters(NOON, END)
    answer = msgspec.convert({"set": rows, "resolution": "FifteenMinutes"}, sma_api.Measurements)
    sma.add_rows(into, answer, UTC_ZONE, energies=False, nameplate=None)
    return into.readings()


def of_solis(watt_hours: list[float]) -> tuple[Reading, ...]:
    """Rows of five minutes, the first of them told as often as there are values."""
    values = [(0, wh) for wh in watt_hours] + [(5, watt_hours[0]), (10, watt_hours[0])]
    at_ms = int(NOON.timestamp() * 1000)
    rows = [{"time": at_ms + minutes * 60_000, "power": wh * 4, "powerStr": "W"} for minutes, wh in values]
    return solis.quarters([solis_api.Record(row) for row in rows], QUERY)


def of_tesla(watt_hours: list[float]) -> tuple[Reading, ...]:
    rows = [{"timestamp": NOON.isoformat(), "solar_power": wh * 4} for wh in watt_hours]
    return tesla.quarters(msgspec.convert(rows, list[tesla_api.Row]), QUERY)


VENDORS = [of_enphase, of_grid_services, of_solaredge, of_solaredge_v1, of_sma, of_solis, of_tesla]


@pytest.mark.parametrize("order", [[100.0, 900.0], [900.0, 100.0], [100.0, 900.0, 100.0]])
@pytest.mark.parametrize("vendor", VENDORS)
def test_of_two_rows_that_differ_none_is_measured(vendor: Told, order: list[float]) -> None:
    assert not [row for row in vendor(order) if row.solar_wh is not None and row.quality == "measured"]


@pytest.mark.parametrize("vendor", VENDORS)
def test_a_row_told_twice_the_same_is_one(vendor: Told) -> None:
    assert [(row.solar_wh, row.quality, row.rule) for row in vendor([100.0, 100.0])] == [(100.0, "measured", None)]


@pytest.mark.parametrize("vendor", [one for one in VENDORS if one not in (of_solaredge, of_solaredge_v1)])
def test_core_hears_of_it(vendor: Told) -> None:
    assert {row.rule for row in vendor([100.0, 900.0])} == {"told_twice"}


def test_solaredge_says_it() -> None:
    rows = [{"timestamp": NOON.isoformat(), "value": wh} for wh in (100, 900)]
    energy = msgspec.convert({"unit": "WH", "values": rows}, solaredge_api.Series)
    assert list(solaredge.doubts([{"energy": energy}], solaredge.SOLAR)) == [solaredge.TWICE]
    meter = {"type": "Production", "values": [{"date": "2026-06-01 10:00:00", "value": wh} for wh in (100, 900)]}
    energies = msgspec.convert({"unit": "Wh", "meters": [meter]}, v1._Energies)
    assert list(v1.doubts(energies, (), UTC_ZONE)) == [solaredge.TWICE]


def test_a_register_of_solaredges_v1_that_is_told_twice_is_passed_over() -> None:
    """Registers run on: what was counted over the row that is left out is known by the rows beside it."""
    registers = [(0, 1000.0), (5, 1010.0), (5, 9000.0), (10, 1020.0), (15, 1030.0)]
    rows = [
        {
            "timeStamp": (NOON + timedelta(minutes=minutes)).strftime("%Y-%m-%d %H:%M:%S"),
            "lifeTimeEnergyCharged": wh,
            "lifeTimeEnergyDischarged": 0.0,
        }
        for minutes, wh in registers
    ]
    battery = msgspec.convert({"serialNumber": "B", "telemetries": rows}, v1_storage.Battery)
    found = v1_storage.quarters(battery, NOON, END, UTC_ZONE)
    assert found.metrics["charge_wh"] == {NOON: 30.0}


def test_a_midnight_that_two_days_of_sma_tell_differently_is_unknown() -> None:
    days = [
        msgspec.convert({"set": [{"time": "2026-06-02T00:00:00", "gridFeedIn": wh}]}, sma_api.Measurements)
        for wh in (100.0, 900.0)
    ]
    assert len(sma.merge_days(days).rows) == 2
    assert len(sma.merge_days([days[0], days[0]]).rows) == 1


def test_days_told_twice_are_refused() -> None:
    start, end = day_span(date(2026, 6, 1), UTC_ZONE)
    of_sma = Days(UTC_ZONE, start, end)
    rows = [{"time": "2026-06-01T00:00:00", "pvGeneration": wh} for wh in (100.0, 900.0)]
    sma.add_months(of_sma, msgspec.convert({"set": rows}, sma_api.Measurements), "2026-06")
    stamps = [{"timestamp": "2026-06-01T00:00:00+00:00", "solar_energy_exported": wh} for wh in (100.0, 900.0)]
    query = ReadingsQuery(site=ROOF, start=start, end=end, resolution="day")
    of_tesla = tesla.days(msgspec.convert(stamps, list[tesla_api.Row]), query)
    for found in (of_sma.readings(), of_tesla):
        assert [(row.start, row.solar_wh, row.quality, row.rule) for row in found] == [
            (start, None, "partial", "told_twice")
        ]


def test_a_part_of_a_quarter_hour_told_twice_leaves_the_rest_partial() -> None:
    found, step = Quarters(NOON, END), timedelta(minutes=5)
    for at, wh in once([(NOON + 2 * step, 30.0), (NOON, 10.0), (NOON + step, 20.0), (NOON + step, 21.0)]).items():
        if wh is None:
            found.told_twice(at, at + step)
        else:
            found.energy("solar_wh", at, at + step, wh)
    assert [(row.solar_wh, row.quality, row.rule) for row in found.readings()] == [(40.0, "partial", "told_twice")]


async def test_what_was_told_twice_is_missing_because_it_was_refused_and_counted(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    meter = Device(vendor_id="met-1", kind=DeviceKind.METER, role=MeterRole.GRID)
    vendors.sunny.homes = {"site-1": structs.replace(HOME, devices=(*ROOF.devices, meter))}

    def answer(query: ReadingsQuery) -> Readings:
        found = Quarters(query.start, query.end)
        for number in range(8):
            start = NOON + number * QUARTER
            if number == 2:
                found.told_twice(start, start + QUARTER)
                continue
            found.energy("solar_wh", start, start + QUARTER, 100.0)
            found.energy("import_wh", start, start + QUARTER, 10.0)
            if number == 5:
                found.told_twice(start, start + QUARTER)
            else:
                found.energy("export_wh", start, start + QUARTER, 0.0)
        return Readings(intervals=found.readings() if query.resolution == "15mins" else ())

    vendors.sunny.readings = answer
    site = f"/sites/{await connect_site(api, browser)}"
    body = await solar(api, f"{site}/solar-intervals")
    assert told(body) == [(0.1, "measured")] * 7
    ((start, why),) = [(one["start"], one["why"]) for one in body["missing"]]
    assert (datetime.fromisoformat(start), why) == (NOON + 2 * QUARTER, "refused")
    meters = await solar(api, f"{site}/meter-intervals")
    assert [one["why"] for one in meters["missing"]] == ["refused", "refused"]
    (quarter, end) = (NOON + number * QUARTER for number in (5, 6))
    meters = await solar(api, f"{site}/meter-intervals", start=quarter.isoformat(), end=end.isoformat())
    assert [(one["importKwh"], one.get("exportKwh")) for one in meters["intervals"]] == [(0.01, None)]
    assert [one["why"] for one in meters["missing"]] == ["refused"]
    ((text, count),) = await hub.store.rows("SELECT text, count FROM notice WHERE rule = 'told_twice'", {})
    assert text.startswith("A period was told twice with different values")
    assert count >= 2
