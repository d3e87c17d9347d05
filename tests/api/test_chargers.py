"""Chargers of cars: what they draw, of one and of the site, what cannot be, and what is silent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from api.fakes import HOME, Vendors, connect_site
from api.test_reads import NOON, QUARTER, Clock, quarters
from api.test_silence import HOUR_S, clock, iso
from joinder.energy import Device, DeviceKind, Reading, Readings, ReadingsQuery

__all__ = ["clock"]
CARPORT = Device(vendor_id="car-1", kind=DeviceKind.CHARGER, name="Carport", max_power_w=11_000.0)
GARAGE = Device(vendor_id="car-2", kind=DeviceKind.CHARGER, name="Garage", max_power_w=3_700.0)
DAY = {"start": iso(NOON - 24 * HOUR_S), "end": iso(NOON), "summaryLevel": "15mins", "pageSize": 200}


@dataclass
class Cars:
    """What each charger draws in a quarter hour, Wh; the garage tells nothing in `silent` (epoch seconds)."""

    wh: dict[str, float] = field(default_factory=lambda: {"car-1": 2_000.0, "car-2": 500.0})
    silent: range = range(0)

    def __call__(self, query: ReadingsQuery) -> Readings:
        rows = []
        for start in quarters(query):
            if query.device_id is None:
                rows.append(Reading(start=start, end=start + QUARTER, load_wh=3_000.0))
            told = [one for one in self.wh if one == "car-1" or int(start.timestamp()) not in self.silent]
            wanted = [one for one in told if query.device_id in (None, one)]
            rows += [
                Reading(start=start, end=start + QUARTER, device_id=one, charger_wh=self.wh[one]) for one in wanted
            ]
        return Readings(intervals=tuple(rows))


@pytest.fixture
def cars(vendors: Vendors) -> Cars:
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(*HOME.devices[:3], CARPORT, GARAGE))}
    vendors.sunny.readings = found = Cars()
    return found


async def read(api: httpx.AsyncClient, path: str, **more: str) -> dict[str, Any]:
    answer = await api.get(path, params={**DAY, **more})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def test_a_sites_cars_are_the_sum_of_its_chargers_and_stay_a_part_of_the_load(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, cars: Cars, clock: Clock
) -> None:
    site_id = await connect_site(api, browser)
    site = await read(api, f"/sites/{site_id}/charger-intervals")
    assert ({row["kwh"] for row in site["intervals"]}, site["complete"]) == ({2.5}, True)
    meter = await read(api, f"/sites/{site_id}/meter-intervals")
    assert {row["consumptionKwh"] for row in meter["intervals"]} == {3.0}
    found = {}
    for one in (await api.get("/chargers", params={"siteID": site_id})).json()["chargers"]:
        shown = (await api.get(f"/chargers/{one['id']}")).json()
        rows = (await read(api, f"/chargers/{one['id']}/intervals"))["intervals"]
        found[shown["name"], shown["maxKw"]] = {row["kwh"] for row in rows}
    assert found == {("Carport", 11.0): {2.0}, ("Garage", 3.7): {0.5}}


async def test_a_sum_without_a_silent_charger_is_partial_and_says_which(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, cars: Cars, clock: Clock
) -> None:
    cars.silent = range(NOON - 5 * HOUR_S, NOON)
    site = await read(api, f"/sites/{await connect_site(api, browser)}/charger-intervals", provenance="true")
    assert [row["quality"] for row in site["intervals"]] == ["measured"] * 76 + ["partial"] * 20
    assert {row["provenance"].get("rule") for row in site["intervals"][76:]} == {"parts_missing"}
    (silent,) = site["silentDevices"]
    assert (silent["name"], datetime.fromisoformat(silent["since"]).timestamp()) == (
        "Garage (car-2)",
        NOON - 5 * HOUR_S,
    )


async def test_more_than_a_charger_can_draw_is_refused_and_no_load_is(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, cars: Cars, clock: Clock
) -> None:
    cars.wh["car-2"] = 5_000.0  # 20 kW, of 3.7
    site_id = await connect_site(api, browser)
    site = await read(api, f"/sites/{site_id}/charger-intervals")
    assert {row["quality"] for row in site["intervals"]} == {"partial"}
    assert {row["kwh"] for row in site["intervals"]} == {2.0}
    meter = await read(api, f"/sites/{site_id}/meter-intervals")
    assert {row["consumptionKwh"] for row in meter["intervals"]} == {3.0}
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    told = (await api.get(f"/enrollments/{enrollment['id']}")).json()["warnings"]
    assert "charger" in {one.get("rule") for one in told}


async def test_a_home_without_a_charger_has_no_rows_and_no_zero(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, cars: Cars, vendors: Vendors, clock: Clock
) -> None:
    vendors.sunny.homes = {"site-1": replace(HOME, devices=HOME.devices[:3])}
    cars.wh = {}
    site_id = await connect_site(api, browser)
    site = await read(api, f"/sites/{site_id}/charger-intervals")
    assert (site["intervals"], (await api.get(f"/sites/{site_id}")).json()["chargers"]) == ([], [])
    fleet = (await api.get("/aggregates/intervals", params={"start": DAY["start"], "end": DAY["end"]})).json()
    assert all("charger" not in row for row in fleet["intervals"])
