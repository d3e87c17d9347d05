"""Every stored Tesla answer is read by the plugin's own structs and mapping, or named here with the reason why not.

Files: ../shared/payloads/tesla (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from joinder import Device, DeviceKind, MeterRole, ReadingsQuery, Site
from joinder.errors import UnexpectedPayload, VendorError
from joinder.http import Answer
from joinder.token_answers import token_error, token_of
from joinder_tesla import VENDOR, mapping
from joinder_tesla.api import API, History, LiveStatus, Product, SiteInfo, Wrapped
from support import shared

T = TypeVar("T")
FOLDER = "payloads/tesla"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
WHOLE = Site(
    vendor_id="1",
    name="x",
    timezone="America/Los_Angeles",
    devices=(
        Device(vendor_id="s", kind=DeviceKind.INVERTER),
        Device(vendor_id="b", kind=DeviceKind.BATTERY),
        Device(vendor_id="g", kind=DeviceKind.METER, role=MeterRole.GRID),
    ),
)
ROOF = Site(vendor_id="1", name="x", timezone="Etc/GMT+7", devices=(Device(vendor_id="s", kind=DeviceKind.INVERTER),))
NOT_READ = {
    "backup_block_legacy_battery_data.json": "outages are not read",
    "backup_time_remaining.json": "outages are not read",
    "programs_empty_list.json": "grid programmes are not read",
    "rate_tariffs_excerpt.json": "tariffs are not read",
    "tariff_rate_amber.json": "tariffs are not read",
    "site_status_battery.json": "site_status tells less than live_status, which is read",
    "site_status_fleetapi_2024-05.json": "site_status tells less than live_status, which is read",
    "site_status_solar_only.json": "site_status tells less than live_status, which is read",
}


def read(content: bytes, into: type[T]) -> T:
    wrapped: Wrapped[T] = Answer(200, {}, content, "GET x").json(Wrapped[into])  # type: ignore[valid-type]
    return wrapped.response


def products(*site_ids: str) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        assert mapping.site_ids(read(content, list[Product])) == site_ids

    return verify


def site(name: str, timezone: str | None, devices: list[tuple[str, float | None]]) -> Callable[[bytes], None]:
    """Kinds, with the capacity of batteries."""

    def verify(content: bytes) -> None:
        found = mapping.site("1", read(content, SiteInfo))
        assert (found.name, found.timezone) == (name, timezone)
        assert [(str(device.kind), device.nameplate_wh) for device in found.devices] == devices
        assert len({device.vendor_id for device in found.devices}) == len(devices)
        assert found.operational_since is not None

    return verify


def live(of: Site, *expected: float | None) -> Callable[[bytes], None]:
    """Solar, battery, grid, load, state of charge; and the balance where all four are told."""

    def verify(content: bytes) -> None:
        found = mapping.live(read(content, LiveStatus), of)
        assert found is not None
        seen = (found.solar_w, found.battery_w, found.grid_w, found.load_w, found.soc_percent)
        assert seen == tuple(value if value is None else pytest.approx(value) for value in expected)
        if None not in seen[:4]:
            assert sum(value or 0 for value in seen[:3]) == pytest.approx(seen[3])

    return verify


def day_energy(day: datetime, site: Site, **wh: float | None) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        query = ReadingsQuery(
            site=site, start=day - timedelta(hours=1), end=day + timedelta(hours=26), resolution="day"
        )
        (found,) = mapping.days(read(content, History).time_series or [], query)
        for metric, expected in wh.items():
            assert getattr(found, metric) == (None if expected is None else pytest.approx(expected, abs=0.01))

    return verify


def two_rows_of_a_day(content: bytes) -> None:
    """Identities of the page hold in each row; the day is their sum."""
    stood = json.loads(content)["response"]["time_series"]
    start = datetime(2023, 6, 1, 7, tzinfo=UTC)
    query = ReadingsQuery(site=WHOLE, start=start, end=start + timedelta(days=1), resolution="day")
    (found,) = mapping.days(read(content, History).time_series or [], query)
    assert found.solar_wh == pytest.approx(sum(row["total_solar_generation"] for row in stood))
    assert found.load_wh == pytest.approx(sum(row["total_home_usage"] for row in stood))
    assert found.charge_wh == pytest.approx(sum(row["total_battery_charge"] for row in stood))
    assert found.discharge_wh == pytest.approx(sum(row["total_battery_discharge"] for row in stood))
    assert found.export_wh == pytest.approx(sum(row["total_grid_energy_exported"] for row in stood))
    assert found.import_wh == pytest.approx(sum(row["grid_energy_imported"] for row in stood))


def no_rows(content: bytes) -> None:
    assert read(content, History).time_series is None


def night_row(at: datetime) -> Callable[[bytes], None]:
    """One row of zero power, of 15 minutes, at its true instant."""

    def verify(content: bytes) -> None:
        query = ReadingsQuery(site=ROOF, start=at - timedelta(hours=1), end=at + timedelta(hours=1))
        (found,) = mapping.quarters(read(content, History).time_series or [], query)
        assert (found.start, found.solar_wh, found.load_wh) == (at, 0, None)

    return verify


def refused_tariff(content: bytes) -> None:
    with pytest.raises(UnexpectedPayload):
        API.check(Answer(400, {}, content, "GET x"), NOW)


def errors(content: bytes) -> None:
    """Each becomes a class; that each is the right one is asserted in tests/plugins/tesla/test_errors.py."""
    assert VENDOR.oauth2 is not None
    entries: list[dict[str, Any]] = json.loads(content)
    assert len(entries) == 12
    for entry in entries:
        body = json.dumps(entry["body"]).encode() if "body" in entry else entry["body_text"].encode()
        answer = Answer(entry["status"], {}, body, "GET x")
        if "endpoint" in entry:
            error: VendorError = token_error(answer, invalid_grant_codes=VENDOR.oauth2.invalid_grant_codes)
        else:
            with pytest.raises(VendorError) as caught:
                API.check(answer, NOW)
            error = caught.value
        assert type(error) is not VendorError


def token(content: bytes) -> None:
    found = token_of(Answer(200, {}, content, "POST x"), NOW)
    assert found.expires_at == NOW + timedelta(hours=8)
    assert set(found.secrets()) == {"access_token", "refresh_token"}


BATTERIES = [("inverter", None), ("battery", 13500), ("battery", 13500), ("meter", None)]
READ: dict[str, Callable[[bytes], None]] = {
    "products_powerwall_empty_0pct.json": products("12345678901234"),
    "products_powerwall_no_energy_left_2024-04.json": products("1234"),
    "products_solar_only.json": products("2252147638651575"),
    "products_vehicle_battery_site_and_bare_site.json": products("123456"),
    "products_vehicle_plus_powerwall_wallconnector_2023-11.json": products("12345"),
    "products_vehicles_only_no_energy_2024-08.json": products(),
    "site_info_batteries_gateways_wall_connectors.json": site("Site", None, BATTERIES),
    "site_info_fleetapi_2024-05_powerwall_plus_inverters.json": site("TeslaEnergyGateway", None, BATTERIES),
    "site_info_powerwall_amber_tariff_au.json": site(
        "Battery Home", "Australia/Brisbane", [("inverter", None), ("battery", 13500), ("meter", None)]
    ),
    "site_info_solar_only.json": site("My House", "America/Los_Angeles", [("inverter", None), ("meter", None)]),
    "site_info_solar_plus_powerwalls_generator.json": site(
        "My Site Name", "America/Los_Angeles", [("inverter", None), ("battery", 27000), ("meter", None)]
    ),
    "live_status_2021_no_island_no_wc.json": live(WHOLE, 0, 0, 525, 525, 100),
    "live_status_battery_charging_from_solar.json": live(WHOLE, 3108, -2600, 0, 508, 57.70926651735723),
    "live_status_fleetapi_2024-05_night.json": live(WHOLE, 0, 780, 0, 780, 46.6731017783813),
    "live_status_legacy_solarcity_minimal.json": live(ROOF, 1760, None, None, None, None),
    "live_status_solar_battery_wc_plugged.json": live(WHOLE, 16176, -13950, 0, 2226, 90.21333866145918),
    "live_status_solar_only.json": live(ROOF, 7720, None, None, None, None),
    "live_status_solar_only_load_zero.json": live(ROOF, 5713.47998046875, None, None, None, None),
    "live_status_wall_connector_charging_vin_present.json": live(WHOLE, 0, 920, 0, 920, 66.32365533584243),
    "calendar_history_energy_day_2021_floats.json": day_energy(
        datetime(2021, 1, 27, 8, tzinfo=UTC),
        WHOLE,
        solar_wh=10325.158,
        import_wh=23967.007,
        export_wh=3538.661,
        charge_wh=790.0,
        discharge_wh=0,
        load_wh=29963.504,
    ),
    "calendar_history_energy_day_5min_with_totals.json": two_rows_of_a_day,
    "calendar_history_energy_day_null_series.json": no_rows,
    "calendar_history_energy_year_offset_one_row.json": day_energy(
        datetime(2021, 1, 1, 7, tzinfo=UTC), ROOF, solar_wh=152680, import_wh=None, load_wh=None
    ),
    "history_energy_week_legacy_one_row.json": day_energy(
        datetime(2022, 5, 9, 7, tzinfo=UTC), ROOF, solar_wh=18630, export_wh=None
    ),
    "calendar_history_power_day_offset_one_row.json": night_row(datetime(2022, 4, 29, 7, tzinfo=UTC)),
    "calendar_history_power_solar_only_dst_offset_bug_excerpt.json": night_row(datetime(2021, 6, 1, 5, tzinfo=UTC)),
    "history_power_legacy_one_row.json": night_row(datetime(2022, 5, 13, 7, tzinfo=UTC)),
    "error_400_savings_forecast_tariff_not_found.json": refused_tariff,
    "errors.json": errors,
    "token_refresh_response.json": token,
}


@pytest.mark.parametrize("name", READ)
def test_payload(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


def test_every_file_is_read_or_named() -> None:
    folder: Path = shared(FOLDER)
    files = {path.name for path in folder.iterdir() if path.suffix == ".json"}
    assert files == set(READ) | set(NOT_READ)
    print(f"\ntesla: {len(files)} files, {len(READ)} read, {len(NOT_READ)} named with a reason")
