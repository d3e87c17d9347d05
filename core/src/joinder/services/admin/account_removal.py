"""Deletes an account with everything of it. What others did to it stays in the audit.

First its clients and consents under way, so that nothing new begins; then each enrollment; then the rest, in one
transaction. A removal that was cut goes on when it is run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.runtime.hub import Hub, audit
from joinder.services.join import enrollments
from joinder.services.refusals import NotFound
from joinder.store.tables import (
    Account,
    ApiClient,
    DataKey,
    Delivery,
    Enrollment,
    Event,
    Idempotency,
    JoinFlow,
    JoinSession,
    Program,
    Quota,
    SiteRow,
    VendorCredentials,
    WebhookEndpoint,
)

HELD: dict[str, type[Any]] = {
    "enrollments": Enrollment,
    "sites": SiteRow,
    "vendor credentials": VendorCredentials,
    "join flows": JoinFlow,
    "webhooks": WebhookEndpoint,
    "API clients": ApiClient,
}
_DOORS = (ApiClient, JoinSession, JoinFlow, Program)
_REST = (Delivery, WebhookEndpoint, Event, VendorCredentials, Idempotency)


@dataclass(frozen=True, kw_only=True)
class RemovalProgress:
    """Enrollments that are gone."""

    done: int
    total: int


async def holdings(hub: Hub, account_id: str) -> dict[str, int]:
    """Counts how much of each kind the account has. Raises NotFound."""
    async with hub.store.read() as session:
        await _account(session, account_id)
        return {what: await _count(session, table, account_id) for what, table in HELD.items()}


async def remove(hub: Hub, account_id: str, actor: str) -> AsyncIterator[RemovalProgress]:
    """Removes the account and all it has, yielding how many of its enrollments are gone. Raises NotFound."""
    async with hub.store.write(account_id) as session:
        await _account(session, account_id)
        await _erase(session, _DOORS, account_id)
        total = await _count(session, Enrollment, account_id)
    done = 0
    while not await _finished(hub, account_id, actor):
        async for _ in _without_enrollments(hub, account_id, actor):
            done += 1
            yield RemovalProgress(done=done, total=max(total, done))


async def _without_enrollments(hub: Hub, account_id: str, actor: str) -> AsyncIterator[str]:
    async with hub.store.read() as session:
        query = select(col(Enrollment.id)).where(col(Enrollment.account_id) == account_id).order_by(col(Enrollment.id))
        found = list((await session.execute(query)).scalars())
    for enrollment_id in found:
        with suppress(NotFound):  # another run was faster
            await enrollments.delete(hub, account_id, enrollment_id, actor)
        yield enrollment_id


async def _finished(hub: Hub, account_id: str, actor: str) -> bool:
    """Erases the account; False while there are enrollments: a consent that was under way may have added one."""
    async with hub.store.write(account_id) as session:
        if await _count(session, Enrollment, account_id):
            return False
        apps = select(col(VendorCredentials.id)).where(col(VendorCredentials.account_id) == account_id)
        await session.execute(delete(Quota).where(col(Quota.app).in_(apps)))
        await _erase(session, (*_DOORS, *_REST), account_id)
        await session.execute(delete(DataKey).where(col(DataKey.owner) == account_id))
        audit(session, account_id, actor, "account.delete", account_id)
        await session.delete(await _account(session, account_id))
    return True


async def _account(session: AsyncSession, account_id: str) -> Account:
    account = await session.get(Account, account_id)
    if account is None:
        raise NotFound("There is no such account; see `joinder accounts list`.")
    return account


async def _count(session: AsyncSession, table: type[Any], account_id: str) -> int:
    query = select(func.count()).select_from(table).where(col(table.account_id) == account_id)
    return int((await session.execute(query)).scalar_one())


async def _erase(session: AsyncSession, tables: tuple[type[Any], ...], account_id: str) -> None:
    for table in tables:
        await session.execute(delete(table).where(col(table.account_id) == account_id))
