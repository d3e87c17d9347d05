"""One hub with vendors in memory and clients of its REST API, in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest
from litestar import Litestar
from msgspec import structs

from api.fakes import Tenant, Vendors
from joinder.api.app import create_app
from joinder.api.auth import FailedLogins
from joinder.api.client_budgets import ClientBudgets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin.gauges import Gauges
from joinder.services.records import accounts
from joinder.services.records.access_tokens import Tokens
from joinder.settings import Settings

NewTenant = Callable[..., Awaitable[Tenant]]
NewBrowser = Callable[[], Awaitable[httpx.AsyncClient]]


@pytest.fixture
def public_url() -> str:
    return "http://127.0.0.1:8080"


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
async def hub(fresh_database: Settings, vendors: Vendors, public_url: str) -> AsyncIterator[Hub]:
    async with open_hub(structs.replace(fresh_database, public_url=public_url), vendors.registry()) as opened:
        yield opened


@pytest.fixture(scope="session")
def apps() -> dict[str, Litestar]:
    """By public URL: building an application takes longer than most tests of it."""
    return {}


@pytest.fixture
def app(hub: Hub, apps: dict[str, Litestar], public_url: str) -> Litestar:
    return renewed(apps, public_url, hub)


def renewed(apps: dict[str, Litestar], name: str, hub: Hub) -> Litestar:
    """Returns the application as it would be if it were new: with this hub, no remembered token, no counted failure."""
    if name not in apps:
        apps[name] = create_app(hub)
    made = apps[name]
    made.state.hub, made.state.tokens, made.state.failures = hub, Tokens(hub), FailedLogins()
    made.state.budgets = ClientBudgets(hub.settings.requests_per_minute)
    made.state.gauges = Gauges(hub)
    return made


@pytest.fixture
async def new_browser(app: Litestar, public_url: str) -> AsyncIterator[NewBrowser]:
    """A client with cookies of its own that follows no redirect."""
    async with AsyncExitStack() as exits:

        async def make() -> httpx.AsyncClient:
            transport = httpx.ASGITransport(app, raise_app_exceptions=False)
            return await exits.enter_async_context(httpx.AsyncClient(transport=transport, base_url=public_url))

        yield make


@pytest.fixture
async def anonymous(new_browser: NewBrowser) -> httpx.AsyncClient:
    return await new_browser()


@pytest.fixture
async def browser(new_browser: NewBrowser) -> httpx.AsyncClient:
    """The owner's."""
    return await new_browser()


@pytest.fixture
async def new_tenant(hub: Hub, new_browser: NewBrowser) -> NewTenant:
    """One client that holds these scopes, of a fresh account unless one is named."""

    async def make(
        scopes: tuple[str, ...] = accounts.SCOPES,
        mode: str = accounts.PRODUCTION,
        account_id: str | None = None,
        *,
        compatible: bool = False,
    ) -> Tenant:
        account_id = account_id or (await accounts.create_account(hub, "test", mode=mode)).id
        client = await accounts.create_client(hub, account_id, "test", scopes, compatible=compatible)
        http = await new_browser()
        answer = await http.post(
            "/oauth2/token", data={"grant_type": "client_credentials"}, auth=(client.client_id, client.client_secret)
        )
        http.headers["authorization"] = f"Bearer {answer.json()['access_token']}"
        return Tenant(account_id, client, http)

    return make


@pytest.fixture
async def tenant(new_tenant: NewTenant) -> Tenant:
    return await new_tenant()


@pytest.fixture
def api(tenant: Tenant) -> httpx.AsyncClient:
    """Authenticated as a client of a fresh account."""
    return tenant.api
