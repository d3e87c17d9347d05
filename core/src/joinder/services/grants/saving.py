"""Puts a new token on disk, first thing after the vendor answered: it exists nowhere else.

Journal and commit begin at the same moment; nothing between the answer and the commit may raise or wait. What follows
from a token that was saved is the same whenever that happens and whoever does it: `_recovered`.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import UnknownVendor
from joinder.grants import Grant
from joinder.runtime.hub import Hub
from joinder.services.grants import apps, durability, journal, revocations, standing
from joinder.services.records import health
from joinder.services.records.opened_grant import seal_grant
from joinder.services.work import leases
from joinder.services.work.schedule import next_refresh
from joinder.store.journal import Line
from joinder.store.tables import Due, Enrollment, GrantRow, SiteRow
from joinder.store.types import Statement
from joinder.trouble import StoreRefused, StoreTrouble

if TYPE_CHECKING:
    from joinder.services.records.opened_grant import RefreshAttempt

VERSIONS_KEPT, FORGET_EVERY = 20, 10
log = logging.getLogger("joinder.refresh")

_FRESH = (
    'UPDATE "grant" SET sealed = :sealed, version = :fresh, expires_at = :expires_at, '
    "refresh_expires_at = :refresh_expires_at, state = :state, obtained_by = 'refresh', obtained_at = :at, "
    "refresh_count = refresh_count + 1, intent_id = NULL, intent_at = NULL, intent_count = 0, refused_at = NULL, "
    "suspected_at = CASE WHEN denied_at IS NULL THEN NULL ELSE suspected_at END, warned_at = NULL, wait_until = NULL, "
    "odd_since = NULL, odd_code = NULL WHERE enrollment_id = :enrollment AND "
)
_SAVE = _FRESH + "version = :version"
_SAVE_WHAT_IS_NEWER = (
    _FRESH + "version < :fresh AND (obtained_at <= :at OR (version = :before AND obtained_at = :after))"
)
_HELD = " AND EXISTS (SELECT 1 FROM due WHERE kind = 'refresh' AND enrollment_id = :enrollment AND lease = :lease)"
_REMEMBER = (
    "INSERT INTO grant_version (enrollment_id, version, obtained_by, obtained_at, expires_at, refresh_expires_at) "
    "SELECT enrollment_id, version, obtained_by, obtained_at, expires_at, refresh_expires_at "
    'FROM "grant" WHERE enrollment_id = :enrollment ON CONFLICT DO NOTHING'
)
_FORGET = "DELETE FROM grant_version WHERE enrollment_id = :enrollment AND version <= :oldest"
_READS = (
    "(enrollment.paused_at IS NULL AND EXISTS "
    "(SELECT 1 FROM site s WHERE s.enrollment_id = enrollment.id AND s.gone_at IS NULL))"
)
_WELL = (  # failed reads go on counting, or a token renewed before each of them would hide that none succeeds
    f"UPDATE enrollment SET failures = CASE WHEN {_READS} THEN failures ELSE 0 END, last_attempt_at = :now "  # noqa: S608
    "WHERE id = :enrollment AND health IN ('ok', 'connecting')"
)


async def save(hub: Hub, attempt: RefreshAttempt, fresh: Grant) -> None:
    """Writes the new token to the journal and the database, however long the latter is away, then what follows from it.

    Raises TransientError only at a stop, when the journal holds it.
    """
    answered_at, at = time.perf_counter(), now()
    enrollment_id, version = attempt.enrollment_id, attempt.version + 1
    journal.note(hub, attempt.held.row, version, fresh)
    due_at: int | None = None

    async def commit(tries: int) -> bool:
        nonlocal due_at
        due_at = next_refresh(attempt.vendor, fresh, utc_now())
        return await _commit(hub, attempt, fresh, at, due_at, tries)

    is_well = await durability.until_stored(
        hub, enrollment_id, commit, is_safe=lambda: hub.journal.holds(enrollment_id, version)
    )
    hub.journal.stored(enrollment_id, version)
    hub.metrics.made_durable(attempt.vendor.name, time.perf_counter() - answered_at)
    if not is_well:
        await _recovered(hub, enrollment_id, due_at)


async def _recovered(hub: Hub, enrollment_id: str, due_at: int | None) -> None:
    """Calls `recover` as soon as the database lets it."""

    async def tried(_: int) -> None:
        try:
            await recover(hub, enrollment_id, due_at)
        except StoreRefused as error:  # it would be refused again
            log.error("what follows from the new token of %s failed: %s", enrollment_id, error)
        except StoreTrouble:
            raise
        except Exception as error:  # noqa: BLE001 - a bug of ours must not keep the token's task for ever
            log.error("what follows from the new token of %s failed: %s", enrollment_id, type(error).__name__)

    await durability.until_stored(hub, enrollment_id, tried, is_safe=lambda: True)


async def save_from_journal(hub: Hub, line: Line, grant: Grant) -> bool:
    """Stores a journal's grant; False when the database has a newer one by now. Raises StoreTrouble."""
    values = _values(hub, line.account, line.enrollment, line.version, grant, at=line.at, after=line.after)
    statements = [(_SAVE_WHAT_IS_NEWER, values), *_lineage(line.version, values)]
    clear = leases.clearing(hub.store.dialect, "refresh", line.enrollment)
    if not (await hub.store.apply(*statements, clear, serialize_on=line.enrollment))[0]:
        return False
    await recover(hub, line.enrollment, await _next_refresh(hub, line.enrollment, grant))
    return True


