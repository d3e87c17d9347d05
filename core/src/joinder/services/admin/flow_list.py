"""Flows and credentials with what hangs on them, for the admin: of one account, or of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Text, cast, func
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import Quotas
from joinder.store.tables import Account, Enrollment, JoinFlow, JoinSession, VendorCredentials


@dataclass(frozen=True, kw_only=True)
class ListedFlow:
    """`under_way`: owners who are at it now; `enrollments`: what it made, as far as they still exist."""

    row: JoinFlow
    account_name: str
    under_way: int
    enrollments: int


@dataclass(frozen=True, kw_only=True)
class ListedCredentials:
    """`flows` and `enrollments` depend on them."""

    row: VendorCredentials
    account_name: str
    flows: int
    enrollments: int


async def flows(hub: Hub, account_id: str | None = None) -> list[ListedFlow]:
    """Lists flows, newest first, by one query. `account_id`: None for every account's."""
    under_way = _count(JoinSession).where(
        col(JoinSession.flow_id) == col(JoinFlow.id),
        col(JoinSession.used_at).is_(None),
        col(JoinSession.ended_at).is_(None),
        col(JoinSession.expires_at) > now(),
    )
    made = _count(Enrollment).where(col(Enrollment.flow_id) == col(JoinFlow.id))
    query = select(JoinFlow, under_way.scalar_subquery(), made.scalar_subquery(), Account.name)
    query = query.join(Account, col(Account.id) == col(JoinFlow.account_id))
    if account_id is not None:
        query = query.where(col(JoinFlow.account_id) == account_id)
    async with hub.store.read() as session:
        rows = await session.execute(query.order_by(col(JoinFlow.created_at).desc(), col(JoinFlow.id)))
        return [ListedFlow(row=row[0], under_way=row[1], enrollments=row[2], account_name=row[3]) for row in rows]


async def credentials(hub: Hub, account_id: str | None = None) -> list[ListedCredentials]:
    """Lists credentials by vendor and name, by one query. `account_id`: None for every account's."""
    table = VendorCredentials
    used = _count(JoinFlow).where(
        col(JoinFlow.account_id) == col(table.account_id),
        cast(col(JoinFlow.vendors), Text).contains(col(table.id)),  # an id is never part of another text
    )
    made = _count(Enrollment).where(col(Enrollment.credentials_id) == col(table.id))
    query = select(table, used.scalar_subquery(), made.scalar_subquery(), Account.name)
    query = query.join(Account, col(Account.id) == col(table.account_id))
    if account_id is not None:
        query = query.where(col(table.account_id) == account_id)
    async with hub.store.read() as session:
        rows = await session.execute(query.order_by(col(table.vendor), col(table.name), col(table.id)))
        return [ListedCredentials(row=row[0], flows=row[1], enrollments=row[2], account_name=row[3]) for row in rows]


async def quotas(hub: Hub, rows: Sequence[VendorCredentials]) -> dict[str, Quotas]:
    """Reads quotas by the credentials' id, by one query; none where the vendor's plugin is gone."""
    limits = {vendor.name: vendor.limits for vendor in hub.registry.vendors}
    return await hub.budgets.left_of({row.id: limits[row.vendor] for row in rows if row.vendor in limits})


def _count(table: type[Any]) -> SelectOfScalar[int]:
    return select(func.count()).select_from(table)
