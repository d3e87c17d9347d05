"""A vendor in memory whose refresh tokens work once: using one again revokes the whole grant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from joinder import (
    AppCredentialType,
    Callback,
    Consent,
    Context,
    Field,
    Flow,
    Grant,
    Limits,
    OAuth2,
    Readings,
    ReadingsQuery,
    Refresh,
    Secrets,
    Site,
    Vendor,
    clock,
    hookimpl,
)
from joinder.errors import AuthorizationLost


@dataclass(eq=False)  # pluggy keys plugins by identity
class StrictVendor:
    """A plugin object. `before` and `after` run around the moment the token rotates at the vendor."""

    name: str = "strict"
    grace: bool = False
    latency_s: float = 0.0
    life: timedelta = timedelta(hours=1)
    current: dict[str, int] = field(default_factory=dict)  # owner → number of the token that works
    revoked: set[str] = field(default_factory=set)
    exchanges: int = 0
    reuse_seen: int = 0
    in_flight: dict[str, int] = field(default_factory=dict)
    overlaps: int = 0
    before: Callable[[str], Awaitable[None]] | None = None
    after: Callable[[str], Awaitable[None]] | None = None
    fail: BaseException | None = None
    refuses: set[str] = field(default_factory=set)  # owners whose tokens are refused, and live on

    @hookimpl
    def describe_vendor(self) -> Vendor:
        secret = Field(name="clientSecret", label="Client secret", secret=True)
        return Vendor(
            name=self.name,
            label="Strict",
            docs_url="https://strict.example",
            flow=Flow.REDIRECT,
            hosts=("strict.example",),
            app_credentials=(
                AppCredentialType(type="app", label="App", fields=(Field(name="clientID", label="Client ID"), secret)),
            ),
            oauth2=OAuth2(authorize_url="https://strict.example/a", token_url="https://strict.example/t"),
            refresh=Refresh.ROTATING,
            refresh_grace=timedelta(hours=24) if self.grace else None,
            limits=Limits(poll_every=timedelta(hours=1)),
            capabilities={},
        )

    @hookimpl
    async def build_authorize_url(self) -> str:
        raise AssertionError

    @hookimpl
    async def handle_callback(self, callback: Callback) -> Consent:
        return self.consent(callback.values["owner"])

    @hookimpl
    async def fetch_site(self, site_id: str) -> Site:
        return Site(vendor_id=site_id, name=site_id)

    @hookimpl
    async def fetch_readings(self, query: ReadingsQuery) -> Readings:
        return Readings()

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        owner, number = grant.secrets["refresh_token"].rsplit("#", 1)
        self.exchanges += 1
        self.in_flight[owner] = self.in_flight.get(owner, 0) + 1
        self.overlaps += self.in_flight[owner] > 1
        try:
            if self.before:
                await self.before(owner)
            await asyncio.sleep(self.latency_s / 2)
            if self.fail:
                raise self.fail
            if owner in self.refuses:
                raise AuthorizationLost("login_required")
            self._rotate(owner, int(number))
            if self.after:
                await self.after(owner)
            await asyncio.sleep(self.latency_s / 2)
        finally:
            self.in_flight[owner] -= 1
        return self.grant(owner)

    def _rotate(self, owner: str, number: int) -> None:
        if owner in self.revoked or owner not in self.current:
            raise AuthorizationLost("the grant is revoked")
        if number != self.current[owner] and not (self.grace and number == self.current[owner] - 1):
            self.reuse_seen += 1
            self.revoked.add(owner)
            raise AuthorizationLost("the token was used before")
        self.current[owner] += 1

    def consent(self, owner: str) -> Consent:
        self.current[owner] = 1
        return Consent(grant=self.grant(owner), account_id=owner)

    def grant(self, owner: str) -> Grant:
        token = f"{owner}#{self.current[owner]}"
        return Grant(
            secrets=Secrets({"access_token": f"access-{token}", "refresh_token": token}),
            expires_at=clock.utc_now() + self.life,
            site_ids=(f"site-of-{owner}",),
        )
