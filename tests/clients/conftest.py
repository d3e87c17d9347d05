"""The hub of the API's tests, on a port."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from litestar import Litestar

from api.conftest import NewTenant, anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant
from api.fakes import Vendors
from api.test_virtual import WithVirtual
from joinder.services.records import accounts
from served import output_of, served

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


@pytest.fixture
async def document(anonymous: httpx.AsyncClient, tmp_path: Path) -> Path:
    """The document as the server serves it."""
    path = tmp_path / "openapi.json"
    path.write_bytes((await anonymous.get("/openapi.json")).content)
    return path


async def generated(python: Path, document: Path, folder: Path) -> dict[str, str]:
    """Generates the Python client into the folder; returns the environment that finds it."""
    generate = python.with_name("openapi-python-client")
    into = folder / "joinder_generated"
    await output_of(generate, "generate", "--path", document, "--meta", "none", "--output-path", into)
    return {**os.environ, "PYTHONPATH": str(folder)}