async def _next_refresh(hub: Hub, enrollment_id: str, grant: Grant) -> int | None:
    """Returns when the grant is to be renewed next, in epoch seconds; None while its plugin is not there."""
    ((name,),) = await hub.store.rows("SELECT vendor FROM enrollment WHERE id = :id", {"id": enrollment_id})
    try:
        return next_refresh(hub.registry.vendor(name), grant, utc_now())
    except UnknownVendor:
        return None


async def _commit(hub: Hub, attempt: RefreshAttempt, fresh: Grant, at: int, due_at: int, tries: int) -> bool:
    """Tries once to store the token; True when the enrollment was and is well, and its lease still ours.

    A try whose commit told no outcome is harmless to repeat: the version it was for is then gone.
    """
    row = attempt.held.row
    values = _values(hub, row.account_id, row.id, row.version + 1, fresh, at=at, after=row.obtained_at)
    values |= {"version": row.version, "lease": attempt.lease}
    others = [(_WELL, values), *_lineage(row.version + 1, values)]
    release = leases.releasing("refresh", row.id, attempt.lease, due_at)
    saved, well, *_ = await hub.store.apply((_SAVE + _HELD, values), *others, release, serialize_on=row.id)
    is_late = False
    if not saved:
        saved, well, *_ = await hub.store.apply((_SAVE_WHAT_IS_NEWER, values), *others, serialize_on=row.id)
        is_late = bool(saved)  # nobody has a newer token, so this one is the best there is
    if is_late:
        hub.metrics.lease_overrun("refresh")
        log.error("the lease of %s ended before its answer came", row.id)
    hub.metrics.refreshed(attempt.vendor.name, "renewed" if saved or tries else "overtaken")
    if not saved:
        await revocations.renewed_meanwhile(hub, row.id, fresh)
        return not tries  # by a try that told no outcome, or by whoever overtook it
    return bool(well) and not is_late


def _lineage(version: int, values: dict[str, object]) -> list[Statement]:
    """Remembers where this version came from; what is older than the last twenty goes now and then."""
    return [(_REMEMBER, values), *([(_FORGET, values)] if version % FORGET_EVERY == 0 else [])]


def _values(
    hub: Hub, account_id: str, enrollment_id: str, version: int, fresh: Grant, *, at: int, after: int
) -> dict[str, object]:
    return {
        "before": version - 1,
        "after": after,
        "enrollment": enrollment_id,
        "fresh": version,
        "oldest": version - VERSIONS_KEPT,
        "sealed": seal_grant(hub, account_id, enrollment_id, fresh),
        "expires_at": to_epoch(fresh.expires_at),
        "refresh_expires_at": to_epoch(fresh.refresh_expires_at),
        "state": str(fresh.state),
        "at": at,
        "now": now(),
    }


async def recover(hub: Hub, enrollment_id: str, due_at: int | None) -> None:
    """Notes that whatever was wrong with the token is over; polling that had stopped for it goes on.

    Where a read may have been what failed, a read says that it is over: the next one, now. `due_at`: epoch seconds of
    the next renewal; None: as is planned, or now where nothing is.
    """
    due = {} if due_at is None else {"refresh": due_at}
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        grant = await session.get(GrantRow, enrollment_id)
        poll = await session.get(Due, ("poll", enrollment_id))
        if enrollment is None or grant is None:
            return
        if enrollment.health == "quarantined" and poll is not None and poll.due_at >= leases.NEVER:
            return  # it is reading that broke
        enrollment.last_attempt_at = now()
        if not await _has_sites(session, enrollment):  # what was refused is not asked any more
            grant.denied_at = None
        if grant.denied_at is not None:  # the token is well; whether its data are told is for a read to find out
            await standing.settle(hub, session, enrollment, due=due)
            return
        is_open = await _may_be_of_the_data(session, enrollment)
        state = None if is_open else await health.begun(session, enrollment_id)
        enrollment.failures = enrollment.failures if is_open else 0
        await standing.settle(hub, session, enrollment, state, due={**due, "poll": now()})


async def _may_be_of_the_data(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Tells whether its trouble may be one of reading, and a poll will find out."""
    if enrollment.health not in ("degraded", "operator_action") or enrollment.paused_at is not None:
        return False
    if not enrollment.failures and not await apps.is_refused_by(session, enrollment, "data"):
        return False
    return await _has_sites(session, enrollment)


async def _has_sites(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Tells whether it reads any site: those it may open can all be others' to read."""
    query = select(SiteRow.id).where(col(SiteRow.enrollment_id) == enrollment.id, col(SiteRow.gone_at).is_(None))
    return (await session.execute(query.limit(1))).first() is not None
