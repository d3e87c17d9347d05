"""Whose enrollment is it: the caller's own words for it stand wherever it is told of."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import Vendors, assert_problem, connect_site, new_flow, pointers
from joinder.runtime.hub import Hub, account_of
from joinder.services.join import enrollments
from joinder.store.tables import Enrollment

DATABASES = ("sqlite",)  # nothing here depends on the database but the filters, which are plain comparisons


async def join(api: httpx.AsyncClient, browser: httpx.AsyncClient, **query: str) -> str:
    """Joins a boxy home; answers the enrollment's id."""
    flow_id = await new_flow(api, "boxy")
    started = await browser.get(f"/join/flows/{flow_id}/authorize", params=query)
    page = await browser.get(started.headers["location"])
    token = page.text.split('name="form_token" value="')[1].split('"')[0]
    entered = {"host": "10.0.0.5", "token": "t", "form_token": token}
    back = await browser.post(started.headers["location"], data=entered)
    return str(httpx.URL(back.headers["location"]).params["enrollmentID"])


async def told(api: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    answer = await api.get(path)
    assert answer.status_code == 200, answer.text
    (rows,) = (value for value in answer.json().values() if isinstance(value, list))
    found: list[dict[str, Any]] = rows
    return found


async def test_a_link_with_state_and_reference_tells_whose_enrollment_it_makes(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, new_tenant: NewTenant
) -> None:
    row_id = await join(api, browser, state="session-1", reference="customer 7")
    shown = (await api.get(f"/enrollments/{row_id}")).json()
    assert (shown["reference"], shown["state"]) == ("customer 7", "session-1")
    for query in ("?reference=customer%207", "?state=session-1", "?reference=customer+7&state=session-1"):
        assert [row["id"] for row in await told(api, f"/enrollments{query}")] == [row_id]
    assert await told(api, "/enrollments?reference=customer") == []
    assert await told((await new_tenant()).api, "/enrollments?reference=customer%207") == []
    await enrollments.delete(hub, await account_of(hub, Enrollment, row_id), row_id, "test")
    events = await told(api, "/events")
    assert {"enrollment.created", "enrollment.deleted"} <= {event["type"] for event in events}
    assert {(event["data"]["reference"], event["data"]["state"]) for event in events} == {("customer 7", "session-1")}


async def test_a_reference_is_changed_and_removed(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    row_id = await join(api, browser, state="session-1")
    path = f"/enrollments/{row_id}"
    assert "reference" not in (await api.get(path)).json()
    assert (await api.patch(path, json={"reference": "x" * 256})).json()["reference"] == "x" * 256
    assert (await api.patch(path, json={})).json()["reference"] == "x" * 256
    for wrong in ("", "x" * 257, "two\nlines", "\u202ebackwards", 7):
        answer = await api.patch(path, json={"reference": wrong})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/reference"], wrong
    assert_problem(await api.patch(path, json={"status": "enrolled"}), 400, "validation-error")
    assert (await api.get(path)).json()["reference"] == "x" * 256
    assert "reference" not in (await api.patch(path, json={"reference": None})).json()


async def test_a_join_that_failed_tells_whose_it_was(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api, "boxy")
    labels = {"state": "session-1", "reference": "customer 7"}
    started = await browser.get(f"/join/flows/{flow_id}/authorize", params=labels)
    await browser.post(started.headers["location"], data={"action": "cancel"})
    (failed,) = await told(api, "/events?type=join.failed")
    assert {name: failed["data"][name] for name in labels} == labels


@pytest.mark.parametrize("reference", ["x" * 257, "a\tb"])
async def test_a_link_with_an_impossible_reference_begins_nothing(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, reference: str
) -> None:
    flow_id = await new_flow(api)
    refused = await browser.get(f"/join/flows/{flow_id}/authorize", params={"reference": reference})
    assert refused.status_code == 400
    assert not browser.cookies


async def test_sites_and_devices_are_found_by_their_enrollment_and_site(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, new_tenant: NewTenant
) -> None:
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    (expanded,) = await told(api, "/sites?expand=true")
    (enrollment,) = await told(api, "/enrollments")
    assert site["enrollmentID"] == expanded["enrollmentID"] == enrollment["id"]
    other = await join(api, browser)
    paths = {"/solar-inverters": "solarInverters", "/batteries": "batteries", "/meters": "meters"}
    assert await told(api, f"/sites?enrollmentID={enrollment['id']}") == [{"id": site_id}]
    assert {"id": site_id} not in await told(api, f"/sites?enrollmentID={other}")
    for path, member in paths.items():
        ids = {row["id"] for row in site[member]}
        for query in (f"siteID={site_id}", f"enrollmentID={enrollment['id']}"):
            assert {row["id"] for row in await told(api, f"{path}?{query}")} == ids
        assert not ids & {row["id"] for row in await told(api, f"{path}?enrollmentID={other}")}
        assert await told(api, f"{path}?siteID=site-{'a' * 16}") == []
    stranger = (await new_tenant()).api
    assert await told(stranger, f"/sites?enrollmentID={enrollment['id']}") == []
    assert await told(stranger, f"/batteries?siteID={site_id}") == []


async def test_errors_say_what_is_the_matter_and_only_with_the_vendors_asked_for(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub
) -> None:
    site_id = await connect_site(api, browser)
    await join(api, browser)
    said = "health = 'needs_consent', health_reason = 'The grant is over.'"
    await hub.store.apply((f"UPDATE enrollment SET {said} WHERE vendor = 'sunny'", {}))  # noqa: S608
    errors = (await api.get("/sites")).json()["errors"]
    assert errors == {
        "sunny": "1 enrollment needs a new consent of its owner (needs_consent): The grant is over; "
        "see GET /enrollments",
        "boxy": "1 site(s) not read yet, so not listed",
    }
    for path in ("/sites", "/batteries"):
        for vendor in ("sunny", "boxy", "cloudy"):
            narrowed = (await api.get(path, params={"vendor": vendor})).json()["errors"]
            assert narrowed == {name: text for name, text in errors.items() if name == vendor}
    assert site_id


async def test_a_list_that_fits_into_its_first_page_says_how_long_it_is(api: httpx.AsyncClient) -> None:
    assert (await api.get("/join/flows")).json() == {"joinFlows": [], "totalSize": 0}
    for _ in range(3):
        await new_flow(api, "boxy")
    whole, first = [(await api.get(f"/join/flows?pageSize={size}")).json() for size in (3, 2)]
    assert (whole["totalSize"], "nextPageToken" in whole) == (3, False)
    assert "totalSize" not in first
    last = (await api.get(f"/join/flows?pageSize=2&pageToken={first['nextPageToken']}")).json()
    assert last.keys() == {"joinFlows"}
