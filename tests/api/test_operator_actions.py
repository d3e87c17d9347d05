"""Operator actions over REST: listed and run as the vendor describes them."""

from __future__ import annotations

import httpx
import pytest

from api.fakes import Vendors, assert_problem, count, new_credentials, pointers
from joinder.runtime.hub import Hub

DATABASES = ("sqlite",)  # nothing here depends on the database


async def test_actions_of_a_credential_are_listed(api: httpx.AsyncClient) -> None:
    path = f"/vendor-credentials/{await new_credentials(api)}/actions"
    assert (await api.get(path)).json() == {
        "actions": [
            {
                "name": "register",
                "label": "Register a domain",
                "fields": [
                    {"name": "domain", "label": "Domain", "secret": False, "required": True},
                    {"name": "note", "label": "Note", "secret": False, "required": False},
                ],
            }
        ]
    }


async def test_a_credential_of_another_type_has_none(api: httpx.AsyncClient) -> None:
    credentials_id = await new_credentials(api, "customgrant")
    assert (await api.get(f"/vendor-credentials/{credentials_id}/actions")).json() == {"actions": []}
    answer = await api.post(f"/vendor-credentials/{credentials_id}/actions/register", json={"domain": "a.example"})
    assert_problem(answer, 404, "not-found")


async def test_an_action_runs_with_the_credential_and_is_audited(hub: Hub, api: httpx.AsyncClient) -> None:
    credentials_id = await new_credentials(api)
    answer = await api.post(f"/vendor-credentials/{credentials_id}/actions/register", json={"domain": " hub.example "})
    assert (answer.status_code, answer.json()) == (200, {"message": "hub.example is registered for app-1"})
    assert await count(hub, "audit", "action = 'credentials.register' AND target = :id", {"id": credentials_id}) == 1


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/domain"),
        ({"domain": ""}, "/domain"),
        ({"domain": 7}, "/domain"),
        ({"domain": "x" * 5000}, "/domain"),
        ({"domain": "a.example", "colour": "red"}, "/colour"),
        ({"domain": "a.example", "a/b": "c"}, "/a~1b"),
    ],
)
async def test_a_wrong_value_is_named(hub: Hub, api: httpx.AsyncClient, body: dict[str, object], pointer: str) -> None:
    answer = await api.post(f"/vendor-credentials/{await new_credentials(api)}/actions/register", json=body)
    assert answer.status_code in (400, 422)
    assert pointers(answer) == [pointer]
    assert await count(hub, "audit", "action = 'credentials.register'") == 0


async def test_a_failing_vendor_is_told_as_elsewhere(api: httpx.AsyncClient, vendors: Vendors) -> None:
    path = f"/vendor-credentials/{await new_credentials(api)}/actions/register"
    assert_problem(await api.post(path, json={"domain": "away.example"}), 502, "vendor-unavailable")


async def test_an_action_that_does_not_exist(api: httpx.AsyncClient) -> None:
    path = f"/vendor-credentials/{await new_credentials(api)}/actions/destroy"
    assert_problem(await api.post(path, json={}), 404, "not-found")
