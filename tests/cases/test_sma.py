"""What SMA tells wrongly, in part or not at all, by kind; each input is made here.

Kinds met in public: a total told as the first row's (gruijter/com.gruijter.powerhour#234; SolarNetwork's recorded
answers and the limit it puts on them), plants that offer no energy balance, inverters whose nameplate nobody entered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, get_args
from zoneinfo import ZoneInfo

import msgspec
import pytest

from joinder import Device, DeviceKind, Reading, Readings, ReadingsQuery, Site, physics
from joinder.energy import LOAD_BELOW_ZERO, PARTS_MISSING
from joinder.errors import NotSupported, TransientError
from joinder.series import Days, Quarters, day_span
from joinder.testing.subject import Stand, Subject, standing
from joinder.vendor import Resolution
from joinder_sma import UNKNOWN_CAPACITY, _capacity, mapping, rows
from joinder_sma.api import DeviceEntry, Location, Measurements, Plant
from joinder_sma.measurements import Reader
from joinder_sma.simulator import HOME, PAIR, Cloud, Silence, simulator

LISBON = ZoneInfo("Europe/Lisbon")
DAY = date(2026, 5, 20)
FROM, TO = day_span(DAY, LISBON)
NOW = TO + timedelta(days=3)
Rows = list[dict[str, Any]]


class Told:
    """An SMA that knows what it was given, by path behind the plant or device, and nothing else."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers

    async def sets(self, kind: str, of: str) -> frozenset[str]:
        return frozenset(self.answers.get(f"{kind}/{of}/sets", ()))

    async def get(self, path: str, into: type[Any], **_: str) -> Any:
        kind, of, *_rest, name, period = path.strip("/").split("/")
        found = self.answers.get(f"{kind}/{of}/{name}/{period}")
        if found is None:
            raise NotSupported("not here")
        return msgspec.convert(found, into)


def told(given: Rows, resolution: str | None = "FiveMinutes") -> dict[str, Any]:
    return {"set": given, "resolution": resolution}


def every(minutes: int, start: datetime, end: datetime, **members: Any) -> Rows:
    """A row for each step of (start, end], stamped with the wall time of its end."""
    count = int((end - start) / timedelta(minutes=minutes))
    ends = [(start + timedelta(minutes=minutes) * step).astimezone(LISBON) for step in range(1, count + 1)]
    return [{"time": at.replace(tzinfo=None).isoformat(), **members} for at in ends]


def inverter(of: str, watts: float | None = None) -> Device:
    return Device(vendor_id=of, kind=DeviceKind.INVERTER, max_power_w=watts)


def battery(of: str, size_wh: float | None = None) -> Device:
    return Device(vendor_id=of, kind=DeviceKind.BATTERY, nameplate_wh=size_wh)


def meter(of: str) -> Device:
    return Device(vendor_id=of, kind=DeviceKind.METER)


async def read(
    devices: Sequence[Device],
    answers: Mapping[str, Any],
    resolution: Resolution = "15mins",
    *,
    live: bool = False,
    start: datetime = FROM,
    end: datetime = TO,
) -> Readings:
    site = Site(vendor_id="9", name="Quinta", timezone="Europe/Lisbon", devices=tuple(devices))
    query = ReadingsQuery(site=site, start=start, end=end, resolution=resolution, live=live)
    return await Reader(Told(answers), query, LISBON, NOW).readings()  # type: ignore[arg-type]


PV, BATTERY, IN_OUT = (f"devices/{{}}/{name}/{{}}" for name in (mapping.PV, mapping.BATTERY, mapping.IN_OUT))
BALANCE = "plants/9/EnergyBalance"
HAS_BALANCE = {"plants/9/sets": ["EnergyBalance"]}
SECOND_HALVES = [row for row in every(5, FROM, TO, pvGeneration=90.0) if not "05" <= row["time"][14:16] <= "30"]
SILENT: dict[str, Any] = {
    "404": None,
    "empty": told([]),
    "second half hours": told(SECOND_HALVES),
    "every other row": told(every(5, FROM, TO, pvGeneration=90.0)[::2]),
    "rows without the value": told(every(5, FROM, TO)),
}


