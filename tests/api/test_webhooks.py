"""Webhooks, events and reconnect links over REST."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import httpx
from sqlalchemy import text

from api.conftest import NewBrowser, NewTenant
from api.fakes import (
    Vendors,
    assert_problem,
    begin,
    come_back,
    connect,
    count,
    new_credentials,
    new_flow,
    pointers,
    result_of,
)
from api.test_join import assert_page, form_of, send
from joinder.runtime.hub import Hub
from joinder.services.events import deliveries
from services.receiver import receiving
from support import days_ago

URL = "https://hook.example/joinder"


async def create(api: httpx.AsyncClient, **members: Any) -> dict[str, Any]:
    answer = await api.post("/webhooks", json={"url": URL, **members})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def lose(hub: Hub) -> None:
    async with hub.store.write() as session:
        await session.execute(text("UPDATE enrollment SET health = 'needs_consent'"))


async def open_link(browser: httpx.AsyncClient, url: str) -> str:
    """Answers the session's token."""
    parts = urlsplit(url)
    answer = await browser.get(f"{parts.path}?{parts.query}")
    assert answer.status_code == 303, answer.text
    location = urlsplit(answer.headers["location"])
    if location.path.startswith("/join/sessions/"):
        return location.path.rsplit("/", 1)[-1]
    return httpx.QueryParams(location.query)["state"]


async def test_the_secret_shows_when_it_is_made_and_never_again(hub: Hub, api: httpx.AsyncClient) -> None:
    made = await create(api, types=["enrollment.health"])
    secret = made.pop("secret")
    assert secret.startswith("whsec_")
    assert set(made) == {"id", "url", "types", "disabled", "createdAt"}
    path = f"/webhooks/{made['id']}"
    rotated = (await api.post(f"{path}/rotate")).json()
    assert rotated["secret"] not in (secret, "")
    assert "oldSecretUntil" in rotated
    shown = [
        await api.get(path),
        await api.get("/webhooks"),
        await api.patch(path, json={"types": None}),
        await api.post(f"{path}/test"),
        await api.get(f"{path}/deliveries"),
        await api.get("/events"),
    ]
    for answer in shown:
        assert answer.status_code == 200, answer.text
        assert "whsec_" not in answer.text
        assert secret not in answer.text
    assert "types" not in shown[2].json()
    assert (await api.get("/webhooks")).json()["webhooks"][0]["id"] == made["id"]


async def test_a_test_event_is_sent_listed_and_sent_again(hub: Hub, api: httpx.AsyncClient) -> None:
    async with receiving() as receiver:
        made = await create(api, url=receiver.url, types=["enrollment.deleted"])
        path = f"/webhooks/{made['id']}"
        sent = (await api.post(f"{path}/test")).json()
        assert (sent["type"], sent["status"], sent["attempts"]) == ("webhook.test", "pending", 0)
        await deliveries.deliver(hub, made["id"])
        (delivery,) = (await api.get(f"{path}/deliveries", params={"status": "delivered"})).json()["deliveries"]
        assert set(delivery) == {
            "id", "eventID", "type", "status", "attempts", "answered", "createdAt", "deliveredAt",
        }  # fmt: skip
        again = (await api.post(f"{path}/deliveries/{delivery['id']}/replay")).json()
        assert again["status"] == "pending"
        await deliveries.deliver(hub, made["id"])
    assert [got.event_id for got in receiver.got] == [delivery["eventID"]] * 2
    assert all(got.verified_by(made["secret"]) for got in receiver.got)
    answer = await api.get(f"{path}/deliveries", params={"status": "lost"})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/status"]


async def test_a_disabled_one_is_refused_tests_and_replays(api: httpx.AsyncClient) -> None:
    path = f"/webhooks/{(await create(api))['id']}"
    disabled = (await api.patch(path, json={"disabled": True})).json()
    assert disabled["disabled"] is True
    assert disabled["disabledReason"]
    assert_problem(await api.post(f"{path}/test"), 409, "conflict")
    since = {"since": f"{days_ago(330)}T00:00:00Z"}
    assert_problem(await api.post(f"{path}/replay", json=since), 409, "conflict")
    enabled = (await api.patch(path, json={"disabled": False})).json()
    assert enabled["disabled"] is False
    assert not set(enabled) & {"disabledAt", "disabledReason"}
    assert (await api.post(f"{path}/replay", json=since)).json() == {"deliveries": 0}


async def test_wrong_members_change_nothing(hub: Hub, api: httpx.AsyncClient) -> None:
    path = f"/webhooks/{(await create(api))['id']}"
    before = (await api.get(path)).json()
    for body, pointer in (
        ({"url": "http://hook.example/"}, "/url"),
        ({"url": None}, "/url"),
        ({"types": ["x"], "disabled": True}, "/types/0"),
        ({"disabled": None}, "/disabled"),
        ({"secret": "x"}, "/secret"),
    ):
        answer = await api.patch(path, json=body)
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [pointer]
    for since in ("yesterday", days_ago(330), ""):
        answer = await api.post(f"{path}/replay", json={"since": since})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == ["/since"]
    assert (await api.get(path)).json() == before


async def test_deleting(api: httpx.AsyncClient) -> None:
    path = f"/webhooks/{(await create(api))['id']}"
    await api.post(f"{path}/test")
    assert (await api.delete(path)).status_code == 204
    assert_problem(await api.get(path), 404, "not-found")


