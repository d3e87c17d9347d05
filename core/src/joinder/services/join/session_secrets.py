"""What a join session keeps sealed: PKCE verifier, the token of its form, what a vendor's next question carries."""

from __future__ import annotations

from collections.abc import Mapping

from joinder.runtime.hub import Hub
from joinder.services.join.join_ends import JoinRefused
from joinder.store.tables import JoinSession

Opened = Mapping[str, str]


async def of(hub: Hub, row: JoinSession) -> Opened:
    """Returns `verifier`, `form` and what came later. Raises JoinRefused once the session has ended."""
    if not row.secrets_sealed:
        raise JoinRefused("link_used")
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
    return hub.vault.open_strings(row.secrets_sealed, **_place(row.account_id, row.token_hash))


def seal(hub: Hub, account_id: str, row_id: bytes, value: Mapping[str, str]) -> bytes:
    return hub.vault.seal(dict(value), **_place(account_id, row_id))


def _place(account_id: str, row_id: bytes) -> dict[str, str]:
    return {"table": "join_session", "row": row_id.hex(), "column": "secrets_sealed", "owner": account_id}