@pytest.mark.parametrize("form", SILENT)
async def test_a_sum_without_one_inverter_is_partial_and_makes_no_load(form: str) -> None:
    whole = told(every(5, FROM, TO, pvGeneration=60.0))
    grid = told(every(5, FROM, TO, gridFeedIn=50.0, gridConsumption=0.0))
    answers = {PV.format("a", "Day"): whole, PV.format("b", "Day"): SILENT[form], IN_OUT.format("m", "Day"): grid}
    found = (await read([inverter("a"), inverter("b"), meter("m")], answers)).intervals
    lacking = [row for row in found if row.solar_wh != pytest.approx(450)]
    assert len(found) == 96
    assert len(lacking) in (48, 96)
    assert {(row.quality, row.load_wh) for row in lacking} == {("partial", None)}
    assert {row.load_wh for row in found if row not in lacking} <= {300.0}


@pytest.mark.parametrize("form", ["404", "empty", "half"])
async def test_a_day_without_one_inverter_is_partial(form: str) -> None:
    days = [{"time": f"2026-05-{number:02}T00:00:00", "pvGeneration": 20_000.0} for number in range(1, 31)]
    silent = {"404": None, "empty": told([], "OneDay"), "half": told(days[::2], "OneDay")}[form]
    answers = {PV.format("a", "Month"): told(days, "OneDay"), PV.format("b", "Month"): silent}
    found = await read([inverter("a"), inverter("b")], answers, "day", end=FROM + timedelta(days=2))
    first, second = found.intervals[:2]
    assert (first.quality, first.rule) == ("partial", PARTS_MISSING)
    assert second.quality == ("measured" if form == "half" else "partial")
    assert found.warnings


async def test_two_meters_and_two_batteries_count_their_parts_as_inverters_do() -> None:
    grid = told(every(5, FROM, TO, gridFeedIn=0.0, gridConsumption=40.0))
    stored = told(every(5, FROM, TO, batteryCharging=0.0, batteryDischarging=10.0))
    answers = {IN_OUT.format("m", "Day"): grid, BATTERY.format("s", "Day"): stored}
    for devices in ([meter("m"), meter("n")], [battery("s"), battery("t")]):
        found = (await read(devices, answers)).intervals
        assert {(row.quality, row.rule) for row in found} == {("partial", PARTS_MISSING)}


@pytest.mark.parametrize(
    ("second", "sizes", "percent"),
    [
        (40.0, (None, None), 60.0),
        (40.0, (3000.0, 9000.0), 50.0),
        (40.0, (3000.0, None), 60.0),
        (None, (1.0, 1.0), None),
    ],
)
async def test_a_mean_state_of_charge_is_over_all_batteries_or_unknown(
    second: float | None, sizes: tuple[float | None, float | None], percent: float | None
) -> None:
    members = {"batteryCharging": 0.0, "batteryDischarging": 0.0}
    first = told(every(5, FROM, TO, batteryStateOfCharge=80.0, **members))
    other = told(every(5, FROM, TO, batteryStateOfCharge=second, **members))
    answers = {BATTERY.format("s", "Day"): first, BATTERY.format("t", "Day"): other}
    found = (await read([battery("s", sizes[0]), battery("t", sizes[1])], answers)).intervals
    assert {row.soc_percent for row in found} == {percent}


def test_a_hybrid_is_a_battery_and_a_part_of_the_solar_sum() -> None:
    entry = DeviceEntry(device_id="77", generator_power=8000.0)
    sets = {"77": frozenset({mapping.PV, mapping.BATTERY, mapping.IN_OUT})}
    site = mapping.site(Plant(plant_id="9"), [entry], sets, capacities={"77": 9600.0})
    assert [(device.vendor_id, device.kind) for device in site.devices] == [("77", "battery"), ("77.pv", "inverter")]
    assert (site.devices[0].nameplate_wh, site.devices[1].max_power_w) == (9600.0, 8000.0)


def balance_with_false_row(pv_w: float, at: int = 0, **other: float) -> Rows:
    given = every(5, FROM, TO, pvGeneration=1200.0, gridConsumption=100.0, gridFeedIn=300.0, totalConsumption=1000.0)
    given[at] |= {"pvGeneration": pv_w, "totalConsumption": pv_w - 200, **other}
    return given