async def test_another_accounts_delivery_is_unknown(api: httpx.AsyncClient, new_tenant: NewTenant) -> None:
    """Under both webhooks there are; test_isolation.py only asks for ids that are nobody's."""
    mine = f"/webhooks/{(await create(api))['id']}"
    delivery = (await api.post(f"{mine}/test")).json()["id"]
    stranger = (await new_tenant()).api
    theirs = f"/webhooks/{(await create(stranger))['id']}"
    for path in (mine, theirs):
        assert_problem(await stranger.post(f"{path}/deliveries/{delivery}/replay"), 404, "not-found")
    assert_problem(
        await api.post(f"/webhooks/{(await create(api))['id']}/deliveries/{delivery}/replay"), 404, "not-found"
    )


async def test_events_by_enrollment_and_type(hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    enrollment_id = await connect(api, browser)
    await api.delete(f"/enrollments/{enrollment_id}")
    listed = (await api.get("/events", params={"enrollmentID": enrollment_id})).json()["events"]
    assert [event["type"] for event in listed] == ["enrollment.created", "enrollment.deleted", "enrollment.revoked"]
    (deleted,) = (await api.get("/events", params={"type": "enrollment.deleted"})).json()["events"]
    assert set(deleted) == {"id", "type", "timestamp", "data"}
    assert deleted["data"] == {
        "enrollmentID": enrollment_id,
        "vendor": "sunny",
        "state": "their-state",
        "revocation": "none",
    }
    first = (await api.get("/events", params={"pageSize": 2})).json()
    rest = (await api.get("/events", params={"pageSize": 2, "pageToken": first["nextPageToken"]})).json()
    assert {event["id"] for event in first["events"] + rest["events"]} == {event["id"] for event in listed}
    assert "nextPageToken" not in rest


async def test_an_owner_consents_again_by_the_link(
    hub: Hub, api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, await new_browser())
    path = f"/enrollments/{enrollment_id}"
    assert "reconnectURL" not in (await api.get(path)).json()["health"]
    await lose(hub)
    before = (await api.get(path)).json()
    url = before["health"]["reconnectURL"]
    assert (await api.get("/enrollments")).json()["enrollments"][0]["health"]["reconnectURL"]
    browser = await new_browser()
    result = result_of(await come_back(browser, await open_link(browser, url)))
    assert result == {"tenant": "7", "x": "/", "enrollmentID": enrollment_id}
    after = (await api.get(path)).json()
    assert after["health"]["state"] == "connecting"
    assert "reconnectURL" not in after["health"]
    assert {name: after[name] for name in ("id", "flowID", "sites", "createdAt")} == {
        name: before[name] for name in ("id", "flowID", "sites", "createdAt")
    }
    assert await count(hub, "enrollment") == 1


async def test_another_browser_cannot_end_what_one_began(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, await new_browser())
    url = (await api.post(f"/enrollments/{enrollment_id}/reconnect")).json()["url"]
    token = await open_link(await new_browser(), url)
    vendors.sunny.exchanges.clear()
    html = assert_page(await come_back(await new_browser(), token), 400)
    assert 'href="/join/reconnect?link=' in html
    assert vendors.exchanges == 0


async def test_another_accounts_key_shows_the_form_again(
    api: httpx.AsyncClient, new_browser: NewBrowser, vendors: Vendors
) -> None:
    browser = await new_browser()
    token = await begin(browser, await new_flow(api, "boxy"))
    fields = {"host": "192.0.2.9", "token": "canary"}
    first = result_of(await send(browser, token, form_token=await form_of(browser, token), **fields))
    url = (await api.post(f"/enrollments/{first['enrollmentID']}/reconnect", json={})).json()["url"]
    vendors.boxy.account_id = "somebody-else"
    token = await open_link(browser, url)
    refused = await send(browser, token, form_token=await form_of(browser, token), **fields)
    assert "another account" in assert_page(refused, 422)
    vendors.boxy.account_id = "owner-1"
    again = result_of(await send(browser, token, form_token=await form_of(browser, token), **fields))
    assert again["enrollmentID"] == first["enrollmentID"]


async def test_links_that_do_not_work_show_a_page(browser: httpx.AsyncClient, vendors: Vendors) -> None:
    for query in ("", "?link=", "?link=abc.def", "?link=a&link=b", "?link=" + "x" * 9000, "?link=%00"):
        assert_page(await browser.get(f"/join/reconnect{query}"), 400)
    assert vendors.sunny.calls == []


async def test_reconnect_says_what_is_wrong(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    enrollment_id = await connect(api, browser)
    path = f"/enrollments/{enrollment_id}/reconnect"
    answer = await api.post(path, json={"redirectURI": "https://evil.example/"})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/redirectURI"]
    flow_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["flowID"]
    await api.delete(f"/join/flows/{flow_id}")
    answer = await api.post(path, json={})
    assert_problem(answer, 422, "unprocessable")
    assert pointers(answer) == ["/redirectURI"]
    await new_credentials(api, "customgrant")
    listed = (await api.get("/enrollments")).json()["enrollments"]
    (operated,) = [row for row in listed if "flowID" not in row]
    assert_problem(await api.post(f"/enrollments/{operated['id']}/reconnect", json={}), 409, "conflict")
