"""Puts into the database what the journal has and it has not: after its trouble, at start, after a fail-over.

A line is applied where it is newer than what is stored: a later version, and not older than the grant's last consent.
What cannot be read or stored stays in its file, and keeps no other from being stored.
Everything else is refused, by the name of its file.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.grants import footing, holders, journal, saving
from joinder.services.records.opened_grant import OpenedRow
from joinder.store.driver_errors import said
from joinder.store.journal import KEPT_S, Found, Line
from joinder.store.vault import SealBroken
from joinder.trouble import StoreRefused, StoreTrouble

log = logging.getLogger("joinder.journal")

_STORED = (
    'SELECT g.version, g.obtained_at, g.refused_at, e.health FROM "grant" g '
    "JOIN enrollment e ON e.id = g.enrollment_id WHERE g.enrollment_id = :id"
)


@dataclass(kw_only=True)
class Applied:
    """How many tokens the database did not have, and the sentences of what was refused. `left`: whose tokens could not
    be stored; the files that hold them stay. `ended`: processes that are gone, and all they left is stored. `since`: of
    each process, from when on (epoch seconds) its files hold all that it got.
    """

    count: int = 0
    refused: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    since: dict[str, float] = field(default_factory=dict)


async def look(hub: Hub) -> Applied:
    """Says what `apply` would do, and refuse, without changing anything. Raises StoreTrouble."""
    return await _looked_through(hub, await asyncio.to_thread(hub.journal.read), is_real=False)


async def apply(hub: Hub) -> Applied:
    """Stores what is newer than the database. Harmless beside other processes that do the same, and twice.

    Raises StoreTrouble. Files of processes that are gone end when all in them is old and stored.
    """
    found = await asyncio.to_thread(hub.journal.read)
    applied = await _looked_through(hub, found, is_real=True)
    await asyncio.to_thread(_end, [file for file in found if _is_over(hub, file, applied)])
    if applied.count:
        log.warning("%d new tokens were not in the database; they are stored from the journal", applied.count)
    return applied


async def _looked_through(hub: Hub, found: list[Found], *, is_real: bool) -> Applied:
    applied = Applied(refused=[sentence for file in found if (sentence := _refused(hub, file))])
    for line in _newest(line for file in found for line in file.lines if line.store == hub.identity):
        if line.enrollment and line.enrollment not in hub.unsaved:  # else it is a file's first, or its task is at it
            try:
                await _apply_one(hub, line, applied, is_real=is_real)
            except Exception as error:  # noqa: BLE001 - one bad line must not stop the others
                _leave(applied, line, error)
    applied.ended = {file.process for file in found} - {file.process for file in found if _may_hold_more(file, applied)}
    for file in found:
        applied.since[file.process] = min(file.since, applied.since.get(file.process, file.since))
    return applied


def _may_hold_more(file: Found, applied: Applied) -> bool:
    return file.is_written or bool(file.damaged) or any(line.enrollment in applied.left for line in file.lines)


def _leave(applied: Applied, line: Line, error: Exception) -> None:
    """Raises trouble of the database; whatever else a line is refused for, the others are not."""
    if isinstance(error, StoreTrouble) and not isinstance(error, StoreRefused):
        raise error
    applied.left.add(line.enrollment)
    if isinstance(error, SealBroken):
        applied.refused.append(f"a token of {line.enrollment} does not open with this database's keys")
        return
    log.error("a token of %s in the journal cannot be stored: %s", line.enrollment, said(error))
    applied.refused.append(f"a token of {line.enrollment} cannot be stored: {said(error)}")


async def catch_up(hub: Hub, row: OpenedRow) -> bool:
    """Applies the journals where the database may lack a newer token of this grant; True if it did.

    Called before a token is sent. It looks where the journal of this process says so, and once for each process that is
    found to have ended in the middle of an exchange.
    """
    holder = holders.holder_of(row)
    is_behind = (hub.journal.newest(row.id) or 0) > row.version and row.id not in hub.unsaved
    has_ended = holder not in ("", hub.process) and holder not in hub.ended and hub.journal.is_writing(holder) is False
    if not is_behind and not has_ended:
        return False
    if is_behind:
        # Others may have lost more; but nothing from before this process's journal, or a look would have noticed.
        footing.went_back(hub, max(row.obtained_at, now() - int(KEPT_S)))
    await apply(hub)
    if has_ended:
        hub.ended.add(holder)
    return True


def _newest(lines: Iterable[Line]) -> Iterable[Line]:
    newest: dict[str, Line] = {}
    for line in lines:
        if line.enrollment not in newest or newest[line.enrollment].version < line.version:
            newest[line.enrollment] = line
    return newest.values()


async def _apply_one(hub: Hub, line: Line, applied: Applied, *, is_real: bool) -> None:
    for version, obtained_at, refused_at, health in await hub.store.rows(_STORED, {"id": line.enrollment}):
        if is_real and line.version == version and health == "lost_in_flight" and refused_at is None:
            await saving.recover(hub, line.enrollment, None)  # its token was saved, and then its process ended
        if line.version <= version or not _is_newer(line, version, obtained_at):
            return
        grant = await journal.opened(hub, line)
        applied.count += not is_real or await saving.save_from_journal(hub, line, grant)


def _is_newer(line: Line, version: int, obtained_at: int) -> bool:
    """Tells whether a line's token is newer than the stored one.

    A line by a clock that was put back is, where its token was got for the very token that is stored.
    """
    return line.at >= obtained_at or (line.version == version + 1 and line.after == obtained_at)


def _refused(hub: Hub, file: Found) -> str | None:
    """Says why some of a file says nothing to this database; None when all of it does."""
    others = {line.store for line in file.lines} - {hub.identity}
    told = [f"{file.damaged} lines are damaged"] if file.damaged else []
    told += ["it belongs to another database, or to this one before it was restored"] if others else []
    return f"{file.path.name}: {' and '.join(told)}" if told else None


def _is_over(hub: Hub, file: Found, applied: Applied) -> bool:
    is_ours = all(line.store == hub.identity and line.enrollment not in applied.left for line in file.lines)
    return is_ours and not file.damaged and not file.is_written and all(line.at < now() - KEPT_S for line in file.lines)


def _end(files: list[Found]) -> None:
    for file in files:
        with suppress(OSError):  # on a disk that may only be read now; another time
            file.path.unlink()
