"""Every stored SolarEdge answer is read by the plugin's own structs and mapping, or named here with the reason why not.

Files: ../shared/payloads/solaredge/v1 and v2 (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

from joinder import MeterRole, ReadingsQuery, Site, oauth
from joinder.errors import AppCredentialsRejected, NotSupported, Unexplained
from joinder.http import Answer
from joinder.token_answers import token_of
from joinder_solaredge import api, mapping, v1, v1_storage
from support import shared

T = TypeVar("T")
FOLDER = "payloads/solaredge"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NOT_READ = {
    "v2/docshape-alerts.json": "alerts are not read",
    "v2/live-alerts.json": "alerts are not read",
    "v2/live-overview.json": "energies come by quarter hour and day",
    "v2/doc-quickstart-overview-storage.json": "energies come by quarter hour and day",
    "v2/live-power.json": "site power is net of storage; /energy, of the same shape, is read",
    "v2/doc-quickstart-inverter-voltage.json": "voltages are not read",
    "v2/live-response-headers.json": "headers, not an answer; the two forms of 429 are tested in test_errors.py",
    "v1/apievangelist-synthetic-power-flow-storage.json": "V1: only quarter hours are read; not recorded either",
    "v1/apievangelist-synthetic-site-list.json": "not recorded; doc-sites-list.json is read",
    "v1/argia-live_equipment_data_GTO2.json": "V1: only a site's quarter hours are read",
    "v1/argia-live_equipment_list_QRO1.json": "V1: inventory tells the devices",
    "v1/argia-synthetic-equipment_data_fault.json": "V1: only a site's quarter hours are read",
    "v1/argia-synthetic-site_energy_day_null.json": "V1: only a site's quarter hours are read",
    "v1/doc-current-power-flow.json": "V1: only a site's quarter hours are read",
    "v1/doc-data-period-not-transmitting.json": "V1: only a site's quarter hours are read",
    "v1/doc-site-overview.json": "V1: only a site's quarter hours are read",
    "v1/sn-changelog-01.json": "withdrawn in March 2026",
    "v1/sn-inverter-data-01.json": "V1: only a site's quarter hours are read",
    "v1/sn-inverter-data-03-01.json": "V1: only a site's quarter hours are read",
    "v1/sn-inverter-data-03-06.json": "V1: only a site's quarter hours are read",
    "v1/sn-meter-energy-data-01.json": "V1: lifetime registers of meters are not read",
    "v1/sn-meter-energy-data-03.json": "V1: lifetime registers of meters are not read",
    "v1/sn-meter-power-data-01.json": "V1: energies are read, powers are not",
    "v1/sn-meter-power-data-03.json": "V1: energies are read, powers are not",
}


def read(content: bytes, into: type[T]) -> T:
    return Answer(200, {}, content, "GET x").json(into)


def fleet(count: int, first: str) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        answer: object = read(content, api._Sites | list[api.SiteEntry])  # type: ignore[arg-type]
        entries = answer.sites.site if isinstance(answer, api._Sites) else answer
        assert isinstance(entries, list)
        assert (len(entries), str(entries[0].site_id)) == (count, first)

    return verify


def details(content: bytes) -> None:
    site = mapping.site(read(content, api.SiteDetails), [])
    assert (site.vendor_id, site.name, site.timezone) == ("1234567", "Example Home", "America/Chicago")
    assert site.operational_since == datetime(2021, 4, 1, 5, tzinfo=UTC)


def devices(*expected: tuple[str, str, str | None]) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        found = mapping.site(api.SiteDetails(site_id=1), read(content, list[api.DeviceEntry])).devices
        assert [(str(device.kind), device.vendor_id, device.role) for device in found] == list(expected)

    return verify


def telemetry(into: type[T], serial: str, wanted: mapping.Energies, **totals: float) -> Callable[[bytes], None]:
    """Sums over both quarter hours of 2026-09-29, from 12:15 at UTC-5."""

    def verify(content: bytes) -> None:
        start = datetime(2026, 9, 29, 17, tzinfo=UTC)
        told = [read(content, into).devices[serial]]  # type: ignore[attr-defined]
        metrics = mapping.energies(told, wanted, hours=0.25) | {mapping.SOC: mapping.charge_states(told)}
        rows = mapping.quarters(metrics, start, start + timedelta(hours=1), None)
        assert [row.start.minute for row in rows] == [15, 30]
        for metric, total in totals.items():
            assert sum(getattr(row, metric) or 0 for row in rows) == pytest.approx(total)

    return verify


def token(content: bytes) -> None:
    found = token_of(Answer(200, {}, content, "POST x"), NOW)
    assert found.expires_at == NOW + timedelta(hours=2)


def refused_code(content: bytes) -> None:
    error = oauth.token_error(Answer(400, {}, content, "POST x"))
    assert (type(error), error.detail) == (Unexplained, "400 error=error")


def unknown_endpoint(content: bytes) -> None:
    with pytest.raises(NotSupported):
        api.check(Answer(404, {}, content, "GET x"), by_key=True, now=NOW)


def invalid_key(content: bytes) -> None:
    with pytest.raises(AppCredentialsRejected):
        v1.check(Answer(401, {}, content, "GET x"))


def v1_list(content: bytes) -> None:
    sites = read(content, v1.Sites).sites
    assert sites.count == 1567
    assert [entry.id for entry in sites.entries][:2] == [1, 2]


def v1_details(name: str) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        site = v1.normalised(read(content, v1.Details).details, v1._Inventory())
        assert (site.name, site.timezone) == (name, "America/New_York")

    return verify


def v1_inventory(*serials: str) -> Callable[[bytes], None]:
    def verify(content: bytes) -> None:
        found = v1.normalised(v1._Details(id=1), read(content, v1.Inventory).inventory).devices
        assert {device.vendor_id for device in found if device.kind == "inverter"} >= set(serials)
        assert all(device.role is not MeterRole.OTHER for device in found)

    return verify


def v1_storage_data(content: bytes) -> None:
    """A full battery at rest, from 16:19:30 at New York's summer time; its register moves by 1 Wh."""
    (battery,) = read(content, v1_storage.StorageData).storage.batteries
    start = datetime(2024, 10, 23, 20, tzinfo=UTC)
    told = v1_storage.quarters(battery, start, start + timedelta(hours=1), ZoneInfo("America/New_York"))
    assert set(told.metrics["soc_percent"].values()) == {100.0}
    assert sum(wh or 0 for wh in told.metrics["discharge_wh"].values()) == pytest.approx(1)
    assert set(told.metrics["charge_wh"].values()) == {0.0}
    assert not told.are_placeholders


