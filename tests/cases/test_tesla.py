"""What Tesla's answers mean and do not say: rows of two lengths, clocks that ignore summer time, sums without a part.

Inputs are written here. Each oddity has been reported in public: jasonacox/Powerwall-Dashboard#183 and #87,
tomhollander/PowerwallCompanion#15, netzero-labs/tesla-solar-download#8.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any, cast
from zoneinfo import ZoneInfo

import msgspec
import pytest

import joinder_tesla
from joinder import Context, Device, DeviceKind, Grant, MeterRole, Reading, Readings, ReadingsQuery, Secrets, Site
from joinder.errors import NotSupported
from joinder.http import Answer
from joinder.physics import NO_LOAD
from joinder.series import day_span
from joinder.testing.subject import Stand, Subject, standing
from joinder_tesla import history, mapping
from joinder_tesla.api import LiveStatus, Row, SiteInfo
from joinder_tesla.simulator import Cloud, simulator

SUN = Device(vendor_id="solar", kind=DeviceKind.INVERTER)
BATTERY = Device(vendor_id="battery", kind=DeviceKind.BATTERY)
GRID = Device(vendor_id="grid", kind=DeviceKind.METER, role=MeterRole.GRID)
BERLIN, DENVER = ZoneInfo("Europe/Berlin"), ZoneInfo("America/Denver")
QUARTER = timedelta(minutes=15)
Params = dict[str, str]


def site(*devices: Device, timezone: str | None = "Europe/Berlin") -> Site:
    return Site(vendor_id="77", name="x", timezone=timezone, devices=devices)


HOME, ROOF, METERED_ROOF = site(SUN, BATTERY, GRID), site(SUN), site(SUN, GRID)


def row(at: datetime, **members: Any) -> dict[str, Any]:
    return {"timestamp": at.isoformat(), **members}


def steps(start: datetime, end: datetime, minutes: int, **members: Any) -> list[dict[str, Any]]:
    count = int((end - start) / timedelta(minutes=minutes))
    return [row(start + number * timedelta(minutes=minutes), **members) for number in range(count)]


def read(rows: list[dict[str, Any]], query: ReadingsQuery) -> tuple[Reading, ...]:
    return mapping.quarters(msgspec.convert(rows, list[Row]), query)


@dataclass
class Tesla:
    """Answers pages of history as a function of their parameters, and notes what was asked."""

    page: Callable[[Params], list[dict[str, Any]] | int]
    live: dict[str, Any] = field(default_factory=dict)
    asked: list[Params] = field(default_factory=list)
    meter: None = None

    async def request(self, method: str, url: str, *, params: Params, **_: Any) -> Answer:
        if url.endswith("live_status"):
            return Answer(200, {}, json.dumps({"response": self.live}).encode(), "GET live_status")
        self.asked.append(params)
        told = self.page(params)
        if isinstance(told, int):
            return Answer(told, {}, b'{"response": null, "error": "no"}', "GET calendar_history")
        return Answer(200, {}, json.dumps({"response": {"time_series": told}}).encode(), "GET calendar_history")


async def fetch(tesla: Tesla, query: ReadingsQuery, *, now: datetime = datetime(2025, 1, 1, tzinfo=UTC)) -> Readings:
    nothing: Any = None
    log = logging.getLogger("joinder.test")
    ctx = Context(
        http=cast(Any, tesla), device=nothing, app=None, app_token=nothing, options={}, now=lambda: now, log=log
    )
    grant = Grant(secrets=Secrets({"access_token": "t"}), facts={"base": "https://fleet.example"})
    found = await joinder_tesla.fetch_readings(ctx, grant, query)
    return cast(Readings, found)


def by_days_of(clock: timezone, minutes: int = 15, **members: Any) -> Callable[[Params], list[dict[str, Any]]]:
    """A site of this clock: from its midnight of the start's date to the instant of the end."""

    def page(params: Params) -> list[dict[str, Any]]:
        if params["kind"] != "power":
            return []
        day, end = datetime.fromisoformat(params["start_date"]).date(), datetime.fromisoformat(params["end_date"])
        start = datetime(day.year, day.month, day.day, tzinfo=clock)
        stop = end.astimezone(clock) + timedelta(seconds=1)
        return steps(start, stop, minutes, **members)

    return page


