"""Virtual mode: homes out of nothing, through the ordinary resources, and never beside real ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from zoneinfo import ZoneInfo

import httpx
import pytest
from msgspec import structs

from api.conftest import NewBrowser, NewTenant
from api.fakes import REDIRECT_URI, Tenant, Vendors, assert_problem, new_flow, pointers, result_of
from joinder import virtual
from joinder.runtime.hub import Hub
from joinder.services.records import accounts
from joinder.vendors.registry import Registry

KINDS = {"/virtual/solar-inverters": "virtualSolarInverters", "/virtual/batteries": "virtualBatteries"}


class WithVirtual(Vendors):
    def registry(self) -> Registry:
        registry = super().registry()
        assert registry.add(virtual.NAME, virtual).problem is None
        return registry


@pytest.fixture
def vendors() -> Vendors:
    return WithVirtual()


@pytest.fixture
async def other(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(mode=accounts.VIRTUAL)


@pytest.fixture
async def tenant(new_tenant: NewTenant) -> Tenant:
    """A virtual account, unlike in other tests of the API."""
    return await new_tenant(mode=accounts.VIRTUAL)


async def made(api: httpx.AsyncClient, path: str, **members: Any) -> dict[str, Any]:
    answer = await api.post(path, json=members)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def got(api: httpx.AsyncClient, path: str, **query: str) -> dict[str, Any]:
    answer = await api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


async def home_of(api: httpx.AsyncClient) -> str:
    """A site with two inverters and two batteries; answers its id."""
    site = await made(api, "/virtual/sites")
    for path, members in (
        ("/virtual/solar-inverters", {}),
        ("/virtual/solar-inverters", {}),
        ("/virtual/batteries", {"nameplateKwh": 13.5}),
        ("/virtual/batteries", {}),
    ):
        await made(api, path, siteID=site["id"], **members)
    return str(site["id"])


async def test_a_site_out_of_nothing_is_a_site_like_any(api: httpx.AsyncClient) -> None:
    site = await made(api, "/virtual/sites")
    assert site["name"] == "Site 1"
    assert (site["vendor"], site["operationalSince"]) == ("virtual", "2023-01-01T23:59:00Z")
    offset = datetime.now(ZoneInfo("Europe/Berlin")).utcoffset() or timedelta()
    hours = offset.total_seconds() / 3600
    assert site["locationUTCOffset"] == hours
    assert site["location"] == {"lat": 55.8, "lon": -4.3, "timezone": "Europe/Berlin", "currentUTCOffset": hours}
    assert (site["solarInverters"], site["batteries"], site["chargers"]) == ([], [], [])
    assert site.keys().isdisjoint({"vendorID", "bess"})
    assert await got(api, "/sites") == {"sites": [{"id": site["id"]}], "errors": {}, "totalSize": 1}
    ordinary = await got(api, f"/sites/{site['id']}")
    assert ordinary.items() >= site.items()
    assert len(ordinary["vendorID"]) == 24
    assert await got(api, f"/virtual/sites/{site['id']}") == site
    assert await got(api, "/virtual/sites") == {"virtualSites": [site], "totalSize": 1}


async def test_a_site_is_as_it_was_set(api: httpx.AsyncClient) -> None:
    place = {"lat": 40.7, "lon": -74.0}
    site = await made(api, "/virtual/sites", name="Mine", location=place, operationalSince="2023-05-01T00:00:00+02:00")
    assert (site["name"], site["operationalSince"]) == ("Mine", "2023-04-30T22:00:00Z")
    assert site["location"]["timezone"] == "America/New_York"


@pytest.mark.parametrize(
    ("said", "zone"),
    [
        ({"locationUTCOffset": 5}, "Etc/GMT-5"),
        ({"location": {"currentUTCOffset": -3}, "locationUTCOffset": 5}, "Etc/GMT+3"),
        ({"location": {"lat": 40.7, "lon": -74.0}, "locationUTCOffset": 5}, "America/New_York"),
        ({"location": {"lat": 40.7, "lon": -74.0, "timezone": "Asia/Tokyo", "currentUTCOffset": 1}}, "Asia/Tokyo"),
        ({"location": {"lat": 30, "lon": -40}, "locationUTCOffset": 5}, "Etc/GMT-5"),  # at sea
        ({"location": {"lat": 30, "lon": -40, "currentUTCOffset": 0}, "locationUTCOffset": 5}, "Etc/UTC"),
        ({"location": {"lat": 30, "lon": -40}}, "Etc/GMT+3"),
        ({"location": {"lat": 0, "lon": 0}}, "Etc/UTC"),
        ({"location": {"lat": 90, "lon": 180}}, "Etc/GMT-12"),
        ({"location": {"lat": -60, "lon": -180}}, "Etc/GMT+12"),
        ({}, "Europe/Berlin"),
    ],
)
async def test_the_zone_is_the_one_named_else_that_of_the_place_else_that_of_the_offset(
    api: httpx.AsyncClient, said: dict[str, Any], zone: str
) -> None:
    site = await made(api, "/virtual/sites", **said)
    assert site["location"]["timezone"] == zone
    offset = datetime.now(ZoneInfo(zone)).utcoffset() or timedelta()
    assert site["locationUTCOffset"] == site["location"]["currentUTCOffset"] == offset.total_seconds() / 3600


IMPOSSIBLE = (
    ("sites", {"location": {"timezone": "Mars/Base"}}, "/location/timezone"),
    ("sites", {"location": {"lat": 91, "lon": 0}}, "/location/lat"),
    ("sites", {"location": {"lat": 50}}, "/location"),
    ("sites", {"locationUTCOffset": 5.5}, "/locationUTCOffset"),
    ("sites", {"location": {"currentUTCOffset": 5.75}, "locationUTCOffset": 1}, "/location/currentUTCOffset"),
    ("sites", {"location": {"lat": 30, "lon": -40}, "locationUTCOffset": 5.5}, "/locationUTCOffset"),  # at sea
    ("sites", {"operationalSince": "2023-05-01T00:00:00"}, "/operationalSince"),
    ("sites", {"operationalSince": "2190-05-01T00:00:00Z"}, "/operationalSince"),
    ("sites", {"name": ""}, "/name"),
    ("sites", {"colour": "red"}, "/colour"),
    ("batteries", {"mode": "Fast"}, "/mode"),
    ("batteries", {"stateOfChargePercent": 101}, "/stateOfChargePercent"),
    ("batteries", {"nameplateKwh": 0}, "/nameplateKwh"),
    ("batteries", {"siteID": "site-aaaaaaaaaaaaaaaa"}, "/siteID"),
    ("solar-inverters", {"lifetimeProduction": {"kwh": 1}}, "/lifetimeProduction/start"),
    ("solar-inverters", {"reportedAt": "2190-01-01T00:00:00Z"}, "/reportedAt"),
    ("solar-inverters", {"recentProduction": {"kwh": 1, "start": "2190-01-01T00:00:00Z"}}, "/recentProduction/start"),
)


async def test_what_cannot_be_is_named(api: httpx.AsyncClient) -> None:
    for path, body, place in IMPOSSIBLE:
        answer = await api.post(f"/virtual/{path}", json=body)
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [place], body
    assert await got(api, "/virtual/sites") == {"virtualSites": [], "totalSize": 0}


async def test_devices_are_added_shown_and_taken_out(api: httpx.AsyncClient) -> None:
    battery = await made(
        api, "/virtual/batteries", name="B", nameplateKwh=5, mode="Backup", stateOfChargePercent=42, serialNumber="S-1"
    )
    assert (battery["name"], battery["nameplateKwh"], battery["mode"]) == ("B", 5.0, "Backup")
    assert (battery["stateOfChargePercent"], battery["serialNumber"]) == (42.0, "S-1")
    produced = {"kwh": 1234.5, "start": "2023-02-01T00:00:00Z"}
    members = {"siteID": battery["siteID"], "lifetimeProduction": produced, "recentProduction": {**produced, "kwh": 2}}
    inverter = await made(api, "/virtual/solar-inverters", **members)
    assert inverter["lifetimeProduction"] == produced
    assert inverter["recentProduction"] == {**produced, "kwh": 2.0}
    site = await got(api, f"/sites/{battery['siteID']}")
    assert (site["batteries"], site["solarInverters"]) == ([{"id": battery["id"]}], [{"id": inverter["id"]}])
    assert site["bess"] == {"nameplateKwh": 5.0, "mode": "Backup", "stateOfChargePercent": 42.0}
    for path, member in KINDS.items():
        shown = inverter if "inverters" in path else battery
        assert await got(api, f"{path}/{shown['id']}") == shown
        assert await got(api, path) == {member: [shown], "totalSize": 1}
        assert (await got(api, f"{path.removeprefix('/virtual')}/{shown['id']}")).items() >= {
            name: value for name, value in shown.items() if name != "recentProduction"
        }.items()
        assert (await api.delete(f"{path}/{shown['id']}")).status_code == 204
        assert_problem(await api.get(f"{path}/{shown['id']}"), 404, "not-found")
        assert_problem(await api.delete(f"{path}/{shown['id']}"), 404, "not-found")
    assert (await got(api, f"/sites/{battery['siteID']}")).keys().isdisjoint({"bess"})


async def test_lists_come_in_pages(api: httpx.AsyncClient) -> None:
    ids = sorted([(await made(api, "/virtual/batteries"))["siteID"] for _ in range(3)])
    first = await got(api, "/virtual/sites", pageSize="2")
    rest = await got(api, "/virtual/sites", pageSize="2", pageToken=first["nextPageToken"])
    assert [one["id"] for one in (*first["virtualSites"], *rest["virtualSites"])] == ids
    assert "nextPageToken" not in rest
    assert len((await got(api, "/virtual/batteries", pageSize="2"))["virtualBatteries"]) == 2


async def test_a_deleted_site_is_gone_with_its_enrollment(api: httpx.AsyncClient) -> None:
    site_id = await home_of(api)
    assert (await api.delete(f"/virtual/sites/{site_id}")).status_code == 204
    assert (await api.get(f"/sites/{site_id}")).status_code == 404
    assert (await got(api, "/enrollments"))["enrollments"] == []
    assert (await got(api, "/batteries"))["batteries"] == []
    assert_problem(await api.delete(f"/virtual/sites/{site_id}"), 404, "not-found")


async def series(api: httpx.AsyncClient, path: str, **query: str) -> list[dict[str, Any]]:
    """Every page of intervals, which must be complete."""
    found, token = [], {}
    while True:
        page = await got(api, path, pageSize="200", **query, **token)
        assert page["complete"], page
        found += page["intervals"]
        if "nextPageToken" not in page:
            return found
        token = {"pageToken": page["nextPageToken"]}


def total(rows: list[dict[str, Any]], name: str) -> float:
    return round(sum(row[name] for row in rows), 6)


async def test_a_day_is_in_balance_at_every_level_and_over_every_device(api: httpx.AsyncClient) -> None:
    """Berlin's clock goes forward on 2023-03-26: 23 hours."""
    site_id = await home_of(api)
    day = {"start": "2023-03-26T00:00:00+01:00", "end": "2023-03-27T00:00:00+02:00"}
    solar, battery, meter = [
        await series(api, f"/sites/{site_id}/{kind}-intervals", summaryLevel="15mins", **day)
        for kind in ("solar", "battery", "meter")
    ]
    assert len(solar) == len(battery) == len(meter) == 92
    for sun, store, grid in zip(solar, battery, meter, strict=True):
        into = sun["kwh"] + grid["importKwh"] + store["dischargeKwh"] - grid["exportKwh"] - store["chargeKwh"]
        assert round(into, 9) == grid["consumptionKwh"]
        assert not store["chargeKwh"] or not store["dischargeKwh"]
    assert total(solar, "kwh") > 1
    assert total(battery, "chargeKwh") == total(battery, "dischargeKwh") > 1
    for level, count in (("hour", 23), ("day", 1)):
        rows = await series(api, f"/sites/{site_id}/solar-intervals", summaryLevel=level, **day)
        assert (len(rows), total(rows, "kwh")) == (count, total(solar, "kwh"))
    (month,) = await series(
        api,
        f"/sites/{site_id}/solar-intervals",
        summaryLevel="month",
        start="2023-03-26T00:00:00+01:00",
        end=day["end"],
    )
    assert month["kwh"] > total(solar, "kwh")
    site = await got(api, f"/sites/{site_id}")
    for kind, members, whole in (
        ("solarInverters", ("kwh",), solar),
        ("batteries", ("chargeKwh", "dischargeKwh"), battery),
    ):
        path = "solar-inverters" if kind == "solarInverters" else kind
        parts = [
            row
            for one in site[kind]
            for row in await series(api, f"/{path}/{one['id']}/intervals", summaryLevel="day", **day)
        ]
        assert len(parts) == 2
        for member in members:
            assert total(parts, member) == total(whole, member)


