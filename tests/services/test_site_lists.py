"""The sites that app credentials open by themselves are listed again every day."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec import structs

from api.fakes import HOME, Vendors
from joinder.clock import now
from joinder.errors import TransientError
from joinder.grants import Callback, Consent, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.admin import pausing
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.join import enrollments, site_lists, stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.work import leases
from joinder.store.tables import VendorCredentials
from joinder.vendor import Refresh
from joinder.vendors.registry import Registry
from services.sharing import due_at, site_of, told

GIVEN = {"vendor": "sunny", "type": "customgrant", "clientID": "an-id", "clientSecret": "a-secret"}
DAY_S = 86_400


@pytest.fixture
def vendors() -> Vendors:
    made = Vendors()
    made.sunny.account_id = None
    made.sunny.homes = {"a": HOME, "b": HOME}
    return made


@pytest.fixture
def registry(vendors: Vendors) -> Registry:
    return vendors.registry()


@pytest.fixture
async def fleet(hub: Hub, account_id: str) -> str:
    await vendor_credentials.create(hub, account_id, "test", name=None, credentials=GIVEN)
    ((enrollment_id,),) = await hub.store.rows("SELECT id FROM enrollment", {})
    return str(enrollment_id)


async def test_new_ones_are_attached_and_those_that_are_gone_detached(
    hub: Hub, vendors: Vendors, account_id: str, fleet: str
) -> None:
    assert now() < await due_at(hub, site_lists.KIND, fleet) <= now() + DAY_S
    vendors.sunny.homes = {"b": HOME, "c": HOME}
    await site_lists.list_again(hub, fleet)
    assert (await site_of(hub, "a")).gone_at is not None
    assert (await site_of(hub, "c")).enrollment_id == fleet
    assert [kind for kind, _, _ in await told(hub, "site.gone", "enrollment.reconnected")] == ["site.gone"]
    assert now() + DAY_S / 2 < await due_at(hub, site_lists.KIND, fleet) <= now() + DAY_S
    assert await due_at(hub, "poll", fleet) <= now()
    assert len((await enrollments.get(hub, account_id, fleet)).site_ids) == 2


async def test_a_list_that_cannot_be_read_or_is_empty_takes_nothing_away(
    hub: Hub, vendors: Vendors, fleet: str
) -> None:
    vendors.sunny.failures["handle_callback"] = TransientError("503")
    await site_lists.list_again(hub, fleet)
    assert await due_at(hub, site_lists.KIND, fleet) <= now() + 3600
    vendors.sunny.failures.clear()
    vendors.sunny.homes = {}
    await site_lists.list_again(hub, fleet)
    assert [(await site_of(hub, vendor_id)).gone_at for vendor_id in ("a", "b")] == [None, None]


async def test_nobody_is_asked_while_it_is_paused(hub: Hub, vendors: Vendors, account_id: str, fleet: str) -> None:
    await pausing.pause(hub, account_id, fleet, "test")
    asked = len(vendors.sunny.exchanges)
    await site_lists.list_again(hub, fleet)
    assert len(vendors.sunny.exchanges) == asked


async def test_the_same_credentials_stored_anew_are_the_same_enrollment(
    hub: Hub, vendors: Vendors, account_id: str, fleet: str
) -> None:
    ((credentials_id,),) = await hub.store.rows("SELECT id FROM vendor_credentials", {})
    vendors.sunny.homes = {"z": HOME}
    patch = {"credentials": {"clientSecret": "another"}}
    await vendor_credentials.change(hub, account_id, str(credentials_id), "test", patch=patch)
    assert [row[0] for row in await hub.store.rows("SELECT id FROM enrollment", {})] == [fleet]
    assert (await site_of(hub, "a")).gone_at is not None


async def test_two_fleet_keys_that_open_one_site_are_two_enrollments(
    hub: Hub, vendors: Vendors, account_id: str, fleet: str
) -> None:
    await vendor_credentials.create(hub, account_id, "test", name=None, credentials={**GIVEN, "clientID": "other"})
    assert len(await hub.store.rows("SELECT id FROM enrollment", {})) == 2
    assert (await site_of(hub, "a")).enrollment_id == fleet


async def test_an_owners_consent_is_not_listed_again(hub: Hub, vendors: Vendors, account_id: str) -> None:
    made = await vendor_credentials.create(
        hub, account_id, "test", name=None, credentials={**GIVEN, "type": "oauthclient"}
    )
    async with hub.store.read() as session:
        app = open_app(hub, await session.get(VendorCredentials, made.id))
    ctx = vendor_context(hub, "sunny", app)
    consent = await hub.registry.handle_callback("sunny", ctx, Callback(values=Secrets({"code": "c"})))
    async with hub.store.write(account_id) as session:
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor="sunny", credentials_id=made.id, flow_id="flow")
        )
        await leases.schedule(session, site_lists.KIND, row.id, 0, app=made.id)
    asked = len(vendors.sunny.exchanges)
    await site_lists.list_again(hub, row.id)
    assert len(vendors.sunny.exchanges) == asked
    assert await due_at(hub, site_lists.KIND, row.id) == leases.NEVER


async def test_what_a_lasting_key_opens_is_listed_again_every_day(
    hub: Hub, vendors: Vendors, account_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.registry.change("boxy", lambda vendor: structs.replace(vendor, refresh=Refresh.STATIC_KEY))
    grant = Grant(secrets=Secrets({"key": "k"}), site_ids=("a", "b"))
    async with hub.store.write() as session:
        made = await stored_consents.store(hub, session, account_id, Consent(grant=grant), Origin(vendor="boxy"))
    assert now() < await due_at(hub, site_lists.KIND, made.id) <= now() + DAY_S

    async def listed(*_: object) -> Grant:
        return replace(grant, site_ids=("b", "c"))

    monkeypatch.setattr(hub.registry, "refresh", listed)
    await site_lists.list_again(hub, made.id)
    assert (await site_of(hub, "a")).gone_at is not None
    assert (await site_of(hub, "c")).enrollment_id == made.id
    assert now() + DAY_S / 2 < await due_at(hub, site_lists.KIND, made.id) <= now() + DAY_S
