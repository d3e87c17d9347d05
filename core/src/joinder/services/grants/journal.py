"""Seals new tokens into the journal, and opens what is found there (store/journal.py keeps the files)."""

from __future__ import annotations

import logging
from types import MappingProxyType
from typing import Any

from joinder.clock import from_epoch, now, to_epoch
from joinder.grants import Grant, GrantState
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.records.opened_grant import OpenedRow
from joinder.store.journal import Line

log = logging.getLogger("joinder.journal")


async def begin(hub: Hub) -> None:
    """Opens this process's journal before a token is asked for: from now on others can tell whether it lives."""
    await hub.journal.begin(Line(store=hub.identity, enrollment="", account="", version=0, at=now(), sealed=b""))


def note(hub: Hub, row: OpenedRow, version: int, fresh: Grant) -> None:
    """Puts the token on its way to the disk. Never raises: it is on its way to the database as well."""
    try:
        line = Line(
            store=hub.identity,
            enrollment=row.id,
            account=row.account_id,
            version=version,
            at=now(),
            sealed=hub.vault.seal(_told(fresh), **_place(hub.identity, row.id, version, row.account_id)),
            after=row.obtained_at,
        )
    except Exception as error:  # noqa: BLE001 - whatever it is, the commit that follows must begin
        log.error("a new token of %s is in no journal: %s", row.id, type(error).__name__)
        return
    hub.journal.add(line)


async def opened(hub: Hub, line: Line) -> Grant:
    """Decrypts the grant of a journal's line. Raises SealBroken."""
    if not hub.vault.is_unlocked(line.account):
        async with hub.store.read() as session:
            await hub.vault.unlock(session, line.account)
    value = hub.vault.open(line.sealed, **_place(line.store, line.enrollment, line.version, line.account))
    return Grant(
        secrets=Secrets(value["secrets"]),
        facts=MappingProxyType(value["facts"]),
        expires_at=from_epoch(value["expires_at"]),
        refresh_expires_at=from_epoch(value["refresh_expires_at"]),
        site_ids=tuple(value["site_ids"] or ()),
        state=GrantState(value["state"]),
        made_as=value.get("made_as", 1),
    )


def _told(grant: Grant) -> dict[str, Any]:
    return {
        "secrets": dict(grant.secrets),
        "facts": dict(grant.facts),
        "site_ids": grant.site_ids,
        "expires_at": to_epoch(grant.expires_at),
        "refresh_expires_at": to_epoch(grant.refresh_expires_at),
        "state": str(grant.state),
        "made_as": grant.made_as,
    }


def _place(store: str, enrollment_id: str, version: int, account_id: str) -> dict[str, str]:
    """Binds a line to its database, grant and version: moved to another, it does not open."""
    return {"table": "journal", "row": f"{store} {enrollment_id}", "column": str(version), "owner": account_id}
