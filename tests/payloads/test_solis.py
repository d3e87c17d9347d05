"""Every stored SolisCloud answer is read by the plugin's own code, or named here with the reason why not.

Files: ../shared/payloads/solis (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from joinder import Device, DeviceKind, MeterRole, ReadingsQuery, Site
from joinder.errors import RateLimited, TransientError, VendorError
from joinder.http import Answer
from joinder_solis import api, devices, mapping
from joinder_solis.api import Record
from support import shared

FOLDER = "payloads/solis"
NOW = datetime(2023, 6, 27, 6, 5, tzinfo=UTC)
SITE = Site(
    vendor_id="1",
    name="x",
    timezone="Australia/Sydney",
    devices=(
        Device(vendor_id="S", kind=DeviceKind.INVERTER),
        Device(vendor_id="M", kind=DeviceKind.METER, role=MeterRole.GRID),
    ),
)
NOT_READ = {
    "signature_vectors.json": "read in tests/plugins/solis/test_api.py",
    "doc-v2-alarmList.json": "alarms are not read",
    "doc-v2-collectorDetail.json": "data loggers are no inverter, battery or meter",
    "doc-v2-collectorList.json": "data loggers are no inverter, battery or meter",
    "doc-v2-collector_day.json": "data loggers are no inverter, battery or meter",
    "real-collectorDetail-data.json": "data loggers are no inverter, battery or meter",
    "doc-v2-epmDetail.json": "epmList tells the same of an export power manager",
    "doc-v2-epm_all.json": "export power managers have no intervals of their own here; the station's psum is read",
    "doc-v2-epm_day.json": "export power managers have no intervals of their own here; the station's psum is read",
    "doc-v2-epm_month.json": "export power managers have no intervals of their own here; the station's psum is read",
    "doc-v2-epm_year.json": "export power managers have no intervals of their own here; the station's psum is read",
    "doc-v2-inverter_shelfTime.json": "warranty dates are not read",
    "doc-v2-stationDayEnergyList.json": "batches of the same values as stationMonth, without battery and grid",
    "doc-v2-stationMonthEnergyList.json": "batches of the same values as stationMonth, without battery and grid",
    "doc-v2-stationYearEnergyList.json": "batches of the same values as stationMonth, without battery and grid",
    "doc-v2-stationDetailList.json": "the batch form of stationDetail",
    "doc-v2-inverterDetailList.json": "the batch form of inverterDetail",
}


def data(content: bytes) -> Any:
    """Through the plugin's envelope."""
    return api.opened(Answer(200, {}, content, "POST x"), NOW)


def no_stations(content: bytes) -> None:
    assert data(content)["page"]["records"] == []


def documented_station(content: bytes) -> None:
    record = Record(data(content))
    site = mapping.site(record, [], [], NOW)
    assert (site.vendor_id, site.timezone) == ("1298491919448631809", None)  # an offset is no zone
    live = mapping.live(record, SITE)
    assert live is not None
    assert live.measured_at == datetime.fromtimestamp(1687844402.978, UTC)
    assert (live.solar_w, live.grid_w, live.load_w) == (pytest.approx(5772), pytest.approx(-5772), pytest.approx(0))
    assert (live.battery_w, live.soc_percent) == (None, None)


def real_station(content: bytes) -> None:
    record = Record(json.loads(content))
    site = mapping.site(record, [], [], NOW)
    assert (site.name, site.timezone) == ("TestName", "Europe/Amsterdam")
    assert site.operational_since == datetime(2022, 8, 19, 16, tzinfo=UTC)
    live = mapping.live(record, Site(vendor_id="1", name="x"))
    assert live is not None
    assert (live.solar_w, live.grid_w, live.battery_w, live.soc_percent) == (pytest.approx(32), None, None, None)


def station_day(content: bytes) -> None:
    start = datetime.fromtimestamp(1685057100, UTC)
    query = ReadingsQuery(site=SITE, start=start - timedelta(minutes=10), end=start + timedelta(minutes=20))
    found = mapping.quarters([Record(row) for row in data(content)], query)
    assert sum(reading.solar_wh or 0 for reading in found) == pytest.approx((77 + 78 + 79) / 12, abs=0.01)
    assert sum(reading.export_wh or 0 for reading in found) == pytest.approx((77 + 78 + 79) / 12, abs=0.01)


def station_month(content: bytes) -> None:
    start = datetime(2023, 5, 31, 14, tzinfo=UTC)
    query = ReadingsQuery(site=SITE, start=start, end=start + timedelta(days=30), resolution="day")
    found = mapping.days([Record(row) for row in data(content)], query)
    assert [(reading.solar_wh, reading.load_wh) for reading in found] == [(0, 0), (44_900, 44_900)]


def months(content: bytes) -> None:
    energies = [Record(row).watt_hours("energy") for row in data(content)]
    assert energies == [pytest.approx(755_000), pytest.approx(852_000)]  # 62.92 full hours of 12 kWp


