"""Programmes: flows that name one, applications without a browser, and what an operator decides."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from api.conftest import NewBrowser, NewTenant
from api.fakes import (
    REDIRECT_URI,
    SUNNY,
    FakeVendor,
    Tenant,
    Vendors,
    assert_problem,
    begin,
    come_back,
    count,
    new_credentials,
    pointers,
    result_of,
)
from api.test_virtual import WithVirtual, choices, got, made
from joinder import hookimpl
from joinder.grants import Callback, Consent, Context, Grant, GrantState
from joinder.runtime.hub import Hub
from joinder.services.records import accounts

SKIPS = {"skipIntro": True, "skipLanding": True}
APPLICATION: dict[str, Any] = {
    "applicationTime": "2023-05-01T10:00:00+02:00",
    "utilityAccountNumber": "canary-utility-7781",
    "termsAccepted": True,
    "customer": {"name": "canary-customer-5512"},
    "address": {"street": "canary-street-9913"},
    "additionalInfo": {"segment": "north"},
}


@pytest.fixture
def vendors(request: pytest.FixtureRequest) -> Vendors:
    decides = "that_decides" in request.node.name
    return WithVirtual(sunny=Deciding(SUNNY) if decides else FakeVendor(SUNNY))


@pytest.fixture
async def other(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(mode=accounts.VIRTUAL)


@pytest.fixture
async def virtual_api(other: Tenant) -> httpx.AsyncClient:
    return other.api


async def program_of(api: httpx.AsyncClient) -> str:
    """The programme a virtual account finds."""
    (program,) = (await got(api, "/programs"))["programs"]
    return str(program["id"])


async def submitted(api: httpx.AsyncClient, key: str | None = None, **members: Any) -> httpx.Response:
    body = {"programID": await program_of(api), **APPLICATION, **members}
    headers = {"idempotency-key": key} if key is not None else {}
    return await api.post("/enrollments/submit", json=body, headers=headers)


async def decided(api: httpx.AsyncClient, enrollment_id: str, kind: str, reason: str | None = None) -> httpx.Response:
    body = {"type": kind, **({"reason": reason} if reason else {})}
    return await api.post(f"/enrollments/{enrollment_id}/events", json=body)


async def test_a_virtual_account_finds_its_programme(virtual_api: httpx.AsyncClient) -> None:
    (program,) = (await got(virtual_api, "/programs"))["programs"]
    assert (program["name"], program["vendors"], program["resourceTypes"]) == (
        "Virtual Program",
        ["virtual"],
        ["batterysystem"],
    )
    assert await got(virtual_api, f"/programs/{program['id']}") == program


async def test_an_application_is_submitted_once(virtual_api: httpx.AsyncClient, hub: Hub) -> None:
    first = await submitted(virtual_api, "customer-7")
    assert first.status_code == 201, first.text
    enrollment = first.json()
    assert (enrollment["status"], enrollment["programID"]) == ("pendingvendor", await program_of(virtual_api))
    again = await submitted(virtual_api, '"customer-7"')
    assert (again.status_code, again.json()["id"]) == (201, enrollment["id"])
    assert [one.headers.get("idempotency-replayed") for one in (first, again)] == [None, "true"]
    refused = await submitted(virtual_api, "customer-7", utilityAccountNumber="2")
    assert_problem(refused, 422, "idempotency-key-reused")
    assert (await submitted(virtual_api, "customer-8")).json()["id"] != enrollment["id"]
    assert await count(hub, "enrollment") == 2
    assert await count(hub, "idempotency") == 0  # what is kept for a day would be a second memory of the same
    shown = await got(virtual_api, f"/enrollments/{enrollment['id']}")
    assert shown["additionalInfo"] == {"segment": "north"}
    assert "canary" not in str(shown)
    assert await count(hub, "event", "CAST(data AS TEXT) LIKE '%canary%'") == 0


async def test_a_submission_that_is_sent_again_answers_the_enrollment_as_it_is_by_then(
    virtual_api: httpx.AsyncClient, other: Tenant, new_tenant: NewTenant, hub: Hub
) -> None:
    """Also to another client of the account; and as long as the enrollment lives, which may be years."""
    first = (await submitted(virtual_api, "customer-7")).json()
    await decided(virtual_api, first["id"], "approved")
    colleague = await new_tenant(account_id=other.account_id)
    again = (await submitted(colleague.api, "customer-7")).json()
    assert (again["id"], again["status"]) == (first["id"], "enrolled")
    assert (await virtual_api.delete(f"/enrollments/{first['id']}")).status_code == 204
    assert (await submitted(virtual_api, "customer-7")).json()["id"] != first["id"]


async def test_submissions_under_one_key_at_once_make_one_enrollment(virtual_api: httpx.AsyncClient, hub: Hub) -> None:
    answers = await asyncio.gather(*(submitted(virtual_api, "customer-7") for _ in range(5)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await count(hub, "enrollment") == 1
    others = await asyncio.gather(
        *(submitted(virtual_api, "customer-8", utilityAccountNumber=str(number)) for number in range(5))
    )
    assert sorted(answer.status_code for answer in others) == [201, 422, 422, 422, 422]


@pytest.mark.parametrize("key", ["", " ", "a b", "ä", "x" * 256])
async def test_a_key_that_is_none_is_refused(virtual_api: httpx.AsyncClient, hub: Hub, key: str) -> None:
    body = {"programID": await program_of(virtual_api), **APPLICATION}
    headers = {"idempotency-key": key.encode()}
    answer = await virtual_api.post("/enrollments/submit", json=body, headers=headers)
    assert answer.status_code == 400, answer.text
    assert await count(hub, "enrollment") == 0


async def test_what_an_operator_decides_follows_the_status(virtual_api: httpx.AsyncClient) -> None:
    enrollment_id = (await submitted(virtual_api)).json()["id"]
    path = f"/enrollments/{enrollment_id}"
    site_id = (await got(virtual_api, path))["sites"][0]["id"]
    assert_problem(await virtual_api.get(f"/sites/{site_id}"), 409, "approval-pending")
    assert_problem(await decided(virtual_api, enrollment_id, "unenrolled"), 409, "invalid-enrollment-status")

    assert (await decided(virtual_api, enrollment_id, "resubmitrequested", "Sign it")).status_code == 204
    shown = await got(virtual_api, path)
    assert (shown["status"], shown["statusReason"]) == ("resubmitrequested", "Sign it")
    older = {**APPLICATION, "applicationTime": "2023-04-01T10:00:00Z"}
    refused = await virtual_api.post(f"{path}/applications", json=older)
    assert_problem(refused, 409, "invalid-enrollment-application-time")
    newer = {**APPLICATION, "applicationTime": "2023-06-01T10:00:00Z", "additionalInfo": {"segment": "south"}}
    assert (await virtual_api.post(f"{path}/applications", json=newer)).status_code == 204
    shown = await got(virtual_api, path)
    assert (shown["status"], shown["additionalInfo"], "statusReason" in shown) == (
        "applied",
        {"segment": "south"},
        False,
    )

    assert (await decided(virtual_api, enrollment_id, "approved")).status_code == 204
    assert (await got(virtual_api, path))["status"] == "enrolled"
    assert (await got(virtual_api, f"/sites/{site_id}"))["batteries"]
    refused = await virtual_api.post(f"{path}/applications", json=newer)
    assert_problem(refused, 409, "invalid-enrollment-status")

    assert (await decided(virtual_api, enrollment_id, "unenrolled", "Moved")).status_code == 204
    shown = await got(virtual_api, path)
    assert (shown["status"], shown["statusReason"]) == ("unenrolled", "Moved")
    assert "Moved" in shown["health"]["reason"]
    assert (await virtual_api.post(f"{path}/applications", json=newer)).status_code == 204
    assert (await decided(virtual_api, enrollment_id, "rejected", "No room")).status_code == 204
    shown = await got(virtual_api, path)
    assert (shown["status"], shown["statusReason"], shown["health"]["reason"]) == ("rejected", "No room", "No room")
    kinds = [one["type"] for one in (await got(virtual_api, "/events", enrollmentID=enrollment_id))["events"]]
    told = [kind.removeprefix("enrollment.") for kind in kinds if kind != "enrollment.health"]
    assert [kind for kind in told if not kind.startswith("site")] == [
        "created", "applied", "resubmit_requested", "applied", "approved", "unenrolled", "applied", "rejected"
    ]  # fmt: skip


async def test_what_cannot_be_taken_is_named(virtual_api: httpx.AsyncClient, hub: Hub) -> None:
    long = "ä" * 126
    for members, place in (
        ({"programID": "prog-aaaaaaaaaaaaaaaa"}, "/programID"),
        ({"termsAccepted": False}, "/termsAccepted"),
        ({"additionalInfo": {"a": long}}, "/additionalInfo/a"),
        ({"additionalInfo": {long: "a"}}, f"/additionalInfo/{long}"),
        ({"additionalInfo": {str(number): "" for number in range(51)}}, "/additionalInfo"),
        ({"customer": {"name": "x" * 5000}}, "/customer"),
        ({"applicationTime": "2023-05-01T10:00:00"}, "/applicationTime"),
        ({"colour": "red"}, "/colour"),
    ):
        answer = await submitted(virtual_api, **members)
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [place]
    assert await count(hub, "enrollment") == 0
    enrollment_id = (await submitted(virtual_api)).json()["id"]
    answer = await virtual_api.post(
        f"/enrollments/{enrollment_id}/events", json={"type": "approved", "reason": "Because"}
    )
    assert pointers(answer) == ["/reason"]
    too_long = await decided(virtual_api, enrollment_id, "rejected", "x" * 501)
    assert pointers(too_long) == ["/reason"]
    assert_problem(await decided(virtual_api, "enrl-aaaaaaaaaaaaaaaa", "approved"), 404, "not-found")


async def test_a_virtual_enrollment_is_in_any_status(virtual_api: httpx.AsyncClient) -> None:
    program_id = await program_of(virtual_api)
    for status in ("applied", "pendingvendor", "enrolled", "rejected", "resubmitrequested", "unenrolled"):
        enrollment = await made(virtual_api, "/virtual/enrollments", programID=program_id, status=status)
        assert (enrollment["status"], enrollment["programID"]) == (status, program_id)
        assert len(enrollment["sites"]) == 1
    assert (await made(virtual_api, "/virtual/enrollments", programID=program_id))["status"] == "applied"
    site = await made(virtual_api, "/virtual/sites")
    joined = await made(virtual_api, "/virtual/enrollments", programID=program_id, siteID=site["id"], status="enrolled")
    assert joined["sites"] == [{"id": site["id"]}]
    listed = await got(virtual_api, "/enrollments", programID=program_id, status="enrolled")
    assert joined["id"] in [one["id"] for one in listed["enrollments"]]


async def test_a_join_through_a_programme(virtual_api: httpx.AsyncClient, new_browser: NewBrowser) -> None:
    program_id = await program_of(virtual_api)
    flow = await made(
        virtual_api,
        "/join/flows",
        vendors=[{"vendor": "virtual"}],
        redirectURI=REDIRECT_URI,
        programID=program_id,
        **SKIPS,
    )
    assert flow["programID"] == program_id
    assert_problem(await virtual_api.delete(f"/programs/{program_id}"), 409, "conflict")
    browser = await new_browser()
    ways = await choices(browser, f"/join/flows/{flow['id']}/authorize?vendor=virtual&state=s")
    result = result_of(await browser.get(ways[0]))
    enrollment = await got(virtual_api, f"/enrollments/{result['enrollmentID']}")
    assert (enrollment["programID"], enrollment["status"]) == (program_id, "enrolled")


async def test_a_vendors_own_programme_gives_its_options_to_flows(
    new_tenant: NewTenant, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    api = (await new_tenant()).api
    program = await made(api, "/programs", name="North", vendors=["sunny"], options={"sunny": {"region": "north"}})
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api)}
    flow = await made(api, "/join/flows", vendors=[entry], redirectURI=REDIRECT_URI, programID=program["id"], **SKIPS)
    assert flow["vendors"][0]["options"] == {"region": "north"}
    enrollment_id = result_of(await come_back(browser, await begin(browser, flow["id"])))["enrollmentID"]
    assert (await got(api, f"/enrollments/{enrollment_id}"))["programID"] == program["id"]
    refused = await api.post("/enrollments/submit", json={"programID": program["id"], **APPLICATION})
    assert "join flow" in assert_problem(refused, 422, "not-supported")["detail"]
    assert (await decided(api, enrollment_id, "unenrolled", "Left")).status_code == 204
    assert (await got(api, f"/enrollments/{enrollment_id}"))["status"] == "unenrolled"
    foreign = await api.post(
        "/join/flows", json={"vendors": [{"vendor": "boxy"}], "redirectURI": REDIRECT_URI, "programID": program["id"]}
    )
    assert pointers(foreign) == ["/vendors/0/vendor"]
    assert SUNNY.name in program["vendors"]


class Deciding(FakeVendor):
    """A vendor that approves when it is asked, like Enphase's Grid Services; plugins are called, not we."""

    is_approved = False

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        consent = await super().handle_callback(ctx, callback)
        return replace(consent, grant=replace(consent.grant, state=GrantState.PENDING_APPROVAL))

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        return replace(grant, state=GrantState.ACTIVE) if self.is_approved else grant


