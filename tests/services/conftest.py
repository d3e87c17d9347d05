from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from msgspec import structs

from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor

Enroll = Callable[[str], Awaitable[str]]


@pytest.fixture
def vendor() -> StrictVendor:
    return StrictVendor()


@pytest.fixture
def settings(fresh_database: Settings) -> Settings:
    return structs.replace(fresh_database, refresh_deadline_s=1.0)


@pytest.fixture
def registry(vendor: StrictVendor) -> Registry:
    made = Registry()
    assert made.add(vendor.name, vendor).problem is None
    return made


@pytest.fixture
async def hub(settings: Settings, registry: Registry) -> AsyncIterator[Hub]:
    async with open_hub(settings, registry) as opened:
        yield opened


@pytest.fixture
async def account_id(hub: Hub) -> str:
    return (await accounts.create_account(hub, "test")).id


@pytest.fixture
async def credentials_id(hub: Hub, vendor: StrictVendor, account_id: str) -> str:
    given = {"vendor": vendor.name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    return (await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)).id


@pytest.fixture
def enroll(hub: Hub, vendor: StrictVendor, account_id: str, credentials_id: str) -> Enroll:
    async def make(owner: str) -> str:
        async with hub.store.write() as session:
            enrollment = await stored_consents.store(
                hub,
                session,
                account_id,
                vendor.consent(owner),
                Origin(vendor=vendor.name, credentials_id=credentials_id),
            )
            return enrollment.id

    return make
