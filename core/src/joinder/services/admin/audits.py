"""Who changed what, newest first, over all accounts: for the admin."""

from __future__ import annotations

from sqlalchemy import or_
from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.store.tables import Audit


async def latest(
    hub: Hub,
    *,
    account_id: str | None = None,
    target: str | None = None,
    action: str | None = None,
    before: Audit | None = None,
    limit: int,
) -> list[Audit]:
    """Reads a keyset page by time, the newest first; `target` is the id of what was changed."""
    wanted = {Audit.account_id: account_id, Audit.target: target, Audit.action: action}
    query = select(Audit).where(*(col(column) == value for column, value in wanted.items() if value is not None))
    if before is not None:
        earlier = (col(Audit.at) == before.at) & (col(Audit.id) < before.id)
        query = query.where(or_(col(Audit.at) < before.at, earlier))
    async with hub.store.read() as session:
        query = query.order_by(col(Audit.at).desc(), col(Audit.id).desc()).limit(limit)
        return list((await session.execute(query)).scalars())
