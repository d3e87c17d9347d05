"""What a vendor gave for a code, or an owner typed, sealed on the join session until an enrollment holds the grant."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.behind import Behind
from joinder.clock import from_epoch, to_epoch
from joinder.errors import ConsentIncomplete
from joinder.grants import AppCredentials, Callback, Kept
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.grants import durability
from joinder.store.tables import JoinSession
from joinder.vendor import Vendor, is_redirect

_PUT = "UPDATE join_session SET kept_sealed = :sealed WHERE token_hash = :token_hash"
_REPLACE = _PUT + " AND kept_sealed = :before"
log = logging.getLogger("joinder.join")


@dataclass(frozen=True, kw_only=True)
class KeptConsent:
    """As sealed. `values`: the callback's, without the code, or the form's. `is_unknown`: a renewal of `kept` was begun
    whose outcome nobody knows; `refused_at`: the vendor refused it first then."""

    values: Secrets
    kept: Kept | None = None
    is_unknown: bool = False
    refused_at: int | None = None

    def callback(self, redirect_uri: str | None) -> Callback:
        """Returns the callback to give the hook once more."""
        return Callback(values=self.values, redirect_uri=redirect_uri, kept=self.kept)


_PLACE: Behind[tuple[Hub, JoinSession]] = Behind()


class Keeper:
    """Called by the plugin's exchange (`Callback.keep`). What it was given stands on disk when it returns."""

    def __init__(self, hub: Hub, row: JoinSession, vendor: Vendor, app: AppCredentials | None, values: Secrets) -> None:
        _PLACE.put(self, (hub, row))
        self._vendor = vendor
        self._app = app
        self._values = Secrets({name: value for name, value in values.items() if name != "code"})
        self.has_kept = False

    async def __call__(self, kept: Kept) -> None:
        """Raises ConsentIncomplete for what could not become a grant."""
        require_tokens(self._vendor, self._app, kept.secrets)
        hub, row = _PLACE.of(self)
        task = asyncio.create_task(self._put(seal(hub, row, KeptConsent(values=self._values, kept=kept))))
        hub.joins.add(task)
        task.add_done_callback(hub.joins.discard)
        await asyncio.shield(task)  # the hook's deadline, or an owner who leaves, ends the waiting only

    async def _put(self, sealed: bytes) -> None:
        self.has_kept = await put(*_PLACE.of(self), sealed)


def require_tokens(vendor: Vendor, app: AppCredentials | None, secrets: Mapping[str, str]) -> None:
    """Raises ConsentIncomplete for an owner's consent that nobody could renew, at a vendor whose grants are renewed."""
    if vendor.oauth2 is None or not vendor.is_renewable or not is_redirect(vendor, app):
        return
    missing = [name for name in ("access_token", "refresh_token") if not secrets.get(name)]
    if missing:
        raise ConsentIncomplete(
            f"{vendor.label} gave no {' and no '.join(missing)} for the consent; look at the app's scopes and "
            "registration at the vendor"
        )


def seal(hub: Hub, row: JoinSession, held: KeptConsent) -> bytes:
    """Seals what is kept; the account's key must be unlocked."""
    kept = held.kept
    value: dict[str, Any] = {
        "values": dict(held.values),
        "kept": kept and {"secrets": dict(kept.secrets), "said": dict(kept.said), "at": to_epoch(kept.expires_at)},
        "unknown": held.is_unknown,
        "refused_at": held.refused_at,
    }
    return hub.vault.seal(value, **_place(row))


def open_kept(hub: Hub, row: JoinSession) -> KeptConsent:
    """Opens what is kept of a row that has `kept_sealed`; the account's key must be unlocked. Raises SealBroken."""
    value = hub.vault.open(row.kept_sealed or b"", **_place(row))
    kept = value["kept"] and Kept(
        secrets=Secrets(value["kept"]["secrets"]),
        said=value["kept"]["said"],
        expires_at=from_epoch(value["kept"]["at"]),
    )
    held = KeptConsent(values=Secrets(value["values"]), kept=kept or None)
    return replace(held, is_unknown=value["unknown"], refused_at=value["refused_at"])


async def put(hub: Hub, row: JoinSession, sealed: bytes, *, before: bytes | None = None) -> bool:
    """Writes to disk, and waits out trouble with the disk, as what is sealed exists nowhere else.

    `before`: only in place of that. False: its session is not there any more, or holds something else.
    """
    values: dict[str, object] = {"sealed": sealed, "token_hash": row.token_hash}
    sql = _PUT
    if before is not None:
        sql, values["before"] = _REPLACE, before

    async def once(tries: int) -> bool:
        changed = (await hub.store.apply((sql, values)))[0]
        return bool(changed) or (before is not None and tries > 0)  # a commit that told no outcome may have worked

    return await durability.until_stored(hub, f"join {row.token_hash.hex()[:8]}", once, is_safe=lambda: False)


async def forget(session: AsyncSession, enrollment_id: str) -> None:
    """Forgets what is kept of an enrollment that ends."""
    ended = update(JoinSession).where(col(JoinSession.enrollment_id) == enrollment_id)
    await session.execute(ended.where(col(JoinSession.kept_sealed).is_not(None)).values(kept_sealed=None))


def _place(row: JoinSession) -> dict[str, str]:
    return {"table": "join_session", "row": row.token_hash.hex(), "column": "kept_sealed", "owner": row.account_id}