async def test_what_is_told_stays_and_the_future_is_to_come(api: httpx.AsyncClient, hub: Hub) -> None:
    site_id = await home_of(api)
    now = datetime.now(UTC)
    around = {"start": (now - timedelta(hours=25)).isoformat(), "end": (now + timedelta(hours=2)).isoformat()}
    first = await got(api, f"/sites/{site_id}/meter-intervals", summaryLevel="15mins", pageSize="200", **around)
    assert len(first["intervals"]) >= 100
    assert all(datetime.fromisoformat(row["end"]) <= datetime.now(UTC) for row in first["intervals"])
    assert {one["why"] for one in first["missing"]} == {"future"}
    await hub.store.apply(("DELETE FROM interval", {}), ("DELETE FROM coverage", {}))
    again = await got(api, f"/sites/{site_id}/meter-intervals", summaryLevel="15mins", pageSize="200", **around)
    assert again["intervals"][: len(first["intervals"])] == first["intervals"]
    live = await got(api, f"/sites/{site_id}/live")
    assert live["loadKw"] == round(live["solarKw"] + live["batteryKw"] + live["gridKw"], 6)
    assert 0 <= live["stateOfChargePercent"] <= 100
    enrollment = (await got(api, "/enrollments"))["enrollments"][0]
    assert (enrollment["vendor"], enrollment["health"]["state"]) == ("virtual", "ok")
    assert (await got(api, f"/enrollments/{enrollment['id']}"))["warnings"] == []


