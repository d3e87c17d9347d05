"""In which stretch of its life the database is: an epoch ends where it may have forgotten commits.

A standby that took over lacks the last ones of its primary; so does a cluster put back to an earlier moment. Each has
another timeline, and a copied cluster another system identifier. The row `server` says in which epoch the database is
and on which server that began. The row `epoch:ID` is there while renewals may begin in it: each of them asks for it,
and for the server, in the transaction of its intent (services/grants/failover.py).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from msgspec import Struct, ValidationError, convert, to_builtins
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.store.tables import StoreState
from joinder.store.types import Statement

SERVER_SQL = (
    "(SELECT system_identifier::text FROM pg_control_system()) || '/' || "
    "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
)
_ROW = "server"  # in store_state
_LEAVES = "DELETE FROM store_state WHERE name = :name AND {stands}"
_PROCESS = "process:"
_STANDS = (
    "EXISTS (SELECT 1 FROM store_state WHERE name = :epoch) AND EXISTS "
    "(SELECT 1 FROM store_state WHERE name = :process AND CAST(value ->> 'seen' AS bigint) >= :seen)"
)


class Epoch(Struct, frozen=True, kw_only=True):
    """`server` None: it cannot be told. Epoch seconds by the database's clock: `since` it began, `taken_at` of the last
    commit that is known to be there. `is_open`: renewals may begin. `missing`: processes that nobody vouches for.
    """

    id: str
    server: str | None
    since: int
    taken_at: int
    is_open: bool = False
    missing: list[str] = []
    has_marks: bool = False  # its own, behind the barrier, and no others


UNREADABLE = Epoch(id="unreadable", server="unknown", since=0, taken_at=0, is_open=True)  # is followed by another


@dataclass
class Footing:
    """What one process knows of its database. `epoch` empty: it has not looked, or may not renew now."""

    epoch: str = ""
    server: str | None = None
    is_in_doubt: bool = True  # something said that the database may have moved on
    doubted_from: int | None = None  # epoch seconds: to then the database went back, as far as is known
    reason: str | None = None  # why this process may not renew
    looked_at: float = float("-inf")  # monotonic
    told_at: float = float("-inf")  # as is that the others know of this process
    seen: int = 0  # of its row that was stored last: where that is older, the database went back


class Process(Struct, frozen=True, kw_only=True):
    """One that renews tokens. `epoch`: the one in which all that it has is applied; `seen`: epoch seconds."""

    epoch: str
    seen: int


def stands(process: str, footing: Footing) -> tuple[str, Mapping[str, Any]]:
    """Returns a condition for a statement, and its values: the database is where this process last found it.

    It also has what the process last told of itself, or it was put back under it.
    """
    values = {"epoch": _open_row(footing.epoch), "process": _PROCESS + process, "seen": footing.seen}
    if footing.server is None:
        return _STANDS, values
    return f"{_STANDS} AND {SERVER_SQL} = :server", {**values, "server": footing.server}


def leaving(process: str, footing: Footing) -> Statement:
    """Makes the statement that forgets a process which ends; not where the database moved, and may lack what it had."""
    condition, more = stands(process, footing)
    return _LEAVES.format(stands=condition), {"name": _PROCESS + process, **more}


async def current(session: AsyncSession) -> Epoch | None:
    """Reads the epoch; UNREADABLE where the row says nothing to this release, None where there is none."""
    row = await session.get(StoreState, _ROW, populate_existing=True)
    if row is None:
        return None
    try:
        return convert(row.value, Epoch)
    except ValidationError:
        return UNREADABLE


async def put(session: AsyncSession, epoch: Epoch) -> None:
    """Stores the epoch in place of the one before, whose renewals can begin no more."""
    await session.execute(delete(StoreState).where(col(StoreState.name).startswith(_open_row(""), autoescape=True)))
    await session.merge(StoreState(name=_ROW, value=to_builtins(epoch)))
    if epoch.is_open:
        session.add(StoreState(name=_open_row(epoch.id), value={}))


def new_id() -> str:
    return secrets.token_hex(8)


async def processes(session: AsyncSession) -> dict[str, Process | None]:
    """Reads the processes by name; None: one whose row says nothing to this release."""
    query = select(StoreState).where(col(StoreState.name).startswith(_PROCESS, autoescape=True))
    found = (await session.execute(query)).scalars()
    return {row.name.removeprefix(_PROCESS): _told(row.value) for row in found}


async def heard(session: AsyncSession, process: str) -> int | None:
    """Returns when the process told of itself last, as far as the database knows; None: it does not."""
    row = await session.get(StoreState, _PROCESS + process, populate_existing=True)
    known = None if row is None else _told(row.value)
    return None if known is None else known.seen


def _told(value: Mapping[str, Any]) -> Process | None:
    try:
        return convert(value, Process)
    except ValidationError:
        return None


async def tell(session: AsyncSession, process: str, told: Process) -> None:
    """Stores what a process says of itself, in place of what it said before."""
    await session.merge(StoreState(name=_PROCESS + process, value=to_builtins(told)))


async def forget(session: AsyncSession, *names: str) -> None:
    """Deletes processes that have ended, or were not seen for long."""
    rows = [_PROCESS + name for name in names]
    await session.execute(delete(StoreState).where(col(StoreState.name).in_(rows)))


async def forget_all(session: AsyncSession) -> None:
    """Deletes epochs and processes of a copy: it begins anew, and what it was taken from goes on elsewhere."""
    for prefix in (_PROCESS, _open_row("")):
        await session.execute(delete(StoreState).where(col(StoreState.name).startswith(prefix, autoescape=True)))
    await session.execute(delete(StoreState).where(col(StoreState.name) == _ROW))


def _open_row(epoch: str) -> str:
    return f"epoch:{epoch}"
