"""Between a consent and the first good read: unread sites are not listed, and the enrollment shows how far it is."""

from __future__ import annotations

import httpx
from msgspec.structs import replace

from api.fakes import HOME, Vendors, connect
from joinder.errors import RateLimited, TransientError
from joinder.runtime.hub import Hub
from joinder.services.readings import poll

PARTNER = {f"s{n:03}": replace(HOME, vendor_id=f"s{n:03}", name=f"Roof {n}") for n in range(12)}


async def shown(api: httpx.AsyncClient, enrollment_id: str) -> tuple[str, int, int]:
    """Health, sites, sites read."""
    body = (await api.get(f"/enrollments/{enrollment_id}")).json()
    return body["health"]["state"], len(body["sites"]), body["sitesRead"]


async def polled(hub: Hub, enrollment_id: str) -> Exception | None:
    try:
        await poll.poll(hub, enrollment_id)
    except Exception as error:
        return error
    return None


async def test_a_site_is_listed_once_it_was_read(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    enrollment_id = await connect(api, browser)
    unread = (await api.get("/sites", params={"expand": "true"})).json()
    assert (unread["sites"], unread["errors"]) == ([], {"sunny": "1 site(s) not read yet, so not listed"})
    assert await shown(api, enrollment_id) == ("connecting", 1, 0)
    assert await polled(hub, enrollment_id) is None
    read = (await api.get("/sites", params={"expand": "true"})).json()
    assert ([site["name"] for site in read["sites"]], read["errors"]) == (["Home"], {})
    assert await shown(api, enrollment_id) == ("ok", 1, 1)
    events = (await api.get("/events", params={"type": "site.ready"})).json()["events"]
    assert [event["data"]["siteID"] for event in events] == [read["sites"][0]["id"]]


async def test_it_is_ready_once(api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub) -> None:
    enrollment_id = await connect(api, browser)
    for _ in range(3):
        await polled(hub, enrollment_id)
    assert len((await api.get("/events", params={"type": "site.ready"})).json()["events"]) == 1


async def test_a_renewed_token_is_no_reading(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    assert (await api.post(f"/enrollments/{enrollment_id}/refresh")).status_code == 200
    assert (await shown(api, enrollment_id))[0] == "connecting"


async def test_every_site_of_a_partner_is_known_before_what_any_of_them_measures(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    vendors.sunny.homes = dict(PARTNER)
    enrollment_id = await connect(api, browser)
    vendors.sunny.calls.clear()
    assert await polled(hub, enrollment_id) is None
    assert vendors.sunny.calls == ["fetch_site"] * 12 + ["fetch_readings"] * 12
    assert await shown(api, enrollment_id) == ("ok", 12, 12)


async def test_a_quota_that_ends_it_half_way_goes_on_where_it_stopped(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    class Counted(dict):  # type: ignore[type-arg]
        left = 5

        def __getitem__(self, site_id: str) -> object:
            if not self.left:
                raise RateLimited("The vendor allows no more calls for now")
            self.left -= 1
            return super().__getitem__(site_id)

    vendors.sunny.homes = Counted(PARTNER)
    enrollment_id = await connect(api, browser)
    assert isinstance(await polled(hub, enrollment_id), RateLimited)
    assert (await shown(api, enrollment_id))[1:] == (12, 5)
    assert (await api.get("/sites")).json()["errors"]["sunny"].endswith("7 site(s) not read yet, so not listed")
    vendors.sunny.homes.left = 100  # type: ignore[attr-defined]
    vendors.sunny.calls.clear()
    await polled(hub, enrollment_id)
    assert vendors.sunny.calls.count("fetch_site") == 7
    assert await shown(api, enrollment_id) == ("ok", 12, 12)


async def test_one_site_that_cannot_be_read_keeps_no_other_waiting(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, hub: Hub
) -> None:
    class One(dict):  # type: ignore[type-arg]
        def __getitem__(self, site_id: str) -> object:
            if site_id == "s003":
                raise TransientError("This one is away")
            return super().__getitem__(site_id)

    vendors.sunny.homes = One(PARTNER)
    enrollment_id = await connect(api, browser)
    assert isinstance(await polled(hub, enrollment_id), TransientError)
    assert (await shown(api, enrollment_id))[1:] == (12, 11)
    assert vendors.sunny.calls.count("fetch_readings") == 11
