"""Reads while the vendor does not answer: what is stored, said to be stale; one fetch for all who read the same."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta

import httpx
import pytest

from api.fakes import Tenant, Vendors, assert_problem, connect_site
from api.test_reads import Clock, clock, day_of, home_series
from joinder import errors
from joinder.energy import Readings, ReadingsQuery
from joinder.runtime.hub import Hub
from joinder.services.calls import fair_shares
from joinder.services.calls.call_refusals import ShareSpent
from joinder.services.readings import poll, uncovered

__all__ = ["clock"]

SPAN = {**day_of(date(2026, 10, 20), 2), "summaryLevel": "hour", "pageSize": "200"}
FIRST_DAY = {**day_of(date(2026, 10, 20)), "summaryLevel": "hour"}
TROUBLE = {
    "away": errors.TransientError("away"),
    "quota": errors.RateLimited("spent", retry_after=timedelta(hours=1)),
    "slow": errors.VendorTimeout("slow"),
    "consent": errors.AuthorizationLost("withdrawn"),
    "app": errors.AppCredentialsRejected("refused"),
    "nonsense": errors.UnexpectedPayload("html"),
}


async def read(api: httpx.AsyncClient, site_id: str, **query: str) -> httpx.Response:
    return await api.get(f"/sites/{site_id}/solar-intervals", params=query)


@pytest.mark.parametrize("level", ["15mins", "hour", "day"])
async def test_a_plugin_that_was_removed_leaves_what_is_stored(
    hub: Hub, api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, level: str
) -> None:
    """Stale, and its health says who must act: the operator."""
    site_id = await connect_site(api, browser)
    vendors.sunny.readings = home_series
    asked = {**FIRST_DAY, "summaryLevel": level}
    fresh = (await read(api, site_id, **asked)).json()
    (enrollment,) = (await api.get("/enrollments")).json()["enrollments"]
    hub.registry.installed = [entry for entry in hub.registry.installed if entry.name != "sunny"]
    clock.at += 3600
    answer = await read(api, site_id, **asked)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["stale"]
    assert body["intervals"] == fresh["intervals"]
    for _ in range(3):
        with pytest.raises(errors.UnknownVendor):
            await poll.poll(hub, enrollment["id"])
    health = (await api.get(f"/enrollments/{enrollment['id']}")).json()["health"]
    assert (health["state"], health["actor"]) == ("degraded", "operator")


@pytest.mark.parametrize("trouble", sorted(TROUBLE))
async def test_what_is_stored_is_answered_and_said_to_be_stale(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, trouble: str
) -> None:
    site_id = await connect_site(api, browser)
    vendors.sunny.readings = home_series
    fresh = (await read(api, site_id, **FIRST_DAY)).json()
    assert "stale" not in fresh
    assert "asOf" not in fresh
    fetched_at = datetime.fromtimestamp(clock.at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    clock.at += 3600
    vendors.sunny.failures["fetch_readings"] = TROUBLE[trouble]
    answer = await read(api, site_id, **SPAN)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["stale"], body["asOf"]) == (True, fetched_at)
    assert len(body["intervals"]) == 24

    vendors.sunny.failures.clear()
    clock.at += 301  # a refusal of the owner or of the app is not repeated for every reader
    whole = (await read(api, site_id, **SPAN)).json()
    assert "stale" not in whole
    assert len(whole["intervals"]) == 48


@pytest.mark.parametrize("media_type", ["text/csv", "application/x-ndjson"])
async def test_rows_alone_are_said_to_be_stale_by_a_header(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, media_type: str
) -> None:
    path = f"/sites/{await connect_site(api, browser)}/solar-intervals"
    vendors.sunny.readings = home_series
    fresh = await api.get(path, params=FIRST_DAY, headers={"accept": media_type})
    assert "joinder-as-of" not in fresh.headers
    clock.at += 3600
    vendors.sunny.failures["fetch_readings"] = TROUBLE["away"]
    span = {name: value for name, value in SPAN.items() if name != "pageSize"}
    stale = await api.get(path, params=span, headers={"accept": media_type})
    assert stale.text == fresh.text
    fetched_at = datetime.fromtimestamp(clock.at - 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (stale.headers["joinder-as-of"], stale.headers["joinder-complete"]) == (fetched_at, "false")


@pytest.mark.parametrize("kind", ["solar", "battery", "meter"])
async def test_every_kind_of_interval_degrades(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock, kind: str
) -> None:
    site_id = await connect_site(api, browser)
    vendors.sunny.readings = home_series
    await read(api, site_id, **FIRST_DAY)
    vendors.sunny.failures["fetch_readings"] = errors.TransientError("away")
    body = (await api.get(f"/sites/{site_id}/{kind}-intervals", params=SPAN)).json()
    assert body["stale"] is True


async def test_with_nothing_stored_the_vendors_error_is_told(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    site_id = await connect_site(api, browser)
    vendors.sunny.failures["fetch_readings"] = errors.RateLimited("spent", retry_after=timedelta(seconds=90))
    answer = await read(api, site_id, **SPAN)
    assert_problem(answer, 503, "vendor-rate-limited")
    assert answer.headers["retry-after"] == "90"


async def test_a_vendor_that_takes_too_long_is_left_to_the_next_read(
    hub: Hub,
    api: httpx.AsyncClient,
    browser: httpx.AsyncClient,
    vendors: Vendors,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site_id = await connect_site(api, browser)
    vendors.sunny.readings = home_series
    await read(api, site_id, **FIRST_DAY)
    go_on = asyncio.Event()
    fetch = uncovered._fetch

    async def slow(*arguments: object) -> None:
        await go_on.wait()
        await fetch(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(uncovered, "_fetch", slow)
    monkeypatch.setattr(uncovered, "DEADLINE_S", 0.05)
    late = (await read(api, site_id, **SPAN)).json()
    assert late["stale"] is True
    assert len(late["intervals"]) == 24
    nothing = await read(api, site_id, **{**SPAN, **day_of(date(2026, 9, 1))})
    assert_problem(nothing, 504, "vendor-timeout")

    monkeypatch.setattr(uncovered, "DEADLINE_S", 20.0)
    go_on.set()
    asked = len(vendors.sunny.queries)
    whole = (await read(api, site_id, **SPAN)).json()
    assert "stale" not in whole
    assert len(whole["intervals"]) == 48
    assert len(vendors.sunny.queries) <= asked + 2  # the two fetches under way, none of the reader's own


async def test_readers_of_the_same_span_share_one_fetch_and_its_failure(
    api: httpx.AsyncClient,
    browser: httpx.AsyncClient,
    vendors: Vendors,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site_id = await connect_site(api, browser)
    waiting = 0
    fetch, all_there = uncovered._fetch, asyncio.Event()

    async def held(*arguments: object) -> None:
        await all_there.wait()
        await fetch(*arguments)  # type: ignore[arg-type]

    async def counted(**query: str) -> httpx.Response:
        nonlocal waiting
        waiting += 1
        if waiting == 8:
            asyncio.get_running_loop().call_later(0.2, all_there.set)
        return await read(api, site_id, **query)

    monkeypatch.setattr(uncovered, "_fetch", held)
    vendors.sunny.readings = home_series
    vendors.sunny.queries.clear()
    answers = await asyncio.gather(*(counted(**SPAN) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {200}
    assert len(vendors.sunny.queries) == 1

    waiting = 0
    all_there.clear()
    vendors.sunny.calls.clear()
    vendors.sunny.failures["fetch_readings"] = errors.TransientError("away")
    other = {**SPAN, **day_of(date(2026, 9, 1))}
    answers = await asyncio.gather(*(counted(**other) for _ in range(8)))
    assert {answer.status_code for answer in answers} == {502}
    assert vendors.sunny.calls.count("fetch_readings") == 2, "one fetch and its one repetition, whoever waits for it"


async def test_a_late_correction_replaces_what_was_read_before_it_had_settled(
    api: httpx.AsyncClient, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    def halved(query: ReadingsQuery) -> Readings:
        whole = home_series(query).intervals
        return Readings(intervals=whole[: len(whole) // 2])

    site_id = await connect_site(api, browser)
    yesterday = {**day_of(date(2026, 10, 31)), "summaryLevel": "hour"}
    vendors.sunny.readings = halved
    assert len((await read(api, site_id, **yesterday)).json()["intervals"]) == 12
    vendors.sunny.readings = home_series
    clock.at += 86400
    assert len((await read(api, site_id, **yesterday)).json()["intervals"]) == 24
    clock.at += 5 * 86400
    await read(api, site_id, **yesterday)
    asked = len(vendors.sunny.queries)
    clock.at += 86400
    await read(api, site_id, **yesterday)
    assert len(vendors.sunny.queries) == asked


async def test_a_caller_whose_share_is_spent_reads_what_is_stored_and_is_told_when_there_is_more(
    api: httpx.AsyncClient, tenant: Tenant, browser: httpx.AsyncClient, vendors: Vendors, clock: Clock
) -> None:
    site_id = await connect_site(api, browser)
    vendors.sunny.readings = home_series
    vendors.sunny.failures["fetch_readings"] = ShareSpent("spent", retry_after=timedelta(seconds=42))
    nothing = await read(api, site_id, **FIRST_DAY)
    assert (nothing.status_code, nothing.headers["retry-after"]) == (200, "42")
    assert (nothing.json()["intervals"], nothing.json()["complete"]) == ([], False)
    assert {one["why"] for one in nothing.json()["missing"]} == {"not_read_yet"}
    del vendors.sunny.failures["fetch_readings"]
    readers: list[str | None] = []
    vendors.sunny.readings = lambda query: readers.append(fair_shares.reader()) or home_series(query)
    whole = await read(api, site_id, **FIRST_DAY)
    assert readers == [tenant.client.client_id]
    assert "retry-after" not in whole.headers
    assert len(whole.json()["intervals"]) == 24
