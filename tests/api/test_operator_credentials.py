"""Credentials that open their sites without an owner."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest

from api.fakes import APP_SECRET, Vendors, app_credentials, assert_problem, count, new_credentials, pointers
from joinder import errors
from joinder.runtime.hub import Hub

DATABASES = ("sqlite",)  # nothing here depends on the database


async def test_they_make_an_enrollment_at_once(api: httpx.AsyncClient, vendors: Vendors) -> None:
    await new_credentials(api, "customgrant")
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    told = (enrollment["vendor"], enrollment["status"], enrollment["health"]["state"])
    assert told == ("sunny", "enrolled", "connecting")
    assert "flowID" not in enrollment
    listed = (await api.get("/sites")).json()
    assert (listed["sites"], listed["errors"]) == ([], {"sunny": "1 site(s) not read yet, so not listed"})
    assert vendors.sunny.apps == [{"type": "customgrant", "clientID": "app-1", "clientSecret": APP_SECRET}]
    assert vendors.sunny.exchanges[0].redirect_uri is None


async def test_ordinary_ones_call_no_vendor(api: httpx.AsyncClient, vendors: Vendors) -> None:
    await new_credentials(api)
    assert vendors.sunny.calls == []
    assert (await api.get("/enrollments")).json() == {"enrollments": [], "totalSize": 0}


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (errors.AppCredentialsRejected("no"), 422, "unprocessable"),
        (errors.OperatorActionNeeded("its API was retired"), 422, "unprocessable"),
        (errors.AuthorizationLost("no"), 422, "unprocessable"),
        (errors.TransientError("away"), 502, "vendor-unavailable"),
        (errors.VendorTimeout("slow", retry_after=timedelta(seconds=9)), 504, "vendor-timeout"),
        (errors.UnexpectedPayload("html"), 502, "vendor-unexpected-answer"),
        (errors.NotSupported("plan"), 422, "not-supported"),
        (RuntimeError("canary-in-text"), 500, "plugin-bug"),
    ],
)
async def test_a_vendor_that_refuses_or_is_away_leaves_nothing_behind(
    api: httpx.AsyncClient, vendors: Vendors, hub: Hub, error: Exception, status: int, name: str
) -> None:
    vendors.sunny.failures["handle_callback"] = error
    answer = await api.post("/vendor-credentials", json={"credentials": app_credentials("customgrant")})
    assert_problem(answer, status, name)
    assert "canary" not in answer.text
    for table in ("vendor_credentials", "enrollment", "site", "grant", "due"):
        assert await count(hub, table) == 0, table


async def test_a_change_is_tried_before_it_is_kept(api: httpx.AsyncClient, vendors: Vendors) -> None:
    path = f"/vendor-credentials/{await new_credentials(api, 'customgrant')}"
    vendors.sunny.failures["handle_callback"] = errors.AppCredentialsRejected("no")
    refused = await api.patch(path, json={"name": "new", "credentials": {"clientSecret": "wrong-secret"}})
    assert_problem(refused, 422, "unprocessable")
    assert pointers(refused) == ["/credentials"]
    assert (await api.get(path)).json()["name"] == ""
    vendors.sunny.failures.clear()
    assert (await api.patch(path, json={"credentials": {"clientSecret": "right-secret"}})).status_code == 200
    assert vendors.sunny.apps[-1]["clientSecret"] == "right-secret"
    assert len((await api.get("/enrollments")).json()["enrollments"]) == 1


async def test_what_a_vendor_says_of_one_member_points_to_it(api: httpx.AsyncClient, vendors: Vendors) -> None:
    wrong = {"clientID": "is not known there", "clientSecret": "is too old"}
    vendors.sunny.failures["handle_callback"] = errors.ConsentInvalid("no", fields=wrong)
    answer = await api.post("/vendor-credentials", json={"credentials": app_credentials("customgrant")})
    assert_problem(answer, 422, "unprocessable")
    assert {one["pointer"]: one["detail"] for one in answer.json()["errors"]} == {
        f"/credentials/{member}": sentence for member, sentence in wrong.items()
    }


async def test_renaming_them_calls_no_vendor(api: httpx.AsyncClient, vendors: Vendors) -> None:
    path = f"/vendor-credentials/{await new_credentials(api, 'customgrant')}"
    before = len(vendors.sunny.calls)
    assert (await api.patch(path, json={"name": "new"})).status_code == 200
    assert len(vendors.sunny.calls) == before


async def test_no_owner_joins_with_them(api: httpx.AsyncClient) -> None:
    entry = {"vendor": "sunny", "credentialsID": await new_credentials(api, "customgrant")}
    answer = await api.post("/join/flows", json={"vendors": [entry], "redirectURI": "https://a.example/"})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/vendors/0/credentialsID"]


async def test_a_name_that_cannot_be_is_refused_before_the_vendor_is_asked(
    api: httpx.AsyncClient, vendors: Vendors
) -> None:
    body = {"name": "x" * 201, "credentials": app_credentials("customgrant")}
    assert_problem(await api.post("/vendor-credentials", json=body), 400, "validation-error")
    assert vendors.sunny.calls == []
