"""Pause, resume and release over HTTP."""

from __future__ import annotations

from datetime import UTC, date, datetime

import httpx
import pytest
from msgspec.structs import replace

from api.conftest import NewTenant
from api.fakes import Vendors, assert_problem, connect, connect_site, live
from api.test_reads import Clock, clock, day_of, home_series
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.store.tables import Enrollment

__all__ = ["clock"]


async def test_a_paused_enrollment_says_so_and_is_not_read(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors
) -> None:
    enrollment_id = await connect(api, browser)
    site_id = (await api.get(f"/enrollments/{enrollment_id}")).json()["sites"][0]["id"]
    first, second = [await api.post(f"/enrollments/{enrollment_id}/pause") for _ in range(2)]
    assert (first.status_code, first.json()) == (200, second.json())
    assert first.json()["health"]["pausedSince"].endswith("Z")
    assert first.json()["health"]["state"] == "connecting"
    vendors.sunny.calls.clear()
    for path in ("", "/live", "/solar-intervals"):
        assert_problem(await api.get(f"/sites/{site_id}{path}"), 409, "paused")
    assert vendors.sunny.calls == []
    assert (await api.post(f"/enrollments/{enrollment_id}/refresh")).status_code == 200
    assert vendors.sunny.calls == ["refresh"]
    for _ in range(2):
        resumed = await api.post(f"/enrollments/{enrollment_id}/resume")
        assert resumed.status_code == 200
        assert "pausedSince" not in resumed.json()["health"]
    assert (await api.get(f"/sites/{site_id}")).status_code == 200
    kinds = [event["type"] for event in (await api.get("/events")).json()["events"]]
    assert kinds.count("enrollment.paused") == kinds.count("enrollment.resumed") == 1


async def test_what_is_stored_is_served_and_stale_where_the_vendor_would_be_asked(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    clock.at = int(datetime(2026, 10, 25, 12, tzinfo=UTC).timestamp())
    vendors.sunny.readings = lambda query: replace(home_series(query), live=live(clock.at) if query.live else None)
    site_id = await connect_site(api, browser)
    intervals = f"/sites/{site_id}/solar-intervals"
    settled, today = [
        {**day_of(date.fromisoformat(day)), "summaryLevel": "hour"} for day in ("2026-10-15", "2026-10-25")
    ]
    asked: list[tuple[str, dict[str, str]]] = [(intervals, settled), (intervals, today), (f"/sites/{site_id}/live", {})]
    for path, query in asked:
        answer = await api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        assert not answer.json().get("stale")
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    await api.post(f"/enrollments/{enrollment['id']}/pause")
    clock.at += 1200
    assert (await api.get(f"/sites/{site_id}")).status_code == 200
    assert (await api.get("/sites")).json()["errors"] == {}
    answers = [await api.get(path, params=query) for path, query in asked]
    assert [answer.json().get("stale", False) for answer in answers] == [False, True, True]


async def test_release(api: httpx.AsyncClient, browser: httpx.AsyncClient, hub: Hub) -> None:
    enrollment_id = await connect(api, browser)
    assert_problem(await api.post(f"/enrollments/{enrollment_id}/release"), 409, "conflict")
    async with hub.store.write() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        await standing.settle(hub, session, row, "quarantined", reason="it broke")
    assert (await api.get(f"/enrollments/{enrollment_id}")).json()["health"]["actor"] == "operator"
    released = await api.post(f"/enrollments/{enrollment_id}/release")
    assert (released.status_code, released.json()["health"]["state"]) == (200, "connecting")


@pytest.mark.parametrize("verb", ["pause", "resume", "release"])
async def test_it_needs_the_scope_and_the_account(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, new_tenant: NewTenant, verb: str
) -> None:
    path = f"/enrollments/{await connect(api, browser)}/{verb}"
    reader = await new_tenant(("read:enrollments",))
    assert_problem(await reader.api.post(path), 403, "forbidden")
    stranger = await new_tenant()
    assert_problem(await stranger.api.post(path), 404, "not-found")
    assert_problem(await api.post(f"/enrollments/enrl-aaaaaaaaaaaaaaaa/{verb}"), 404, "not-found")
