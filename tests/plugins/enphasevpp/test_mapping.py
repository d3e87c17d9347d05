"""What Grid Services tell otherwise than the Monitoring API; tests/plugins/enphase/test_mapping.py asks the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from enphase_answers import NET, SOLAR, TOTAL
from joinder import Device, DeviceKind, Live, MeterRole, Reading, Site
from joinder.errors import UnexpectedPayload
from joinder.series import QUARTER, Quarters
from joinder_enphase.intervals import BATTERY, add_rows
from joinder_enphase_vpp import api, intervals, mapping
from mangled import mangled
from payloads.enphase_sums import read

T0 = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
EPOCH = int(T0.timestamp())
STORE = Device(vendor_id="b", kind=DeviceKind.BATTERY)
MICRO = Device(vendor_id="m", kind=DeviceKind.INVERTER)


def home(*devices: Device) -> Site:
    return Site(vendor_id="1", name="Home", timezone="US/Pacific", devices=devices)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b'{"intervals": null}',
        b'{"intervals": [7]}',
        b'{"intervals": [[{"end_at": 900}]]}',
        b'{"intervals": [{"end_at": 900, "wh_del": "inf"}]}',
        b'{"intervals": [], "soc": "NaN"}',
        b"<html>",
    ],
)
def test_other_shapes_are_unexpected_never_a_traceback(body: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        read(body, api.Telemetry)


@pytest.mark.parametrize(
    ("devices", "values", "load"),
    [
        ((SOLAR, NET), {}, 120.0),
        ((SOLAR, NET, STORE), {"charge_wh": 30.0, "discharge_wh": 10.0}, 100.0),
        ((SOLAR, NET, STORE), {"charge_wh": 30.0}, None),
        ((SOLAR, NET, STORE), {"charge_wh": 30.0, "discharge_wh": 10.0, "quality": "partial"}, None),
        ((SOLAR, TOTAL, STORE), {"load_wh": 77.0}, 77.0),
    ],
)
def test_load_from_its_parts(devices: tuple[Device, ...], values: dict[str, object], load: float | None) -> None:
    parts: dict[str, object] = {"solar_wh": 100.0, "import_wh": 50.0, "export_wh": 30.0, **values}
    reading = Reading(start=T0, end=T0 + QUARTER, **parts)  # type: ignore[arg-type]
    (found,) = intervals.loaded((reading,), home(*devices), None)
    assert found.load_wh == load
    (alone,) = intervals.loaded((reading,), home(*devices), "1EIM1")
    assert alone == reading


@pytest.mark.parametrize(
    ("devices", "titles"),
    [
        ((MICRO,), ["Inverters"]),
        ((MICRO, SOLAR), ["Production meter"]),
        ((MICRO, STORE), ["Inverters", "Battery"]),
        ((SOLAR, NET), ["Production meter", "Grid import", "Grid export"]),
        ((SOLAR, TOTAL), ["Production meter", "Grid import", "Grid export", "Consumption meter"]),
        ((), []),
    ],
)
def test_only_what_the_site_has_is_asked_for(devices: tuple[Device, ...], titles: list[str]) -> None:
    assert [series.title for series in intervals.site_series(home(*devices))] == titles


def test_two_meters_of_a_role_have_no_series_of_their_own() -> None:
    other = Device(vendor_id="2EIM1", kind=DeviceKind.METER, role=MeterRole.PRODUCTION)
    assert intervals.device_series(home(SOLAR), "1EIM1") == (intervals.SOLAR_METER,)
    assert intervals.device_series(home(SOLAR, other), "1EIM1") == ()


@pytest.mark.parametrize(
    ("span", "granularity"),
    [
        (QUARTER, "15mins"),
        (timedelta(minutes=16), "day"),
        (timedelta(days=1), "day"),
        (timedelta(hours=25), "week"),
        (timedelta(days=7), "week"),
    ],
)
def test_the_shortest_span_that_holds_the_query(span: timedelta, granularity: str) -> None:
    for series, length in (
        (BATTERY, {"interval_duration": "15mins"}),
        (intervals.SOLAR_MICRO, {"interval_duration": "5mins"}),
        (intervals.device_series(home(MICRO), "m")[0], {}),
    ):
        expected = {"start_at": EPOCH, "granularity": granularity, **length}
        assert intervals.parameters(series, T0, T0 + span) == expected


@pytest.mark.parametrize(
    ("answer", "percent"),
    [
        ({"soc": 89.5, "last_report_at": EPOCH - 60}, 89.5),
        ({"soc": 0, "last_report_at": EPOCH}, 0.0),
        ({"soc": 89.5, "last_report_at": EPOCH - 9000}, None),
        ({"soc": 89.5, "last_report_at": None}, None),
        ({"soc": 101, "last_report_at": EPOCH}, None),
        ({"soc": -1, "last_report_at": EPOCH}, None),
        ({"soc": None, "last_report_at": EPOCH}, None),
        ({}, None),
    ],
)
def test_state_of_charge_is_of_the_same_half_hour(answer: dict[str, object], percent: float | None) -> None:
    telemetry = read({"intervals": [], **answer}, api.Telemetry)
    assert mapping.with_charge(Live(measured_at=T0), telemetry).soc_percent == percent


BODIES: dict[type, dict[str, object]] = {
    api.Telemetry: {
        "intervals": [{"end_at": EPOCH + 900, "charge": {"enwh": 1}, "discharge": {"enwh": 2}, "soc": {"percent": 3}}],
        "soc": 5,
        "last_report_at": EPOCH,
    },
    api.Application: {"application_status": "Site_Approved", "application_id": 7, "program_id": "p"},
}


def use(decoded: object) -> None:
    if isinstance(decoded, api.Telemetry):
        mapping.with_charge(Live(measured_at=T0), decoded)
        site, quarters = home(NET, STORE), Quarters(T0 - timedelta(days=9), T0 + timedelta(days=9))
        add_rows(quarters, BATTERY, decoded, site)
        found = intervals.loaded(quarters.readings(), site, None)
        assert not [row for row in found if 0 in (row.charge_wh, row.discharge_wh)]


@pytest.mark.parametrize("into", BODIES)
def test_one_wrong_place_is_never_a_traceback_nor_a_zero(into: type) -> None:
    unexpected = 0
    tried = mangled(BODIES[into])
    for body in tried:
        try:
            use(read(body, into))
        except UnexpectedPayload:
            unexpected += 1
    assert 0 < unexpected < len(tried)
