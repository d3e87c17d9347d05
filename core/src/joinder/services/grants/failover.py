"""A standby that took over lacks its primary's last commits: what they renewed must not be sent again.

Whoever finds the database on another server than the one it was on, or with an older token than it had stored, begins
a new epoch (store/epoch.py). From that moment no renewal begins anywhere. Every process puts into the database what
its journal has, waits for its exchanges under way, and then vouches: what it renewed is there. When all that renewed
tokens on the server before have done so, renewals go on, within seconds. A process that is gone is vouched for by who
can read its journal, or where it had ended before the last commit that the new server has.

Where somebody is missing for minutes, the single-use tokens that nobody vouches for wait behind the barrier of a
restore (services/grants/barrier.py): until that process is back, or an operator has them probed. All others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import timedelta

from msgspec import structs
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import monotonic, now
from joinder.runtime.hub import Hub
from joinder.services.grants import barrier, footing, recovery
from joinder.services.work import leases
from joinder.store import epoch
from joinder.store.epoch import Epoch, Process
from joinder.vendor import Refresh, Vendor

LOOK_EVERY_S = 5.0
TELL_EVERY_S = 20.0
GONE_S = 60  # not seen for three turns
FORGOTTEN_S = 86_400
FIRST_S = 10  # in which a process that had just begun on the server before looks, and makes itself known
PATIENCE_S = 60  # beyond the deadline of an exchange
_SERIAL = "server"
_REPLAYED = "SELECT extract(epoch FROM pg_last_xact_replay_timestamp())::float8"
log = logging.getLogger("joinder.failover")


async def ready(hub: Hub) -> None:
    """Looks where the database is before a renewal, if nobody has yet or somebody must again. Raises StoreTrouble."""
    if not footing.is_sure(hub):
        await look(hub)


async def enter(hub: Hub) -> None:
    """Says before this process's first renewal that it lives: from now on the others count on it.

    Raises StoreTrouble.
    """
    if hub.store.can_fail_over and hub.footing.told_at == float("-inf"):
        await tell(hub)


async def look(hub: Hub) -> None:
    """Finds out whether the database moved, does this process's part, and opens. Raises StoreTrouble.

    May be called as often as one likes.
    """
    known = hub.footing
    if not hub.store.can_fail_over or (_is_quiet(hub) and monotonic() - known.looked_at < LOOK_EVERY_S):
        return
    known.looked_at, seen = monotonic(), known.seen
    async with hub.store.read() as session:
        found = await epoch.current(session)
        heard = await epoch.heard(session, hub.process)
    if (heard or 0) < seen:  # put back under this process, to when it was heard
        known.doubted_from = seen if heard is None else heard
    server = hub.store.server  # of a connection that there is by now
    if found is None or found.server != server or known.doubted_from is not None:
        found = await _begun(hub, server)
    if known.epoch != found.id or known.server != server:
        await _take_part(hub, found)
    elif found.has_marks and not found.missing:
        await _release(hub, found)
    known.is_in_doubt = False
    if TELL_EVERY_S <= monotonic() - known.told_at < float("inf"):
        await tell(hub)


def _is_quiet(hub: Hub) -> bool:
    return footing.is_sure(hub) and not hub.footing.is_in_doubt


async def tell(hub: Hub) -> None:
    """Says that this process renews tokens, and lives. Raises StoreTrouble."""
    async with hub.store.write(hub.process) as session:
        moment = await _now(session)
        await epoch.tell(session, hub.process, Process(epoch=hub.footing.epoch, seen=moment))
        await _forget_old(session, moment)
    hub.footing.told_at, hub.footing.seen = monotonic(), moment


async def _forget_old(session: AsyncSession, moment: int) -> None:
    """Forgets processes of the day before, but for those that somebody waits for."""
    state = await epoch.current(session)
    if state is None or not state.is_open:
        return
    found = await epoch.processes(session)
    for name in [name for name, each in found.items() if each is None]:  # as if seen now: forgotten in a day
        await epoch.tell(session, name, Process(epoch="", seen=moment))
    old = {name for name, each in found.items() if each is not None and each.seen < moment - FORGOTTEN_S}
    await epoch.forget(session, *(old - set(state.missing)))


async def _begun(hub: Hub, server: str | None) -> Epoch:
    """Returns the epoch that whoever noticed first has begun. The very first of a database is open at once."""
    doubted_from = hub.footing.doubted_from
    async with hub.store.write(_SERIAL) as session:
        before = await epoch.current(session)
        if before is not None and before.server == server and (doubted_from is None or not before.is_open):
            begun = before
        else:
            begun = _following(
                before, server, since=await _now(session), taken_at=await _last_commit(session, doubted_from)
            )
            await epoch.put(session, begun)
    hub.footing.doubted_from = None
    if before is not None and begun is not before:
        log.warning("the database may lack its last commits (%s): renewals wait for the journals", _why(before, begun))
    return begun


def _following(before: Epoch | None, server: str | None, *, since: int, taken_at: int) -> Epoch:
    """Makes the epoch after `before`: who was waited for in that one is so in this one as well."""
    if before is None:
        return Epoch(id=epoch.new_id(), server=server, since=since, taken_at=taken_at, is_open=True)
    return Epoch(
        id=epoch.new_id(),
        server=server,
        since=since,
        taken_at=taken_at if before.is_open else min(taken_at, before.taken_at),
        missing=before.missing,
        has_marks=before.has_marks,
    )


def _why(before: Epoch, begun: Epoch) -> str:
    if before is epoch.UNREADABLE:
        return "what it says of its server cannot be read"
    if before.server == begun.server:
        return "it has an older token than was stored"
    return f"it was on server {before.server}, and is on {begun.server}"


async def _last_commit(session: AsyncSession, doubted_from: int | None) -> int:
    """Returns the last moment, in epoch seconds, whose commits are surely there."""
    replayed = (await session.execute(text(_REPLAYED.replace("::", r"\:\:")))).scalar_one()
    if replayed is None:  # it has been restarted since
        found = await epoch.processes(session)
        seen = [each.seen for each in found.values() if each is not None]
        replayed = max(seen, default=await _now(session))
    return int(replayed if doubted_from is None else min(replayed, doubted_from))


async def _take_part(hub: Hub, found: Epoch) -> None:
    """Puts what this process has into the database; it may renew once all others have done so too."""
    known = hub.footing
    is_new = known.told_at == float("-inf")
    if not is_new or not found.is_open or found.missing:
        known.epoch, known.reason = "", _waiting(found)
        applied = await recovery.apply(hub)
        if any(hub.exchanges.values()) or hub.unsaved:  # begun on the server before: what they bring is not stored yet
            return
        short = {process for process, since in applied.since.items() if since > found.taken_at}
        has_all = is_new or hub.process not in short
        found = await _vouched(hub, found, applied.ended - short, has_all=has_all)
    if found.is_open:
        known.epoch, known.server, known.reason = found.id, found.server, None


def _waiting(found: Epoch) -> str:
    return (
        f"The database may lack what was written after {barrier.moment(found.taken_at)}: another server has "
        "taken over, or it was put back. No token is renewed before every process has put its journal into it."
    )


async def _vouched(hub: Hub, found: Epoch, ended: set[str], *, has_all: bool) -> Epoch:
    """Writes down that all that this process and those that `ended` had is in the database.

    Not `has_all`: the database went back further than this process's journal, so that it says no more than that it is
    there. Returns the epoch as it stands after that.
    """
    async with hub.store.write(_SERIAL, hub.process) as session:
        moment = await _now(session)
        await epoch.tell(session, hub.process, Process(epoch=found.id if has_all else "", seen=moment))
        state = await epoch.current(session)
        if state is None or state.id != found.id:
            changed = state = found  # it has moved again
        else:
            changed = await _judged(hub, session, state, moment, ended)
        if changed != state:
            await epoch.put(session, changed)
    hub.footing.told_at, hub.footing.seen = monotonic(), moment
    if changed.is_open and not state.is_open:
        _tell_opened(changed.missing)
    return changed


async def _judged(hub: Hub, session: AsyncSession, state: Epoch, moment: int, ended: set[str]) -> Epoch:
    """Opens the epoch as soon as nobody is missing, or has been for too long; of an open one, says who still is."""
    known = await epoch.processes(session)
    if state.is_open:
        back = {name for name, each in known.items() if each is not None and each.epoch == state.id}
        return structs.replace(state, missing=sorted(set(state.missing) - back - ended))
    missing = _missing(known, state, ended)
    if moment < state.since + FIRST_S or (missing and moment < state.since + _patience_s(hub)):
        return state
    return await _opened(hub, session, state, missing)


def _tell_opened(missing: list[str]) -> None:
    if missing:
        text = "%d processes have not told what they renewed: single-use tokens wait behind the barrier, others go on"
        log.error(text, len(missing))
    else:
        log.warning("every process has put its journal into the database: renewals go on")


def _patience_s(hub: Hub) -> float:
    return hub.settings.refresh_deadline_s + PATIENCE_S


async def _opened(hub: Hub, session: AsyncSession, state: Epoch, missing: list[str]) -> Epoch:
    if not missing:
        return structs.replace(state, is_open=True, missing=[])
    is_alone = state.has_marks or not await barrier.waiting(session)
    await barrier.hold(session, since=state.since, taken_at=state.taken_at, harmless=_harmless(hub, state))
    return structs.replace(state, is_open=True, missing=missing, has_marks=is_alone)


async def _release(hub: Hub, found: Epoch) -> None:
    """Lets the marked grants be renewed again, as everybody has told what they had by now.

    Nothing, where the database has moved again: the marks may be of that.
    """
    async with hub.store.read() as session:
        waiting = [each.enrollment_id for each in await barrier.waiting(session)]
    for first in range(0, len(waiting), barrier.CHUNK):
        async with hub.store.write(_SERIAL) as session:
            if await epoch.current(session) != found:
                return
            for enrollment_id in waiting[first : first + barrier.CHUNK]:
                await barrier.release(hub, session, enrollment_id, now(), "fail-over")
    async with hub.store.write(_SERIAL) as session:
        if await epoch.current(session) == found:
            await epoch.put(session, structs.replace(found, has_marks=False))
    log.warning("every process has told what it had: %d grants are renewed again", len(waiting))


def _missing(known: Mapping[str, Process | None], state: Epoch, ended: set[str]) -> list[str]:
    """Names the processes that may have renewed what the database does not know of."""
    return sorted(
        name for name, each in known.items() if name not in ended and (each is None or _may_lack(name, each, state))
    )


def _may_lack(name: str, process: Process, state: Epoch) -> bool:
    return process.epoch != state.id and (name in state.missing or process.seen + GONE_S >= state.taken_at)


def _harmless(hub: Hub, state: Epoch) -> set[str]:
    """Names the vendors that take a token again which was spent in what the database lacks."""
    age_s = state.since + _patience_s(hub) - state.taken_at
    return {vendor.name for vendor in hub.registry.vendors if _is_harmless(vendor, timedelta(seconds=2 * age_s))}


def _is_harmless(vendor: Vendor, age: timedelta) -> bool:
    return vendor.refresh is not Refresh.ROTATING or (vendor.refresh_grace is not None and vendor.refresh_grace > age)


async def _now(session: AsyncSession) -> int:
    return int((await leases.read_clock(session))[1])
