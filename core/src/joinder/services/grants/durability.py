"""What keeps a new token from being lost to a database in trouble: away, full, or not in its place (R15, R16)."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from joinder.clock import monotonic
from joinder.errors import TransientError
from joinder.plurals import counted
from joinder.runtime.hub import Hub
from joinder.services.grants import footing
from joinder.services.work.jobs import Job
from joinder.store.advice import trouble_of
from joinder.store.driver_errors import said
from joinder.trouble import NotDurable, StoreFull, StoreOrphaned, StoreTrouble

TRY_AGAIN_S = 0.5
T = TypeVar("T")
log = logging.getLogger("joinder.durability")


def arm(hub: Hub) -> None:
    """Prepares the disk for a process that renews tokens: ballast, and a watch that puts deleted files back.

    A passing command leaves the disk as it is.
    """
    ballast = hub.store.ballast
    if ballast is not None:
        ballast.arm(hub.settings.ballast_mib * 1024 * 1024)
    if hub.store.file is not None:
        hub.store.file.arm()


def trouble(hub: Hub) -> str | None:
    """Says what is wrong with the store now, in a sentence for the operator; None when nothing is."""
    failing = hub.store.pulse.trouble
    told = [_refusal(hub), trouble_of(failing) if failing is not None else None]
    return " ".join(dict.fromkeys(sentence for sentence in told if sentence)) or None


def is_orphaned(hub: Hub) -> bool:
    """Tells whether the database's file is gone or replaced; nothing is begun while it is.

    Each call looks at the file: that is how it is noticed where nobody writes.
    """
    if hub.store.file is None:
        return False
    try:
        hub.store.file.check()
    except StoreOrphaned:
        return True
    return False


def _refusal(hub: Hub) -> str | None:
    """Says why no renewal may begin; None when one may.

    Commits that fail are no reason: a renewal's intent is how an end of that is noticed.
    """
    problem = hub.store.file.problem() if hub.store.file is not None else None
    if problem is not None:
        return problem
    moved = footing.refusal(hub)
    if moved is not None:
        return moved
    if hub.unsaved:
        waits_s = monotonic() - min(hub.unsaved.values())
        return (
            f"Waiting for the database: {counted(len(hub.unsaved), 'new token')}, the first for {waits_s:.0f} s. "
            "Until it takes them no token is renewed."
        )
    ballast = hub.store.ballast
    if ballast is None or ballast.ok:
        return None
    return (
        f"The disk of the database is full: {ballast.path.name} had to be given up, and comes back by itself when "
        f"{4 * ballast.size_bytes // 1024**2} MiB are free. Until then no token is renewed."
    )


def check(hub: Hub) -> None:
    """Lets a vendor be called for a new token. Raises NotDurable."""
    reason = _refusal(hub)
    if reason is not None:
        hub.store.outage.begin(NotDurable(reason))
        raise NotDurable(reason)


async def ready(hub: Hub) -> None:
    """Proves that work may come here. Raises StoreTrouble; what is over is told as over."""
    check(hub)
    hub.store.outage.end(await hub.readiness.proved())


def make_room(hub: Hub, trouble: StoreTrouble) -> bool:
    """Makes room after a failed commit of a new token; True when there is some now.

    The commit should be tried again at once then.
    """
    return hub.store.ballast is not None and isinstance(trouble, StoreFull) and hub.store.ballast.free()


async def until_stored(hub: Hub, name: str, store: Callable[[int], Awaitable[T]], *, is_safe: Callable[[], bool]) -> T:
    """Calls `store` with the count of earlier tries until it succeeds or the process ends, and returns its answer.

    `name`: of whom it is. At a stop it is left where it is when `is_safe` says that it lies on disk all the same: then
    TransientError. Nothing else is raised: what is to be stored exists nowhere else.
    """
    try:
        for tries in itertools.count():
            try:
                answer = await store(tries)
            except Exception as error:  # noqa: BLE001 - whatever it is, the token stays in hand
                _tell(hub, name, error)
                hub.journal.retry()
                if isinstance(error, StoreTrouble) and make_room(hub, error):
                    continue
                if hub.stopping.is_set() and is_safe():
                    raise TransientError("The new token waits in the journal for the next start") from None
                await asyncio.sleep(min(0.05 * 2 ** min(tries, 10), TRY_AGAIN_S))
                continue
            if name in hub.unsaved:
                log.warning("the new token of %s is saved, after %.1f s", name, monotonic() - hub.unsaved[name])
            return answer
    finally:
        hub.unsaved.pop(name, None)  # also when it was cancelled: what nobody stores any more keeps no renewal waiting
    raise AssertionError  # the count has no end


def _tell(hub: Hub, name: str, error: Exception) -> None:
    if name not in hub.unsaved:
        hub.unsaved[name] = monotonic()
        log.critical("the new token of %s is not saved yet: %s", name, said(error))


async def _due(hub: Hub) -> list[str]:
    ballast = hub.store.ballast
    return ["ballast"] if ballast is not None and not ballast.ok and ballast.has_room() else []


async def _work(hub: Hub, _: str) -> None:
    ballast = hub.store.ballast
    if ballast is not None:
        await asyncio.to_thread(ballast.lay)


JOB = Job("ballast", _due, _work)
