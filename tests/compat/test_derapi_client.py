"""The other product's public Python client, `derapi` 0.1.2, against a running server: all its operations, both ways.

It pins httpx<0.28 and so lives in an environment of its own (toolboxes.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar
from msgspec.structs import replace

from api.conftest import NewTenant
from api.fakes import EVERYTHING, SUNNY, FakeVendor, Vendors, begin, come_back, new_flow, result_of
from api.test_reads import home_series
from api.test_virtual import WithVirtual
from joinder.services.records import accounts
from joinder.vendor import AppCredentialType, Field, Flow
from joinder.vendors.registry import Registry
from served import output_of, served
from toolboxes import DERAPI, python_with

DATABASES = ("sqlite",)  # nothing here depends on the database

SCRIPT = Path(__file__).with_name("derapi_client.py")
pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter that has the client; skips where it cannot be had."""
    return str(python_with(DERAPI))


@pytest.fixture
def vendors() -> Vendors:
    """One vendor the client knows, with a type of credentials it does not; and two it has never heard of."""
    fields = tuple(Field(name=name, label=name) for name in ("clientID", "clientSecret", "apiKey"))
    kinds = (
        AppCredentialType(type="developerapp", label="Developer", fields=fields, compatible=True),
        AppCredentialType(type="partnerapp", label="Partner", fields=fields, flow=Flow.OPERATOR, compatible=True),
        AppCredentialType(type="unheard-of", label="Ours alone", fields=fields),
    )
    known = replace(SUNNY, name="enphase", app_credentials=kinds, compatible=True)
    return WithVirtual(sunny=FakeVendor(known, readings=home_series, account_id=None))


@pytest.fixture
async def origin(app: Litestar) -> AsyncIterator[str]:
    async with served(app) as address:
        yield address


