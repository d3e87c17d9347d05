"""Leases on due work: one holder per enrollment and kind over all processes.

On SQLite a lease counts on this boot's monotonic clock, which no clock change touches and every process of the host
shares; on PostgreSQL on the database server's clock, as the processes may run on many hosts.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import ColumnElement, Float, func, literal, or_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import boot_id, monotonic
from joinder.store.tables import Due

NEVER = 2**52  # due, but only when something else changes


def clock(session: AsyncSession) -> tuple[str, ColumnElement[float]]:
    """The clock leases count on, by name, and its time: the database server's, or this boot's monotonic one."""
    if session.get_bind().dialect.name == "postgresql":
        return "database", func.extract("epoch", func.clock_timestamp()).cast(Float)
    return boot_id(), literal(monotonic(), Float)


async def take(session: AsyncSession, kind: str, enrollment_id: str, ttl_s: float) -> str | None:
    """A fencing token, or None while another holder's lease runs."""
    lease = secrets.token_hex(8)
    name, time = clock(session)
    free = or_(col(Due.lease).is_(None), col(Due.lease_boot) != name, col(Due.lease_until) < time)
    taken = await session.execute(
        update(Due)
        .where(col(Due.kind) == kind, col(Due.enrollment_id) == enrollment_id, free)
        .values(lease=lease, lease_boot=name, lease_until=time + ttl_s)
    )
    return lease if taken.rowcount else None  # type: ignore[attr-defined]


async def renew(session: AsyncSession, kind: str, enrollment_id: str, lease: str, ttl_s: float) -> bool:
    _, time = clock(session)
    return await _change(session, kind, enrollment_id, lease, {"lease_until": time + ttl_s})


async def release(session: AsyncSession, kind: str, enrollment_id: str, lease: str, due_at: int | None) -> bool:
    """Gives the lease back and says when the work is due next (None: unchanged). False: it was not held any more."""
    values: dict[str, Any] = {"lease": None, "lease_until": None}
    if due_at is not None:
        values["due_at"] = due_at
    return await _change(session, kind, enrollment_id, lease, values)


async def _change(session: AsyncSession, kind: str, enrollment_id: str, lease: str, values: dict[str, Any]) -> bool:
    held = await session.execute(
        update(Due)
        .where(col(Due.kind) == kind, col(Due.enrollment_id) == enrollment_id, col(Due.lease) == lease)
        .values(**values)
    )
    return bool(held.rowcount)  # type: ignore[attr-defined]


async def schedule(
    session: AsyncSession, kind: str, enrollment_id: str, due_at: int, *, app: str | None = None
) -> None:
    """Makes the work due at `due_at`, whoever holds it now. `app`: whose budget it is on, where that is new."""
    row = await session.get(Due, (kind, enrollment_id))
    if row is None:
        session.add(Due(kind=kind, enrollment_id=enrollment_id, due_at=due_at, app=app or ""))
        return
    row.due_at = due_at
    if app is not None:
        row.app = app
