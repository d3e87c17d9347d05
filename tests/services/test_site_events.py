"""What changes of a site is an event: its name and place, its devices, and new readings for who asks for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec import structs

from api.fakes import HOME, Vendors
from joinder.clock import now, utc_text
from joinder.energy import Reading, Readings, Site
from joinder.runtime.hub import Hub
from joinder.services.events import deliveries, webhooks
from joinder.services.join import labels, vendor_credentials
from joinder.services.readings import readings
from joinder.services.readings.sites import get_site, refresh_site
from joinder.services.records import events
from joinder.vendors.registry import Registry
from services.sharing import site_of, told
from services.test_site_lists import GIVEN

URL = "https://hook.example/"
STORED = ("site.ready", "site.changed", "device.discovered", "device.gone")


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
def registry(vendors: Vendors) -> Registry:
    return vendors.registry()


@pytest.fixture
async def fleet(hub: Hub, account_id: str) -> str:
    await vendor_credentials.create(hub, account_id, "test", name=None, credentials=GIVEN)
    ((enrollment_id,),) = await hub.store.rows("SELECT id FROM enrollment", {})
    await labels.change(hub, account_id, enrollment_id, "test", reference="fleet 7")
    return str(enrollment_id)


async def read(hub: Hub, account_id: str, vendors: Vendors, home: Site) -> str:
    vendors.sunny.homes = {"site-1": home}
    site, _ = await get_site(hub, account_id, (await site_of(hub, "site-1")).id)
    await refresh_site(hub, site)
    return site.id


async def test_a_site_and_its_devices_that_change_are_told(
    hub: Hub, vendors: Vendors, account_id: str, fleet: str
) -> None:
    inverter, battery, meter, _ = HOME.devices
    site_id = await read(hub, account_id, vendors, structs.replace(HOME, devices=(inverter, meter)))
    assert [kind for kind, _, _ in await told(hub, *STORED)] == ["site.ready"]
    await read(hub, account_id, vendors, structs.replace(HOME, name="New home", devices=(inverter, battery)))
    _, devices = await get_site(hub, account_id, site_id)
    found = {kind: data for kind, enrollment_id, data in await told(hub, *STORED[1:]) if enrollment_id == fleet}
    assert found["site.changed"] == {"reference": "fleet 7", "siteID": site_id, "changed": ["name"]}
    (added,) = (device.id for device in devices if device.kind == "battery")
    assert found["device.discovered"]["deviceID"] == added
    assert found["device.gone"]["kind"] == "meter"
    await read(hub, account_id, vendors, structs.replace(HOME, name="New home", devices=(inverter, battery, meter)))
    again = [data["kind"] for kind, _, data in await told(hub, *STORED) if kind == "device.discovered"]
    assert again == ["battery", "meter"]


def a_quarter_hour(start: int) -> Readings:
    begins = datetime.fromtimestamp(start, UTC)
    return Readings(intervals=(Reading(start=begins, end=begins + timedelta(minutes=15), solar_wh=1.0),))


async def fetch(hub: Hub, vendors: Vendors, account_id: str, site_id: str, start: int) -> None:
    vendors.sunny.readings = lambda query: a_quarter_hour(start)
    site, devices = await get_site(hub, account_id, site_id)
    await readings.fetch(hub, site, devices, start=start, end=start + 900)


async def listed(hub: Hub, account_id: str, kind: str | None) -> list[dict[str, Any]]:
    rows = await events.list_page(hub, account_id, enrollment_id=None, kind=kind, after="", limit=100)
    return [one.data for one in rows if one.row.type == "readings.updated"]


async def test_new_readings_are_told_to_those_alone_who_name_the_type(
    hub: Hub, vendors: Vendors, account_id: str, fleet: str
) -> None:
    site_id = await read(hub, account_id, vendors, HOME)
    start = now() // 900 * 900 - 86_400
    everything = await webhooks.create(hub, account_id, "test", url=URL, types=[])
    await fetch(hub, vendors, account_id, site_id, start)
    assert await listed(hub, account_id, "readings.updated") == []
    wanting = await webhooks.create(hub, account_id, "test", url=URL, types=["readings.updated"])
    await fetch(hub, vendors, account_id, site_id, start)
    (data,) = await listed(hub, account_id, "readings.updated")
    assert data == {
        "enrollmentID": fleet, "vendor": "sunny", "reference": "fleet 7", "siteID": site_id, "resolution": "15mins",
        "start": utc_text(start), "end": utc_text(start + 900),
    }  # fmt: skip
    assert await listed(hub, account_id, None) == []
    await deliveries.fan_out(hub)
    sent = await hub.store.rows(
        "SELECT d.endpoint_id FROM delivery d JOIN event e ON e.id = d.event_id WHERE e.type = 'readings.updated'", {}
    )
    assert [row[0] for row in sent] == [wanting.row.id]
    assert everything.row.id != wanting.row.id
    await hub.store.apply(("UPDATE event SET at = 0 WHERE type = 'readings.updated'", {}))
    await fetch(hub, vendors, account_id, site_id, start)
    assert len(await listed(hub, account_id, "readings.updated")) == 1