async def test_a_vendor_that_decides_drives_its_enrollments(
    new_tenant: NewTenant, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    assert isinstance(vendors.sunny, Deciding)
    api = (await new_tenant()).api
    program = await made(api, "/programs", name="North", vendors=["sunny"])
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api)}
    flow = await made(api, "/join/flows", vendors=[entry], redirectURI=REDIRECT_URI, programID=program["id"], **SKIPS)
    enrollment_id = result_of(await come_back(browser, await begin(browser, flow["id"])))["enrollmentID"]
    shown = await got(api, f"/enrollments/{enrollment_id}")
    assert (shown["status"], shown["programID"]) == ("pendingvendor", program["id"])
    for refused in (await decided(api, enrollment_id, "approved"), await decided(api, enrollment_id, "rejected")):
        assert "itself decides" in assert_problem(refused, 422, "not-supported")["detail"]
    again = await api.post(f"/enrollments/{enrollment_id}/applications", json=APPLICATION)
    assert "consent" in assert_problem(again, 422, "not-supported")["detail"]
    assert (await got(api, f"/enrollments/{enrollment_id}"))["status"] == "pendingvendor"
    vendors.sunny.is_approved = True
    assert (await api.post(f"/enrollments/{enrollment_id}/refresh")).json()["status"] == "enrolled"