def day_query(of: Site, day: date, where: ZoneInfo, days: int = 1, **more: Any) -> ReadingsQuery:
    start, end = day_span(day, where)[0], day_span(day + timedelta(days=days - 1), where)[1]
    return ReadingsQuery(site=of, start=start, end=end, **more)


# time zones


@pytest.mark.parametrize("minutes", [-300, -240, 0, 570])
def test_an_offset_makes_no_zone(minutes: int) -> None:
    told = msgspec.convert({"installation_time_zone": "", "time_zone_offset": minutes}, SiteInfo)
    found = mapping.site("1", told)
    assert (found.timezone, found.warnings) == (None, (mapping.NO_ZONE,))


def test_coordinates_are_told_so_that_the_zone_can_be_found() -> None:
    found = mapping.site("1", msgspec.convert({"geolocation": {"latitude": 52.5, "longitude": 13.4}}, SiteInfo))
    assert (found.timezone, found.lat, found.lon, found.warnings) == (None, 52.5, 13.4, ())


@pytest.mark.parametrize("place", [{"latitude": 0, "longitude": 0}, {"latitude": 91, "longitude": 3}, {"latitude": 5}])
def test_coordinates_that_are_no_place_are_not_told(place: dict[str, float]) -> None:
    found = mapping.site("1", msgspec.convert({"geolocation": place}, SiteInfo))
    assert (found.lat, found.lon, found.warnings) == (None, None, (mapping.NO_ZONE,))


@pytest.mark.parametrize("hours", [-5, 10])
@pytest.mark.parametrize("days", [1, 2])
async def test_quarter_hours_are_read_whole_where_the_zone_is_unknown(hours: int, days: int) -> None:
    tesla = Tesla(by_days_of(timezone(timedelta(hours=hours)), solar_power=400))
    query = day_query(site(SUN, timezone=None), date(2024, 5, 7), ZoneInfo("UTC"), days)
    found = await fetch(tesla, query)
    assert [reading.solar_wh for reading in found.intervals] == [100] * 96 * days
    assert not found.warnings
    assert all("time_zone" not in params for params in tesla.asked)


async def test_days_of_an_unknown_zone_are_refused_by_name_before_any_call() -> None:
    tesla = Tesla(lambda _: [])
    query = day_query(site(SUN, timezone=None), date(2024, 5, 7), ZoneInfo("UTC"), resolution="day")
    with pytest.raises(NotSupported, match="Days of this site"):
        await fetch(tesla, query)
    assert tesla.asked == []


# the length of rows


def test_rows_of_two_lengths_in_one_answer_are_each_as_long_as_their_neighbours_are_apart() -> None:
    start, end = day_span(date(2024, 6, 4), BERLIN)
    noon = start + timedelta(hours=12)
    members = {"solar_power": 2000, "battery_power": 0, "grid_power": -800}
    rows = steps(start, noon, 15, **members) + steps(noon, end, 5, **members)
    found = read(rows, ReadingsQuery(site=HOME, start=start, end=end))
    assert sum(reading.solar_wh or 0 for reading in found) == pytest.approx(48_000)
    assert sum(reading.export_wh or 0 for reading in found) == pytest.approx(19_200)
    assert {reading.quality for reading in found} == {"measured"}


def test_the_day_before_the_rows_became_shorter_keeps_its_length() -> None:
    start, end = day_span(date(2024, 6, 4), BERLIN)[0], day_span(date(2024, 6, 5), BERLIN)[1]
    joined = start + timedelta(hours=31, minutes=30)
    rows = steps(start, joined, 15, solar_power=1000) + steps(joined, end, 5, solar_power=1000)
    found = read(rows, ReadingsQuery(site=HOME, start=start, end=end))
    assert [(reading.solar_wh, reading.quality) for reading in found] == [(250, "measured")] * 192