def years(content: bytes) -> None:
    (year,) = [Record(row) for row in data(content)]
    assert year.watt_hours("energy") == pytest.approx(5_616_000)  # 468 full hours of 12 kWp


def inverter_list(content: bytes) -> None:
    page = data(content)["page"]
    (record,) = [Record(row) for row in page["records"]]
    moment = datetime.fromtimestamp(1687846773, UTC)
    (inverter,) = mapping.site(Record({"id": "1"}), [record], [], moment).devices
    assert (inverter.serial, inverter.power_w, inverter.max_power_w) == ("120B40198150131", pytest.approx(5025), 8000)
    assert inverter.lifetime_wh == pytest.approx(36_397_000)
    assert not inverter.stale


def inverter_day(content: bytes) -> None:
    (row,) = [Record(row) for row in data(content)]
    assert row.watts("pac") == pytest.approx(74)
    query = ReadingsQuery(
        site=SITE, start=datetime(2023, 6, 26, 21, tzinfo=UTC), end=datetime(2023, 6, 26, 22, tzinfo=UTC), device_id="S"
    )
    (reading,) = mapping.quarters([row], query)
    assert (reading.solar_wh, reading.quality) == (pytest.approx(74 / 12, abs=0.01), "partial")


def inverter_month(content: bytes) -> None:
    energies = [Record(row).watt_hours("energy") for row in data(content)]
    assert energies == [pytest.approx(41_600), pytest.approx(44_900)]  # 5.2 and 5.61 full hours of 8 kWp


def inverter_year(content: bytes) -> None:
    energies = [Record(row).watt_hours("energy") for row in data(content)]
    assert energies == [pytest.approx(866_000), pytest.approx(852_000)]  # 108.25 and 106.5 full hours of 8 kWp


def inverter_detail(content: bytes) -> None:
    """The document's sample is of no inverter: no id, no sn, zeros. That is what api.one refuses."""
    record = Record(data(content))
    assert (record.text("id"), record.text("sn"), record.watts("pac")) == (None, None, 0)


def epm_list(content: bytes) -> None:
    records = [Record(row) for row in data(content)["page"]["records"]]
    moment = datetime.fromtimestamp(1687918466, UTC)
    (meter,) = mapping.site(Record({"id": "1"}), [], records, moment).devices
    assert (meter.serial, meter.role, meter.power_w) == ("00FFC0011557002", MeterRole.GRID, pytest.approx(-3900))


def chinese_message(content: bytes) -> None:
    record = Record(data(content))
    assert (record.watts("pac"), record.watt_hours("eTotal")) == (pytest.approx(987), pytest.approx(15_076_000))


def discharging(content: bytes) -> None:
    record = Record(json.loads(content))
    site = mapping.site(Record({"id": "1", "stationTypeNew": 1}), [Record({**json.loads(content), "sn": "S"})], [], NOW)
    battery = next(device for device in site.devices if device.kind is DeviceKind.BATTERY)
    assert battery.soc_percent == 79
    assert devices.discharging_w(record, record.watts("batteryPower")) == pytest.approx(888)


def no_access(content: bytes) -> None:
    record = Record(data(content))
    assert record.text("id") is record.text("sn") is None  # what api.one refuses
    assert mapping.site(Record({"id": "1"}), [record], [], NOW).devices == ()


def refused(kind: type[VendorError]) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        with pytest.raises(kind):
            data(content)

    return check


READ: dict[str, Callable[[bytes], None]] = {
    "doc-v2-userStationList.json": no_stations,
    "doc-v2-stationDetail.json": documented_station,
    "real-stationDetail-data.json": real_station,
    "doc-v2-stationDay.json": station_day,
    "doc-v2-stationMonth.json": station_month,
    "doc-v2-stationYear.json": months,
    "doc-v2-stationAll.json": years,
    "doc-v2-inverterList.json": inverter_list,
    "doc-v2-inverterDay.json": inverter_day,
    "doc-v2-inverterMonth.json": inverter_month,
    "doc-v2-inverterYear.json": inverter_year,
    "doc-v2-inverterDetail.json": inverter_detail,
    "doc-v2-epmList.json": epm_list,
    "fragment-inverterDetail-2022-summer-uk-chinese-msg.json": chinese_message,
    "fragment-inverterDetail-battery-discharging-dst.json": discharging,
    "fragment-inverterDetail-no-access-all-zero.json": no_access,
    "real-error-R0000-daily-quota.json": refused(RateLimited),
    "real-error-code-1-data-exception.json": refused(TransientError),
    "reported-error-code-1-communication.json": refused(TransientError),
}


@pytest.mark.parametrize("name", READ)
def test_payload(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


def test_every_file_is_read_or_named() -> None:
    folder: Path = shared(FOLDER)
    files = {path.name for path in folder.iterdir() if path.suffix == ".json"}
    assert files == set(READ) | set(NOT_READ)
    print(f"\nsolis: {len(files)} files, {len(READ)} read, {len(NOT_READ)} named with a reason")
