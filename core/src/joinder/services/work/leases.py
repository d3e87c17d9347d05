"""Leases on due work: one holder per enrollment and kind over all processes.

On SQLite a lease counts on this boot's monotonic clock, which no clock change touches and every process of the host
shares; on PostgreSQL on the database server's clock, as the processes may run on many hosts.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Float, func, literal, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import boot_id, monotonic
from joinder.store.tables import Due
from joinder.store.types import Statement

NEVER = 2**52  # due, but only when something else changes
_TIMES = {"sqlite": ":time", "postgresql": "extract(epoch FROM clock_timestamp())::float8"}
_TAKE = (
    "UPDATE due SET lease = :lease, lease_boot = :clock, lease_until = {time} + :ttl "
    "WHERE kind = :kind AND enrollment_id = :enrollment "
    "AND (lease IS NULL OR lease_boot <> :clock OR lease_until < {lapsed})"
)
_IS_DUE = " AND due_at <= :now"
_RENEW = (
    "UPDATE due SET lease_until = {time} + :ttl WHERE kind = :kind AND enrollment_id = :enrollment AND lease = :lease"
)
_CLEAR = (
    "UPDATE due SET lease = NULL, lease_until = NULL WHERE kind = :kind AND enrollment_id = :enrollment "
    "AND lease IS NOT NULL AND (lease_boot <> :clock OR lease_until < {lapsed})"
)
_RELEASE = (
    "UPDATE due SET lease = NULL, lease_until = NULL, due_at = coalesce(:due_at, due_at) "
    "WHERE kind = :kind AND enrollment_id = :enrollment AND lease = :lease"
)


def new_lease() -> str:
    """Makes a fencing token."""
    return secrets.token_hex(8)


def clock(session: AsyncSession) -> tuple[str, ColumnElement[float]]:
    """Returns the clock leases count on, by name, and its time in seconds.

    It is the database server's, or this boot's monotonic one.
    """
    if _dialect(session) == "postgresql":
        return "database", func.extract("epoch", func.clock_timestamp()).cast(Float)
    return boot_id(), literal(monotonic(), Float)


async def read_clock(session: AsyncSession) -> tuple[str, float]:
    """Reads what `clock` shows now, in seconds, and its name."""
    name, time = clock(session)
    return name, float((await session.execute(select(time))).scalar_one())


def on_clock(dialect: str, sql: str, parameters: Mapping[str, Any], *, patience_s: float = 0.0) -> Statement:
    """Returns the statement with `{time}` as the time of the leases' clock, and its name as `:clock`.

    A lease that ends before `{lapsed}` has run out: so long ago that whoever holds it could have renewed it
    (`Pulse.patience_s`: after a trouble of the database, nobody could).
    """
    time = _TIMES[dialect]
    values: dict[str, Any] = {**parameters, "clock": "database"}
    if dialect == "sqlite":
        values |= {"clock": boot_id(), "time": monotonic()}
    if "{lapsed}" in sql:
        values["patience"] = float(patience_s)
    return sql.format(time=time, lapsed=f"({time} - :patience)"), values


def taking(
    dialect: str,
    kind: str,
    enrollment_id: str,
    lease: str,
    ttl_s: float,
    *,
    patience_s: float = 0.0,
    due_by: int | None = None,
) -> Statement:
    """Changes one row, or none while another holder's lease runs, or it is not due by `due_by` (epoch seconds)."""
    values: dict[str, Any] = {"kind": kind, "enrollment": enrollment_id, "lease": lease, "ttl": float(ttl_s)}
    if due_by is None:
        return on_clock(dialect, _TAKE, values, patience_s=patience_s)
    return on_clock(dialect, _TAKE + _IS_DUE, {**values, "now": due_by}, patience_s=patience_s)


def renewing(dialect: str, kind: str, enrollment_id: str, lease: str, ttl_s: float) -> Statement:
    """Changes no row when the lease is not held any more."""
    return on_clock(dialect, _RENEW, {"kind": kind, "enrollment": enrollment_id, "lease": lease, "ttl": float(ttl_s)})


def clearing(dialect: str, kind: str, enrollment_id: str) -> Statement:
    """Takes away a lease that has run out, where what it was for is done."""
    return on_clock(dialect, _CLEAR, {"kind": kind, "enrollment": enrollment_id})


def releasing(kind: str, enrollment_id: str, lease: str, due_at: int | None) -> Statement:
    """Makes the statement that gives the lease back and says when the work is due next.

    `due_at`: epoch seconds; None: unchanged.
    """
    return _RELEASE, {"kind": kind, "enrollment": enrollment_id, "lease": lease, "due_at": due_at}


async def take(session: AsyncSession, kind: str, enrollment_id: str, ttl_s: float) -> str | None:
    """Takes the lease for `ttl_s` seconds, and returns a fencing token, or None while another holder's lease runs."""
    lease = new_lease()
    taken = await _changed(session, taking(_dialect(session), kind, enrollment_id, lease, ttl_s))
    return lease if taken else None


async def renew(session: AsyncSession, kind: str, enrollment_id: str, lease: str, ttl_s: float) -> bool:
    return await _changed(session, renewing(_dialect(session), kind, enrollment_id, lease, ttl_s))


async def release(session: AsyncSession, kind: str, enrollment_id: str, lease: str, due_at: int | None) -> bool:
    """Releases as `releasing` does; False when it was not held any more."""
    return await _changed(session, releasing(kind, enrollment_id, lease, due_at))


async def _changed(session: AsyncSession, statement: Statement) -> bool:
    sql, parameters = statement
    await session.flush()
    changed = await session.execute(text(sql.replace("::", r"\:\:")), dict(parameters))
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def _dialect(session: AsyncSession) -> str:
    return session.get_bind().dialect.name


async def schedule(
    session: AsyncSession, kind: str, enrollment_id: str, due_at: int, *, app: str | None = None
) -> None:
    """Makes the work due at `due_at` (epoch seconds), whoever holds it now. `app`: whose budget, where that is new."""
    row = await session.get(Due, (kind, enrollment_id))
    if row is None:
        session.add(Due(kind=kind, enrollment_id=enrollment_id, due_at=due_at, app=app or ""))
        return
    row.due_at = due_at
    if app is not None:
        row.app = app