def test_zeros_of_the_time_before_the_powerwall_are_no_grid() -> None:
    start = datetime(2024, 6, 4, 10, tzinfo=UTC)
    joined, end = start + timedelta(hours=1), start + timedelta(hours=2)
    before = steps(start, joined, 15, solar_power=1000, battery_power=0, grid_power=0)
    since = steps(joined, end, 5, solar_power=1000, battery_power=-500, grid_power=0)
    found = read(before + since, ReadingsQuery(site=HOME, start=start, end=end))
    assert [(reading.import_wh, reading.load_wh) for reading in found] == [(None, None)] * 4 + [(0, 125)] * 4


# an answer that does not cover what was asked


async def test_the_hour_a_site_loses_by_ignoring_summer_time_is_asked_for() -> None:
    tesla = Tesla(by_days_of(timezone(timedelta(hours=-7)), solar_power=0))
    found = await fetch(tesla, day_query(site(SUN, timezone="America/Denver"), date(2023, 8, 16), DENVER))
    assert (len(found.intervals), found.warnings, len(tesla.asked)) == (96, (), 2)


async def test_each_day_of_a_window_gets_its_lost_hour() -> None:
    tesla = Tesla(by_days_of(timezone(timedelta(hours=-7)), solar_power=0))
    found = await fetch(tesla, day_query(site(SUN, timezone="America/Denver"), date(2023, 8, 16), DENVER, 2))
    assert (len(found.intervals), found.warnings) == (192, ())


@pytest.mark.parametrize("late", [1, -1])
async def test_an_hour_that_misses_at_midnight_is_asked_for_where_stamps_keep_the_reason_secret(late: int) -> None:
    behind = by_days_of(timezone(timedelta(hours=1 - late)), solar_power=0)

    def stamped(params: Params) -> list[dict[str, Any]]:
        site_day = datetime.fromisoformat(params["start_date"]).date()
        rows = [(datetime.fromisoformat(told["timestamp"]), told) for told in behind(params)]
        return [{**told, "timestamp": at.astimezone(BERLIN).isoformat()} for at, told in rows if at.date() == site_day]

    found = await fetch(Tesla(stamped), day_query(ROOF, date(2024, 1, 16), BERLIN))
    assert (len(found.intervals), found.warnings) == (96, ())


async def test_a_whole_day_costs_one_call() -> None:
    tesla = Tesla(by_days_of(timezone(timedelta(hours=2)), solar_power=300))
    found = await fetch(tesla, day_query(ROOF, date(2024, 7, 16), BERLIN))
    assert (len(found.intervals), len(tesla.asked)) == (96, 1)


async def test_hours_that_stay_missing_are_told() -> None:
    start, end = day_span(date(2024, 7, 16), BERLIN)
    rows = steps(start, end, 5, solar_power=0, battery_power=0, grid_power=300)
    found = await fetch(
        Tesla(lambda params: rows[:96] + rows[132:] if params["kind"] == "power" else []),
        day_query(HOME, date(2024, 7, 16), BERLIN),
    )
    assert (len(found.intervals), found.warnings) == (84, (history.HOURS_MISSING,))


async def test_a_roof_that_is_silent_at_night_lacks_nothing() -> None:
    start, _ = day_span(date(2024, 7, 16), BERLIN)
    rows = [
        row(start + number * QUARTER, solar_power=5 + 100 * min(number - 20, 84 - number)) for number in range(20, 85)
    ]
    found = await fetch(Tesla(lambda _: rows), day_query(ROOF, date(2024, 7, 16), BERLIN))
    assert (len(found.intervals), found.warnings) == (65, ())
    noon_off = rows[:24] + rows[34:]
    found = await fetch(Tesla(lambda _: noon_off), day_query(ROOF, date(2024, 7, 16), BERLIN))
    assert found.warnings == (history.HOURS_MISSING,)


