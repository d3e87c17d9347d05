"""Accounts as the admin sees them: with how much each has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func
from sqlalchemy.sql.selectable import Subquery
from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.store.tables import Account, ApiClient, Enrollment

PAGE = 500


@dataclass(frozen=True, kw_only=True)
class Tenant:
    """`clients` that are not revoked."""

    row: Account
    enrollments: int
    clients: int


async def listed(hub: Hub, *, limit: int = PAGE) -> list[Tenant]:
    """Lists at most `limit` accounts by name."""
    enrollments = _counted(col(Enrollment.account_id))
    clients = _counted(col(ApiClient.account_id), col(ApiClient.revoked_at).is_(None))
    query = (
        select(Account, enrollments.c.count, clients.c.count)
        .outerjoin(enrollments, enrollments.c.account_id == col(Account.id))
        .outerjoin(clients, clients.c.account_id == col(Account.id))
        .order_by(col(Account.name), col(Account.id))
        .limit(limit)
    )
    async with hub.store.read() as session:
        found = await session.execute(query)
        return [Tenant(row=row[0], enrollments=int(row[1] or 0), clients=int(row[2] or 0)) for row in found]


def _counted(account_id: Any, *conditions: Any) -> Subquery:
    count = func.count().label("count")
    return select(account_id.label("account_id"), count).where(*conditions).group_by(account_id).subquery()
