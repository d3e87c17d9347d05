"""Grants as they are stored."""

from __future__ import annotations

from types import MappingProxyType
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import from_epoch
from joinder.grants import Grant, GrantState
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.store.vault import SealBroken


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
