"""A vendor that is down is left alone but for one probe; no other vendor, hook or home notices."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec import structs

from joinder import errors
from joinder.errors import PluginBug, RateLimited, TransientError, VendorError
from joinder.grants import AppCredentials
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.breakers import THRESHOLD, BreakerOpen, Breakers
from joinder.services.calls.budgets import BudgetSpent
from joinder.services.grants.refresh import refresh
from joinder.vendor import AppCredentialType, Field, Flow, Limits, Vendor
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

DATABASES = ("sqlite",)  # a breaker is a process's own
SUNNY = Vendor(
    name="sunny",
    label="Sunny",
    docs_url="https://sunny.example",
    flow=Flow.FORM,
    app_credentials=(
        AppCredentialType(type="app", label="App", fields=(Field(name="url", label="URL", endpoint=True),)),
    ),
    limits=Limits(poll_every=timedelta(hours=1)),
    capabilities={},
)
OTHER = structs.replace(SUNNY, name="other")
BOX = structs.replace(SUNNY, name="box", device_access="pinned")


def app(url: str) -> AppCredentials:
    return AppCredentials(type="app", secrets=Secrets({"url": url}))


async def call(
    breakers: Breakers, error: BaseException | None = None, *, vendor: Vendor = SUNNY, hook: str = "fetch_site"
) -> None:
    async with breakers.calling(vendor, hook):
        if error is not None:
            raise error


async def fail(breakers: Breakers, times: int, error: BaseException | None = None, vendor: Vendor = SUNNY) -> None:
    for _ in range(times):
        wanted = error or TransientError("away")
        with pytest.raises(type(wanted)) as raised:
            await call(breakers, wanted, vendor=vendor)
        assert raised.value is wanted


async def test_it_opens_for_this_vendor_and_hook_alone() -> None:
    breakers = Breakers()
    await fail(breakers, THRESHOLD)
    with pytest.raises(BreakerOpen) as refused:
        await call(breakers)
    wait = refused.value.retry_after
    assert wait is not None
    assert timedelta(0) < wait <= timedelta(seconds=30)
    await call(breakers, vendor=OTHER)
    await call(breakers, hook="refresh")
    assert breakers.states() == {
        ("sunny", "fetch_site"): "opened",
        ("other", "fetch_site"): "closed",
        ("sunny", "refresh"): "closed",
    }
    with pytest.raises(BreakerOpen):
        breakers.refuse_open(SUNNY, "fetch_site")
    breakers.refuse_open(SUNNY, "refresh")
    breakers.refuse_open(OTHER, "never called")


async def test_only_outages_in_a_row_count() -> None:
    breakers = Breakers()
    await fail(breakers, THRESHOLD - 1)
    await call(breakers)
    await fail(breakers, THRESHOLD - 1)
    await fail(breakers, 1, errors.AuthorizationLost("the vendor answered"))
    await fail(breakers, THRESHOLD - 1)
    assert breakers.states() == {("sunny", "fetch_site"): "closed"}


@pytest.mark.parametrize(
    "error",
    [
        RateLimited("429"),
        BudgetSpent("ours"),
        errors.DeviceUnreachable("asleep"),
        errors.AuthorizationLost("gone"),
        errors.UnexpectedPayload("html"),
        PluginBug("ours"),
        asyncio.CancelledError(),
    ],
)
async def test_what_is_no_outage_never_opens_it(error: BaseException) -> None:
    breakers = Breakers()
    await fail(breakers, 3 * THRESHOLD, error)
    assert breakers.states() == {("sunny", "fetch_site"): "closed"}


@pytest.mark.parametrize("error", [errors.VendorTimeout("slow"), errors.OutcomeUnknown("cut off")])
async def test_every_outage_opens_it(error: VendorError) -> None:
    breakers = Breakers()
    await fail(breakers, THRESHOLD, error)
    assert breakers.states() == {("sunny", "fetch_site"): "opened"}


async def test_one_home_says_nothing_of_another() -> None:
    breakers = Breakers()
    await fail(breakers, 3 * THRESHOLD, vendor=BOX)
    await call(breakers, vendor=BOX)


async def test_an_apps_own_host_says_nothing_of_another_app() -> None:
    breakers = Breakers()
    down, up = app("https://down.example"), app("https://up.example/api")
    for _ in range(THRESHOLD):
        with pytest.raises(TransientError):
            async with breakers.calling(SUNNY, "fetch_site", down):
                raise TransientError("away")
    with pytest.raises(BreakerOpen):
        async with breakers.calling(SUNNY, "fetch_site", down):
            raise AssertionError("called")
    async with breakers.calling(SUNNY, "fetch_site", up):
        pass
    assert breakers.states() == {("sunny", "fetch_site"): "opened"}


async def test_one_probe_at_a_time_closes_it_again() -> None:
    breakers = Breakers(probe_after_s=0)
    await fail(breakers, THRESHOLD)
    async with breakers.calling(SUNNY, "fetch_site"):
        assert breakers.states() == {("sunny", "fetch_site"): "half-opened"}
        with pytest.raises(BreakerOpen):
            await call(breakers)
        with pytest.raises(BreakerOpen):
            breakers.refuse_open(SUNNY, "fetch_site")
    assert breakers.states() == {("sunny", "fetch_site"): "closed"}
    await fail(breakers, THRESHOLD - 1)
    assert breakers.states() == {("sunny", "fetch_site"): "closed"}


async def test_a_failed_probe_opens_it_again() -> None:
    breakers = Breakers(probe_after_s=0)
    await fail(breakers, THRESHOLD + 1)
    assert breakers.states() == {("sunny", "fetch_site"): "opened"}


@pytest.mark.parametrize("error", [asyncio.CancelledError(), BudgetSpent("ours"), PluginBug("ours")])
async def test_a_probe_that_asked_nobody_leaves_the_next_one_to_find_out(error: BaseException) -> None:
    breakers = Breakers(probe_after_s=0)
    await fail(breakers, THRESHOLD)
    await fail(breakers, 1, error)
    assert breakers.states() == {("sunny", "fetch_site"): "half-opened"}
    await fail(breakers, 1)
    assert breakers.states() == {("sunny", "fetch_site"): "opened"}


# In the hub


async def test_a_refresh_is_not_attempted_while_it_is_open(hub: Hub, vendor: StrictVendor, enroll: Enroll) -> None:
    mine, other = await enroll("a"), await enroll("b")
    vendor.fail = TransientError("away")
    for _ in range(THRESHOLD):
        with pytest.raises(TransientError):
            await refresh(hub, mine)
    assert vendor.exchanges == THRESHOLD
    vendor.fail = None
    with pytest.raises(BreakerOpen) as refused:
        await refresh(hub, other)
    assert refused.value.retry_after is not None
    assert vendor.exchanges == THRESHOLD
    hub.breakers._found.clear()
    await refresh(hub, other)
    await refresh(hub, mine)
    assert (vendor.exchanges, vendor.reuse_seen, vendor.revoked) == (THRESHOLD + 2, 0, set())


async def test_breakers_of_ever_new_hosts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """API4"""
    monkeypatch.setattr("joinder.services.calls.breakers.PLACES_MOST", 3)
    breakers = Breakers()
    for number in range(9):
        async with breakers.calling(SUNNY, "fetch_site", app(f"https://host-{number}.example")):
            pass
    assert len(breakers._found) == 3
