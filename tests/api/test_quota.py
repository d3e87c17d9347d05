"""What vendor credentials may still call, and which hooks are left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from msgspec import structs

from api.conftest import NewTenant
from api.fakes import Vendors, app_credentials, assert_problem, new_credentials
from joinder.errors import TransientError
from joinder.runtime.hub import Hub
from joinder.vendor import Limits

DATABASES = ("sqlite",)  # the budgets' own tests are of both


@pytest.fixture
def vendors() -> Vendors:
    made = Vendors()
    limits = Limits(poll_every=timedelta(hours=1), calls_per_day=100, calls_per_month=1000)
    made.sunny.vendor = structs.replace(made.sunny.vendor, limits=limits)
    return made


async def test_it_shows_what_is_used_and_when_that_ends(api: httpx.AsyncClient, hub: Hub, vendors: Vendors) -> None:
    credentials_id = await new_credentials(api)
    meter = hub.budgets.meter(credentials_id, vendors.sunny.vendor.limits)
    async with meter.call(exchange=False):
        pass
    answer = (await api.get(f"/vendor-credentials/{credentials_id}/quota")).json()
    assert [(one["span"], one["limit"], one["used"]) for one in answer["quotas"]] == [
        ("day", 100, 5),  # a process takes five at once
        ("month", 1000, 5),
    ]
    assert all(datetime.fromisoformat(one["resetsAt"]) > datetime.now(UTC) for one in answer["quotas"])
    assert "blockedUntil" not in answer
    await meter.limited(timedelta(hours=1))
    assert "blockedUntil" in (await api.get(f"/vendor-credentials/{credentials_id}/quota")).json()


async def test_it_is_its_own_accounts(api: httpx.AsyncClient, new_tenant: NewTenant) -> None:
    path = f"/vendor-credentials/{await new_credentials(api)}/quota"
    other, blind = await new_tenant(), await new_tenant(("read:sites",))
    assert_problem(await other.api.get(path), 404, "not-found")
    assert_problem(await blind.api.get(path), 403, "forbidden")
    assert_problem(await api.get("/vendor-credentials/cred-aaaaaaaaaaaaaaaa/quota"), 404, "not-found")


async def test_vendors_show_hooks_that_are_left_alone(api: httpx.AsyncClient, vendors: Vendors) -> None:
    async def breakers() -> list[dict[str, str] | None]:
        return [entry.get("breakers") for entry in (await api.get("/vendors")).json()["vendors"]]

    assert await breakers() == [None, None, None]
    vendors.sunny.failures["handle_callback"] = TransientError("away")
    for _ in range(6):
        answer = await api.post("/vendor-credentials", json={"credentials": app_credentials("customgrant")})
        assert_problem(answer, 502, "vendor-unavailable")
    assert len(vendors.sunny.calls) == 5
    assert int(answer.headers["retry-after"]) <= 30
    assert await breakers() == [{"handle_callback": "opened"}, None, None]
