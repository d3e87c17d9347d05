"""S26: whatever a client of the REST API changes is in the audit, with the request it came by, and so are refusals."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import EVERYTHING, Tenant, app_credentials, assert_problem, connect
from api.test_problems import BODIES, operations
from joinder.runtime.hub import Hub
from joinder.services.admin import audit_proof

BODY = {**BODIES, ("post", "/vendor-credentials"): {"credentials": app_credentials()}}
VIRTUAL = ("/virtual/", "/programs", "/join/session")  # clients of the other mode, and what is refused for everybody
NOT_THERE = {"/webhooks/{webhook_id}/deliveries/{delivery_id}/replay", "/enrollments/{enrollment_id}/release"}


@pytest.fixture
async def tenant(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(EVERYTHING)


async def ids(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> dict[str, str]:
    enrollment_id = await connect(api, browser)
    (credentials,) = (await api.get("/vendor-credentials")).json()["vendorCredentials"]
    (flow,) = (await api.get("/join/flows")).json()["joinFlows"]
    webhook = (await api.post("/webhooks", json={"url": "https://hook.example/"})).json()
    backfill = (await api.post(f"/enrollments/{enrollment_id}/backfill")).json()
    return {
        "{enrollment_id}": enrollment_id,
        "{credentials_id}": credentials["id"],
        "{flow_id}": flow["id"],
        "{webhook_id}": webhook["id"],
        "{backfill_id}": backfill["id"],
        "{name}": "register",
    }


async def test_every_operation_that_changes_something_is_noted_with_its_request(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, tenant: Tenant
) -> None:
    known = await ids(api, browser)
    changing = [(method, path) for method, path in await operations(api) if method in ("post", "patch")]
    changing += [(method, path) for method, path in await operations(api) if method == "delete"]
    order = {"/backfills/{backfill_id}": -1, "/vendor-credentials/{credentials_id}": 1}  # what others need goes last
    unnoted = []
    turns = {"post": 0, "patch": 1, "delete": 2}
    for method, template in sorted(changing, key=lambda one: (turns[one[0]], order.get(one[1], 0))):
        if template in NOT_THERE or "/applications" in template or template.startswith(VIRTUAL):
            continue
        path, request_id = template, f"request-{len(unnoted)}-{method}-{hash(template) & 0xFFFFFF:x}"
        for name, value in known.items():
            path = path.replace(name, value)
        body = BODY.get((method, template))
        sent = {"json": body} if body else {}
        answer = await api.request(method.upper(), path, headers={"x-request-id": request_id}, **sent)
        assert answer.is_success, (method, template, answer.text)
        rows = await hub.store.rows(
            "SELECT actor, result FROM audit WHERE request_id = :id AND account_id = :account",
            {"id": request_id, "account": tenant.account_id},
        )
        if (tenant.client.client_id, "ok") not in [tuple(row) for row in rows]:
            unnoted.append((method, template))
    assert unnoted == []
    assert len(changing) >= 18
    assert (await audit_proof.verify(hub)).findings == []


async def test_log_ins_and_what_a_token_does_not_allow_are_noted(
    anonymous: httpx.AsyncClient, new_tenant: NewTenant, hub: Hub
) -> None:
    reader = await new_tenant(("read:sites",))
    for _ in range(3):
        assert_problem(await reader.api.get("/enrollments"), 403, "forbidden")
        await anonymous.post(
            "/oauth2/token", data={"grant_type": "client_credentials"}, auth=(reader.client.client_id, "wrong")
        )
    await asyncio.gather(*hub.notes)
    statement = "SELECT action, result, reason FROM audit WHERE target = :client AND action <> 'client.create'"
    rows = await hub.store.rows(statement, {"client": reader.client.client_id})
    assert sorted((str(row[0]), str(row[1]), row[2]) for row in rows) == [
        ("client.login", "ok", None),
        ("client.login", "refused", "wrong secret"),
        ("client.refused", "refused", "it lacks read:enrollments"),
    ]
