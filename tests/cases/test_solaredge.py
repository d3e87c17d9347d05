"""What SolarEdge was seen to answer, and what it must not become. Inputs are written here, none is a recording.

Kinds: placeholder energies (home-assistant/core#169964), a state of charge as a fraction (openhab-addons#21399), a sum
without one of its parts, rows of another length, a time zone that is none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from joinder import Device, DeviceKind, MeterRole, Readings, ReadingsQuery, Site
from joinder.physics import NO_LOAD
from joinder.series import day_span
from joinder.testing.subject import Subject, standing
from joinder_solaredge import charge, mapping, places, sums, telemetry, v1, v1_storage
from joinder_solaredge.api import DeviceEntry, Location, Series, SiteDetails
from joinder_solaredge.simulator import FIRST, LEGACY, Cloud, simulator

START = datetime(2026, 5, 20, 9, tzinfo=UTC)
QUARTER = timedelta(minutes=15)
ROME = ZoneInfo("Europe/Rome")
Values = Iterable[float | None]


def rows(values: Values, unit: str = "WH", *, step: timedelta = QUARTER, start: datetime = START) -> Series:
    told = [{"timestamp": (start + step * index).isoformat(), "value": value} for index, value in enumerate(values)]
    return msgspec.convert({"unit": unit, "values": told}, Series)


def battery(**metrics: Values) -> Mapping[str, Series]:
    units = {"chargePower": "W", "dischargePower": "W", "stateOfEnergy": "PERCENTAGE"}
    return {name: rows(values, units.get(name, "WH")) for name, values in metrics.items()}


def metric(name: str, parts: list[Mapping[str, Series]], wanted: mapping.Energies = mapping.STORAGE) -> list[Any]:
    """By quarter hour; None where there is none."""
    return values_of(name, mapping.energies(parts, wanted, hours=0.25))


def values_of(name: str, metrics: Mapping[str, mapping.Rows]) -> list[Any]:
    told = {
        row.start: getattr(row, name) for row in mapping.quarters(metrics, START, START + timedelta(hours=24), None)
    }
    return [told.get(START + QUARTER * index) for index in range(max(len(rows) for rows in metrics.values()))]


def charges(parts: list[Mapping[str, Series]], capacity_wh: float | None = None) -> list[Any]:
    scale = mapping.charge_scale([(parts, capacity_wh)])
    return list(mapping.charge_states(parts, scale).values())


# placeholder energies


def test_energies_of_zero_beside_power_are_placeholders_and_power_stands_in() -> None:
    told = battery(chargeEnergy=[0, 0, 0], chargePower=[1200, 0, 400], dischargeEnergy=[0, 0, 0])
    assert metric("charge_wh", [told]) == [300.0, 0.0, 100.0]
    assert metric("discharge_wh", [told]) == [None, None, None]  # the same counter, and no power that says so
    assert list(mapping.doubts([told], mapping.STORAGE)) == [mapping.PLACEHOLDERS]


def test_zero_energy_beside_zero_power_is_zero() -> None:
    told = battery(chargeEnergy=[0, 0], chargePower=[0, 0], dischargeEnergy=[0, 40], dischargePower=[0, 160])
    assert metric("charge_wh", [told]) == [0.0, 0.0]
    assert metric("discharge_wh", [told]) == [0.0, 40.0]
    assert list(mapping.doubts([told], mapping.STORAGE)) == []


def test_each_direction_and_each_block_decides_for_itself() -> None:
    early = {"chargeEnergy": rows([0, 0]), "chargePower": rows([800, 800], "W")}
    late = {
        "chargeEnergy": rows([150, 0], start=START + 2 * QUARTER),
        "chargePower": rows([600, 0], "W", start=START + 2 * QUARTER),
    }
    assert metric("charge_wh", [early, late]) == [200.0, 200.0, 150.0, 0.0]


def test_a_single_zero_that_its_power_contradicts_is_unknown() -> None:
    told = battery(chargeEnergy=[0, 500], chargePower=[2000, 2000])
    assert metric("charge_wh", [told]) == [None, 500.0]


def test_placeholder_days_are_unknown() -> None:
    told = {"chargeEnergy": rows([0, 0]), "chargePower": rows([700, 900], "W")}
    assert set(mapping.energies([told], mapping.STORAGE)["charge_wh"].values()) == {None}


@pytest.mark.parametrize(
    ("wanted", "name", "pair"),
    [
        (mapping.GRID, "import_wh", ("importEnergy", "importPower")),
        (mapping.GRID, "export_wh", ("exportEnergy", "exportPower")),
        (mapping.LOAD, "load_wh", ("consumptionEnergy", "consumptionPower")),
        (mapping.PRODUCTION, "solar_wh", ("productionEnergy", "productionPower")),
        (mapping.SOLAR, "solar_wh", ("energy", "power")),
    ],
)
def test_every_pair_of_energy_and_power_is_judged_alike(
    wanted: mapping.Energies, name: str, pair: tuple[str, str]
) -> None:
    told = {pair[0]: rows([0, 0]), pair[1]: rows([0.8, 1.2], "KW")}
    assert metric(name, [told], wanted) == [200.0, 300.0]


def test_a_site_whose_zeros_its_production_meter_contradicts_has_no_production() -> None:
    solar = mapping.energies([{"energy": rows([0, 0])}], mapping.SOLAR)
    meter = [{"M": {"productionEnergy": rows([250, 260])}}]
    told = sums.false_zeros(solar, meter, 0.25)
    assert (values_of("solar_wh", told.metrics), told.warnings) == ([None, None], [sums.NO_SUN_BUT_METERED])
    assert sums.false_zeros(solar, [{"M": {"productionEnergy": rows([0, 0])}}], 0.25) == sums.Sum({})


def test_what_an_inverter_draws_at_night_is_a_production_of_zero() -> None:
    assert metric("solar_wh", [{"power": rows([-6, -900, 400], "W")}], mapping.SOLAR) == [0.0, None, 100.0]


# the scale of a state of charge


def test_a_series_with_a_value_above_one_is_in_percent() -> None:
    assert charges([battery(stateOfEnergy=[0.4, 0.9, 1.7])]) == [0.4, 0.9, 1.7]


def test_fractions_are_told_by_what_is_stored() -> None:
    told = battery(stateOfEnergy=[0.5, 1.0], remainingEnergy=[4600, 9200])
    assert charges([told]) == [50.0, 100.0]
    assert charges([told], 9700.0) == [50.0, 100.0]


def test_a_nearly_empty_battery_in_percent_is_told_by_what_is_stored() -> None:
    assert charges([battery(stateOfEnergy=[0.5, 0.25], remainingEnergy=[48, 24])]) == [0.5, 0.25]


def test_a_capacity_tells_where_both_sizes_could_be() -> None:
    told = battery(stateOfEnergy=[0.5, 0.25], remainingEnergy=[1000, 500])  # of 2 kWh, or of 200 kWh
    assert charges([told]) == [None, None]
    assert charges([told], 2000.0) == [50.0, 25.0]
    assert charges([told], 190_000.0) == [0.5, 0.25]


@pytest.mark.parametrize("values", [[0.985, 0.9866666], [1.0, 1.0], [0.01, 0.02, 985.0]])
def test_a_series_that_cannot_be_decided_is_unknown(values: list[float]) -> None:
    assert charges([battery(stateOfEnergy=values)]) == [None] * len(values)


def test_a_scale_that_contradicts_itself_is_unknown() -> None:
    assert charges([battery(stateOfEnergy=[0.5, 1.2], remainingEnergy=[5000, 12000])]) == [None, None]


def test_percentage_100_is_percent_without_any_doubt() -> None:
    assert charges([{"stateOfEnergy": rows([0.5, 100, 101], "PERCENTAGE_100")}]) == [0.5, 100.0, None]


def test_all_batteries_of_an_answer_share_one_scale() -> None:
    answers = [{"A": battery(stateOfEnergy=[0.9]), "B": battery(stateOfEnergy=[55])}]
    told, warnings = sums.stores(answers, {}, 0.25)
    assert [list(one["soc_percent"].values()) for one in told.values()] == [[0.9], [55.0]]
    assert warnings == []


def test_all_answers_of_a_query_share_one_scale() -> None:
    answers = [
        {"A": battery(stateOfEnergy=[0.9])},
        {"A": {"stateOfEnergy": rows([3], "PERCENTAGE", start=START + QUARTER)}},
    ]
    told, _ = sums.stores(answers, {}, 0.25)
    assert list(told["A"]["soc_percent"].values()) == [0.9, 3.0]


def test_what_a_query_read_before_tells_the_scale_too() -> None:
    before, now = [{"A": battery(stateOfEnergy=[40])}], [{"A": battery(stateOfEnergy=[0.9])}]
    alone, warnings = sums.stores(now, {}, 0.25)
    assert (list(alone["A"]["soc_percent"].values()), warnings) == ([None], [charge.UNDECIDED])
    told, warnings = sums.stores(now, {}, 0.25, before + now)
    assert (list(told["A"]["soc_percent"].values()), warnings) == ([0.9], [])


# sums and their parts


def installed(*sizes: float | None) -> list[Device]:
    return [Device(vendor_id=f"B{at}", kind=DeviceKind.BATTERY, nameplate_wh=size) for at, size in enumerate(sizes)]


def test_a_sum_without_one_battery_is_unknown_and_its_quarter_hour_partial() -> None:
    answers = [{"B0": battery(chargeEnergy=[100, 100]), "B1": battery(chargeEnergy=[50, None])}]
    told = sums.batteries(answers, installed(None, None), 0.25)
    metrics = {**told.metrics, "solar_wh": dict.fromkeys((START, START + QUARTER), 500.0)}
    found = mapping.quarters(metrics, START, START + timedelta(hours=1), None, told.lacking, silent=told.silent)
    assert [(row.charge_wh, row.quality, row.rule, row.lacks) for row in found] == [
        (150.0, "measured", None, ()),
        (None, "partial", "parts_missing", ("B1",)),
    ]


def test_a_battery_that_tells_nothing_at_all_is_missing_too() -> None:
    told = sums.batteries([{"B0": battery(chargeEnergy=[100])}], installed(None, None), 0.25)
    assert (values_of("charge_wh", told.metrics), set(told.lacking)) == ([None], {START})


@pytest.mark.parametrize(("sizes", "percent"), [((9000.0, 3000.0), 75.0), ((None, 3000.0), 60.0), ((None, None), 60.0)])
def test_a_state_of_charge_is_weighted_where_all_capacities_are_told(
    sizes: tuple[float | None, ...], percent: float
) -> None:
    answers = [{"B0": battery(stateOfEnergy=[90]), "B1": battery(stateOfEnergy=[30])}]
    told = sums.batteries(answers, installed(*sizes), 0.25)
    assert values_of("soc_percent", told.metrics) == [percent]


def test_a_state_of_charge_without_one_battery_is_unknown() -> None:
    answers = [{"B0": battery(stateOfEnergy=[90]), "B1": battery(stateOfEnergy=[None])}]
    assert values_of("soc_percent", sums.batteries(answers, installed(None, None), 0.25).metrics) == [None]


def meter(serial: str, role: MeterRole = MeterRole.GRID) -> Device:
    return Device(vendor_id=serial, kind=DeviceKind.METER, role=role)


def test_two_meters_that_differ_are_not_chosen_from() -> None:
    answers = [{"M1": {"importEnergy": rows([100])}, "M2": {"importEnergy": rows([40])}}]
    told = sums.meters(answers, [meter("M1"), meter("M2")], 0.25)
    assert (told.metrics.get("import_wh"), told.warnings) == (None, [sums.METERS_DIFFER])


def test_two_meters_that_agree_count_once() -> None:
    answers = [{"M1": {"importEnergy": rows([100])}, "M2": {"importEnergy": rows([101])}}]
    told = sums.meters(answers, [meter("M1"), meter("M2")], 0.25)
    assert (values_of("import_wh", told.metrics), told.warnings) == ([100.0], [])


def test_what_a_production_meter_imports_is_not_the_homes_import() -> None:
    answers = [{"A": {"importEnergy": rows([3])}, "G": {"importEnergy": rows([90])}}]
    both = sums.meters(answers, [meter("A", MeterRole.PRODUCTION), meter("G")], 0.25)
    assert values_of("import_wh", both.metrics) == [90.0]
    assert (
        sums.meters(answers[:1], [meter("A", MeterRole.PRODUCTION), meter("G", MeterRole.PRODUCTION)], 0.25).metrics
        == {}
    )


# rows and their length


@pytest.mark.parametrize(("minutes", "wh"), [(5, 300.0), (15, 300.0), (30, 300.0), (60, 300.0)])
def test_mean_power_lasts_as_long_as_its_row(minutes: int, wh: float) -> None:
    power = rows([1200] * (120 // minutes), "W", step=timedelta(minutes=minutes))
    told = mapping.energies([{"power": power}], mapping.SOLAR, hours=0.25)
    found = mapping.quarters(told, START, START + timedelta(hours=2), None)
    assert [row.solar_wh for row in found] == [wh] * 8
    assert {row.quality for row in found} == {"measured" if minutes <= 15 else "estimated"}


def test_a_row_that_was_told_empty_makes_its_neighbour_no_longer() -> None:
    assert metric("solar_wh", [{"power": rows([400, None, 400, None, 400], "W")}], mapping.SOLAR) == [
        100.0,
        None,
        100.0,
        None,
        100.0,
    ]


def test_rows_hours_apart_make_no_quarter_hours() -> None:
    told = mapping.energies([{"energy": rows([9000, 8000], step=timedelta(days=1))}], mapping.SOLAR, hours=0.25)
    assert mapping.quarters(told, START, START + timedelta(days=3), None) == ()
    assert mapping.are_too_long(told)


def test_a_day_that_still_runs_is_partial() -> None:
    start, end = day_span(date(2026, 5, 20), ROME)[0], day_span(date(2026, 5, 21), ROME)[1]
    days = rows([9000, 4000], step=timedelta(days=1), start=start)
    told = mapping.energies([{"energy": days}], mapping.SOLAR)
    found = mapping.days(told, start, end, ROME, None, now=end - timedelta(hours=6))
    assert [(row.solar_wh, row.quality) for row in found] == [(9000.0, "measured"), (4000.0, "partial")]


def test_a_row_that_still_runs_is_partial_and_no_live_power() -> None:
    told = mapping.energies([{"energy": rows([100, 20])}], mapping.SOLAR)
    now = START + timedelta(minutes=20)
    found = mapping.quarters(told, START, START + timedelta(hours=1), None, now=now)
    assert [(row.solar_wh, row.quality) for row in found] == [(100.0, "measured"), (20.0, "partial")]
    live = mapping.live(found, Site(vendor_id="1", name="x"), now + QUARTER)
    assert live is not None
    assert live.solar_w == 400.0


@pytest.mark.parametrize("far", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+14:00"])
def test_a_row_of_no_year_of_ours_takes_nothing_from_those_beside_it(far: str) -> None:
    values = [{"timestamp": far, "value": 5}, {"timestamp": START.isoformat(), "value": 100}]
    told = msgspec.convert({"unit": "WH", "values": values}, Series)
    assert metric("solar_wh", [{"energy": told}], mapping.SOLAR) == [100.0]


async def test_a_page_that_is_answered_for_ever_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def same(ctx: object, path: str, into: type[Any], **params: int) -> Any:
        asked.append(params["startIndex"])
        assert len(asked) < 5
        return msgspec.convert({"sites": {"count": 1000, "list": [{"id": 1}, {"id": 2}]}}, into)

    monkeypatch.setattr(v1, "get", same)
    assert await v1.all_site_ids(None) == ("1", "2")  # type: ignore[arg-type]
    assert asked == [0, 2]


def test_a_day_of_another_time_zone_is_no_day_of_the_site() -> None:
    start, end = day_span(date(2026, 5, 20), ROME)
    told = mapping.energies([{"energy": rows([9000], start=start + timedelta(hours=7))}], mapping.SOLAR)
    assert mapping.days(told, start, end, ROME, None) == ()
    assert mapping.has_other_days(told, ROME)


def test_rows_without_offset_are_refused_by_name() -> None:
    naive = msgspec.convert({"unit": "WH", "values": [{"timestamp": "2026-05-20T09:00:00", "value": 5}]}, Series)
    assert metric("solar_wh", [{"energy": naive, "power": rows([None], "W")}], mapping.SOLAR) == [None]
    assert list(mapping.doubts([{"energy": naive}], mapping.SOLAR)) == [mapping.NO_OFFSET]


def test_values_in_an_unknown_unit_are_refused_by_name() -> None:
    assert list(mapping.doubts([{"energy": rows([5], "JOULE")}], mapping.SOLAR)) == [mapping.NO_UNIT]
    assert list(mapping.doubts([{"energy": rows([5], "KW")}], mapping.SOLAR)) == [mapping.NO_UNIT]
    assert list(mapping.doubts([{"stateOfEnergy": rows([5], "LITRE")}], mapping.STORAGE)) == [mapping.NO_UNIT]
    assert list(mapping.doubts([{"stateOfEnergy": rows([None], "")}], mapping.STORAGE)) == []


@pytest.mark.parametrize(("count", "is_cut"), [(48, False), (47, False), (24, True), (0, True)])
def test_an_answer_that_ends_early_is_said_to(count: int, is_cut: bool) -> None:
    span = (START, START + timedelta(hours=12))
    assert telemetry._is_cut(rows([5] * count), span, "QUARTER_HOUR", span[1]) is is_cut


# sites


@pytest.mark.parametrize("name", ["+02:00", "UTC+2", "Etc/GMT-2", "Nowhere/City"])
def test_no_time_zone_is_made_of_an_offset(name: str) -> None:
    told = mapping.site(SiteDetails(site_id=1, location=Location(name, 41.9, "12.5")), [])
    assert (told.timezone, told.lat, told.lon, told.warnings) == (None, 41.9, 12.5, (places.NO_ZONE,))
    old = v1.normalised(v1._Details(id=1, location=v1._Location(name, 41.9, 12.5)), v1._Inventory())
    assert (old.timezone, old.lat, old.lon, old.warnings) == (None, 41.9, 12.5, (places.NO_ZONE,))


@pytest.mark.parametrize("place", [(None, 9.2), (0, 0), (91, 9), ("here", 9), (True, True), ("nan", 9)])
def test_half_a_place_is_none(place: tuple[Any, Any]) -> None:
    told = mapping.site(SiteDetails(site_id=1, location=Location(None, *place)), [])
    assert (told.lat, told.lon, told.warnings) == (None, None, ())


@pytest.mark.parametrize(
    ("nameplate", "wh"),
    [(9.7, 9700.0), (9700, 9700.0), ({"value": 9.7, "unit": "KWH"}, 9700.0), (0, None), (None, None), ("x", None)],
)
def test_the_capacity_of_a_battery_is_in_wh(nameplate: Any, wh: float | None) -> None:
    entries = [DeviceEntry(type=kind, serial_number=kind, nameplate=nameplate) for kind in ("BATTERY", "INVERTER")]
    assert [device.nameplate_wh for device in mapping.site(SiteDetails(site_id=1), entries).devices] == [wh, None]


# V1


def v1_readings(unit: str, *meters: Any) -> tuple[list[Any], list[str]]:
    details = msgspec.convert({"unit": unit, "meters": list(meters)}, v1._Energies)
    query = ReadingsQuery(site=Site(vendor_id="1", name="x"), start=START, end=START + timedelta(hours=2))
    found = v1.quarters(details, query, ZoneInfo("UTC"))
    return list(found), list(v1.doubts(details, found, ZoneInfo("UTC")))


def v1_meter(kind: str, values: Values, minutes: int = 15) -> dict[str, Any]:
    at = START.replace(tzinfo=None)
    step = timedelta(minutes=minutes)
    told = [{"date": str(at + step * index), "value": value} for index, value in enumerate(values)]
    return {"type": kind, "values": told}


def test_hours_of_v1_are_shared_out_as_an_estimate() -> None:
    found, _ = v1_readings("Wh", v1_meter("Production", [400, 800], minutes=60))
    assert [row.solar_wh for row in found] == [100.0] * 4 + [200.0] * 4
    assert {row.quality for row in found} == {"estimated"}


def test_a_v1_sum_without_one_meter_is_partial() -> None:
    kinds = ("Production", "Production", "Consumption")
    meters = [v1_meter(kind, values) for kind, values in zip(kinds, ([10, 10], [5, None], [7, 7]), strict=True)]
    found, _ = v1_readings("Wh", *meters)
    assert [(row.solar_wh, row.quality) for row in found] == [(15.0, "measured"), (None, "partial")]


def test_what_v1_cannot_mean_is_said() -> None:
    meters = [v1_meter(kind, [value]) for kind, value in (("Production", 10), ("FeedIn", 200), ("Purchased", 0))]
    found, warnings = v1_readings("kWh", *meters)
    assert (found[0].load_wh, found[0].rule, warnings) == (None, "load_below_zero", [NO_LOAD])
    assert v1_readings("Joule", *meters) == ([], [mapping.NO_UNIT])
    aware = {"type": "Production", "values": [{"date": "2026-05-20 09:00:00+02:00", "value": 5}]}
    assert v1_readings("Wh", aware) == ([], [v1.NO_TIME])


def v1_battery(serial: str, *told: tuple[float, float, float]) -> v1_storage.Battery:
    """Rows of five minutes: power, the register of what was charged, percent."""
    rows_of = [
        v1_storage.Row(
            time_stamp=str(START.replace(tzinfo=None) + timedelta(minutes=5 * index)),
            power=power,
            life_time_energy_charged=register,
            life_time_energy_discharged=0.0,
            battery_percentage_state=percent,
        )
        for index, (power, register, percent) in enumerate(told)
    ]
    return v1_storage.Battery(serial_number=serial, telemetries=rows_of)


def v1_stored(*batteries: v1_storage.Battery, sizes: Mapping[str, float | None]) -> v1_storage.Told:
    end = START + timedelta(hours=1)
    each = {one.serial_number: v1_storage.quarters(one, START, end, ZoneInfo("UTC")) for one in batteries}
    return v1_storage.over_all(each, sizes)


def test_a_v1_register_that_stands_still_beside_power_is_a_placeholder() -> None:
    still = v1_stored(v1_battery("A", *[(1200.0, 0.0, 50.0)] * 7), sizes={"A": None})
    assert (still.metrics["charge_wh"], still.are_placeholders) == (
        {START: pytest.approx(300.0), START + QUARTER: pytest.approx(300.0)},
        True,
    )
    counts = v1_stored(v1_battery("A", *[(1200.0, 7000.0 + 90 * at, 50.0) for at in range(7)]), sizes={"A": None})
    assert counts.metrics["charge_wh"] == {START: pytest.approx(270.0), START + QUARTER: pytest.approx(270.0)}
    assert not counts.are_placeholders


def test_a_v1_register_that_rests_is_zero() -> None:
    told = v1_stored(v1_battery("A", *[(0.0, 0.0, 5.0)] * 4), sizes={"A": None})
    assert (told.metrics["charge_wh"], told.are_placeholders, told.lacking) == ({START: 0.0}, False, set())


def test_a_v1_sum_without_one_battery_is_unknown() -> None:
    told = v1_stored(v1_battery("A", *[(0.0, 0.0, 5.0)] * 4), sizes={"A": None, "B": None})
    assert (told.metrics["charge_wh"], told.metrics["soc_percent"], told.lacking) == (
        {START: None},
        {START: None},
        {START},
    )


@pytest.mark.parametrize("odd", [(), ("zero-energies",)])
async def test_v1_batteries_where_they_still_answer(odd: tuple[str, ...]) -> None:
    subject = Subject.installed("solaredge")
    subject.make_simulator = lambda: simulator(Cloud(legacy=True, odd=odd), LEGACY)
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
        assert {device.nameplate_wh for device in site.devices} == {None, 10000.0}
        query = ReadingsQuery(site=site, start=START, end=START + timedelta(hours=12))
        found = await stand.registry.fetch_readings("solaredge", stand.context(), grant, query)
    assert [row.charge_wh for row in found.intervals] == pytest.approx(truths(found, "charge_wh"), abs=0.01)
    assert [row.soc_percent for row in found.intervals] == pytest.approx(truths(found, "soc_percent"), abs=0.01)
    assert {row.quality for row in found.intervals} == {"measured"}
    assert found.warnings == ((mapping.PLACEHOLDERS,) if odd else ())


# the vendor's stand-in, as odd as the vendor


async def polled(*odd: str, live: bool = True) -> tuple[Site, Readings]:
    subject = Subject.installed("solaredge")
    subject.make_simulator = lambda: simulator(Cloud(odd=odd))
    async with standing(subject) as stand:
        grant = (await stand.consent()).grant
        site = await stand.registry.fetch_site("solaredge", stand.context(), grant, grant.site_ids[0])
        now = stand.clock.now()
        end = now - timedelta(seconds=now.timestamp() % 900)
        query = ReadingsQuery(site=site, start=end - timedelta(hours=24), end=end, live=live)
        return site, await stand.registry.fetch_readings("solaredge", stand.context(), grant, query)


def truths(found: Readings, name: str) -> list[float]:
    return [getattr(FIRST.home.energy(row.start.timestamp(), row.end.timestamp()), name) for row in found.intervals]


@pytest.mark.parametrize("odd", [(), ("percent",), ("percentage-100",)])
async def test_every_way_of_telling_the_charge_means_the_same(odd: tuple[str, ...]) -> None:
    _, found = await polled(*odd)
    assert [row.soc_percent for row in found.intervals] == pytest.approx(truths(found, "soc_percent"), abs=0.01)
    assert found.live is not None
    assert (found.live.soc_percent or 0) >= 20
    assert found.warnings == ()


async def test_fractions_that_nothing_tells_are_unknown_with_a_warning() -> None:
    _, found = await polled("bare-fractions")
    assert {row.soc_percent for row in found.intervals} == {None}
    assert found.warnings == (charge.UNDECIDED,)
    assert {row.quality for row in found.intervals} == {"measured"}


async def test_placeholders_of_a_whole_day_lose_nothing() -> None:
    _, found = await polled("zero-energies")
    assert [row.charge_wh for row in found.intervals] == pytest.approx(truths(found, "charge_wh"), abs=0.01)
    assert [row.load_wh for row in found.intervals] == pytest.approx(truths(found, "load_wh"), abs=0.1)
    assert found.warnings == (mapping.PLACEHOLDERS,)


async def test_a_site_with_a_silent_battery_has_no_load_and_says_so() -> None:
    _, found = await polled("silent-battery")
    told = {(row.charge_wh, row.load_wh, row.quality, row.rule) for row in found.intervals}
    assert told == {(None, None, "partial", "parts_missing")}
    assert all(row.solar_wh is not None for row in found.intervals)
    assert found.live is not None
    assert (found.live.battery_w, found.live.load_w, found.live.soc_percent) == (None, None, None)


async def test_hours_told_for_quarter_hours_are_estimates() -> None:
    _, found = await polled("hours", live=False)
    assert {row.quality for row in found.intervals} == {"estimated"}
    assert sum(row.solar_wh or 0 for row in found.intervals) == pytest.approx(sum(truths(found, "solar_wh")), rel=0.2)


async def test_a_second_meter_that_differs_leaves_the_grid_unknown() -> None:
    _, found = await polled("two-meters")
    assert {(row.import_wh, row.load_wh) for row in found.intervals} == {(None, None)}
    assert found.warnings == (sums.METERS_DIFFER,)


async def test_a_load_below_zero_is_unknown_with_one_sentence() -> None:
    _, found = await polled("hidden-source")
    below = [row for row in found.intervals if row.rule == "load_below_zero"]
    assert below
    assert {row.load_wh for row in below} == {None}
    assert found.warnings == (NO_LOAD,)


async def test_a_site_with_an_offset_for_a_zone_tells_where_it_is() -> None:
    site, _ = await polled("offset-zone")
    assert (site.timezone, site.lat, site.lon) == (None, 41.9, 12.5)
