"""Which device is silent and since when, what was doubtful about answers, and what of a history was asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from api.conftest import NewTenant
from api.fakes import HOME, Vendors, assert_problem, connect_site
from api.test_reads import NOON, QUARTER, Clock, quarters
from joinder.energy import Device, DeviceKind, Reading, Readings, ReadingsQuery
from joinder.runtime.hub import Hub
from joinder.series import Quarters
from joinder.services.operations import doctor
from joinder.services.readings import poll

HOUR_S = 3600
FIRST = replace(HOME.devices[0], name="Roof \N{RIGHT-TO-LEFT OVERRIDE}south")
SECOND = replace(HOME.devices[0], vendor_id="inv-2", serial="S2", name="Roof west")
BATTERY = HOME.devices[1]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of polls as well."""
    made = Clock(monkeypatch)
    monkeypatch.setattr("joinder.services.readings.poll.now", lambda: made.at)
    return made


@dataclass
class Roofs:
    """Two inverters; the second tells nothing in `silent` (epoch seconds), both nothing in `night`."""

    silent: range = range(0)
    night: range = range(0)

    def __call__(self, query: ReadingsQuery) -> Readings:
        rows = []
        for start in quarters(query):
            at = int(start.timestamp())
            ids = [one for one in ("inv-1", "inv-2") if at not in self.night]
            ids = [one for one in ids if one == "inv-1" or at not in self.silent]
            wanted = [one for one in ids if query.device_id in (None, one)]
            rows += [Reading(start=start, end=start + QUARTER, device_id=one, solar_wh=100.0) for one in wanted]
            if query.device_id in (None, "bat-1"):
                battery = Reading(start=start, end=start + QUARTER, device_id="bat-1", charge_wh=1.0, discharge_wh=0.0)
                rows.append(battery)
        return Readings(intervals=tuple(rows))


@pytest.fixture
def roofs(vendors: Vendors) -> Roofs:
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(FIRST, SECOND, BATTERY))}
    vendors.sunny.readings = found = Roofs()
    return found


