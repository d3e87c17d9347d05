"""A site that no consent lists any more: on no list, still answered by its id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from msgspec.structs import replace

from api.fakes import HOME, Vendors, assert_problem, connect, live
from joinder.clock import now
from joinder.energy import Readings
from joinder.runtime.hub import Hub
from joinder.services.readings.poll import poll

BARN = replace(HOME, vendor_id="site-2", name="Barn")


@pytest.fixture
async def gone(api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub) -> str:
    """The id of a site that was read, and is gone; another one of the same enrollment stays."""
    vendors.sunny.homes = {HOME.vendor_id: HOME, BARN.vendor_id: BARN}
    vendors.sunny.readings = lambda query: Readings(live=live(now()) if query.live else None)
    enrollment_id = await connect(api, browser)
    await poll(hub, enrollment_id)
    (site_id,) = [
        site["id"]
        for site in (await api.get("/sites", params={"expand": "true"})).json()["sites"]
        if site["vendorID"] == HOME.vendor_id
    ]
    vendors.sunny.homes = {BARN.vendor_id: BARN}
    assert await connect(api, browser) == enrollment_id
    return str(site_id)


async def test_lists_leave_it_out_and_its_id_answers(api: httpx.AsyncClient, gone: str) -> None:
    listed = (await api.get("/sites", params={"expand": "true"})).json()
    assert [site["vendorID"] for site in listed["sites"]] == [BARN.vendor_id]
    assert "goneSince" not in listed["sites"][0]
    shown = (await api.get(f"/sites/{gone}")).json()
    assert (shown["id"], shown["name"]) == (gone, "Home")
    assert shown["goneSince"].startswith(f"{datetime.now(UTC).year}-")
    for kind, members in (("solar-inverters", "solarInverters"), ("batteries", "batteries"), ("meters", "meters")):
        assert len((await api.get(f"/{kind}")).json()[members]) == 1, kind
        (device,) = shown[members]
        assert (await api.get(f"/{kind}/{device['id']}")).status_code == 200
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    assert gone not in [site["id"] for site in enrollment["sites"]]


async def test_what_is_stored_is_served_as_stale_and_the_vendor_is_not_asked(
    api: httpx.AsyncClient, vendors: Vendors, hub: Hub, gone: str
) -> None:
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(hours=3)
    start = int(hour.timestamp())
    sql = (
        'INSERT INTO interval (subject_id, resolution, start, "end", solar_wh, quality, fetched_at) '
        "VALUES (:id, '15mins', :start, :end, 250.0, 'measured', :start)"
    )
    for at in range(start, start + 3600, 900):
        await hub.store.apply((sql, {"id": gone, "start": at, "end": at + 900}))
    vendors.sunny.calls.clear()
    span = {"start": hour.isoformat(), "end": (hour + timedelta(hours=2)).isoformat()}
    answer = (await api.get(f"/sites/{gone}/solar-intervals", params=span)).json()
    assert (answer["stale"], len(answer["intervals"])) == (True, 1)
    nothing = {"start": (hour - timedelta(days=9)).isoformat(), "end": (hour - timedelta(days=8)).isoformat()}
    assert_problem(await api.get(f"/sites/{gone}/solar-intervals", params=nothing), 410, "site-gone")
    assert (await api.get(f"/sites/{gone}/live")).json()["solarKw"] == 1.5
    assert vendors.sunny.calls == []


async def test_it_comes_back_as_it_was(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, gone: str
) -> None:
    vendors.sunny.homes = {HOME.vendor_id: HOME, BARN.vendor_id: BARN}
    await connect(api, browser)
    assert gone in [site["id"] for site in (await api.get("/sites")).json()["sites"]]
    assert "goneSince" not in (await api.get(f"/sites/{gone}")).json()
    told = (await api.get("/events")).json()["events"]
    of_it = [event["type"] for event in told if event["data"].get("siteID") == gone]
    assert of_it == ["site.ready", "site.gone", "site.discovered"]
