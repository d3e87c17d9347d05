"""A vendor in memory whose codes work once, and whose newest consent of an owner ends the older ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta

from msgspec import structs

from api.fakes import SUNNY, FakeVendor
from joinder import Callback, Consent, Context, Grant, Kept, Secrets, Vendor, clock, hookimpl
from joinder.errors import AuthorizationLost, ConsentInvalid, OutcomeUnknown
from joinder.oauth import code_from

CODED = structs.replace(SUNNY, name="coded", label="Coded", operator_actions=(), served_files=())


@dataclass(eq=False)
class CodeVendor(FakeVendor):
    """A code is `owner:number`. `listing` scripts what the list of sites raises, one call after the other."""

    vendor: Vendor = CODED
    spent: list[str] = field(default_factory=list)
    newest: dict[str, str] = field(default_factory=dict)  # owner → the access token that works
    sites: dict[str, tuple[str, ...]] = field(default_factory=dict)
    listing: list[Exception] = field(default_factory=list)
    before_listing: Callable[[], Awaitable[None]] | None = None
    life: timedelta = timedelta(days=30)
    gives_refresh_token: bool = True
    names_accounts: bool = True
    renewals: list[str] = field(default_factory=list)
    cut_renewals: bool = False
    kept_values: list[dict[str, str]] = field(default_factory=list)

    @hookimpl
    async def handle_callback(self, ctx: Context, callback: Callback) -> Consent:
        self._called("handle_callback")
        kept = callback.kept
        if kept is None:
            kept = await self._exchange(callback)
        else:
            self.kept_values.append(dict(callback.values))
        if self.before_listing is not None:
            await self.before_listing()
        if self.listing:
            raise self.listing.pop(0)
        owner = kept.said["owner"]
        if (
            self.newest[owner] != kept.secrets["access_token"]
            or (kept.expires_at or clock.utc_now()) <= clock.utc_now()
        ):
            raise AuthorizationLost("401")
        grant = Grant(
            secrets=kept.secrets, expires_at=kept.expires_at, site_ids=self.sites.get(owner, (f"site-of-{owner}",))
        )
        return Consent(grant=grant, account_id=owner if self.names_accounts else None)

    async def _exchange(self, callback: Callback) -> Kept:
        code = code_from(callback)
        if code in self.spent:
            raise ConsentInvalid("The vendor refused the authorization code")
        self.exchanges.append(callback)
        self.spent.append(code)
        owner = code.partition(":")[0]
        kept = self._tokens(owner, f"canary-{code}")
        await callback.keep(kept)
        return kept

    def _tokens(self, owner: str, name: str) -> Kept:
        self.newest[owner] = f"access-{name}"
        secrets = {"access_token": f"access-{name}"}
        if self.gives_refresh_token:
            secrets["refresh_token"] = f"refresh-{name}"
        return Kept(secrets=Secrets(secrets), said={"owner": owner}, expires_at=clock.utc_now() + self.life)

    @hookimpl
    async def refresh(self, ctx: Context, grant: Grant) -> Grant:
        """Single use: the token that was used before is refused."""
        used = grant.secrets["refresh_token"]
        if used in self.renewals:
            raise AuthorizationLost("the token was used before")
        self.renewals.append(used)
        owner = used.removeprefix("refresh-canary-").partition(":")[0]
        fresh = self._tokens(owner, f"canary-{owner}:renewed-{len(self.renewals)}")
        if self.cut_renewals:
            raise OutcomeUnknown("cut off")
        return Grant(secrets=fresh.secrets, expires_at=fresh.expires_at)