def iso(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def day(level: str = "15mins") -> dict[str, Any]:
    return {"start": iso(NOON - 24 * HOUR_S), "end": iso(NOON), "summaryLevel": level, "pageSize": 200}


async def silent_since(api: httpx.AsyncClient) -> dict[str, str | None]:
    """Of each inverter, by its serial number."""
    listed = (await api.get("/solar-inverters")).json()["solarInverters"]
    shown = [(await api.get(f"/solar-inverters/{one['id']}")).json() for one in listed]
    return {one["serialNumber"]: one.get("silentSince") for one in shown}


async def polled(api: httpx.AsyncClient, hub: Hub) -> dict[str, Any]:
    """The enrollment, after its worker read it."""
    (listed,) = (await api.get("/enrollments")).json()["enrollments"]
    assert await poll.poll(hub, listed["id"])
    shown: dict[str, Any] = (await api.get(f"/enrollments/{listed['id']}")).json()
    assert "warnings" not in listed
    return shown


async def test_a_device_that_others_outlive_is_named_with_the_moment_it_fell_silent(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, roofs: Roofs, clock: Clock, hub: Hub
) -> None:
    since = NOON - 5 * HOUR_S
    roofs.silent = range(since, NOON + 9 * HOUR_S)
    site_id = await connect_site(api, browser)
    answer = (await api.get(f"/sites/{site_id}/solar-intervals", params={**day(), "provenance": "true"})).json()
    rows = answer["intervals"]
    assert [row["quality"] for row in rows] == ["measured"] * 76 + ["partial"] * 20
    assert {row["provenance"].get("rule") for row in rows[76:]} == {"parts_missing"}
    assert not answer["complete"]
    (silent,) = answer["silentDevices"]
    assert silent["name"] == "Roof west (S2)"
    assert datetime.fromisoformat(silent["since"]).timestamp() == since
    assert await silent_since(api) == {"S1": None, "S2": iso(since)}
    shown = await polled(api, hub)
    (warning,) = shown["warnings"]
    assert "Roof west (S2)" in warning["text"]
    assert (warning["rule"], warning["siteID"], warning["since"]) == ("parts_missing", site_id, iso(since))
    assert warning["count"] == 2
    found = [one for one in await doctor.warnings(hub) if not one.ok]
    assert ["Roof west (S2)" in one.text and shown["id"] in (one.next_step or "") for one in found] == [True]


async def test_one_that_speaks_again_is_silent_no_more_and_the_word_of_it_stays_a_week(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, roofs: Roofs, clock: Clock, hub: Hub
) -> None:
    roofs.silent = range(NOON - 5 * HOUR_S, NOON + HOUR_S)
    await connect_site(api, browser)
    await polled(api, hub)
    assert (await silent_since(api))["S2"] == iso(NOON - 5 * HOUR_S)
    clock.at = NOON + 2 * HOUR_S
    shown = await polled(api, hub)
    assert (await silent_since(api))["S2"] is None
    assert len(shown["warnings"]) == 1
    roofs.silent = range(NOON + 2 * HOUR_S, NOON + 9 * HOUR_S)
    clock.at = NOON + 4 * HOUR_S
    (warning,) = (await polled(api, hub))["warnings"]
    assert (await silent_since(api))["S2"] == warning["since"] == iso(NOON + 2 * HOUR_S)


async def test_a_silence_outlasts_the_night_and_every_answer_in_between(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, roofs: Roofs, clock: Clock, hub: Hub
) -> None:
    since = NOON - 5 * HOUR_S
    roofs.silent, roofs.night = range(since, NOON + 40 * HOUR_S), range(NOON + 4 * HOUR_S, NOON + 18 * HOUR_S)
    await connect_site(api, browser)
    for hours in (0, 3, 6, 10, 17, 20, 23):
        clock.at = NOON + hours * HOUR_S
        await polled(api, hub)
        assert await silent_since(api) == {"S1": None, "S2": iso(since)}, hours


async def test_what_comes_a_little_later_than_the_others_and_what_was_long_ago_are_no_silence(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, roofs: Roofs, clock: Clock, hub: Hub
) -> None:
    roofs.silent = range(NOON - 1800, NOON + HOUR_S)
    site_id = await connect_site(api, browser)
    assert (await polled(api, hub))["warnings"] == []
    roofs.silent = range(NOON - 90 * 24 * HOUR_S, NOON - 80 * 24 * HOUR_S)
    old = {"start": iso(NOON - 85 * 24 * HOUR_S), "end": iso(NOON - 84 * 24 * HOUR_S), "summaryLevel": "15mins"}
    answer = (await api.get(f"/sites/{site_id}/solar-intervals", params=old)).json()
    assert {row["quality"] for row in answer["intervals"]} == {"partial"}
    assert "silentDevices" not in answer
    assert await silent_since(api) == {"S1": None, "S2": None}


@pytest.mark.parametrize(
    ("ages_h", "expected"),
    [((0, 0.5), (None, None)), ((0, 3), (None, 3)), ((3, 3), (None, None)), ((30, 3), (30, None))],
)
async def test_a_device_that_says_itself_when_it_reported_last(
    api: httpx.AsyncClient,
    browser: httpx.AsyncClient,
    vendors: Vendors,
    ages_h: tuple[float, float],
    expected: tuple[float | None, float | None],
) -> None:
    """Inverters sleep at night: one is silent when another reported since, or after a whole day."""
    now = datetime.now(UTC).replace(microsecond=0)
    moments = [now - timedelta(hours=age) for age in ages_h]
    devices = [replace(one, reported_at=at) for one, at in zip((FIRST, SECOND), moments, strict=True)]
    battery = replace(BATTERY, reported_at=now - timedelta(hours=2))
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(*devices, battery))}
    await connect_site(api, browser)
    told = [None if age is None else iso(int((now - timedelta(hours=age)).timestamp())) for age in expected]
    assert await silent_since(api) == dict(zip(("S1", "S2"), told, strict=True))
    (listed,) = (await api.get("/batteries")).json()["batteries"]
    shown = (await api.get(f"/batteries/{listed['id']}")).json()
    assert shown["silentSince"] == iso(int((now - timedelta(hours=2)).timestamp()))


