"""S29: a person's password is taken for a vendor only where the operator says so, and never shown."""

from __future__ import annotations

import httpx
import pytest
from msgspec import structs

from api.conftest import NewTenant
from api.fakes import EVERYTHING, SUNNY, FakeVendor, Vendors, assert_problem, count, pointers
from joinder.errors import OperatorActionNeeded
from joinder.grants import AppCredentials, Grant
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.breakers import guarding
from joinder.services.calls.vendor_context import vendor_context
from joinder.vendor import AppCredentialType, Field, Flow
from joinder.vendors.registry import Registry

GRANT = Grant(secrets=Secrets({"access_token": "canary-access"}), site_ids=("site-1",))
PASSWORD = "canary-password-of-a-person"
KIND = AppCredentialType(
    type="fleetlogin",
    label="Fleet",
    fields=(
        Field(name="clientID", label="client id"),
        Field(name="password", label="Installer's password", secret=True, password=True),
    ),
    flow=Flow.OPERATOR,
)
OFFERED = structs.replace(SUNNY, app_credentials=(*SUNNY.app_credentials, KIND))
BODY = {"credentials": {"vendor": "sunny", "type": "fleetlogin", "clientID": "app-1", "password": PASSWORD}}


@pytest.fixture
def vendors() -> Vendors:
    return Vendors(sunny=FakeVendor(OFFERED))


@pytest.fixture
async def api(new_tenant: NewTenant) -> httpx.AsyncClient:
    return (await new_tenant(EVERYTHING)).api


def allow(hub: Hub, *names: str) -> None:
    hub.settings = structs.replace(hub.settings, password_grants=names)
    hub.registry.around = guarding(hub.registry, hub.breakers, names)


@pytest.mark.parametrize("allowed", [(), ("cloudy",), ("Sunny",)])
async def test_it_is_off_until_the_vendor_is_named(
    api: httpx.AsyncClient, hub: Hub, vendors: Vendors, allowed: tuple[str, ...]
) -> None:
    allow(hub, *allowed)
    answer = await api.post("/vendor-credentials", json=BODY)
    assert_problem(answer, 400, "validation-error")
    assert pointers(answer) == ["/credentials/type"]
    assert "JOINDER_PASSWORD_GRANTS=sunny" in answer.text
    assert PASSWORD not in answer.text
    assert vendors.sunny.calls == []
    assert await count(hub, "vendor_credentials") == 0


async def test_named_it_works_and_nothing_shows_the_password(api: httpx.AsyncClient, hub: Hub) -> None:
    allow(hub, "sunny")
    made = await api.post("/vendor-credentials", json=BODY)
    assert made.status_code == 201
    place = f"/vendor-credentials/{made.json()['id']}"
    await api.patch(place, json={"credentials": {"clientID": "app-2"}})
    shown = [made, await api.get(place), await api.get(place, params={"includeSecrets": True})]
    shown.append(await api.get("/vendor-credentials", params={"includeSecrets": True}))
    assert all(PASSWORD not in answer.text for answer in shown)
    assert "app-2" in shown[2].text


async def test_what_an_earlier_version_stored_is_not_used_while_it_is_off(hub: Hub, vendors: Vendors) -> None:
    app = AppCredentials(type="fleetlogin", secrets=Secrets({"clientID": "app-1", "password": PASSWORD}))
    ctx = vendor_context(hub, "sunny", app)
    with pytest.raises(OperatorActionNeeded, match="JOINDER_PASSWORD_GRANTS=sunny"):
        await hub.registry.fetch_site("sunny", ctx, GRANT, "site-1")
    assert vendors.sunny.calls == []
    allow(hub, "sunny")
    assert (await hub.registry.fetch_site("sunny", ctx, GRANT, "site-1")).vendor_id == "site-1"


@pytest.mark.parametrize("vendor", [vendor.name for vendor in Registry.load().vendors])
def test_every_installed_vendor_declares_its_passwords(vendor: str) -> None:
    """By what people would read: a field that is called so is one."""
    described = Registry.load().vendor(vendor)
    fields = [entry for kind in described.app_credentials for entry in kind.fields]
    named = {entry.name for entry in fields if "passw" in f"{entry.name} {entry.label}".lower()}
    assert named == {entry.name for entry in fields if entry.password}
    assert not any("passw" in f"{entry.name} {entry.label}".lower() for entry in described.consent_fields)