def v1_energies(content: bytes) -> None:
    """Missing values stay missing; the sums are those of the file."""
    stood = {m["type"]: m["values"] for m in json.loads(content)["energyDetails"]["meters"]}
    zone = ZoneInfo("Europe/London")
    start = datetime(2026, 1, 21, tzinfo=UTC)
    site = Site(vendor_id="1", name="x", timezone="Europe/London")
    query = ReadingsQuery(site=site, start=start, end=start + timedelta(days=1))
    rows = v1.quarters(read(content, v1.EnergyDetails).energy_details, query, zone)
    assert sum(row.import_wh or 0 for row in rows) == 412154
    assert sum(row.solar_wh or 0 for row in rows) == 13500
    known = sum("value" in row for row in stood["Production"])
    assert sum(row.solar_wh is not None for row in rows) == known < 96


READ: dict[str, Callable[[bytes], None]] = {
    "v2/live-sites.json": fleet(1, "1000001"),
    "v2/doc-quickstart-sites-bare-array.json": fleet(2, "222881711"),
    "v2/docshape-site.json": details,
    "v2/doc-quickstart-devices.json": devices(("inverter", "7F16E777-F1", None), ("inverter", "731CD555-E9", None)),
    "v2/docshape-devices-meter-battery.json": devices(
        ("inverter", "7E1234B5-67", None), ("meter", "M-PROD-001", MeterRole.PRODUCTION), ("battery", "BATT-001", None)
    ),
    "v2/docshape-inverters_telemetry.json": telemetry(
        api.Inverters, "7E1234B5-67", mapping.SOLAR, solar_wh=1062.6 + 1077.7
    ),
    "v2/docshape-meters_telemetry.json": telemetry(
        api.Meters, "M-PROD-001", mapping.PRODUCTION, solar_wh=1500 + 1620.5
    ),
    "v2/docshape-storage_telemetry.json": telemetry(
        api.Storage, "BATT-001", mapping.STORAGE, charge_wh=(3000 + 2750) / 4, soc_percent=67.8
    ),
    "v2/oauth-token-200.json": token,
    "v2/oauth-token-400.json": refused_code,
    "v2/live-error-404.problem.json": unknown_endpoint,
    "v1/live-error-401.problem.json": invalid_key,
    "v1/doc-sites-list.json": v1_list,
    "v1/sn-site-details-01.json": v1_details("Example Site"),
    "v1/sn-site-details-03.json": v1_details("Example Elementary"),
    "v1/sn-site-inventory-01.json": v1_inventory("7E140000-01"),
    "v1/sn-site-inventory-03.json": v1_inventory("7E140000-03", "7E140000-01"),
    "v1/sn-storage-data-01.json": v1_storage_data,
    "v1/energysparks-energy_details.json": v1_energies,
}


@pytest.mark.parametrize("name", READ)
def test_payload(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


def test_every_file_is_read_or_named() -> None:
    folder: Path = shared(FOLDER)
    files = {f"{path.parent.name}/{path.name}" for path in folder.glob("v*/*.json")}
    assert files == set(READ) | set(NOT_READ)
    print(f"\nsolaredge: {len(files)} files, {len(READ)} read, {len(NOT_READ)} named with a reason")