async def test_a_sum_left_unknown_names_who_is_silent_too(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub
) -> None:
    """Some plugins tell no sum at all where a part is silent, but whose silence it is."""
    since = NOON - 3 * HOUR_S

    def answer(query: ReadingsQuery) -> Readings:
        found = Quarters(query.start, query.end)
        for at in quarters(query):
            found.energy("solar_wh", at, at + QUARTER, 5.0)
            if at.timestamp() >= since:
                found.lacks(at, at + QUARTER, devices=["bat-1"])
            else:
                found.flow("discharge_wh", "charge_wh", at, at + QUARTER, 100.0)
        return Readings(intervals=found.readings())

    vendors.sunny.readings = answer
    await connect_site(api, browser)
    (warning,) = (await polled(api, hub))["warnings"]
    assert ("bat-1" in warning["text"], warning["since"]) == (True, iso(since))
    (listed,) = (await api.get("/batteries")).json()["batteries"]
    assert (await api.get(f"/batteries/{listed['id']}")).json()["silentSince"] == iso(since)


async def test_lacks_of_no_device_of_the_site_are_nobodys(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub
) -> None:
    def phases(query: ReadingsQuery) -> Readings:
        found = [Reading(start=s, end=s + QUARTER, solar_wh=1.0, quality="partial") for s in quarters(query)]
        lacks: Any = ("phase-2", 7)
        return Readings(intervals=tuple(replace(row, lacks=lacks) for row in found))

    vendors.sunny.readings = phases
    await connect_site(api, browser)
    assert (await polled(api, hub))["warnings"] == []


async def test_the_ledger_tells_what_was_asked_and_what_came_of_it(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, hub: Hub, new_tenant: NewTenant
) -> None:
    second = Device(vendor_id="bat-2", kind=DeviceKind.BATTERY)
    vendors.sunny.homes = {"site-1": replace(HOME, devices=(*HOME.devices, second))}
    silent_before = NOON - 12 * HOUR_S

    def answer(query: ReadingsQuery) -> Readings:
        starts = [at for at in quarters(query) if at.timestamp() >= silent_before]
        told = [Reading(start=at, end=at + QUARTER, charge_wh=1.0, discharge_wh=1.0) for at in starts]
        return Readings(intervals=tuple(replace(row, device_id=query.device_id) for row in told))

    vendors.sunny.readings = answer
    site_id = await connect_site(api, browser)
    empty = (await api.get(f"/sites/{site_id}/coverage")).json()
    assert empty == {
        "id": site_id,
        "series": [{"id": site_id, "kind": "site", "resolution": each, "spans": []} for each in ("15mins", "day")],
    }
    await api.get(f"/sites/{site_id}/battery-intervals", params=day())
    earlier = {"start": iso(NOON - 96 * HOUR_S), "end": iso(NOON - 72 * HOUR_S), "summaryLevel": "15mins"}
    await api.get(f"/sites/{site_id}/battery-intervals", params=earlier)
    listed = (await api.get("/batteries")).json()["batteries"]
    await api.get(f"/batteries/{listed[0]['id']}/intervals", params=day())
    quarters_of, days_of, of_device = (await api.get(f"/sites/{site_id}/coverage")).json()["series"]
    assert (of_device["id"], of_device["kind"], of_device["resolution"]) == (listed[0]["id"], "battery", "15mins")
    assert (days_of["resolution"], days_of["spans"]) == ("day", [])
    spans = quarters_of["spans"]
    assert [span["state"] for span in spans] == ["told", "told_nothing", "not_asked", "told_nothing"]
    assert spans[0] == {"start": iso(silent_before), "end": iso(NOON), "state": "told", "fetchedAt": iso(NOON)}
    assert (spans[1]["tries"], spans[1]["end"]) == (1, iso(silent_before))
    assert "fetchedAt" not in spans[2]
    other = await new_tenant()
    assert_problem(await other.api.get(f"/sites/{site_id}/coverage"), 404, "not-found")


async def test_a_long_ledger_says_how_much_it_leaves_out(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub
) -> None:
    site_id = await connect_site(api, browser)
    rows = "INSERT INTO coverage VALUES (:id, '15mins', :start, :end, 1, 0)"
    for n in range(700):
        await hub.store.apply((rows, {"id": site_id, "start": n * 1800, "end": n * 1800 + 900}))
    series = (await api.get(f"/sites/{site_id}/coverage")).json()["series"][0]
    stored = [span for span in series["spans"] if span["state"] == "told"]
    assert (len(stored), series["moreSpans"]) == (500, 200)
    assert stored[0]["start"] == iso(699 * 1800)