async def test_a_register_tells_what_its_intervals_add_up_to(api: httpx.AsyncClient) -> None:
    since = (datetime.now(UTC) - timedelta(days=5)).replace(hour=0, minute=0, second=0, microsecond=0)
    site = await made(api, "/virtual/sites", operationalSince=since.isoformat(), location={"timezone": "Etc/UTC"})
    inverter = await made(api, "/virtual/solar-inverters", siteID=site["id"])
    now = datetime.now(UTC)
    page = await got(
        api,
        f"/solar-inverters/{inverter['id']}/intervals",
        summaryLevel="15mins",
        pageSize="200",
        start=(now - timedelta(days=1)).isoformat(),
        end=now.isoformat(),
    )
    days = await got(
        api,
        f"/solar-inverters/{inverter['id']}/intervals",
        summaryLevel="day",
        start=since.isoformat(),
        end=now.isoformat(),
    )
    assert page["intervals"]
    lifetime = inverter["lifetimeProduction"]["kwh"]
    assert abs(total(days["intervals"], "kwh") - lifetime) < 1.3  # what a quarter hour in between may add
    assert total(days["intervals"], "kwh") > 1


async def test_a_production_client_has_no_virtual_home(
    new_tenant: NewTenant, api: httpx.AsyncClient, vendors: Vendors
) -> None:
    site_id = await home_of(api)
    real = (await new_tenant()).api
    for method, path in (("post", "/virtual/sites"), ("get", "/virtual/sites"), ("get", f"/virtual/sites/{site_id}")):
        body = {"json": {}} if method == "post" else {}
        assert "virtual clients" in assert_problem(await real.request(method, path, **body), 404, "not-found")["detail"]
    assert (await real.get(f"/sites/{site_id}")).status_code == 404
    assert (await real.get("/sites")).json()["sites"] == []
    refused = await real.post("/join/flows", json={"vendors": [{"vendor": "virtual"}], "redirectURI": REDIRECT_URI})
    assert pointers(refused) == ["/vendors/0/vendor"]
    assert "virtual" not in [one["name"] for one in (await got(real, "/vendors"))["vendors"]]