async def test_hours_that_may_still_come_or_were_before_the_site_are_not_missing() -> None:
    start, _ = day_span(date(2024, 7, 16), BERLIN)
    begun = start + timedelta(hours=6)
    young = msgspec.structs.replace(HOME, operational_since=begun)
    rows = steps(begun, begun + timedelta(hours=3), 5, solar_power=0, battery_power=0, grid_power=300)
    found = await fetch(
        Tesla(lambda params: rows if params["kind"] == "power" else []),
        day_query(young, date(2024, 7, 16), BERLIN),
        now=begun + timedelta(hours=4),
    )
    assert found.warnings == ()


async def test_rows_without_an_offset_are_refused_by_name() -> None:
    start, end = day_span(date(2024, 7, 16), BERLIN)
    naive = [{"timestamp": "2024-07-16T12:00:00", "solar_power": 9000}]
    rows = [*steps(start, end, 15, solar_power=100), *naive]
    found = await fetch(Tesla(lambda _: rows), day_query(ROOF, date(2024, 7, 16), BERLIN))
    assert {reading.solar_wh for reading in found.intervals} == {25}
    assert found.warnings == (history.NO_OFFSET,)
    naive = [{"timestamp": "2024-07-16T01:00:00", "solar_energy_exported": 9000}]
    found = await fetch(Tesla(lambda _: naive), day_query(ROOF, date(2024, 7, 16), BERLIN, resolution="day"))
    assert (found.intervals, found.warnings) == ((), (history.NO_OFFSET, history.DAYS_MISSING))


def month_rows(params: Params, wh: float = 21_000) -> list[dict[str, Any]]:
    start, end = (datetime.fromisoformat(params[name]) for name in ("start_date", "end_date"))
    days = [start.date() + timedelta(days=number) for number in range((end.date() - start.date()).days + 1)]
    return [
        row(datetime(day.year, day.month, day.day, 1, tzinfo=BERLIN), solar_energy_exported=wh, grid_energy_imported=1)
        for day in days
    ]


def offsets(params: Params) -> set[timedelta | None]:
    return {datetime.fromisoformat(params[name]).utcoffset() for name in ("start_date", "end_date")}


@pytest.mark.parametrize("first", [date(2024, 3, 1), date(2024, 10, 1), date(2024, 5, 1)])
async def test_a_month_is_asked_with_one_offset(first: date) -> None:
    tesla = Tesla(month_rows)
    found = await fetch(tesla, day_query(METERED_ROOF, first, BERLIN, 30, resolution="day"))
    assert (len(found.intervals), found.warnings, len(tesla.asked)) == (30, (), 1)
    assert len(offsets(tesla.asked[0])) == 1


async def test_days_that_a_month_lacks_are_asked_for_again() -> None:
    def page(params: Params) -> list[dict[str, Any]]:
        rows = month_rows(params)
        return rows if len(rows) < 31 else [row(datetime(2024, 4, 1, tzinfo=BERLIN), solar_energy_exported=7)]

    tesla = Tesla(page)
    found = await fetch(tesla, day_query(ROOF, date(2024, 3, 1), BERLIN, 31, resolution="day"))
    assert [reading.solar_wh for reading in found.intervals] == [21_000] * 31
    assert not found.warnings
    assert all(len(offsets(params)) == 1 for params in tesla.asked)


async def test_days_that_stay_missing_are_told_and_days_beside_the_month_are_not_taken() -> None:
    beside = [row(datetime(2024, 4, 1, tzinfo=BERLIN), solar_energy_exported=7)]
    found = await fetch(
        Tesla(lambda params: beside if params["start_date"] < "2024-04" else []),
        day_query(ROOF, date(2024, 3, 1), BERLIN, 32, resolution="day"),
    )
    assert (found.intervals, found.warnings) == ((), (history.DAYS_MISSING,))


