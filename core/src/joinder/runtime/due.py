"""Due work of the `due` table, by vendor app: which apps have some, and a batch of it, each row under its own lease."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from joinder.clock import now
from joinder.errors import PluginBug, VendorError
from joinder.observe import tracing
from joinder.observe.log_context import log_context
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.refusals import NotFound, Refusal
from joinder.services.work import leases
from joinder.services.work.jobs import Job
from joinder.services.work.schedule import BACKOFF_MOST
from joinder.store.driver_errors import said, trouble_from
from joinder.store.tables import Due, Enrollment
from joinder.store.types import Statement
from joinder.trouble import StoreRefused

AT_ONCE = 32
BATCH = 200
WINDOW = 10_000  # rows due longest, among which the nearest to expiry come first
SLOTS = 4  # jobs one app may keep busy, when it has that many batches
JOB_S = 5.0  # then the job ends, and the next look decides who goes on
SUSPECT = 2  # from so many on it runs beside no other suspect, so that a death tells which of them it was
STRIKES = 5  # a row that broke its worker so often in a row waits for the operator
log = logging.getLogger("joinder.worker")

# One index probe for each app, however many rows are due (a loose index scan).
_APPS = (
    "WITH RECURSIVE apps(app) AS (SELECT min(app) FROM due WHERE kind = :kind UNION ALL "
    "SELECT (SELECT min(d.app) FROM due d WHERE d.kind = :kind AND d.app > apps.app) FROM apps WHERE app IS NOT NULL) "
    "SELECT app, (SELECT count(*) FROM (SELECT 1 FROM due d WHERE d.kind = :kind AND d.app = apps.app "
    "AND d.due_at <= :now AND (d.lease IS NULL OR d.lease_boot <> :clock OR d.lease_until < {lapsed}) LIMIT :most) w) "
    "FROM apps WHERE app IS NOT NULL"
)
_BY_DUE = (
    "SELECT d.enrollment_id, d.strikes, d.lease FROM due d WHERE d.kind = :kind AND d.app = :app "
    "AND d.due_at <= :now AND (d.lease IS NULL OR d.lease_boot <> :clock OR d.lease_until < {lapsed}) "
    "ORDER BY d.due_at LIMIT :limit OFFSET :offset"
)
# Of those due longest: to sort all that an outage left due, for each batch, would cost the square of their number.
_BY_EXPIRY = (
    "SELECT w.enrollment_id, w.strikes, w.lease FROM (SELECT d.enrollment_id, d.strikes, d.lease, d.due_at FROM due d "
    "WHERE d.kind = :kind AND d.app = :app AND d.due_at <= :now "
    "AND (d.lease IS NULL OR d.lease_boot <> :clock OR d.lease_until < {lapsed}) ORDER BY d.due_at LIMIT :window) w "
    'JOIN "grant" g ON g.enrollment_id = w.enrollment_id '
    "ORDER BY coalesce(g.expires_at, g.refresh_expires_at, w.due_at) LIMIT :limit OFFSET :offset"
)
# Who has just consented waits for a first reading; of several the newest comes first.
_NEWEST_CONSENT = (
    "SELECT d.enrollment_id, d.strikes, d.lease FROM enrollment e JOIN due d ON d.enrollment_id = e.id "
    "WHERE e.health = 'connecting' AND d.kind = :kind AND d.app = :app "
    "AND d.due_at <= :now AND (d.lease IS NULL OR d.lease_boot <> :clock OR d.lease_until < {lapsed}) "
    "ORDER BY e.created_at DESC, e.id LIMIT :limit"
)
_STRIKE = "UPDATE due SET strikes = strikes + 1 WHERE kind = :kind AND enrollment_id = :id"
_BURY = (
    "UPDATE due SET strikes = strikes + 1, lease = NULL, lease_until = NULL "
    "WHERE kind = :kind AND enrollment_id = :id AND lease = :lease AND (lease_boot <> :clock OR lease_until < {lapsed})"
)
_CLEAR = "UPDATE due SET strikes = 0 WHERE kind = :kind AND enrollment_id = :id AND strikes > 0"

Run = Callable[[Hub, str], Awaitable[None]]
Pace = Callable[[Hub, str], Awaitable[None]]


class DueRow(NamedTuple):
    enrollment_id: str
    strikes: int
    left_by: str | None = None  # the lease of a holder that died in it


@dataclass(frozen=True)
class Kind:
    """One kind of due row. `run` works one of them; `pace`, where there is one, is waited for before each."""

    name: str
    run: Run
    nearest_to_expiry_first: bool = False
    newest_consent_first: bool = False
    pace: Pace | None = None

    def job(self) -> Job:
        return Job(self.name, self._keys, self._work)

    async def _keys(self, hub: Hub) -> list[str]:
        values = {"kind": self.name, "now": now(), "most": BATCH * SLOTS}
        rows = await hub.store.rows(*_on_clock(hub, _APPS, values))
        return [f"{slot}:{app}" for app, count in rows for slot in range(-(-count // BATCH))]

    async def _work(self, hub: Hub, key: str) -> None:
        slot, _, app = key.partition(":")
        loop = asyncio.get_running_loop()
        until, seen = loop.time() + JOB_S, set[str]()
        while loop.time() < until and not hub.stopping.is_set():
            rows = await self._next(hub, app, int(slot) * BATCH)
            fresh = [row for row in rows if row.enrollment_id not in seen]
            if not fresh:
                return
            seen.update(row.enrollment_id for row in fresh)
            await _run_all(hub, self, app, fresh, until)

    async def _next(self, hub: Hub, app: str, offset: int) -> list[DueRow]:
        values = {"kind": self.name, "app": app, "now": now(), "limit": BATCH, "offset": offset}
        sql = _BY_DUE
        if self.nearest_to_expiry_first:
            sql, values["window"] = _BY_EXPIRY, WINDOW
        rows = [DueRow(*row) for row in await hub.store.rows(*_on_clock(hub, sql, values))]
        if not self.newest_consent_first or offset or not rows:
            return rows
        names = {name: values[name] for name in ("kind", "app", "now", "limit")}
        new = await hub.store.rows(*_on_clock(hub, _NEWEST_CONSENT, names))
        return list({row.enrollment_id: row for row in (*(DueRow(*found) for found in new), *rows)}.values())[:BATCH]


def _on_clock(hub: Hub, sql: str, values: Mapping[str, Any]) -> Statement:
    return leases.on_clock(hub.store.dialect, sql, values, patience_s=hub.store.pulse.patience_s())


async def _run_all(hub: Hub, kind: Kind, app: str, rows: list[DueRow], until: float) -> None:
    """Runs so many at a time; none is begun once the job's time is over or the process stops."""
    left = iter(rows)

    async def one_after_another() -> None:
        async for row in _paced(hub, kind, app, left, until):
            await run_one(hub, kind, row)

    lanes = [one_after_another() for _ in range(min(AT_ONCE, len(rows)))]
    for error in await asyncio.gather(*lanes, return_exceptions=True):
        if error is not None:
            raise error


