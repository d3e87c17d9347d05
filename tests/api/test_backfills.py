"""Backfills as docs/api.md shows them."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from api.conftest import NewTenant
from api.fakes import Vendors, assert_problem, begin, come_back, connect, new_flow, pointers, result_of
from api.test_reads import clock
from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.readings import backfill, backfill_steps

__all__ = ["clock"]
pytestmark = pytest.mark.usefixtures("clock")


async def start(api: httpx.AsyncClient, enrollment_id: str, **body: str) -> httpx.Response:
    return await api.post(f"/enrollments/{enrollment_id}/backfill", json=body)


async def worked(hub: Hub, enrollment_id: str) -> None:
    while await backfill.due_at(hub, enrollment_id) <= now():
        await backfill_steps.work_one(hub, enrollment_id)


async def test_from_the_start_to_done(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    assert (await api.get("/backfills")).json() == {"backfills": [], "totalSize": 0}  # nothing begins by itself
    answer = await start(api, enrollment_id, start="2026-08-01T00:00:00Z", end="2026-09-01T00:00:00Z")
    assert answer.status_code == 201, answer.text
    begun: dict[str, Any] = answer.json()
    assert {**begun, "id": "", "createdAt": "", "updatedAt": ""} == {
        "id": "",
        "enrollmentID": enrollment_id,
        "status": "running",
        "start": "2026-08-01T00:00:00Z",
        "end": "2026-09-01T00:00:00Z",
        "windowsTotal": 0,
        "windowsDone": 0,
        "percent": 0.0,
        "createdAt": "",
        "updatedAt": "",
    }
    assert (
        await start(api, enrollment_id, start="2026-08-10T00:00:00Z", end="2026-08-11T00:00:00Z")
    ).status_code == 200

    await worked(hub, enrollment_id)
    done = (await api.get(f"/backfills/{begun['id']}")).json()
    assert (done["status"], done["percent"], done["oldestDay"]) == ("done", 100.0, "2026-08-01")
    assert done["windowsDone"] == done["windowsTotal"] == vendors.sunny.calls.count("fetch_readings")


async def test_without_a_body_everything_is_wanted(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    answer = await api.post(f"/enrollments/{await connect(api, browser)}/backfill")
    assert answer.status_code == 201, answer.text
    assert "start" not in answer.json()


async def test_lists_by_enrollment_and_status(api: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    enrollment_id = await connect(api, browser)
    job_id = (await start(api, enrollment_id)).json()["id"]

    async def ids(**query: str) -> list[str]:
        return [row["id"] for row in (await api.get("/backfills", params=query)).json()["backfills"]]

    assert await ids(enrollmentID=enrollment_id, status="running") == [job_id]
    assert await ids(status="done") == []
    assert await ids(enrollmentID="enrl-aaaaaaaaaaaaaaaa") == []
    assert (await api.delete(f"/backfills/{job_id}")).status_code == 204
    assert (await api.delete(f"/backfills/{job_id}")).status_code == 204
    assert await ids(status="cancelled") == [job_id]


async def test_one_that_has_ended_cannot_be_cancelled(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    enrollment_id = await connect(api, browser)
    job_id = (await start(api, enrollment_id, start="2026-08-01T00:00:00Z", end="2026-08-02T00:00:00Z")).json()["id"]
    await worked(hub, enrollment_id)
    assert_problem(await api.delete(f"/backfills/{job_id}"), 409, "conflict")


@pytest.mark.parametrize("member", ["start", "end"])
async def test_a_time_that_is_none_is_named(api: httpx.AsyncClient, browser: httpx.AsyncClient, member: str) -> None:
    answer = await start(api, await connect(api, browser), **{member: "yesterday"})
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == [f"/{member}"]


async def test_a_range_of_nothing_and_a_vendor_without_history_are_refused(
    api: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    enrollment_id = await connect(api, browser)
    backwards = await start(api, enrollment_id, start="2026-08-02T00:00:00Z", end="2026-08-01T00:00:00Z")
    assert_problem(backwards, 422, "unprocessable")
    token = await begin(browser, await new_flow(api, "cloudy"))
    cloudy = result_of(await come_back(browser, token, "cloudy"))["enrollmentID"]
    assert_problem(await start(api, cloudy), 422, "unprocessable")


async def test_another_accounts_are_not_there(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    enrollment_id = await connect(api, browser)
    job_id = (await start(api, enrollment_id)).json()["id"]
    other = (await new_tenant()).api
    assert_problem(await start(other, enrollment_id), 404, "not-found")
    assert_problem(await other.get(f"/backfills/{job_id}"), 404, "not-found")
    assert_problem(await other.delete(f"/backfills/{job_id}"), 404, "not-found")
    assert (await other.get("/backfills")).json() == {"backfills": [], "totalSize": 0}


async def test_the_scopes_of_enrollments_are_needed(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, new_tenant: NewTenant
) -> None:
    reader = (await new_tenant(("read:enrollments",))).api
    assert (await reader.get("/backfills")).status_code == 200
    assert_problem(await start(reader, await connect(api, browser)), 403, "forbidden")
