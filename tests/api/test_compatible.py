"""A client of Derapi finds nothing of what it would not know, by whatever path: every operation is asked."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from msgspec import structs

from api.conftest import NewTenant
from api.fakes import (
    CLOUDY,
    REDIRECT_URI,
    SUNNY,
    FakeVendor,
    Tenant,
    Vendors,
    app_credentials,
    assert_problem,
    begin,
    come_back,
    connect_site,
    new_credentials,
    new_flow,
    result_of,
)
from api.test_openapi import document, operations
from api.test_problems import APPLICATION, is_public
from joinder.ids import is_id

__all__ = ["document"]  # a fixture
STRANGE = ("sunny", "boxy")  # vendors it does not know; it knows cloudy
NOBODYS = ("webhook_id", "delivery_id", "session_id")  # of no vendor
UNKNOWN_ID = "aaaaaaaaaaaaaaaa"
# What a body may name, strange; the test below wants each operation with a body here.
NAMING: dict[str, list[dict[str, Any]]] = {
    "POST /vendor-credentials": [{"credentials": app_credentials()}],
    "POST /join/flows": [
        {"vendors": [{"vendor": "boxy"}], "redirectURI": REDIRECT_URI},
        {"vendors": [{"vendor": "cloudy", "credentialsID": "{credentials_id}"}], "redirectURI": REDIRECT_URI},
        {"vendors": [{"vendor": "cloudy"}], "redirectURI": REDIRECT_URI, "programID": "{program_id}"},
        {"vendors": [{"vendor": "boxy"}], "redirectURI": REDIRECT_URI, "programID": "{mixed_program}"},
    ],
    "POST /programs": [
        {"name": "x", "vendors": ["boxy"]},
        {"name": "x", "vendors": ["cloudy"], "options": {"boxy": {}}},
    ],
    "POST /enrollments/submit": [{**APPLICATION, "programID": "{program_id}"}],
}
NAMING_NOBODY = ("POST /webhooks", "POST /virtual/", "POST /join/session/start")  # nor its own account's ids


@pytest.fixture
def vendors() -> Vendors:
    return Vendors(
        cloudy=FakeVendor(structs.replace(CLOUDY, compatible=True, limits=SUNNY.limits), account_id="owner-2")
    )


async def strange_ids(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> dict[str, str]:
    """One id of each kind of a vendor it does not know; of devices by the path that shows them."""
    site_id = await connect_site(api, browser)
    site = (await api.get(f"/sites/{site_id}")).json()
    made = await api.post("/programs", json={"name": "Strange", "vendors": list(STRANGE)})
    return {
        "site_id": site_id,
        "enrollment_id": site["enrollmentID"],
        "credentials_id": await new_credentials(api),
        "flow_id": await new_flow(api, *STRANGE),
        "program_id": made.json()["id"],
        "backfill_id": (await api.post(f"/enrollments/{site['enrollmentID']}/backfill")).json()["id"],
        "/solar-inverters": site["solarInverters"][0]["id"],
        "/batteries": site["batteries"][0]["id"],
        "/meters": site["meters"][0]["id"],
        "/chargers": site["chargers"][0]["id"],
    }


async def compatible_of(tenant: Tenant, new_tenant: NewTenant) -> httpx.AsyncClient:
    return (await new_tenant(account_id=tenant.account_id, compatible=True)).api


async def test_what_is_of_vendors_it_does_not_know_is_not_there_by_its_id(
    document: dict[str, object], tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    ids = await strange_ids(tenant.api, browser)
    api = await compatible_of(tenant, new_tenant)
    for path, method, _ in operations(document):
        name = next(iter(re.findall(r"\{(\w+)\}", path)), "")
        if not name or name in NOBODYS or is_public(path) or path.startswith("/virtual"):
            continue
        given = ids["/" + path.split("/")[1] if name == "device_id" else name]  # KeyError: a new resource
        known, unknown = [
            await api.request(method, re.sub(r"\{\w+\}", "x", path.replace(f"{{{name}}}", one, 1)))
            for one in (given, f"{given[:5]}{UNKNOWN_ID}")
        ]
        seen = assert_problem(known, 404, "not-found")
        assert method != "get" or seen | {"instance": ""} == unknown.json() | {"instance": ""}, path
    for path, one in (("enrollments", "enrollment_id"), ("join/flows", "flow_id"), ("backfills", "backfill_id")):
        assert (await tenant.api.get(f"/{path}/{ids[one]}")).status_code == 200  # nothing happened to them


async def test_no_list_tells_of_them(
    document: dict[str, object], tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    strange = await strange_ids(tenant.api, browser)
    api = await compatible_of(tenant, new_tenant)
    found = (path for path, method, _ in operations(document) if method == "get" and "{" not in path)
    lists = [path for path in found if not is_public(path) and not path.startswith("/virtual")]
    for is_there in (True, False):
        for path in lists:
            answer = await api.get(path)
            assert answer.status_code == 200, path
            assert_strange_is_absent(answer.text, strange.values())
        if is_there:  # its events stay, of which not all say whose it was
            assert (await tenant.api.delete(f"/enrollments/{strange['enrollment_id']}")).status_code == 204
    assert strange["enrollment_id"] in (await tenant.api.get("/events")).text


async def test_what_is_of_a_vendor_it_knows_is_there_without_the_others(
    tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    await strange_ids(tenant.api, browser)
    api = await compatible_of(tenant, new_tenant)
    own = await new_flow(api, "cloudy")
    mixed = await new_flow(tenant.api, "cloudy", "boxy")
    program = (await tenant.api.post("/programs", json={"name": "Both", "vendors": ["boxy", "cloudy"]})).json()["id"]
    token = await begin(browser, own)
    enrollment = result_of(await come_back(browser, token, "cloudy"))["enrollmentID"]
    fill = (await api.post(f"/enrollments/{enrollment}/backfill")).json()["id"]
    webhook = (await api.post("/webhooks", json={"url": "https://hook.example/"})).json()["id"]
    flows = (await api.get("/join/flows")).json()["joinFlows"]
    assert {one["id"]: [entry["vendor"] for entry in one["vendors"]] for one in flows} == {
        own: ["cloudy"],
        mixed: ["cloudy"],
    }
    assert (await api.get(f"/join/flows/{mixed}")).json()["vendors"] == [{"vendor": "cloudy"}]
    (shown,) = (await api.get("/programs")).json()["programs"]
    assert shown == (await api.get(f"/programs/{program}")).json()
    assert shown["vendors"] == ["cloudy"]
    assert [one["id"] for one in (await api.get("/backfills")).json()["backfills"]] == [fill]
    assert [one["id"] for one in (await api.get("/webhooks")).json()["webhooks"]] == [webhook]
    assert [one["name"] for one in (await api.get("/vendors")).json()["vendors"]] == ["cloudy"]
    told = (await api.get("/events")).json()["events"]
    assert {one["data"]["vendor"] for one in told} == {"cloudy"}
    assert {one["data"]["enrollmentID"] for one in told} == {enrollment}
    await api.delete(f"/enrollments/{enrollment}")
    after = (await api.get("/events")).json()["events"]
    assert [one["id"] for one in after[: len(told)]] == [one["id"] for one in told]
    assert after[-1]["data"]["vendor"] == "cloudy"


async def test_pages_of_what_it_is_told_of_are_whole(
    tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    api = await compatible_of(tenant, new_tenant)
    known = set()
    for number in range(7):
        await new_flow(tenant.api, "boxy")
        if number % 3 == 0:
            known.add(await new_flow(tenant.api, "cloudy"))
    found, token = list[str](), ""
    while token is not None:
        page = (await api.get("/join/flows", params={"pageSize": 1, **({"pageToken": token} if token else {})})).json()
        found += [one["id"] for one in page["joinFlows"]]
        token = page.get("nextPageToken")
    assert found == sorted(known)


async def test_no_body_may_name_them_and_no_refusal_does(
    document: dict[str, object], tenant: Tenant, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    ids = await strange_ids(tenant.api, browser)
    made = await tenant.api.post("/programs", json={"name": "Both", "vendors": ["boxy", "cloudy"]})
    ids["mixed_program"] = made.json()["id"]
    api = await compatible_of(tenant, new_tenant)
    with_body = {
        f"{method.upper()} {path}"
        for path, method, operation in operations(document)
        if "requestBody" in operation and "{" not in path and not is_public(path)
    }
    assert {one for one in with_body if not one.startswith(NAMING_NOBODY)} == NAMING.keys()
    for operation, bodies in NAMING.items():
        method, path = operation.split()
        for body in bodies:
            text = json.dumps(body)
            for name, one in ids.items():
                text = text.replace(f"{{{name}}}", one)
            answer = await api.request(method, path, content=text, headers={"content-type": "application/json"})
            assert answer.status_code == 400, answer.text
            told = " ".join(entry["detail"] for entry in answer.json()["errors"])
            assert_strange_is_absent(told, ())


def assert_strange_is_absent(text: str, ids: Any) -> None:
    for vendor in STRANGE:
        assert not re.search(rf"\b{vendor}\b", text, re.IGNORECASE), text
    for one in ids:
        assert is_id(one)
        assert one not in text
