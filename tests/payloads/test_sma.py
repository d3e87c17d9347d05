"""Every stored SMA answer is read by the plugin's own structs and mapping, or named here with the reason why not.

Files: ../shared/payloads/sma (see SOURCES.md there); the test skips where the folder is absent.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest

from joinder.http import Answer
from joinder.series import Quarters
from joinder.token_answers import token_of
from joinder_sma import api, mapping
from support import shared

T = TypeVar("T")
FOLDER = "payloads/sma"
NEW_YORK = ZoneInfo("America/New_York")
NOT_READ = {
    "prod-plant-installation.json": "a plant's installation is not read; inverters tell their own nameplate",
    "sn-device-data-Day-PowerDc-01.json": "DC inputs are not read",
}


def read(content: bytes, into: type[T]) -> T:
    return Answer(200, {}, content, "GET x").json(into)


def plants(count: int, first: str) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        found = read(content, api.Plants).plants
        assert (len(found), found[0].plant_id) == (count, first)

    return check


def plant(plant_id: str, name: str, zone: str) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        site = mapping.site(read(content, api.Plant), [], {})
        assert (site.vendor_id, site.name, site.timezone) == (plant_id, name, zone)

    return check


def sets(*expected: str) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        assert tuple(read(content, api.Sets).sets) == expected

    return check


def devices(active: int, all_of_them: int) -> Callable[[bytes], None]:
    def check(content: bytes) -> None:
        found = read(content, api.Devices).devices
        assert (sum(entry.is_active for entry in found), len(found)) == (active, all_of_them)
        inverter = next(entry for entry in found if entry.device_id == "16")
        (device,) = mapping.site(api.Plant(plant_id="13"), [inverter], {"16": frozenset({"EnergyAndPowerPv"})}).devices
        assert (device.serial, device.model, device.max_power_w) == ("3421111", "STP 6000TL-20", 6000.0)

    return check


def energies(content: bytes) -> tuple[float, float, int]:
    """Sum over all rows, as quarter hours and as they stand, and the number of quarter hours."""
    answer = read(content, api.Measurements)
    first = answer.rows[0].time.replace(tzinfo=NEW_YORK).astimezone(UTC) - timedelta(hours=1)
    found = Quarters(first, first + timedelta(days=2))
    assert mapping.add_rows(found, answer, NEW_YORK, energies=True, nameplate=None) is None
    total = sum(reading.solar_wh or 0 for reading in found.readings())
    return total, sum(row.pv_generation or 0 for row in answer.rows), len(found.readings())


def a_day_of_energies(content: bytes) -> None:
    total, stood, count = energies(content)
    assert total == pytest.approx(stood, abs=1)
    assert stood > 0
    assert count >= 6


def a_false_first_row(content: bytes) -> None:
    answer = read(content, api.Measurements)
    assert answer.rows[0].pv_generation == 165763.0
    largest = max(row.pv_generation or 0 for row in answer.rows[1:])
    start = datetime(2025, 7, 4, 4, tzinfo=UTC)
    for nameplate in (largest * 12, None):  # known, and judged by the rows around it
        found = Quarters(start, start + timedelta(days=1))
        assert mapping.add_rows(found, answer, NEW_YORK, energies=True, nameplate=nameplate) == mapping.NO_SUN
        expected = sum(row.pv_generation or 0 for row in answer.rows[1:])
        assert sum(reading.solar_wh or 0 for reading in found.readings()) == pytest.approx(expected, abs=1)
        assert found.readings()[0].quality == "partial"
    assert largest == 1715.0


def ac_power(content: bytes) -> None:
    """The set is not asked for, but its rows have the same frame; no member of ours is made of them."""
    answer = read(content, api.Measurements)
    assert answer.resolution == "FiveMinutes"
    assert all(row.pv_generation is None and row.grid_feed_in is None for row in answer.rows)


def balance(content: bytes) -> None:
    live = mapping.live(read(content, api.Measurements), ZoneInfo("Europe/Berlin"))
    assert live is not None
    assert live.measured_at == datetime(2020, 3, 23, 11, 40, tzinfo=UTC)
    assert (live.solar_w, live.battery_w, live.soc_percent) == (3110.263, 0, 65.25)
    assert live.grid_w == pytest.approx(402.139 - 396.455)
    assert live.load_w == 3914.541


def location(content: bytes) -> None:
    found = read(content, api.Location)
    assert (found.timezone, found.coordinates()) == ("Asia/Dubai", (25.29, 55.48))


def token(content: bytes) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    found = token_of(Answer(200, {}, content, "POST x"), now)
    assert found.expires_at == now + timedelta(seconds=300)
    assert found.refresh_token


READ: dict[str, Callable[[bytes], Any]] = {
    "prod-plant-location.json": location,
    "sandbox-live_device_sets_102.json": sets(),
    "sandbox-live_device_sets_14.json": sets(),
    "sandbox-live_devices_13.json": devices(10, 10),
    "sandbox-live_inverter_sets_16.json": sets("Sensor", "EnergyAndPowerPv", "PowerDc", "PowerAc"),
    "sandbox-live_plant_101.json": plant("101", "TestPlant9", "Europe/Berlin"),
    "sandbox-live_plant_13.json": plant("13", "Testplant 1", "Europe/Berlin"),
    "sandbox-live_plants_list.json": plants(9, "13"),
    "sn-device-data-Day-EnergyAndPowerPv-ReturnEnergyValues-01.json": a_day_of_energies,
    "sn-device-data-Day-EnergyAndPowerPv-ReturnEnergyValues-06.json": a_false_first_row,
    "sn-device-data-Day-EnergyAndPowerPv-ReturnEnergyValues-08.json": a_day_of_energies,
    "sn-device-data-Day-PowerAc-01.json": ac_power,
    "sn-device-measurement-sets-inverter-01.json": sets("EnergyAndPowerPv", "PowerDc", "PowerAc"),
    "sn-devices-01.json": devices(10, 10),
    "sn-devices-02.json": devices(1, 2),
    "sn-plant-01.json": plant("7190000", "Site 1", "America/New_York"),
    "sn-plants-01.json": plants(2, "7190000"),
    "sn-token-01.json": token,
    "swagger-sample-plant-EnergyBalance-Recent.json": balance,
}


@pytest.mark.parametrize("name", READ)
def test_payload(name: str) -> None:
    READ[name](shared(f"{FOLDER}/{name}").read_bytes())


def test_the_energy_of_a_row_is_the_mean_power_at_the_same_stamp() -> None:
    """End stamps: energy and power of two sets agree row by row, and not when shifted by one."""
    energy = json.loads(shared(f"{FOLDER}/sn-device-data-Day-EnergyAndPowerPv-ReturnEnergyValues-01.json").read_text())
    power = json.loads(shared(f"{FOLDER}/sn-device-data-Day-PowerAc-01.json").read_text())
    watts = {row["time"]: row["activePower"] for row in power["set"]}
    stamps = [row["time"] for row in energy["set"] if row["time"] in watts]
    wh = {row["time"]: row["pvGeneration"] for row in energy["set"]}
    same = [abs(wh[at] - watts[at] / 12) for at in stamps]
    shifted = [abs(wh[at] - watts[before] / 12) for before, at in pairwise(stamps)]
    assert sum(same) / len(same) < 5 < sum(shifted) / len(shifted)


def test_every_file_is_read_or_named() -> None:
    folder: Path = shared(FOLDER)
    files = {path.name for path in folder.iterdir() if path.suffix == ".json"}
    assert files == set(READ) | set(NOT_READ)
    print(f"\nsma: {len(files)} files, {len(READ)} read, {len(NOT_READ)} named with a reason")