async def test_a_virtual_client_reaches_no_vendor(api: httpx.AsyncClient, vendors: Vendors) -> None:
    refused = await api.post("/join/flows", json={"vendors": [{"vendor": "cloudy"}], "redirectURI": REDIRECT_URI})
    assert pointers(refused) == ["/vendors/0/vendor"]
    secret = {"clientID": "a", "clientSecret": "b"}
    fleet = {"credentials": {"vendor": "sunny", "type": "customgrant", **secret}}
    assert_problem(await api.post("/vendor-credentials", json=fleet), 403, "wrong-mode")
    app = {"credentials": {"vendor": "sunny", "type": "oauthclient", **secret}}
    kept = await made(api, "/vendor-credentials", **app)
    acting = await api.post(f"/vendor-credentials/{kept['id']}/actions/register", json={"domain": "x.example"})
    assert_problem(acting, 403, "wrong-mode")
    assert vendors.sunny.calls == []
    assert [one["name"] for one in (await got(api, "/vendors"))["vendors"]] == ["virtual"]


async def test_another_virtual_account_sees_nothing(api: httpx.AsyncClient, other: Tenant) -> None:
    site_id = await home_of(api)
    site = await got(api, f"/sites/{site_id}")
    paths = [f"/virtual/sites/{site_id}", f"/virtual/batteries/{site['batteries'][0]['id']}"]
    paths.append(f"/virtual/solar-inverters/{site['solarInverters'][0]['id']}")
    for path in paths:
        for method in ("get", "delete"):
            assert_problem(await other.api.request(method, path), 404, "not-found")
        assert (await api.get(path)).status_code == 200
    refused = await other.api.post("/virtual/batteries", json={"siteID": site_id})
    assert pointers(refused) == ["/siteID"]
    for member, path in (("virtualSites", "/virtual/sites"), *((name, path) for path, name in KINDS.items())):
        assert await got(other.api, path) == {member: [], "totalSize": 0}


