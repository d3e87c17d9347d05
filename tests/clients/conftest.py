"""The hub of the API's tests, on a port."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import pytest
from litestar import Litestar

from api.conftest import NewTenant, anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant
from api.fakes import Vendors
from api.test_virtual import WithVirtual
from joinder.services.records import accounts
from served import served

__all__ = [
    "anonymous",
    "api",
    "app",
    "apps",
    "browser",
    "hub",
    "new_browser",
    "new_tenant",
    "public_url",
    "tenant",
]


@pytest.fixture
def vendors() -> Vendors:
    return WithVirtual()


@pytest.fixture
async def environment(app: Litestar, new_tenant: NewTenant) -> AsyncIterator[dict[str, str]]:
    """What the examples ask for: a server, and a virtual client of it."""
    client = (await new_tenant(mode=accounts.VIRTUAL)).client
    async with served(app) as origin:
        yield {
            **os.environ,
            "JOINDER": origin,
            "CLIENT_ID": client.client_id,
            "CLIENT_SECRET": client.client_secret,
        }
