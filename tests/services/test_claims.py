"""Whose a vendor is: a distribution that comes later under its name is handed no key of its owners."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text

from joinder.errors import UnknownVendor
from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import plugins
from joinder.services.records.opened_grant import open_for_call
from joinder.services.refusals import NotFound
from joinder.settings import Settings
from joinder.vendors.registry import Registry
from services.conftest import Enroll
from services.strict_vendor import StrictVendor

DELETE = text("DELETE FROM store_state WHERE name LIKE 'claim%'")


def bringing(distribution: str) -> tuple[Registry, StrictVendor]:
    registry, vendor = Registry(), StrictVendor()
    assert registry.add(vendor.name, vendor, distribution=distribution).problem is None
    return registry, vendor


@pytest.fixture
def registry(vendor: StrictVendor) -> Registry:
    made = Registry()
    assert made.add(vendor.name, vendor, distribution="joinder-strict").problem is None
    return made


async def test_another_distribution_is_handed_nothing_until_it_is_adopted(
    hub: Hub, vendor: StrictVendor, enroll: Enroll, settings: Settings
) -> None:
    enrollment_id = await enroll("ada")
    strangers, stranger = bringing("evil-strict")
    async with open_hub(settings, strangers) as other:
        problem = other.registry.installed[0].problem or ""
        assert problem.startswith("strict belongs to joinder-strict")
        assert problem.endswith("joinder vendors adopt strict evil-strict")
        assert other.registry.vendors == []
        with pytest.raises(UnknownVendor, match="belongs to joinder-strict"):
            await open_for_call(other, enrollment_id)
        with pytest.raises(NotFound, match="third-strict brings no vendor strict; installed with it: evil-strict"):
            await plugins.adopt(other, "strict", "third-strict", "test")
        assert await plugins.adopt(other, "strict", "Evil_Strict", "test") == "joinder-strict"
    assert stranger.exchanges == 0
    async with open_hub(settings, bringing("evil-strict")[0]) as followed:
        assert (await open_for_call(followed, enrollment_id)).grant.secrets["refresh_token"] == "ada#1"
    async with open_hub(settings, bringing("joinder-strict")[0]) as former:
        assert former.registry.vendors == []


async def test_without_a_grant_a_vendor_belongs_to_nobody(hub: Hub, settings: Settings) -> None:
    async with open_hub(settings, bringing("other-strict")[0]) as other:
        assert [vendor.name for vendor in other.registry.vendors] == ["strict"]
        assert await plugins.missing(other.store, []) == {}


async def test_grants_stored_before_there_were_claims_belong_to_who_brings_the_vendor(
    hub: Hub, enroll: Enroll, settings: Settings
) -> None:
    await enroll("ada")
    async with hub.store.write() as session:
        await session.execute(DELETE)
    async with open_hub(settings, bringing("joinder-strict")[0]):
        pass
    async with open_hub(settings, bringing("late-strict")[0]) as late:
        assert late.registry.vendors == []


async def test_what_is_stored_of_an_uninstalled_plugin_is_named_with_its_distribution(
    hub: Hub, enroll: Enroll, settings: Settings
) -> None:
    await enroll("ada")
    async with open_hub(settings, Registry()) as bare:
        assert await plugins.missing(bare.store, bare.registry.installed) == {"strict": "joinder-strict"}


async def test_processes_that_start_at_once_agree(hub: Hub, enroll: Enroll, settings: Settings) -> None:
    await enroll("ada")
    async with hub.store.write() as session:
        await session.execute(DELETE)

    async def started() -> list[str]:
        async with open_hub(settings, bringing("joinder-strict")[0]) as one:
            return [vendor.name for vendor in one.registry.vendors]

    assert await asyncio.gather(*(started() for _ in range(4))) == [["strict"]] * 4
