"""Webhooks as the admin sees them: over all accounts, with what waits and what failed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import case, func
from sqlalchemy.sql.selectable import Subquery
from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.store.tables import Account, Delivery, WebhookEndpoint

PAGE = 500
COUNTED = 10_000  # deliveries that wait or failed, as a look every few seconds counts no millions


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """`waiting` and `failed` are counted among COUNTED deliveries at most."""

    row: WebhookEndpoint
    account_name: str
    waiting: int
    failed: int

    def __repr__(self) -> str:
        return f"Endpoint({self.row.id})"  # the URL may hold a secret


async def endpoints(hub: Hub, *, account_id: str | None = None, limit: int = PAGE) -> list[Endpoint]:
    """Lists the endpoints of one account or of all: what is disabled first, then what fails, then the newest."""
    counts = _counts(account_id)
    query = select(WebhookEndpoint, counts.c.waiting, counts.c.failed, Account.name)
    query = query.join(Account, col(Account.id) == col(WebhookEndpoint.account_id)).outerjoin(
        counts, counts.c.endpoint_id == col(WebhookEndpoint.id)
    )
    if account_id is not None:
        query = query.where(col(WebhookEndpoint.account_id) == account_id)
    troubled = case(
        (col(WebhookEndpoint.disabled_at).is_not(None), 0),
        (col(WebhookEndpoint.failing_since).is_not(None), 1),
        else_=2,
    )
    query = query.order_by(troubled, col(WebhookEndpoint.created_at).desc(), col(WebhookEndpoint.id)).limit(limit)
    async with hub.store.read() as session:
        found = await session.execute(query)
        return [
            Endpoint(row=row[0], waiting=int(row[1] or 0), failed=int(row[2] or 0), account_name=row[3])
            for row in found
        ]


def _counts(account_id: str | None) -> Subquery:
    looked_at = select(Delivery.endpoint_id, Delivery.status).where(col(Delivery.status).in_(("pending", "failed")))
    if account_id is not None:
        looked_at = looked_at.where(col(Delivery.account_id) == account_id)
    open_ones = looked_at.limit(COUNTED).subquery()
    waiting = func.sum(case((open_ones.c.status == "pending", 1), else_=0)).label("waiting")
    failed = func.sum(case((open_ones.c.status == "failed", 1), else_=0)).label("failed")
    return select(open_ones.c.endpoint_id, waiting, failed).group_by(open_ones.c.endpoint_id).subquery()


async def count_sent(hub: Hub, endpoint_id: str) -> int:
    """Counts the deliveries, whatever came of them, that go with the endpoint."""
    query = select(func.count()).select_from(Delivery).where(col(Delivery.endpoint_id) == endpoint_id)
    async with hub.store.read() as session:
        return (await session.execute(query)).scalar_one()