async def run(python: str, *arguments: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(await output_of(python, SCRIPT, *arguments))
    return seen


def token_of(api: httpx.AsyncClient) -> str:
    return str(api.headers["authorization"].removeprefix("Bearer "))


async def with_unknown_vendors(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    """Joins a system of a vendor the client does not know, stores credentials of such a type, and a fleet it knows."""
    flow_id = await new_flow(api, "cloudy")
    result_of(await come_back(browser, await begin(browser, flow_id), "cloudy"))
    secrets = {"clientID": "a", "clientSecret": "b", "apiKey": "c"}
    for kind in ("unheard-of", "partnerapp"):
        credentials = {"vendor": "enphase", "type": kind, **secrets}
        body = {"name": kind, "credentials": credentials}
        assert (await api.post("/vendor-credentials", json=body)).status_code == 201
    for enrollment in (await api.get("/enrollments")).json()["enrollments"]:
        assert (await api.get(f"/sites/{enrollment['sites'][0]['id']}")).status_code == 200


async def test_every_operation_of_it_answers_as_it_wants(
    python: str, origin: str, new_tenant: NewTenant, browser: httpx.AsyncClient
) -> None:
    ours = await new_tenant(EVERYTHING)
    theirs = await new_tenant(EVERYTHING, account_id=ours.account_id, compatible=True)
    unreal = await new_tenant(mode=accounts.VIRTUAL, compatible=True)
    await with_unknown_vendors(ours.api, browser)
    vendors = Registry.load().vendors
    types = [[one.name, kind.type] for one in vendors for kind in one.app_credentials if kind.compatible]
    seen = await run(python, origin, token_of(theirs.api), token_of(unreal.api), json.dumps(types))

    assert len(seen["operations"]) == 31
    assert sorted(seen["called"]) == seen["operations"]
    ways = {name: {"async" in variant for variant in variants} for name, variants in seen["called"].items()}
    assert [name for name, both in ways.items() if both != {True, False}] == ["delete_vendor_credentials"]

    assert {one.name for one in vendors if one.compatible} == set(seen["vocabulary"]["vendors"])
    assert seen["vocabulary"]["types"] == types

    home = seen["home"]
    assert (home["site"]["vendor"], home["site"]["name"]) == ("enphase", "Home")
    assert home["site"]["location"]["timezone"] == "Europe/Berlin"
    assert home["inverter"]["lifetimeProduction"]["kwh"] == 1234.567
    assert (home["battery"]["nameplateKwh"], home["battery"]["mode"]) == (10.0, "Backup")
    assert home["battery"]["recentErrors"][0] == {"error": "Fan blocked"}
    assert (home["hours"], home["quarters"]) == ([24] * 4, 96)
    assert {(one["status"], one["type"]) for one in (*home["control"], *seen["join"])} == {
        (422, "urn:joinder:problem#not-supported")
    }
    assert all("enphase" in one["detail"] for one in home["control"])
    assert all("POST /join/flows" in one["detail"] for one in seen["join"])

    credentials = seen["credentials"]
    assert credentials["made"][0]["credentials"] == {"vendor": "enphase", "type": "developerapp"}
    assert credentials["raw"]["credentials"]["clientSecret"] == "upstream-secret"
    assert credentials["changed"]["name"] == "renamed"
    assert credentials["listed"] == ["asyncio", "partnerapp", "renamed"]
    assert credentials["kinds"] == ["HiddenEnphaseDeveloperAppCredentials", *["HiddenEnphasePartnerAppCredentials"] * 2]
    assert credentials["deleted"] == 204

    virtual = seen["virtual"]
    assert virtual["names"] == ["My test site", "My test battery", "My test inverter"] * 2
    assert all(count >= 23 for count in virtual["intervals"])
    assert virtual["zoned"]
    assert virtual["unset"]["name"] == "Site 1"
    assert virtual["listed"] == {"sites": [7, True], "batteries": [2, True], "solar_inverters": [2, True]}
    for kind in ("battery", "solar_inverter", "site"):
        assert virtual[f"delete_virtual_{kind}"] == [204, 204]
    print(f"{len(seen['operations'])} operations, {sum(map(len, seen['called'].values()))} calls")


async def test_a_compatible_client_is_told_of_nothing_it_would_not_know(
    new_tenant: NewTenant, browser: httpx.AsyncClient
) -> None:
    ours = await new_tenant(EVERYTHING)
    theirs = (await new_tenant(EVERYTHING, account_id=ours.account_id, compatible=True)).api
    await with_unknown_vendors(ours.api, browser)
    for path, member in (
        ("/sites", "sites"),
        ("/batteries", "batteries"),
        ("/enrollments", "enrollments"),
        ("/vendor-credentials", "vendorCredentials"),
    ):
        ids = {one["id"] for one in (await ours.api.get(path)).json()[member]}
        told = {one["id"] for one in (await theirs.get(path)).json()[member]}
        assert told < ids, path
        for row_id in ids if path != "/enrollments" else ():
            assert (await theirs.get(f"{path}/{row_id}")).status_code == (200 if row_id in told else 404), path
    assert [one["name"] for one in (await theirs.get("/vendors")).json()["vendors"]] == ["enphase"]


async def test_a_compatible_client_reads_problems_it_knows(new_tenant: NewTenant) -> None:
    theirs = (await new_tenant(compatible=True)).api
    refused = (await theirs.post("/join/flows", json={"colour": "red"})).json()
    assert (refused["type"], refused["title"], refused["errors"][0]["pointer"]) == (
        "https://docs.derapi.com/reference/errors#validation-error",
        "Invalid request",
        "/colour",
    )
    unknown = (await theirs.get("/sites/site-aaaaaaaaaaaaaaaa")).json()
    assert unknown["type"] == "urn:joinder:problem#not-found"


async def test_owners_of_a_compatible_clients_flow_go_straight_to_the_vendor(
    new_tenant: NewTenant, browser: httpx.AsyncClient
) -> None:
    theirs = (await new_tenant(EVERYTHING, compatible=True)).api
    app = {"vendor": "enphase", "type": "developerapp", "clientID": "a", "clientSecret": "b", "apiKey": "c"}
    credentials = (await theirs.post("/vendor-credentials", json={"credentials": app})).json()["id"]
    entry = {"vendor": "enphase", "credentialsID": credentials}
    body = {"vendors": [entry], "redirectURI": "https://integrator.example/back"}
    flow = (await theirs.post("/join/flows", json=body)).json()
    answer = await browser.get(f"/join/flows/{flow['id']}/authorize", params={"vendor": "enphase", "state": "s"})
    assert (answer.status_code, answer.headers["location"].split("?")[0]) == (303, "https://sunny.example/authorize")
