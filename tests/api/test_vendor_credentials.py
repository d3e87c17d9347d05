"""The operator's app credentials: they go in, and come out only on purpose."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from sqlmodel import SQLModel

from api.conftest import NewTenant
from api.fakes import (
    APP_SECRET,
    EVERYTHING,
    Tenant,
    Vendors,
    app_credentials,
    assert_problem,
    connect,
    count,
    new_credentials,
    new_flow,
    pointers,
)
from api.test_isolation import LISTS
from joinder.runtime.hub import Hub
from joinder.store.types import Row

PUBLIC_PART = {"vendor": "sunny", "type": "oauthclient"}


@pytest.fixture
async def revealer(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(EVERYTHING)


async def _secrets(revealer: Tenant, credentials_id: str) -> dict[str, Any]:
    answer = await revealer.api.get(f"/vendor-credentials/{credentials_id}", params={"includeSecrets": "true"})
    found: dict[str, Any] = answer.json()["credentials"]
    return found


async def test_created_listed_shown_changed_and_deleted(api: httpx.AsyncClient) -> None:
    made = await api.post("/vendor-credentials", json={"name": "mine", "credentials": app_credentials()})
    shown = {"id": made.json()["id"], "name": "mine", "credentials": PUBLIC_PART}
    assert (made.status_code, made.json()) == (201, shown)
    path = f"/vendor-credentials/{shown['id']}"
    assert (await api.get(path)).json() == shown
    assert (await api.get("/vendor-credentials")).json() == {"vendorCredentials": [shown], "totalSize": 1}
    changed = await api.patch(path, json={"name": "ours"})
    assert (changed.status_code, changed.json()) == (200, {**shown, "name": "ours"})
    deleted = await api.delete(path)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_problem(await api.get(path), 404, "not-found")


async def test_a_name_left_out_is_empty(api: httpx.AsyncClient) -> None:
    """The upstream client takes the member as required."""
    made = await api.post("/vendor-credentials", json={"credentials": app_credentials()})
    assert made.json() == {"id": made.json()["id"], "name": "", "credentials": PUBLIC_PART}


async def test_filters_by_vendor_and_name(api: httpx.AsyncClient) -> None:
    for name in ("a", "b"):
        await api.post("/vendor-credentials", json={"name": name, "credentials": app_credentials()})

    async def found(**query: str) -> int:
        return len((await api.get("/vendor-credentials", params=query)).json()["vendorCredentials"])

    assert await found() == await found(vendor="sunny") == 2
    assert await found(name="a") == await found(vendor="sunny", name="b") == 1
    assert await found(vendor="boxy") == await found(name="c") == 0


@pytest.mark.parametrize("media_type", ["application/json", "application/merge-patch+json"])
async def test_a_patch_changes_only_what_it_names(revealer: Tenant, media_type: str) -> None:
    credentials_id = await new_credentials(revealer.api)
    answer = await revealer.api.patch(
        f"/vendor-credentials/{credentials_id}",
        content=b'{"credentials":{"clientSecret":"new-secret"}}',
        headers={"content-type": media_type},
    )
    assert answer.status_code == 200
    kept = {**PUBLIC_PART, "clientID": "app-1", "clientSecret": "new-secret"}
    assert await _secrets(revealer, credentials_id) == kept


async def test_null_removes_the_name_and_cannot_remove_what_is_required(revealer: Tenant) -> None:
    made = await revealer.api.post("/vendor-credentials", json={"name": "x", "credentials": app_credentials()})
    path = f"/vendor-credentials/{made.json()['id']}"
    assert (await revealer.api.patch(path, json={"name": None})).json()["name"] == ""
    answer = await revealer.api.patch(path, json={"credentials": {"clientSecret": None}})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/credentials/clientSecret"]
    assert (await _secrets(revealer, made.json()["id"]))["clientSecret"] == APP_SECRET


async def test_an_empty_patch_changes_nothing(revealer: Tenant) -> None:
    credentials_id = await new_credentials(revealer.api)
    before = await _secrets(revealer, credentials_id)
    for body in ({}, {"credentials": {}}, {"credentials": PUBLIC_PART}):
        assert (await revealer.api.patch(f"/vendor-credentials/{credentials_id}", json=body)).status_code == 200
    assert await _secrets(revealer, credentials_id) == before


PATCHES: list[tuple[dict[str, Any], str]] = [
    ({"credentials": {"vendor": "cloudy"}}, "/credentials/vendor"),
    ({"credentials": {"vendor": None}}, "/credentials/vendor"),
    ({"credentials": {"type": "customgrant"}}, "/credentials/type"),
    ({"credentials": {"apiKey": "x"}}, "/credentials/apiKey"),
    ({"credentials": {"clientID": 1}}, "/credentials/clientID"),
    ({"credentials": None}, "/credentials"),
    ({"credentials": []}, "/credentials"),
    ({"name": 1}, "/name"),
    ({"name": "x" * 201}, "/name"),
    ({"id": "cred-x"}, "/id"),
]


async def test_a_patch_that_cannot_be(api: httpx.AsyncClient) -> None:
    credentials_id = await new_credentials(api)
    for patch, pointer in PATCHES:
        answer = await api.patch(f"/vendor-credentials/{credentials_id}", json=patch)
        assert_problem(answer, 400, "validation-error")
        assert pointers(answer) == [pointer]


async def test_pasted_blanks_are_trimmed(revealer: Tenant) -> None:
    credentials_id = await new_credentials(revealer.api, clientSecret="  secret\n")
    assert (await _secrets(revealer, credentials_id))["clientSecret"] == "secret"


async def test_secrets_need_a_scope_of_their_own(api: httpx.AsyncClient, hub: Hub) -> None:
    credentials_id = await new_credentials(api)
    revealing = {"includeSecrets": "true"}
    path = f"/vendor-credentials/{credentials_id}"
    for answer in (
        await api.get(path, params=revealing),
        await api.patch(path, params=revealing, json={"name": "changed"}),
        await api.post("/vendor-credentials", params=revealing, json={"credentials": app_credentials()}),
    ):
        assert_problem(answer, 403, "forbidden")
        assert 'scope="reveal:credentials"' in answer.headers["www-authenticate"]
    assert await count(hub, "vendor_credentials") == 1
    assert await count(hub, "vendor_credentials", "name = 'changed'") == 0


async def test_every_reveal_is_written_down(revealer: Tenant, hub: Hub) -> None:
    made = await revealer.api.post(
        "/vendor-credentials", params={"includeSecrets": "true"}, json={"credentials": app_credentials()}
    )
    assert made.json()["credentials"] == app_credentials()
    await _secrets(revealer, made.json()["id"])
    where = "action = 'credentials.reveal' AND account_id = :account AND actor = :actor AND target = :target"
    names = {
        "account": revealer.account_id,
        "actor": revealer.client.client_id,
        "target": made.json()["id"],
    }
    assert await count(hub, "audit", where, names) == 2


async def test_every_change_is_written_down(api: httpx.AsyncClient, hub: Hub) -> None:
    path = f"/vendor-credentials/{await new_credentials(api)}"
    await api.patch(path, json={"name": "x"})
    await api.delete(path)
    for action in ("create", "change", "delete"):
        assert await count(hub, "audit", "action = :action", {"action": f"credentials.{action}"}) == 1


async def test_no_other_answer_holds_a_secret(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api)
    enrollment_id = await connect(api, browser, flow_id=flow_id)
    credentials_id = (await api.get("/vendor-credentials")).json()["vendorCredentials"][0]["id"]
    paths = [
        *LISTS,
        "/vendors",
        "/sites?expand=true",
        f"/join/flows/{flow_id}",
        f"/enrollments/{enrollment_id}",
        f"/vendor-credentials/{credentials_id}",
        f"/vendor-credentials/{credentials_id}?includeSecrets=false",
    ]
    answers = [await api.get(path) for path in paths]
    answers.append(await api.patch(f"/vendor-credentials/{credentials_id}", json={"name": "x"}))
    answers.append(await api.post("/vendor-credentials", json={"credentials": app_credentials(apiKey="x")}))
    for answer in answers:
        assert "canary" not in answer.text, answer.request.url
        assert "app-1" not in answer.text, answer.request.url


async def test_secrets_are_not_readable_in_the_database(api: httpx.AsyncClient, hub: Hub) -> None:
    await new_credentials(api)
    stored = [repr(list(row)) for table in SQLModel.metadata.tables for row in await everything(hub, table)]
    assert any("credentials.create" in row for row in stored)
    assert not any(APP_SECRET in row for row in stored)


async def everything(hub: Hub, table: str) -> list[Row]:
    return await hub.store.rows(f'SELECT * FROM "{table}"', {})  # noqa: S608


async def test_in_use_by_an_enrollment_it_cannot_be_deleted(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    flow_id = await new_flow(api)
    enrollment_id = await connect(api, browser, flow_id=flow_id)
    used = (await api.get(f"/join/flows/{flow_id}")).json()["vendors"][0]["credentialsID"]
    await api.delete(f"/join/flows/{flow_id}")
    assert_problem(await api.delete(f"/vendor-credentials/{used}"), 409, "conflict")
    await api.delete(f"/enrollments/{enrollment_id}")
    assert (await api.delete(f"/vendor-credentials/{used}")).status_code == 204


async def test_the_changed_secret_is_what_the_vendor_sees_next(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    flow_id = await new_flow(api)
    used = (await api.get(f"/join/flows/{flow_id}")).json()["vendors"][0]["credentialsID"]
    await api.patch(f"/vendor-credentials/{used}", json={"credentials": {"clientSecret": "rotated-secret"}})
    await connect(api, browser, flow_id=flow_id)
    assert vendors.sunny.apps == [{"type": "oauthclient", "clientID": "app-1", "clientSecret": "rotated-secret"}]
