"""What keeps a new token from being lost to a full disk (reliability R15)."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from datetime import timedelta

from sqlalchemy.exc import SQLAlchemyError

from joinder.errors import TransientError
from joinder.services.hub import Hub
from joinder.services.jobs import Job
from joinder.store.ballast import Ballast
from joinder.store.engine import Store

RETRY_AFTER = timedelta(minutes=1)
_SQLITE_FULL = sqlite3.SQLITE_FULL


def ballast_of(store: Store) -> Ballast | None:
    """None on PostgreSQL, whose disk is not ours to watch."""
    found: Ballast | None = getattr(store, "ballast", None)
    return found


def arm(hub: Hub) -> None:
    """For processes that renew tokens; a passing command leaves the disk as it is."""
    ballast = ballast_of(hub.store)
    if ballast is not None:
        ballast.arm(hub.settings.ballast_mib * 1024 * 1024)


def trouble(hub: Hub) -> str | None:
    """Why no renewal may begin now, in a sentence for the operator."""
    ballast = ballast_of(hub.store)
    if ballast is None or ballast.ok:
        return None
    return (
        f"The disk of the database is full: {ballast.path.name} had to be given up, and comes back by itself when "
        f"{4 * ballast.size_bytes // 1024**2} MiB are free. Until then no token is renewed."
    )


def check(hub: Hub) -> None:
    """Before a vendor is called for a new token. Raises TransientError."""
    reason = trouble(hub)
    if reason is not None:
        raise TransientError(reason, retry_after=RETRY_AFTER)


def make_room(hub: Hub, error: SQLAlchemyError) -> bool:
    """After a failed commit of a new token: True when there is room now, and it should be tried again at once."""
    ballast = ballast_of(hub.store)
    return ballast is not None and is_full(error) and ballast.free()


def is_full(error: BaseException) -> bool:
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, OSError):
        return cause.errno == errno.ENOSPC
    return getattr(cause, "sqlite_errorcode", 0) & 0xFF == _SQLITE_FULL


async def _due(hub: Hub) -> list[str]:
    ballast = ballast_of(hub.store)
    return ["ballast"] if ballast is not None and not ballast.ok and ballast.has_room() else []


async def _work(hub: Hub, _: str) -> None:
    ballast = ballast_of(hub.store)
    if ballast is not None:
        await asyncio.to_thread(ballast.lay)


JOB = Job("ballast", _due, _work)