async def test_programmes_that_cannot_be_are_refused(new_tenant: NewTenant, vendors: Vendors) -> None:
    api = (await new_tenant()).api
    for members, place in (
        ({"vendors": []}, "/vendors"),
        ({"vendors": ["virtual"]}, "/vendors/0"),
        ({"vendors": ["sunny", "sunny"]}, "/vendors/1"),
        ({"end": "2020-01-01T00:00:00Z"}, "/end"),
        ({"options": {"boxy": {}}}, "/options/boxy"),
        ({"resourceTypes": ["rocket"]}, "/resourceTypes/0"),
    ):
        answer = await api.post("/programs", json={"name": "P", "vendors": ["sunny"], **members})
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [place]
    program = await made(api, "/programs", name="P", vendors=["sunny"])
    assert (await api.delete(f"/programs/{program['id']}")).status_code == 204
    assert_problem(await api.get(f"/programs/{program['id']}"), 404, "not-found")


async def test_an_application_says_who_decides_of_it_and_how(virtual_api: httpx.AsyncClient) -> None:
    enrollment = (await submitted(virtual_api)).json()
    path = f"/enrollments/{enrollment['id']}"
    asked_again = (await virtual_api.post(f"{path}/refresh")).json()  # the virtual vendor knows of no decision
    for health in (enrollment["health"], asked_again["health"]):
        assert (health["state"], health["actor"]) == ("pending_approval", "operator")
        assert "POST /enrollments/{id}/events" in health["nextStep"]
    assert (await decided(virtual_api, enrollment["id"], "resubmitrequested", "Another number.")).status_code == 204
    assert "POST /enrollments/{id}/applications" in (await got(virtual_api, path))["health"]["nextStep"]
    assert (await virtual_api.post(f"{path}/applications", json=APPLICATION)).status_code == 204
    assert "POST /enrollments/{id}/events" in (await got(virtual_api, path))["health"]["nextStep"]
    assert (await decided(virtual_api, enrollment["id"], "approved")).status_code == 204
    assert (await got(virtual_api, path))["health"].get("actor") != "operator"