async def test_a_day_told_twice_under_two_stamps_counts_once() -> None:
    def page(params: Params) -> list[dict[str, Any]]:
        hour = 1 if len(tesla.asked) == 1 else 0
        days = (4, 6) if hour else (4, 5, 6)
        return [row(datetime(2024, 6, day, hour, tzinfo=BERLIN), solar_energy_exported=10_000) for day in days]

    tesla = Tesla(page)
    found = await fetch(tesla, day_query(ROOF, date(2024, 6, 4), BERLIN, 3, resolution="day"))
    assert [reading.solar_wh for reading in found.intervals] == [10_000] * 3


# sums and their parts

WHOLE_DAY = {
    "solar_energy_exported": 9000,
    "grid_energy_imported": 1500,
    "grid_energy_exported_from_solar": 2000,
    "grid_energy_exported_from_battery": 0,
    "grid_energy_exported_from_generator": 0,
    "battery_energy_exported": 2500,
    "battery_energy_imported_from_grid": 500,
    "battery_energy_imported_from_solar": 3000,
    "battery_energy_imported_from_generator": 0,
    "consumer_energy_imported_from_grid": 1000,
    "consumer_energy_imported_from_solar": 4000,
    "consumer_energy_imported_from_battery": 2500,
    "consumer_energy_imported_from_generator": 0,
}


def one_day(of: Site = HOME, **members: Any) -> Reading:
    day = date(2024, 6, 4)
    told = {name: value for name, value in {**WHOLE_DAY, **members}.items() if value is not None}
    query = day_query(of, day, BERLIN, resolution="day")
    (found,) = mapping.days([msgspec.convert(row(datetime(2024, 6, 4, 1, tzinfo=BERLIN), **told), Row)], query)
    return found


def test_a_day_that_tells_every_part_is_measured() -> None:
    found = one_day()
    assert (found.quality, found.charge_wh, found.export_wh, found.load_wh) == ("measured", 3500, 2000, 7500)


@pytest.mark.parametrize(
    "member",
    [
        "battery_energy_imported_from_grid",
        "battery_energy_imported_from_generator",
        "grid_energy_exported_from_battery",
        "consumer_energy_imported_from_solar",
    ],
)
def test_a_sum_without_one_of_its_parts_is_partial(member: str) -> None:
    found = one_day(**{member: None})
    assert (found.quality, found.rule) == ("partial", "parts_missing")


def test_a_site_that_never_speaks_of_a_generator_has_none() -> None:
    assert one_day(**{name: None for name in WHOLE_DAY if name.endswith("_generator")}).quality == "measured"


def test_a_total_stands_in_for_a_part_that_is_missing() -> None:
    found = one_day(battery_energy_imported_from_grid=None, total_battery_charge=3500)
    assert (found.charge_wh, found.quality) == (3500, "measured")


def test_zeros_of_everything_but_the_sun_are_unknown() -> None:
    found = one_day(METERED_ROOF, **{name: 0 for name in WHOLE_DAY if name != "solar_energy_exported"})
    assert (found.solar_wh, found.import_wh, found.export_wh, found.load_wh) == (9000, None, None, None)
    start = datetime(2024, 6, 4, 10, tzinfo=UTC)
    rows = steps(start, start + timedelta(hours=1), 15, solar_power=800, battery_power=0, grid_power=0)
    found = read(rows, ReadingsQuery(site=METERED_ROOF, start=start, end=start + timedelta(hours=1)))[0]
    assert (found.solar_wh, found.import_wh, found.load_wh) == (200, None, None)


# what the meters show together


def quarter(of: Site = HOME, *, minutes: int = 5, **members: Any) -> Reading:
    start = datetime(2024, 6, 4, 10, tzinfo=UTC)
    rows = steps(start, start + QUARTER, minutes, **members)
    return read(rows, ReadingsQuery(site=of, start=start, end=start + QUARTER))[0]