async def choices(browser: httpx.AsyncClient, link: str) -> list[str]:
    """Opens the link to join, and answers what the owner's page leads to."""
    answer = await browser.get(link)
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith("http://127.0.0.1:8080/virtual/consent?")
    page = (await browser.get(answer.headers["location"])).text
    found = [part.split('"')[0] for part in page.split('href="')[1:]]
    return [url.replace("&amp;", "&") for url in found if "auth-granted" in url]


async def decide(browser: httpx.AsyncClient, api: httpx.AsyncClient, choice: int) -> dict[str, str]:
    flow_id = await new_flow(api, "virtual")
    ways = await choices(browser, f"/join/flows/{flow_id}/authorize?vendor=virtual&state=theirs")
    assert len(ways) == 5
    return result_of(await browser.get(ways[choice]))


async def test_an_owner_grants(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    result = await decide(browser, api, 0)
    assert result["state"] == "theirs"
    enrollment = await got(api, f"/enrollments/{result['enrollmentID']}")
    assert enrollment["status"] == "enrolled"
    site = await got(api, f"/sites/{enrollment['sites'][0]['id']}")
    assert (len(site["solarInverters"]), len(site["batteries"]), len(site["meters"])) == (1, 1, 1)
    link = (await api.post(f"/enrollments/{enrollment['id']}/reconnect")).json()["url"]
    again = result_of(await browser.get((await choices(browser, link))[0]))
    assert again["enrollmentID"] == enrollment["id"]


async def test_an_owner_denies_or_the_vendor_fails(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    assert (await decide(browser, api, 1))["error"] == "access_denied"
    assert (await decide(browser, api, 2))["error"] in ("temporarily_unavailable", "server_error")
    assert (await got(api, "/enrollments"))["enrollments"] == []


async def test_a_virtual_vendor_decides_later(
    api: httpx.AsyncClient, new_browser: NewBrowser, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [(await decide(await new_browser(), api, choice))["enrollmentID"] for choice in (3, 4)]
    for enrollment_id in ids:
        waiting = (await api.post(f"/enrollments/{enrollment_id}/refresh")).json()
        assert (waiting["status"], waiting["health"]["state"]) == ("pendingvendor", "pending_approval")
    assert (await got(api, "/sites"))["sites"] == []
    monkeypatch.setattr(virtual, "DECIDED_AFTER", timedelta(0))
    assert (await api.post(f"/enrollments/{ids[0]}/refresh")).json()["status"] == "enrolled"
    assert_problem(await api.post(f"/enrollments/{ids[1]}/refresh"), 409, "approval-refused")
    assert (await got(api, f"/enrollments/{ids[1]}"))["status"] == "rejected"
    sites = [(await got(api, f"/enrollments/{enrollment_id}"))["sites"] for enrollment_id in ids]
    assert (await api.get(f"/sites/{sites[0][0]['id']}")).status_code == 200


async def test_the_page_leads_nowhere_else(anonymous: httpx.AsyncClient) -> None:
    answer = await anonymous.get("/virtual/consent?state=x&redirect_uri=https://evil.example/")
    assert "evil.example" not in answer.text
    links = [part.split('"')[0] for part in answer.text.split('href="')[1:]]
    assert {urlsplit(link).netloc for link in links if "auth-granted" in link} == {"127.0.0.1:8080"}
    assert dict(parse_qsl(urlsplit(links[-1].replace("&amp;", "&")).query))["state"] == "x"


def test_the_vendor_is_known_without_a_plugin() -> None:
    registry = Registry.load(allow=())
    assert [one.name for one in registry.installed if one.vendor is not None] == [virtual.NAME]
    assert structs.replace(registry.vendor(virtual.NAME)) == virtual.VENDOR