async def test_who_was_unenrolled_is_read_again_after_another_application_alone(virtual_api: httpx.AsyncClient) -> None:
    members = {"programID": await program_of(virtual_api), "status": "enrolled"}
    made_one = await made(virtual_api, "/virtual/enrollments", **members)
    path, site_id = f"/enrollments/{made_one['id']}", made_one["sites"][0]["id"]
    assert (await virtual_api.get(f"/sites/{site_id}/live")).json()["stale"] is False
    assert (await decided(virtual_api, made_one["id"], "unenrolled", "Moved.")).status_code == 204
    for way in ("resume", "refresh", "backfill"):
        refused = assert_problem(await virtual_api.post(f"{path}/{way}"), 409, "invalid-enrollment-status")
        assert "application" in refused["detail"]
    shown = await got(virtual_api, path)
    assert (shown["status"], shown["health"]["state"]) == ("unenrolled", "needs_consent")
    assert shown["health"]["reason"] == "The operator unenrolled it: Moved."
    assert (await got(virtual_api, f"/sites/{site_id}/live"))["stale"] is True
    late = {**APPLICATION, "applicationTime": "2199-06-01T10:00:00Z"}
    assert pointers(await virtual_api.post(f"{path}/applications", json=late)) == ["/applicationTime"]
    newer = {**APPLICATION, "applicationTime": f"{datetime.now(UTC).isoformat()}"}
    assert (await virtual_api.post(f"{path}/applications", json=newer)).status_code == 204
    assert (await decided(virtual_api, made_one["id"], "approved")).status_code == 204
    assert (await got(virtual_api, f"/sites/{site_id}/live"))["stale"] is False


