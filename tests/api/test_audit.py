"""S26: whatever a client of the REST API changes is in the audit, with the request it came by, and so are refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import EVERYTHING, Tenant, app_credentials, assert_problem, connect
from api.test_problems import BODIES, operations
from api.test_programs import APPLICATION
from api.test_virtual import got, made, vendors
from joinder.clock import utc_now
from joinder.runtime.hub import Hub
from joinder.services.admin import audit_proof
from joinder.services.records import accounts

__all__ = ["vendors"]

BODY = {**BODIES, ("post", "/vendor-credentials"): {"credentials": app_credentials()}}
NOT_THERE = {
    "/webhooks/{webhook_id}/deliveries/{delivery_id}/replay",
    "/enrollments/{enrollment_id}/release",
    "/sites/{site_id}/battery-control",  # these two are refused to everybody
    "/join/session/start",
}
Operation = tuple[str, str]
Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
async def tenant(new_tenant: NewTenant) -> Tenant:
    return await new_tenant(EVERYTHING)


class Noted:
    """Asks as a client, and notes of which operation the audit has no entry with the request's id."""

    def __init__(self, hub: Hub, tenant: Tenant) -> None:
        self._hub, self._tenant = hub, tenant
        self.asked: set[Operation] = set()
        self.unnoted: list[Operation] = []

    async def ask(self, method: str, template: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Answers the body, if there is one."""
        request_id = f"request-{len(self.asked)}"
        sent = {"json": body} if body is not None else {}
        answer = await self._tenant.api.request(method.upper(), path, headers={"x-request-id": request_id}, **sent)
        assert answer.is_success, (method, template, answer.text)
        rows = await self._hub.store.rows(
            "SELECT actor, result FROM audit WHERE request_id = :id AND account_id = :account",
            {"id": request_id, "account": self._tenant.account_id},
        )
        self.asked.add((method, template))
        if (self._tenant.client.client_id, "ok") not in [tuple(row) for row in rows]:
            self.unnoted.append((method, template))
        return answer.json() if answer.content else None


async def ids(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> dict[str, str]:
    enrollment_id = await connect(api, browser)
    (credentials,) = (await api.get("/vendor-credentials")).json()["vendorCredentials"]
    (flow,) = (await api.get("/join/flows")).json()["joinFlows"]
    webhook = await made(api, "/webhooks", url="https://hook.example/")
    program = await made(api, "/programs", name="x", vendors=["boxy"])
    return {
        "{enrollment_id}": enrollment_id,
        "{credentials_id}": credentials["id"],
        "{flow_id}": flow["id"],
        "{webhook_id}": webhook["id"],
        "{program_id}": program["id"],
        "{name}": "register",
    }


async def play_virtual(ask: Ask, program_id: str) -> None:
    """Makes, changes and ends what only virtual accounts have."""
    site = await ask("post", "/virtual/sites", "/virtual/sites", {})
    for kind in ("solar-inverters", "batteries"):
        device = await ask("post", f"/virtual/{kind}", f"/virtual/{kind}", {"siteID": site["id"]})
        await ask("delete", f"/virtual/{kind}/{{device_id}}", f"/virtual/{kind}/{device['id']}")
    await ask("delete", "/virtual/sites/{site_id}", f"/virtual/sites/{site['id']}")
    await ask("post", "/virtual/enrollments", "/virtual/enrollments", {"programID": program_id, "status": "enrolled"})
    body = {**APPLICATION, "programID": program_id}
    one = (await ask("post", "/enrollments/submit", "/enrollments/submit", body))["id"]
    decided = {"type": "resubmitrequested", "reason": "Sign it"}
    await ask("post", "/enrollments/{enrollment_id}/events", f"/enrollments/{one}/events", decided)
    newer = {**APPLICATION, "applicationTime": utc_now().isoformat()}
    await ask("post", "/enrollments/{enrollment_id}/applications", f"/enrollments/{one}/applications", newer)


async def test_every_operation_that_changes_something_is_noted_with_its_request(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub, tenant: Tenant, new_tenant: NewTenant
) -> None:
    other = await new_tenant(mode=accounts.VIRTUAL)
    virtual = Noted(hub, other)
    await play_virtual(virtual.ask, (await got(other.api, "/programs"))["programs"][0]["id"])

    turns = {"post": 0, "put": 0, "patch": 1, "delete": 2}
    changing = [one for one in await operations(api) if one[0] in turns and one[1] not in NOT_THERE]
    assert virtual.asked < set(changing)
    known, real = await ids(api, browser), Noted(hub, tenant)
    order = {"/backfills/{backfill_id}": -1, "/vendor-credentials/{credentials_id}": 1}  # what others need goes last
    for method, template in sorted(changing, key=lambda one: (turns[one[0]], order.get(one[1], 0))):
        if (method, template) in virtual.asked:
            continue
        path = template
        for name, value in known.items():
            path = path.replace(name, value)
        assert "{" not in path, f"{path}: name the id in ids()"
        answer = await real.ask(method, template, path, BODY.get((method, template)))
        if template.endswith("/backfill"):
            known["{backfill_id}"] = answer["id"]
    assert real.unnoted + virtual.unnoted == []
    assert len(changing) >= 30
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
