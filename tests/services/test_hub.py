"""Opening and closing a hub, and what the admin may ask of it."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from msgspec import structs

from joinder.errors import TransientError
from joinder.runtime.hub import Hub, account_of, open_hub
from joinder.services.grants.refresh import refresh
from joinder.services.refusals import NotFound
from joinder.settings import Settings
from joinder.store.tables import GrantRow, VendorCredentials
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor


async def test_whose_something_is(hub: Hub, account_id: str, credentials_id: str) -> None:
    assert await account_of(hub, VendorCredentials, credentials_id) == account_id
    for row_id in ("cred-aaaaaaaaaaaaaaaa", "", "'"):
        with pytest.raises(NotFound, match="this id"):
            await account_of(hub, VendorCredentials, row_id)


async def test_who_gives_up_waiting_does_not_end_the_exchange(
    settings: Settings, registry: Registry, vendor: StrictVendor, hub: Hub, enroll: Enroll
) -> None:
    """A command that fails closes its hub; a new token may be on its way."""
    enrollment_id = await enroll("ada")
    begun, answers = asyncio.Event(), asyncio.Event()

    async def held_back(owner: str) -> None:
        begun.set()
        await answers.wait()

    async def gives_up() -> None:
        async with open_hub(structs.replace(settings, refresh_deadline_s=100.0), registry) as mine:
            renewing.append(asyncio.create_task(refresh(mine, enrollment_id, wait_s=100.0)))
            await begun.wait()
            try:
                await refresh(mine, enrollment_id, wait_s=0.1)
            finally:
                answers.set()

    renewing: list[asyncio.Task[None]] = []
    vendor.before = held_back
    with pytest.raises(TransientError, match="still being renewed"):
        await gives_up()
    await renewing[0]
    async with hub.store.read() as session:
        grant = await session.get(GrantRow, enrollment_id)
    assert grant is not None
    assert (grant.version, grant.refresh_count, vendor.exchanges) == (2, 1, 1)
    vendor.life = timedelta(hours=2)
    await refresh(hub, enrollment_id)
    assert vendor.reuse_seen == 0
