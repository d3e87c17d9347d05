"""A plugin's HTTP calls against a server on loopback: counted, paused, and apart from other vendors'."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from msgspec import structs
from sqlmodel import col, select

from joinder import Callback, Consent, Context, Grant, Limits, Readings, Secrets, Site, hookimpl
from joinder.errors import RateLimited
from joinder.http import raise_for_status
from joinder.ids import new_id
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.budgets import BudgetSpent
from joinder.services.calls.retries import Retries
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import list_errors, sites
from joinder.services.readings.sites import refresh_site
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.tables import Enrollment, SiteRow
from joinder.vendor import AppCredentialType, Field, Flow, Vendor
from joinder.vendors.registry import Registry
from misbehaving import HANG, Served, http_answer

LIMITS = Limits(poll_every=timedelta(hours=1), calls_per_day=6, max_concurrency=2)
OK = http_answer()


@dataclass(eq=False)
class Plugin:
    name: str

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return Vendor(
            name=self.name,
            label=self.name,
            docs_url="https://x.example",
            flow=Flow.FORM,
            hosts=(f"{self.name}.example",),
            app_credentials=(AppCredentialType(type="app", label="App", fields=(Field(name="key", label="Key"),)),),
            limits=LIMITS,
            capabilities={},
        )

    @hookimpl
    async def handle_callback(self, callback: Callback) -> Consent:
        raise AssertionError

    @hookimpl
    async def fetch_site(self, ctx: Context, grant: Grant, site_id: str) -> Site:
        raise_for_status(await ctx.http.request("GET", f"https://{self.name}.example/{site_id}"))
        return Site(vendor_id=site_id, name=site_id)

    @hookimpl
    async def fetch_readings(self) -> Readings:
        raise AssertionError


@dataclass
class World:
    """Two vendors, each behind a server of its own; `site` makes an enrollment with one site."""

    hub: Hub
    account_id: str
    slow: Served
    quick: Served

    async def site(self, vendor: str, credentials_id: str | None) -> SiteRow:
        consent = Consent(grant=Grant(secrets=Secrets({"key": "k"}), site_ids=(new_id("site"),)))
        async with self.hub.store.write() as session:
            await self.hub.vault.unlock(session, self.account_id)
            origin = Origin(vendor=vendor, credentials_id=credentials_id)
            made = await stored_consents.store(self.hub, session, self.account_id, consent, origin)
            enrollment_id = made.id
        async with self.hub.store.read() as session:
            query = select(SiteRow).where(col(SiteRow.enrollment_id) == enrollment_id)
            return (await session.execute(query)).scalar_one()

    async def app(self, vendor: str) -> str:
        given = {"vendor": vendor, "type": "app", "key": "k"}
        made = await vendor_credentials.create(self.hub, self.account_id, "t", name=None, credentials=given)
        return made.id

    async def used(self, app: str) -> list[int]:
        return [one.used for one in (await self.hub.budgets.left(app, LIMITS)).quotas]


@pytest.fixture
async def world(fresh_database: Settings) -> AsyncIterator[World]:
    served = [Served([OK]), Served([OK])]
    servers = []
    for one in served:
        servers.append(await asyncio.start_server(one.handle, "127.0.0.1", 0))
        one.port = servers[-1].sockets[0].getsockname()[1]
    registry = Registry()
    for name in ("slow", "quick"):
        assert registry.add(name, Plugin(name)).problem is None
    reroute = {"slow.example": served[0].origin, "quick.example": served[1].origin}
    async with open_hub(structs.replace(fresh_database, reroute=reroute), registry) as hub:
        hub.retries = Retries(wait_most_s=0)
        yield World(hub, (await accounts.create_account(hub, "test")).id, *served)
    for one, server in zip(served, servers, strict=True):
        one.release.set()
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0.01)


async def health(world: World, site: SiteRow) -> tuple[str, int]:
    async with world.hub.store.read() as session:
        row = await session.get(Enrollment, site.enrollment_id)
        assert row is not None
        return row.health, row.failures


async def test_owners_of_one_app_share_its_budget(world: World) -> None:
    app = await world.app("quick")
    first, second = await world.site("quick", app), await world.site("quick", app)
    for _ in range(3):
        await refresh_site(world.hub, first)
        await refresh_site(world.hub, second)
    with pytest.raises(BudgetSpent):
        await refresh_site(world.hub, second)
    assert (len(world.quick.requests), await world.used(app)) == (6, [6])
    assert await health(world, second) == ("ok", 0)  # our own budget tells nothing about the enrollment


async def test_each_owners_key_has_its_own(world: World) -> None:
    first, second = await world.site("quick", None), await world.site("quick", None)
    for _ in range(6):
        await refresh_site(world.hub, first)
    with pytest.raises(BudgetSpent):
        await refresh_site(world.hub, first)
    await refresh_site(world.hub, second)
    assert await world.used(first.enrollment_id) == [6]
    assert await world.used(second.enrollment_id) == [1]


async def test_a_429_stops_the_app_and_no_other(world: World) -> None:
    world.quick.script = [http_answer(status="429 Too Many Requests", retry_after="120"), OK]
    app, other = await world.app("quick"), await world.app("quick")
    site = await world.site("quick", app)
    with pytest.raises(RateLimited) as told:
        await refresh_site(world.hub, site)
    assert not isinstance(told.value, BudgetSpent)
    with pytest.raises(BudgetSpent) as refused:
        await refresh_site(world.hub, site)
    assert refused.value.retry_after is not None
    assert timedelta(0) < refused.value.retry_after <= timedelta(seconds=120)
    assert len(world.quick.requests) == 1
    await refresh_site(world.hub, await world.site("quick", other))


async def test_a_passing_503_is_tried_once_more_and_both_are_counted(world: World) -> None:
    world.quick.script = [http_answer(status="503 Service Unavailable"), OK]
    app = await world.app("quick")
    site = await world.site("quick", app)
    await refresh_site(world.hub, site)
    assert (len(world.quick.requests), await world.used(app)) == (2, [2])
    assert await health(world, site) == ("ok", 0)


async def test_a_vendor_that_hangs_delays_no_other_and_no_list(world: World) -> None:
    """The slow one's slots stay busy until the test ends; whatever waited for them would time out."""
    world.slow.script = [HANG]
    app = await world.app("slow")
    hanging = await world.site("slow", app)
    quick = await world.site("quick", await world.app("quick"))
    waiting = [asyncio.create_task(refresh_site(world.hub, hanging)) for _ in range(8)]
    while len(world.slow.requests) < LIMITS.max_concurrency:
        await asyncio.sleep(0.01)
    assert (await refresh_site(world.hub, quick)).name == quick.vendor_id
    assert len(await sites.site_ids(world.hub, world.account_id, after="", limit=10)) == 1
    assert await list_errors.of_vendors(world.hub, world.account_id) == {
        "slow": "1 site(s) not read yet, so not listed"
    }
    assert not any(task.done() for task in waiting)
    assert len(world.slow.requests) == LIMITS.max_concurrency
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    world.slow.script = [OK]
    await refresh_site(world.hub, hanging)  # their slots are given back
