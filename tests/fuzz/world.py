"""A hub for fuzzers: two accounts that must never see each other, an owner's home each, and one of virtual mode."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from litestar import Litestar

from api.fakes import Vendors, begin, come_back, new_flow
from joinder import virtual
from joinder.api.app import create_app
from joinder.demo.processes import free_ports
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.buckets import Buckets
from joinder.services.calls.strangers import Tier
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.vendors.registry import Registry

BASE = "http://127.0.0.1"
MANY = 1_000_000  # a minute: what is fuzzed lies behind the budgets


class Installed(Vendors):
    """Vendors in memory, beside the one that core brings."""

    def registry(self) -> Registry:
        registry = super().registry()
        registry.add(virtual.NAME, virtual)
        return registry


@dataclass(frozen=True, kw_only=True)
class World:
    """`tokens` by account: `one`, `other`, and `virtual`."""

    hub: Hub
    app: Litestar
    vendors: Vendors
    tokens: dict[str, str]
    flow_id: str  # of `one`

    def browser(self, **headers: str) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
        return httpx.AsyncClient(transport=transport, base_url=BASE, headers=headers)

    def client(self, account: str) -> httpx.AsyncClient:
        return self.browser(authorization=f"Bearer {self.tokens[account]}")


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[World]:
    create_key_file(folder / "key")
    settings = Settings(
        database_url=f"sqlite:///{folder}/hub.sqlite3",
        key_file=str(folder / "key"),
        public_url=BASE,
        ballast_mib=0,
        port=free_ports(1)[0],
        requests_per_minute=MANY,
    )
    vendors = Installed()
    async with open_hub(settings, vendors.registry()) as hub:
        hub.strangers.asked = Buckets(MANY)
        hub.strangers.starts, hub.strangers.attempts = _no_budget(), _no_budget()
        app = create_app(hub)
        tokens = {name: await _token(hub, name, accounts.PRODUCTION) for name in ("one", "other")}
        tokens["virtual"] = await _token(hub, "virtual", accounts.VIRTUAL)
        world = World(hub=hub, app=app, vendors=vendors, tokens=tokens, flow_id="")
        flows = {name: await _joined(world, name) for name in ("one", "other")}
        for (enrollment_id,) in await hub.store.rows("SELECT id FROM enrollment", {}):
            await poll.poll(hub, enrollment_id)
        yield World(hub=hub, app=app, vendors=vendors, tokens=tokens, flow_id=flows["one"])


def _no_budget() -> Tier:
    return Tier(address=Buckets(MANY), browser=Buckets(MANY), flow=Buckets(MANY), vendor=Buckets(MANY))


async def _token(hub: Hub, name: str, mode: str) -> str:
    account = await accounts.create_account(hub, name, mode=mode)
    client = await accounts.create_client(hub, account.id, name)
    return (await Tokens(hub).issue(client.client_id, client.client_secret, None)).access_token


async def _joined(world: World, account: str) -> str:
    """Has an owner consent in a flow of the account, and returns the flow."""
    async with world.client(account) as api, world.browser() as browser:
        flow_id = await new_flow(api)
        back = await come_back(browser, await begin(browser, flow_id))
        assert "enrollmentID" in back.headers["location"], back.text
        return flow_id