def test_a_load_below_zero_is_unknown_and_the_rest_counts() -> None:
    found = quarter(solar_power=1600, battery_power=-2400, grid_power=160)
    assert (found.load_wh, found.rule, found.solar_wh, found.quality) == (None, "load_below_zero", 400, "measured")


def test_one_impossible_row_makes_the_quarter_hours_load_unknown() -> None:
    start = datetime(2024, 6, 4, 10, tzinfo=UTC)
    rows = steps(start, start + QUARTER, 5, solar_power=1600, battery_power=-900, grid_power=0)
    rows[1]["battery_power"] = -2600
    (found,) = read(rows, ReadingsQuery(site=HOME, start=start, end=start + QUARTER))
    assert (found.load_wh, found.rule) == (None, "load_below_zero")


def test_noise_below_zero_is_a_load_of_zero() -> None:
    assert quarter(solar_power=4000, battery_power=-4010, grid_power=0).load_wh == 0


def test_a_generator_is_part_of_the_load() -> None:
    assert quarter(solar_power=0, battery_power=-600, grid_power=0, generator_power=2000).load_wh == 350


def test_a_row_that_keeps_its_generator_back_tells_no_load() -> None:
    start = datetime(2024, 6, 4, 10, tzinfo=UTC)
    members = {"solar_power": 0, "battery_power": 600, "grid_power": 0}
    rows = steps(start, start + QUARTER, 5, generator_power=300, **members)
    rows += steps(start + QUARTER, start + 2 * QUARTER, 5, **members)
    found = read(rows, ReadingsQuery(site=HOME, start=start, end=start + 2 * QUARTER))
    assert [reading.load_wh for reading in found] == [225, None]


def test_a_sensor_that_runs_backwards_tells_neither_sun_nor_load() -> None:
    found = quarter(solar_power=-700, battery_power=0, grid_power=900)
    assert (found.solar_wh, found.load_wh, found.import_wh) == (None, None, 225)


def test_a_standby_draw_at_night_is_no_production() -> None:
    assert quarter(solar_power=-12, battery_power=0, grid_power=400).solar_wh == 0


def live(of: Site = HOME, **members: Any) -> tuple[tuple[float | None, ...], tuple[str, ...]]:
    """Sun, battery, grid, load; and the warnings."""
    base = {"timestamp": "2024-06-04T12:00:00+02:00", "solar_power": 3000, "battery_power": -500, "grid_power": -1000}
    told = {**base, "load_power": 1500, "island_status": "on_grid", "grid_status": "Active", **members}
    status = msgspec.convert({name: value for name, value in told.items() if value is not None}, LiveStatus)
    found = mapping.live(status, of)
    assert found is not None
    return (found.solar_w, found.battery_w, found.grid_w, found.load_w), tuple(mapping.live_warnings(status, of))


def test_a_live_load_below_zero_is_unknown_with_a_warning() -> None:
    powers = {"solar_power": 1700, "battery_power": -2600, "grid_power": 130}
    assert live(**powers, load_power=-770) == ((1700, -2600, 130, None), (NO_LOAD,))
    assert live(**powers, load_power=0) == ((1700, -2600, 130, None), (NO_LOAD,))


def test_live_noise_is_zero_and_a_load_that_is_not_told_is_added_up() -> None:
    assert live(solar_power=3000, battery_power=-3010, grid_power=0, load_power=-10)[0][3] == 0
    assert live(load_power=None)[0][3] == 1500
    assert live(load_power=None, solar_power=None)[0][3] is None


def test_live_sun_at_night() -> None:
    assert live(solar_power=-14, battery_power=500, grid_power=0, load_power=486)[0] == (0, 500, 0, 486)
    assert live(solar_power=-900, battery_power=0, grid_power=1500, load_power=600)[0][0] is None


