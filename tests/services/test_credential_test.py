"""Asking a vendor whether it knows an app, at every simulator that has apps, with right and wrong secrets."""

from __future__ import annotations

import pytest
from msgspec import structs

from api.fakes import Vendors
from joinder.errors import AppCredentialsRejected, TransientError, VendorError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import credential_test, vendor_credentials
from joinder.services.refusals import NotFound, Unprocessable
from joinder.settings import Settings
from joinder.simulate import installed_simulators
from joinder.simulate.run import reroute_of, running
from joinder.vendor import Flow
from joinder.vendors.registry import Registry

WITH_APPS = ("enphase", "sma", "smasbox", "solaredge", "tesla")  # enphasevpp declares no token endpoint of its own


@pytest.mark.parametrize("name", WITH_APPS)
async def test_each_vendor_tells_a_right_secret_from_a_wrong_one(
    fresh_database: Settings, name: str, hub: Hub, account_id: str
) -> None:
    (simulator,) = installed_simulators((name,))
    assert simulator.app_credentials is not None
    registry = Registry.load()
    async with running([simulator]) as origins:
        settings = structs.replace(fresh_database, reroute=reroute_of([simulator], origins))
        async with open_hub(settings, registry) as mine:
            right = dict(simulator.app_credentials)
            made = await vendor_credentials.create(mine, account_id, "test", name=None, credentials=right)
            said = await credential_test.test(mine, account_id, made.id, "test")
            assert "accepts these credentials" in said
            wrong = {"credentials": {"clientSecret": "canary-wrong-secret"}}
            await vendor_credentials.change(mine, account_id, made.id, "test", patch=wrong)
            with pytest.raises(AppCredentialsRejected) as caught:
                await credential_test.test(mine, account_id, made.id, "test")
            assert "canary" not in f"{caught.value} {caught.value.detail}"
            rows = await mine.store.rows("SELECT count(*) FROM enrollment", {})
            assert int(rows[0][0]) == 0


@pytest.fixture
def vendors() -> Vendors:
    return Vendors()


@pytest.fixture
def registry(vendors: Vendors) -> Registry:
    return vendors.registry()


async def stored(hub: Hub, account_id: str, kind: str) -> str:
    given = {"vendor": "sunny", "type": kind, "clientID": "an-id", "clientSecret": "a-secret"}
    return (await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)).id


async def test_an_operators_own_credentials_open_their_sites(hub: Hub, account_id: str, vendors: Vendors) -> None:
    made = await stored(hub, account_id, "customgrant")
    assert await credential_test.test(hub, account_id, made, "me") == (
        "Sunny <Home> accepts these credentials; they open 1 site."
    )
    rows = await hub.store.rows(
        "SELECT actor FROM audit WHERE action = 'credentials.test' AND target = :id", {"id": made}
    )
    assert [row[0] for row in rows] == ["me"]
    with pytest.raises(NotFound):
        await credential_test.test(hub, "acct-bbbbbbbbbbbbbbbb", made, "me")


async def test_a_vendor_that_takes_anything_tells_nothing(hub: Hub, account_id: str) -> None:
    made = await stored(hub, account_id, "oauthclient")
    with pytest.raises(Unprocessable, match="tells nothing"):
        await credential_test.test(hub, account_id, made, "me")
    rows = await hub.store.rows("SELECT count(*) FROM enrollment", {})
    assert int(rows[0][0]) == 0


async def test_what_an_owner_types_is_not_asked_for(hub: Hub, account_id: str, vendors: Vendors) -> None:
    """Refusing an empty form says nothing of the app."""
    made = await stored(hub, account_id, "oauthclient")
    app, fleet = vendors.sunny.vendor.app_credentials
    typed = structs.replace(vendors.sunny.vendor, app_credentials=(structs.replace(app, flow=Flow.FORM), fleet))
    entry = next(one for one in hub.registry.installed if one.name == "sunny")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(hub.registry, "vendor", lambda name: typed)
        with pytest.raises(Unprocessable):
            await credential_test.test(hub, account_id, made, "me")
    assert entry.vendor is not typed
    assert "handle_callback" not in vendors.sunny.calls


@pytest.mark.parametrize("trouble", [TransientError("away"), AppCredentialsRejected("no")])
async def test_the_vendors_trouble_is_told(hub: Hub, account_id: str, vendors: Vendors, trouble: VendorError) -> None:
    made = await stored(hub, account_id, "oauthclient")
    vendors.sunny.failures["handle_callback"] = trouble
    with pytest.raises(type(trouble)):
        await credential_test.test(hub, account_id, made, "me")