async def _paced(hub: Hub, kind: Kind, app: str, left: Iterator[DueRow], until: float) -> AsyncIterator[DueRow]:
    loop = asyncio.get_running_loop()
    for row in left:
        if kind.pace is not None:
            await kind.pace(hub, app)
        if hub.stopping.is_set() or loop.time() >= until:
            return
        yield row


def _told(error: Exception) -> str:
    """Adds to a plugin's bug its place, which is all that is known of it."""
    return f"{error} ({error.detail})" if isinstance(error, PluginBug) and error.detail else str(error)


async def run_one(hub: Hub, kind: Kind, row: DueRow) -> None:
    """Runs one row, whatever it does: its trouble is nobody else's.

    Raises StoreTrouble, which is not the row's: it is found again.
    """
    if row.left_by is not None:
        await _bury(hub, kind.name, row)
        if row.strikes:  # twice in a row: what else ran beside it must not be there again
            return
    if row.strikes >= STRIKES:
        await _quarantine(hub, kind.name, row.enrollment_id)
        return
    alone = hub.suspects if row.strikes >= SUSPECT else nullcontext()
    try:
        async with alone:
            await _run(hub, kind, row)
    except NotFound:
        return
    except (VendorError, Refusal) as error:
        log.warning("%s of %s: %s", kind.name, row.enrollment_id, _told(error))
        await _postpone(hub, kind.name, row.enrollment_id, _wait_s(error))
    except Exception as error:  # noqa: BLE001 - one bad row must not stop the others
        trouble = trouble_from(error)
        if trouble is not None and not isinstance(trouble, StoreRefused):
            raise trouble from None
        if trouble is not None and await _is_gone(hub, row.enrollment_id):
            return  # deleted meanwhile: what was learnt of it had no place any more
        log.error("%s of %s failed: %s", kind.name, row.enrollment_id, said(error))
        with suppress(Exception):
            await _strike(hub, kind.name, row)
    else:
        if row.strikes or row.left_by is not None:
            await hub.store.apply((_CLEAR, {"kind": kind.name, "id": row.enrollment_id}))


async def _is_gone(hub: Hub, enrollment_id: str) -> bool:
    return not await hub.store.rows("SELECT 1 FROM enrollment WHERE id = :id", {"id": enrollment_id})


async def _run(hub: Hub, kind: Kind, row: DueRow) -> None:
    with log_context(job=kind.name, enrollment_id=row.enrollment_id), tracing.span("job", kind=kind.name):
        await kind.run(hub, row.enrollment_id)


def _wait_s(error: VendorError | Refusal) -> float:
    retry_after = error.retry_after if isinstance(error, VendorError) else None
    return (retry_after or BACKOFF_MOST).total_seconds()


async def _postpone(hub: Hub, kind: str, enrollment_id: str, wait_s: float) -> None:
    """Postpones work that failed before it could plan its next try, or it would be due again at once."""
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Due, (kind, enrollment_id))
        if row is not None and row.due_at <= now():
            row.due_at = now() + max(1, int(wait_s))


async def _strike(hub: Hub, kind: str, row: DueRow) -> None:
    await _postpone(hub, kind, row.enrollment_id, 30 * 2**row.strikes)
    await hub.store.apply((_STRIKE, {"kind": kind, "id": row.enrollment_id}))


async def _bury(hub: Hub, kind: str, row: DueRow) -> None:
    """Takes back a lease whose holder gave nothing back: a worker that was killed, by this row perhaps."""
    values = {"kind": kind, "id": row.enrollment_id, "lease": row.left_by}
    buried = await hub.store.apply(_on_clock(hub, _BURY, values))
    if buried[0] and row.strikes:
        await _postpone(hub, kind, row.enrollment_id, 30 * 2**row.strikes * random.uniform(0.5, 1.0))  # noqa: S311


async def _quarantine(hub: Hub, kind: str, enrollment_id: str) -> None:
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        row = await session.get(Due, (kind, enrollment_id))
        if enrollment is None or row is None:
            return
        row.due_at, row.strikes = leases.NEVER, 0
        await session.flush()
        reason = f"Its {kind} broke {STRIKES} times in a row, or took its worker down; look at the log."
        await standing.settle(hub, session, enrollment, "quarantined", reason=reason, due={kind: leases.NEVER})