@pytest.mark.parametrize(
    "state",
    [
        {"island_status": "off_grid_unintentional", "grid_status": "Inactive"},
        {"island_status": "off_grid_intentional", "grid_status": "Active"},
        {"island_status": None, "grid_status": "Inactive"},
    ],
)
def test_nothing_flows_through_the_grid_of_a_home_that_left_it(state: dict[str, Any]) -> None:
    members = {"solar_power": 400, "battery_power": 900, "load_power": 1300, **state}
    assert live(**members, grid_power=0) == ((400, 900, 0, 1300), (mapping.OFF_GRID,))
    assert live(**members, grid_power=700) == ((400, 900, None, 1300), (mapping.GRID_CONTRADICTED,))


def test_a_generator_carries_the_home_off_the_grid() -> None:
    members = {"solar_power": 0, "battery_power": -800, "grid_power": 0, "generator_power": 2000, "load_power": None}
    found = live(**members, island_status="off_grid")
    assert found == ((0, -800, 0, 1200), (mapping.OFF_GRID, mapping.GENERATOR))


def test_live_zeros_of_parts_that_are_not_there_are_unknown() -> None:
    battery_only = site(BATTERY, GRID)
    assert live(battery_only, solar_power=0, battery_power=700, grid_power=0, load_power=700)[0] == (None, 700, 0, 700)
    assert live(METERED_ROOF, solar_power=2500, battery_power=0, grid_power=-2500, load_power=0)[0] == (
        *(2500, None, None, None),
    )
    assert live(METERED_ROOF, grid_power=-1000, load_power=2000)[0] == (3000, None, -1000, 2000)


async def test_live_power_without_an_offset_is_refused_by_name() -> None:
    tesla = Tesla(lambda _: [], live={"timestamp": "2024-06-04T12:00:00", "solar_power": 100})
    at = datetime(2024, 6, 4, 12, tzinfo=UTC)
    found = await fetch(tesla, ReadingsQuery(site=ROOF, start=at, end=at, live=True))
    assert (found.live, found.warnings) == (None, (mapping.NO_TIME,))


# state of charge


def charged(soe: Any) -> Callable[[Params], list[dict[str, Any]] | int]:
    def page(params: Params) -> list[dict[str, Any]] | int:
        start = datetime.fromisoformat(params["start_date"])
        if params["kind"] == "power":
            return steps(start, start + timedelta(days=1), 5, solar_power=0, battery_power=0, grid_power=300)
        return soe if isinstance(soe, int) else steps(start, start + timedelta(days=1), 15, **soe)

    return page


async def test_quarter_hours_carry_the_state_of_charge() -> None:
    tesla = Tesla(charged({"soe": 64}))
    found = await fetch(tesla, day_query(HOME, date(2024, 7, 16), BERLIN, 2))
    assert [(reading.soc_percent, reading.import_wh) for reading in found.intervals] == [(64, 75)] * 192
    assert [params["kind"] for params in tesla.asked] == ["power", "power", "soe", "soe"]


async def test_a_charge_beyond_full_is_unknown() -> None:
    found = await fetch(Tesla(charged({"soe": 163})), day_query(HOME, date(2024, 7, 16), BERLIN))
    assert {reading.soc_percent for reading in found.intervals} == {None}


@pytest.mark.parametrize("status", [400, 403, 404, 503])
async def test_a_page_of_charges_that_fails_is_a_warning_and_the_rest_counts(status: int) -> None:
    tesla = Tesla(charged(status))
    found = await fetch(tesla, day_query(HOME, date(2024, 7, 16), BERLIN, 2))
    assert (len(found.intervals), {reading.soc_percent for reading in found.intervals}) == (192, {None})
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("The state of charge of quarter hours could not be read")
    assert [params["kind"] for params in tesla.asked] == ["power", "power", "soe"]


async def test_a_roof_is_not_asked_for_a_charge() -> None:
    tesla = Tesla(by_days_of(timezone(timedelta(hours=2)), solar_power=300))
    await fetch(tesla, day_query(ROOF, date(2024, 7, 16), BERLIN))
    assert [params["kind"] for params in tesla.asked] == ["power"]


