"""Installed plugins and one made for the tests, whose every host is one scripted server on loopback."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

from msgspec import structs

from joinder import Consent, Context, Grant, OAuth2, Secrets, clock, hookimpl, oauth
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import installed_simulators
from joinder.vendor import Vendor
from joinder.vendors.registry import Registry
from services.strict_vendor import StrictVendor

LIFE = timedelta(hours=1)
PLAIN = OAuth2(authorize_url="https://strict.example/a", token_url="https://strict.example/t")


class OverHttp(StrictVendor):
    """As the simplest plugin: RFC 6749 and nothing else."""

    @hookimpl
    def describe_vendor(self) -> Vendor:
        return super().describe_vendor()

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        token = await oauth.refresh_token(ctx, PLAIN, grant.secrets)
        return replace(grant, secrets=token.secrets(grant.secrets), expires_at=token.expires_at)


@dataclass
class AtVendor:
    """A hub with app credentials for one vendor."""

    hub: Hub
    vendor: str
    account_id: str
    credentials_id: str

    async def elsewhere(self, owner: str) -> str:
        """An enrollment at the other vendor, in the same account and database."""
        given = {"vendor": "strict", "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
        made = await vendor_credentials.create(self.hub, self.account_id, "test", name=None, credentials=given)
        return await replace(self, vendor="strict", credentials_id=made.id).enroll(owner)

    async def enroll(self, owner: str) -> str:
        secrets = Secrets({"access_token": f"access-{owner}", "refresh_token": f"refresh-{owner}"})
        grant = Grant(secrets=secrets, expires_at=clock.utc_now() + LIFE, site_ids=(f"site-of-{owner}",))
        async with self.hub.store.write() as session:
            made = await stored_consents.store(
                self.hub,
                session,
                self.account_id,
                Consent(grant=grant, account_id=owner),
                Origin(vendor=self.vendor, credentials_id=self.credentials_id),
            )
            return made.id


@asynccontextmanager
async def at_vendor(
    name: str,
    port: int,
    database: Settings,
    scheme: str = "http",
    *,
    other_port: int | None = None,
    deadline_s: float = 20.0,
) -> AsyncIterator[AtVendor]:
    """`name`: an installed plugin, or `strict`; `other_port`: where `strict` is beside an installed one."""
    registry = Registry()
    if name == "strict":
        registry.add(name, OverHttp())
        given = {"vendor": name, "type": "app", "clientID": "an-id", "clientSecret": "a-secret"}
    else:
        registry = Registry.load()
        given = {**(installed_simulators((name,))[0].app_credentials or {})}
        registry.add("strict", OverHttp())
    reroute = dict.fromkeys(registry.vendor("strict").hosts, f"http://127.0.0.1:{other_port}") if other_port else {}
    reroute |= dict.fromkeys(registry.vendor(name).hosts, f"{scheme}://127.0.0.1:{port}")
    settings = structs.replace(database, reroute=reroute, refresh_deadline_s=deadline_s)
    async with open_hub(settings, registry) as hub:
        account_id = (await accounts.create_account(hub, "test")).id
        made = await vendor_credentials.create(hub, account_id, "test", name=None, credentials=given)
        yield AtVendor(hub, name, account_id, made.id)
