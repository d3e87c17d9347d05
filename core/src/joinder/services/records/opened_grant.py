"""Grants as they are stored, and opened for a vendor call: grant and app decrypted, in one read."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import from_epoch
from joinder.errors import VendorError
from joinder.grants import AppCredentials, Context, Grant, GrantState
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.vendor_context import open_sealed, vendor_context
from joinder.services.refusals import NotFound
from joinder.store.vault import SealBroken
from joinder.trouble import StoreTrouble
from joinder.vendor import Vendor
from joinder.vendors.grant_versions import up_to_date

_HELD = (
    "SELECT e.id, e.account_id, e.vendor, e.credentials_id, e.options, e.health, e.health_reason, e.failures, "
    "e.last_success_at, g.enrollment_id, g.sealed, g.version, g.expires_at, g.refresh_expires_at, g.state, "
    "g.intent_id, g.intent_at, g.intent_count, g.refused_at, g.denied_at, g.wait_until, g.obtained_at, g.obtained_by, "
    "e.paused_at, e.status, e.status_reason, e.health_actor, c.type, c.secrets_sealed, c.version, c.suspected_by, "
    "c.rejected_at, c.test_at, c.exchanges_wait_until "
    'FROM enrollment e JOIN "grant" g ON g.enrollment_id = e.id '
    "LEFT JOIN vendor_credentials c ON c.id = e.credentials_id WHERE e.id = :id"
)


_MOVED = 'UPDATE "grant" SET sealed = :sealed WHERE enrollment_id = :id AND sealed = :before'


class OpenedRow(NamedTuple):
    """As stored: enrollment, grant, app credentials (None where the vendor has none)."""

    id: str
    account_id: str
    vendor: str
    credentials_id: str | None
    options: str
    health: str
    health_reason: str | None
    failures: int
    last_success_at: int | None
    enrollment_id: str
    sealed: bytes
    version: int
    expires_at: int | None
    refresh_expires_at: int | None
    state: str
    intent_id: str | None
    intent_at: int | None
    intent_count: int
    refused_at: int | None
    denied_at: int | None
    wait_until: int | None
    obtained_at: int
    obtained_by: str
    paused_at: int | None
    status: str
    status_reason: str | None
    health_actor: str | None
    app_type: str | None
    app_sealed: bytes | None
    app_version: int | None
    app_suspected_by: str | None
    app_rejected_at: int | None
    app_test_at: int | None
    app_wait_until: int | None


@dataclass(frozen=True, kw_only=True)
class OpenedGrant:
    row: OpenedRow
    grant: Grant
    ctx: Context
    budget: str  # whose call limits count: the app's, or those of the owner's own key


@dataclass(frozen=True, kw_only=True)
class RefreshAttempt:
    """One exchange, its intent already on disk."""

    held: OpenedGrant
    vendor: Vendor
    lease: str
    intent_id: str

    @property
    def enrollment_id(self) -> str:
        return self.held.row.id

    @property
    def version(self) -> int:
        return self.held.row.version

    @property
    def follows_unknown(self) -> bool:
        """Tells whether an earlier exchange with this very token never told its outcome."""
        return self.held.row.intent_count > 0


async def open_for_call(hub: Hub, enrollment_id: str) -> OpenedGrant:
    """Opens the grant as it is now, whoever wrote last. Raises NotFound."""
    for found in await hub.store.rows(_HELD, {"id": enrollment_id}):
        row = OpenedRow(*found)
        break
    else:
        raise NotFound
    await _unlock(hub, row.account_id)
    options = msgspec.json.decode(row.options, type=dict[str, str])
    budget = row.credentials_id or row.id
    return OpenedGrant(
        row=row,
        grant=await _current(hub, row),
        ctx=vendor_context(hub, row.vendor, _app(hub, row), options, budget=budget, grant=row.id),
        budget=budget,
    )


async def _current(hub: Hub, row: OpenedRow) -> Grant:
    """Returns the grant as the plugin wants it now, and stores it so; what stands against that its hooks say.

    Nothing happens to a token that is renewed meanwhile: only the very grant that was read is replaced.
    """
    grant = open_grant(hub, row.account_id, row)
    try:
        moved = up_to_date(hub.registry.vendor(row.vendor), grant)
    except VendorError:
        return grant
    if moved is not grant:
        sealed = seal_grant(hub, row.account_id, row.id, moved)
        with suppress(StoreTrouble):  # it is migrated again the next time
            await hub.store.apply((_MOVED, {"id": row.id, "sealed": sealed, "before": row.sealed}))
    return moved


async def _unlock(hub: Hub, account_id: str) -> None:
    if not hub.vault.is_unlocked(account_id):
        async with hub.store.read() as session:
            await hub.vault.unlock(session, account_id)


def _app(hub: Hub, row: OpenedRow) -> AppCredentials | None:
    if row.credentials_id is None or row.app_type is None or row.app_sealed is None:
        return None
    return open_sealed(hub, row.account_id, row.credentials_id, row.app_type, row.app_sealed)


def seal_grant(hub: Hub, account_id: str, enrollment_id: str, grant: Grant) -> bytes:
    value = {
        "secrets": dict(grant.secrets),
        "facts": dict(grant.facts),
        "site_ids": grant.site_ids,
        "made_as": grant.made_as,
    }
    return hub.vault.seal(value, table="grant", row=enrollment_id, column="sealed", owner=account_id)


class SealedGrant(Protocol):
    """A row of `grant`, however it was read."""

    @property
    def enrollment_id(self) -> str: ...
    @property
    def sealed(self) -> bytes: ...
    @property
    def expires_at(self) -> int | None: ...
    @property
    def refresh_expires_at(self) -> int | None: ...
    @property
    def state(self) -> str: ...


def open_grant(hub: Hub, account_id: str, row: SealedGrant) -> Grant:
    """Decrypts the grant for a hook call; the account's key must be unlocked. Raises SealBroken."""
    value = hub.vault.open(row.sealed, table="grant", row=row.enrollment_id, column="sealed", owner=account_id)
    return Grant(
        secrets=Secrets(value["secrets"]),
        facts=MappingProxyType(value["facts"]),
        expires_at=from_epoch(row.expires_at),
        refresh_expires_at=from_epoch(row.refresh_expires_at),
        site_ids=tuple(value["site_ids"] or ()),
        state=GrantState(row.state) if row.state in tuple(GrantState) else GrantState.ACTIVE,
        made_as=value.get("made_as", 1),  # grants of an earlier Joinder know none
    )


async def opened(hub: Hub, session: AsyncSession, account_id: str, row: SealedGrant | None) -> Grant | None:
    """Opens the grant as `open_grant` does; None where there is none, or it does not open any more."""
    if row is None:
        return None
    try:
        await hub.vault.unlock(session, account_id)
        return open_grant(hub, account_id, row)
    except SealBroken:
        return None