# the simulator is as odd


def subject(cloud: Cloud | None = None) -> Subject:
    found = Subject.installed("tesla")
    found.make_simulator = lambda: simulator(cloud or Cloud())
    return found


async def at_simulator(stand: Stand, owner: str, **zone: str) -> tuple[Site, Callable[[ReadingsQuery], Any]]:
    grant = (await stand.consent(await stand.callback(owner=owner))).grant
    found = await stand.registry.fetch_site("tesla", stand.context(), grant, grant.site_ids[0])
    found = msgspec.structs.replace(found, **zone)
    return found, lambda query: stand.registry.fetch_readings("tesla", stand.context(), grant, query)


@pytest.mark.parametrize("at", [datetime(2026, 7, 8, 20, tzinfo=UTC), datetime(2026, 2, 3, 20, tzinfo=UTC)])
@pytest.mark.parametrize(("owner", "name"), [("roof-by-offset", None), ("ignores-summer-time", "America/Denver")])
async def test_days_of_an_odd_clock_are_read_whole(at: datetime, owner: str, name: str | None) -> None:
    async with standing(subject(), at=at) as stand:
        found, read_all = await at_simulator(stand, owner)
        assert found.timezone == name
        day = (at - timedelta(days=3)).date()
        readings = await read_all(day_query(found, day, ZoneInfo(name or "UTC"), 2))
    assert (len(readings.intervals), readings.warnings) == (192, ())


async def test_the_day_a_powerwall_joins_adds_up() -> None:
    at = datetime(2026, 7, 8, 20, tzinfo=UTC)
    async with standing(subject(), at=at) as stand:
        found, read_all = await at_simulator(stand, "adds-powerwall")
        query = day_query(found, date(2026, 7, 7), ZoneInfo("America/Los_Angeles"))
        readings = await read_all(query)
        (whole,) = (await read_all(msgspec.structs.replace(query, resolution="day"))).intervals
    assert len(readings.intervals) == 96
    assert {reading.quality for reading in readings.intervals} == {"measured"}
    assert sum(reading.solar_wh for reading in readings.intervals) == pytest.approx(whole.solar_wh)


@pytest.mark.parametrize("month", [3, 10, 11])
async def test_months_of_a_clock_change_are_read_whole_at_the_simulator(month: int) -> None:
    async with standing(subject(), at=datetime(2026, 12, 24, tzinfo=UTC)) as stand:
        found, read_all = await at_simulator(stand, "grants")
        query = day_query(found, date(2026, month, 1), ZoneInfo("America/Los_Angeles"), 30, resolution="day")
        readings = await read_all(query)
    assert (len(readings.intervals), readings.warnings) == (30, ())
    assert {reading.quality for reading in readings.intervals} == {"measured"}


async def test_the_cabin_off_the_grid_runs_on_its_generator() -> None:
    async with standing(subject(), at=datetime(2026, 7, 8, 6, tzinfo=UTC)) as stand:
        found, read_all = await at_simulator(stand, "off-grid")
        now = datetime(2026, 7, 8, 6, tzinfo=UTC)
        readings = await read_all(ReadingsQuery(site=found, start=now, end=now, live=True))
    assert readings.live.grid_w == 0
    assert readings.live.load_w == pytest.approx(readings.live.solar_w + readings.live.battery_w + 2000)
    assert readings.warnings == (mapping.OFF_GRID, mapping.GENERATOR)


async def test_charges_that_the_simulator_refuses_leave_the_rest() -> None:
    async with standing(subject(Cloud(closed_kinds=("soe",))), at=datetime(2026, 7, 8, 20, tzinfo=UTC)) as stand:
        found, read_all = await at_simulator(stand, "grants")
        readings = await read_all(day_query(found, date(2026, 7, 6), ZoneInfo("America/Los_Angeles")))
    assert (len(readings.intervals), len(readings.warnings)) == (96, 1)