async def test_an_owner_who_was_unenrolled_comes_back_by_another_consent(
    new_tenant: NewTenant, browser: httpx.AsyncClient
) -> None:
    api = (await new_tenant()).api
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api)}
    flow = await made(api, "/join/flows", vendors=[entry], redirectURI=REDIRECT_URI, **SKIPS)
    joined = [result_of(await come_back(browser, await begin(browser, flow["id"])))["enrollmentID"]]
    assert (await decided(api, joined[0], "unenrolled", "Left")).status_code == 204
    joined.append(result_of(await come_back(browser, await begin(browser, flow["id"])))["enrollmentID"])
    assert joined == [joined[0]] * 2
    shown = await got(api, f"/enrollments/{joined[0]}")
    assert (shown["status"], "statusReason" in shown, "pausedSince" in shown["health"]) == ("enrolled", False, False)


async def test_who_was_rejected_is_told_so_by_every_read(virtual_api: httpx.AsyncClient) -> None:
    enrollment = (await submitted(virtual_api)).json()
    assert (await decided(virtual_api, enrollment["id"], "rejected", "No room")).status_code == 204
    for path in ("", "/live", "/solar-intervals"):
        refused = await virtual_api.get(f"/sites/{enrollment['sites'][0]['id']}{path}")
        assert "No room" in assert_problem(refused, 409, "approval-refused")["detail"]
    assert "applications" in (await got(virtual_api, f"/enrollments/{enrollment['id']}"))["health"]["nextStep"]


async def test_lists_name_what_waits_for_the_operator_and_nothing_that_ended(virtual_api: httpx.AsyncClient) -> None:
    enrollment_id = (await submitted(virtual_api)).json()["id"]
    told = (await got(virtual_api, "/sites"))["errors"]["virtual"]
    assert told.startswith("1 enrollment waits for your decision (pending_approval): The operator decides")
    assert (await decided(virtual_api, enrollment_id, "approved")).status_code == 204
    await got(virtual_api, "/sites/" + (await got(virtual_api, f"/enrollments/{enrollment_id}"))["sites"][0]["id"])
    assert (await decided(virtual_api, enrollment_id, "unenrolled", "Moved")).status_code == 204
    assert (await got(virtual_api, "/sites"))["errors"] == {}