@pytest.mark.parametrize("nameplate", [9300.0, 0.0, None])
@pytest.mark.parametrize("at", [0, 1, 150])
async def test_a_false_solar_row_and_the_load_made_of_it_are_unknown(nameplate: float | None, at: int) -> None:
    answers = {**HAS_BALANCE, f"{BALANCE}/Day": told(balance_with_false_row(688_000.0, at))}
    found = await read([inverter("a", nameplate), meter("m")], answers)
    false, others = found.intervals[at // 3], [row for row in found.intervals if row is not found.intervals[at // 3]]
    assert (false.solar_wh, false.load_wh, false.import_wh, false.quality) == (
        200.0,
        pytest.approx(166.667),
        25,
        "partial",
    )
    assert {(row.solar_wh, row.load_wh, row.quality) for row in others} == {(300.0, 250.0, "measured")}
    assert found.warnings == (f"SMA {mapping.NO_SUN}",)


async def test_a_load_that_is_not_told_is_not_made_of_a_part_of_the_solar_rows() -> None:
    given = balance_with_false_row(688_000.0)
    bare = [{name: value for name, value in row.items() if name != "totalConsumption"} for row in given]
    found = await read([inverter("a", 9300.0), meter("m")], {**HAS_BALANCE, f"{BALANCE}/Day": told(bare)})
    assert [row.load_wh for row in found.intervals[:2]] == [None, 250.0]


async def test_one_inverter_without_a_nameplate_leaves_the_plants_unknown() -> None:
    """Its neighbours judge then, and they let a row pass that would be beyond the known inverter alone."""
    answers = {**HAS_BALANCE, f"{BALANCE}/Day": told(balance_with_false_row(8_000.0))}
    found = await read([inverter("a", 5000.0), inverter("b")], answers)
    assert found.intervals[0].quality == "measured"


async def test_a_false_first_row_of_a_meter_is_unknown_but_a_car_that_charges_is_not() -> None:
    given = every(5, FROM, TO, gridFeedIn=5.0, gridConsumption=30.0)
    given[0]["gridFeedIn"] = 57_000.0  # Wh in five minutes: 684 kW
    given[140]["gridConsumption"] = 1900.0  # 22.8 kW
    found = (await read([meter("m")], {IN_OUT.format("m", "Day"): told(given)})).intervals
    assert (found[0].export_wh, found[0].quality) == (10.0, "partial")
    assert (found[46].import_wh, found[46].quality) == (1960.0, "measured")


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00"])
def test_a_row_of_no_year_of_ours_takes_nothing_from_those_beside_it(far: str) -> None:
    given = [*every(5, FROM, FROM + timedelta(minutes=15)), {"time": far}]
    entries = rows.timed(msgspec.convert(told(given), Measurements), LISBON)
    assert [(entry.start - FROM) // timedelta(minutes=5) for entry in entries] == [0, 1, 2]


@pytest.mark.parametrize("stray", ["2026-06-01", "2026-06-02", "2026-04-30"])
def test_a_stray_row_of_another_month_moves_no_day(stray: str) -> None:
    given = [{"time": f"2026-05-{number:02}T00:00:00", "pvGeneration": 100.0 * number} for number in range(1, 32)]
    answer = msgspec.convert(told([{"time": f"{stray}T00:00:00"}, *given], "OneDay"), Measurements)
    days = mapping.days_of(answer, "2026-05")
    assert {day: row.pv_generation for day, row in days.items()} == {
        date(2026, 5, number): 100.0 * number for number in range(1, 32)
    }


def test_days_stamped_with_their_end_are_the_ones_before() -> None:
    ends = [*(f"2026-05-{number:02}" for number in range(2, 32)), "2026-06-01"]
    answer = msgspec.convert(told([{"time": f"{end}T00:00:00"} for end in ends], "OneDay"), Measurements)
    assert list(mapping.days_of(answer, "2026-05")) == [date(2026, 5, number) for number in range(1, 32)]


def months(spike_wh: float, nameplate: float | None, usual_wh: float = 18_000.0) -> list[Reading]:
    start, end = day_span(date(2026, 5, 1), LISBON)[0], day_span(date(2026, 5, 31), LISBON)[1]
    given = [
        {"time": f"2026-05-{number:02}T00:00:00", "pvGeneration": usual_wh, "gridConsumption": 4000.0}
        for number in range(1, 32)
    ]
    given[11] |= {"pvGeneration": spike_wh, "totalConsumption": spike_wh}
    found = Days(LISBON, start, end)
    mapping.add_months(found, msgspec.convert(told(given, "OneDay"), Measurements), "2026-05", nameplate=nameplate)
    return list(found.readings())


@pytest.mark.parametrize(
    ("spike_wh", "nameplate"),
    [(200_000.0, 5000.0), (183_763.0, 9300.0), (183_763.0, None), (1_024_843.0, 0.0), (1_024_843.0, 7680.0)],
)
def test_a_day_of_more_than_the_sun_is_unknown_with_its_load(spike_wh: float, nameplate: float | None) -> None:
    found = months(spike_wh, nameplate)
    assert (found[11].solar_wh, found[11].load_wh, found[11].import_wh) == (None, None, 4000.0)
    assert found[11].quality == "partial"
    assert {(row.solar_wh, row.quality) for row in found if row is not found[11]} == {(18_000.0, "measured")}


@pytest.mark.parametrize(("best_wh", "nameplate", "usual_wh"), [(60_000.0, 8000.0, 900.0), (95_000.0, None, 2000.0)])
def test_the_first_clear_day_of_a_dark_month_counts(best_wh: float, nameplate: float | None, usual_wh: float) -> None:
    assert months(best_wh, nameplate, usual_wh)[11].solar_wh == best_wh


async def test_a_day_that_is_not_over_is_partial() -> None:
    days = [{"time": f"2026-05-{number:02}T00:00:00", "pvGeneration": 9000.0} for number in range(1, 32)]
    end = day_span(date(2026, 5, 24), LISBON)[1]
    found = await read([inverter("a")], {PV.format("a", "Month"): told(days, "OneDay")}, "day", end=end)
    assert [row.quality for row in found.intervals] == ["measured"] * 4 + ["partial"]


def quarters(given: Rows, resolution: str | None, *, energies: bool = False) -> tuple[list[Reading], str | None]:
    found = Quarters(FROM, TO)
    answer = msgspec.convert(told(given, resolution), Measurements)
    problem = mapping.add_rows(found, answer, LISBON, energies=energies, nameplate=None)
    return list(found.readings()), problem


@pytest.mark.parametrize(
    ("minutes", "stated", "warned"),
    [
        (5, "FiveMinutes", False),
        (15, "FiveMinutes", True),
        (5, "FifteenMinutes", True),
        (5, "OneHour", True),
        (1, "FiveMinutes", True),
        (5, None, False),
        (15, "Odd", False),
    ],
)
def test_rows_are_as_long_as_they_lie_apart(minutes: int, stated: str | None, warned: bool) -> None:
    found, problem = quarters(every(minutes, FROM, TO, pvGeneration=400.0), stated)
    assert [(row.solar_wh, row.quality) for row in found] == [(100.0, "measured")] * 96
    assert bool(problem) is warned


@pytest.mark.parametrize("stated", ["FiveMinutes", "OneHour", None])
def test_hours_make_no_quarter_hours_whatever_is_stated(stated: str | None) -> None:
    found, problem = quarters(every(60, FROM, TO, pvGeneration=400.0), stated)
    assert found == []
    assert "too coarse" in (problem or "")


def test_a_hole_makes_no_row_longer() -> None:
    given = every(5, FROM, FROM + timedelta(hours=3), pvGeneration=50.0)
    found, problem = quarters([*given[:7], *given[11:]], "FiveMinutes", energies=True)
    assert [row.solar_wh for row in found] == [150.0, 150.0, 50.0, 50.0] + [150.0] * 8
    assert [row.quality for row in found[:5]] == ["measured", "measured", "partial", "partial", "measured"]
    assert problem is None


def test_rows_newest_first_and_times_that_carry_an_offset_are_read() -> None:
    given = every(5, FROM, TO, pvGeneration=50.0)
    stamped = [{**row, "time": f"{row['time']}+01:00"} for row in given]
    assert quarters(given[::-1], "FiveMinutes")[0] == quarters(given, "FiveMinutes")[0]
    assert quarters(stamped, "FiveMinutes")[0] == quarters(given, "FiveMinutes")[0]


DAYLIGHT = every(5, FROM + timedelta(hours=7), FROM + timedelta(hours=20), pvGeneration=900.0)
DAYLIGHT[0] |= {"pvGeneration": 2.0}
DAYLIGHT[-1] |= {"pvGeneration": 0.0}


@pytest.mark.parametrize(
    ("given", "short"),
    [
        (DAYLIGHT, False),
        (DAYLIGHT[:80], True),
        (every(5, FROM, TO, pvGeneration=0.0, gridConsumption=9.0), False),
        (every(5, FROM, TO - timedelta(hours=9), pvGeneration=0.0, gridConsumption=9.0), True),
        ([], True),
    ],
)
async def test_an_answer_shorter_than_what_was_asked_says_so(given: Rows, short: bool) -> None:
    found = await read([inverter("a")], {**HAS_BALANCE, f"{BALANCE}/Day": told(given)})
    assert any("only a part of the time" in warning for warning in found.warnings) is short


@pytest.mark.parametrize(
    ("row", "load_w", "warned"),
    [
        ({"pvGeneration": 1714, "gridConsumption": 129, "batteryCharging": 2580}, None, True),
        ({"pvGeneration": 1714, "gridConsumption": 129, "batteryCharging": 2580, "totalConsumption": -736}, None, True),
        ({"pvGeneration": 2000, "gridConsumption": 0, "batteryCharging": 2030}, 0.0, False),
        ({"pvGeneration": 2000, "gridConsumption": 300, "batteryCharging": 500}, 1800.0, False),
        ({"pvGeneration": 2000, "gridConsumption": 300, "batteryCharging": 0, "dieselGeneration": 900}, None, False),
        ({"pvGeneration": 900_000, "gridConsumption": 9, "totalConsumption": 900_009}, None, False),
        ({"pvGeneration": -12, "gridConsumption": 300, "batteryCharging": 0}, 300.0, False),
    ],
)
async def test_a_live_load_is_what_its_parts_allow(row: dict[str, float], load_w: float | None, warned: bool) -> None:
    answer = told([{"time": "2026-05-20T12:00:00", "gridFeedIn": 0, "batteryDischarging": 0, **row}])
    devices = [inverter("a", 6000.0), battery("s"), meter("m")]
    found = await read(devices, {**HAS_BALANCE, f"{BALANCE}/Recent": answer}, live=True, end=FROM)
    assert found.live is not None
    assert found.live.load_w == load_w
    assert (physics.NO_LOAD in found.warnings) is warned


async def test_a_load_below_zero_is_unknown_and_says_so() -> None:
    members = {"pvGeneration": 500.0, "gridConsumption": 0.0, "gridFeedIn": 2000.0}
    found = await read([inverter("a", 6000.0)], {**HAS_BALANCE, f"{BALANCE}/Day": told(every(5, FROM, TO, **members))})
    assert {(row.load_wh, row.rule) for row in found.intervals} == {(None, LOAD_BELOW_ZERO)}
    assert found.warnings == (physics.NO_LOAD,)


async def test_a_load_beside_a_running_generator_is_unknown() -> None:
    members = {"pvGeneration": 500.0, "gridConsumption": 0.0, "gridFeedIn": 0.0, "dieselGeneration": 1500.0}
    found = await read([inverter("a", 6000.0)], {**HAS_BALANCE, f"{BALANCE}/Day": told(every(5, FROM, TO, **members))})
    assert {(row.load_wh, row.quality) for row in found.intervals} == {(None, "partial")}


def test_a_place_is_told_where_the_zone_is_not() -> None:
    place = msgspec.convert({"address": {"latitude": 38.7, "longitude": -9.1, "street": "x"}}, Location)
    site = mapping.site(Plant(plant_id="9", timezone="GMT Standard Time"), [], {}, location=place)
    assert (site.lat, site.lon) == (38.7, -9.1)
    empty = msgspec.convert({"address": {"latitude": 0.0, "longitude": 0}}, Location)
    assert empty.coordinates() == (None, None)


def stand_in(cloud: Cloud) -> Subject:
    subject = Subject.installed("sma")
    subject.make_simulator = lambda: simulator(cloud)
    return subject


async def fetched(stand: Stand, owner: str, plant_id: str, resolution: Resolution = "15mins") -> Readings:
    grant = (await stand.consent(await stand.callback(owner=owner))).grant
    site = await stand.registry.fetch_site("sma", stand.context(), grant, plant_id)
    start, end = day_span(date(2026, 10, 27), PAIR.home.zone)
    start = start - timedelta(days=20) if resolution == "day" else start
    query = ReadingsQuery(site=site, start=start, end=end, resolution=resolution)
    return await stand.registry.fetch_readings("sma", stand.context(), grant, query)


@pytest.mark.parametrize("silent", [None, *get_args(Silence)])
async def test_the_stand_in_falls_silent_in_part(silent: Silence | None) -> None:
    async with standing(stand_in(Cloud(silent=silent))) as stand:
        found = await fetched(stand, "two-inverters", PAIR.id)
        truth = PAIR.home.energy(found.intervals[0].start.timestamp(), found.intervals[-1].end.timestamp())
        whole = sum(row.solar_wh or 0 for row in found.intervals)
        assert (whole == pytest.approx(truth.solar_wh, rel=0.001)) is (silent is None)
        assert {row.quality for row in found.intervals} == {"partial" if silent else "measured"}
        assert bool(found.warnings) is (silent is not None)


@pytest.mark.parametrize("untold", [False, True])
@pytest.mark.parametrize(("owner", "plant"), [("grants", HOME), ("two-inverters", PAIR)])
async def test_the_stand_in_tells_a_false_first_row(owner: str, plant: Any, untold: bool) -> None:
    async with standing(stand_in(Cloud(spikes=True, untold=untold))) as stand:
        found = await fetched(stand, owner, plant.id)
        assert max(row.solar_wh or 0 for row in found.intervals) < 1500
        assert max(row.load_wh or 0 for row in found.intervals) < 1500
        days = await fetched(stand, owner, plant.id, "day")
        assert max(row.solar_wh or 0 for row in days.intervals) < 60_000


async def test_a_battery_tells_its_capacity_on_its_own_page_and_nothing_else_is_asked() -> None:
    async with standing(stand_in(Cloud())) as stand:
        grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("sma", stand.context(), grant, HOME.id)
        sizes = {device.kind: device.nameplate_wh for device in site.devices}
        assert sizes == {"inverter": None, "meter": None, "battery": HOME.home.battery_wh}
        assert (await stand.state())["calls"]["devices"] == 1


@pytest.mark.parametrize("error", [NotSupported("x"), TransientError("x")])
async def test_a_page_that_cannot_be_read_leaves_one_value_unknown(error: Exception) -> None:
    class Refusing:
        async def get(self, *_: object) -> None:
            raise error

    warnings: list[str] = []
    assert await _capacity(Refusing(), "s", warnings) is None  # type: ignore[arg-type]
    assert warnings == [UNKNOWN_CAPACITY]


def test_a_quiet_hour_is_no_hole() -> None:
    entries = rows.timed(msgspec.convert(told(every(5, FROM, TO, gridFeedIn=0.0)), Measurements), LISBON)
    assert not rows.is_short(entries[:12] + entries[24:], FROM, TO, by_sun=False)
    assert rows.is_short(entries[:12] + entries[60:], FROM, TO, by_sun=False)
    assert FROM.tzinfo is UTC


@pytest.mark.parametrize(
    ("now", "at"),
    [("2027-10-31T00:20:00", "00:15"), ("2027-10-31T01:20:00", "01:15"), ("2027-10-31T02:20:00", "02:15")],
)
def test_power_of_the_hour_that_autumn_repeats_is_of_now(now: str, at: str) -> None:
    """Wall times of both passes are the same; a newest row is the later one, once that has been."""
    where, moment = ZoneInfo("Europe/Berlin"), datetime.fromisoformat(now).replace(tzinfo=UTC)
    true = datetime.fromisoformat(f"2027-10-31T{at}:00").replace(tzinfo=UTC)
    read = true.astimezone(where).replace(fold=0).astimezone(UTC)
    assert mapping.of_now(read, where, moment) == true
