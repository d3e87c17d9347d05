"""Owners who began to join, for the admin: who is at it now, and who began and did not finish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sqlmodel import col, select

from joinder.clock import now
from joinder.services.hub import Hub
from joinder.store.tables import JoinSession

Outcome = Literal["joined", "under way", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One way through a flow, or through the reconnect link of `reconnects_id`. Times are epoch seconds.

    A session is kept for a day after its end; `tries` counts forms sent.
    """

    account_id: str
    flow_id: str
    vendor: str
    began_at: int
    expires_at: int
    tries: int
    enrollment_id: str | None
    reconnects_id: str | None
    is_used: bool = False  # its one answer came: a yes, a no, or a vendor's failure

    @property
    def outcome(self) -> Outcome:
        if self.enrollment_id is not None:
            return "joined"
        return "under way" if self.expires_at > now() and not self.is_used else "unfinished"


async def latest(
    hub: Hub, *, account_id: str | None = None, flow_id: str | None = None, limit: int = 100
) -> list[Attempt]:
    """Newest first."""
    query = select(JoinSession)
    if account_id is not None:
        query = query.where(col(JoinSession.account_id) == account_id)
    if flow_id is not None:
        query = query.where(col(JoinSession.flow_id) == flow_id)
    async with hub.store.read() as session:
        query = query.order_by(col(JoinSession.created_at).desc(), col(JoinSession.token_hash)).limit(limit)
        rows = (await session.execute(query)).scalars()
        return [
            Attempt(
                account_id=row.account_id,
                flow_id=row.flow_id,
                vendor=row.vendor,
                began_at=row.created_at,
                expires_at=row.expires_at,
                tries=row.attempts,
                enrollment_id=row.enrollment_id,
                reconnects_id=row.reconnects_id,
                is_used=row.used_at is not None,
            )
            for row in rows
        ]
