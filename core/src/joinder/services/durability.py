"""What keeps a new token from being lost to a full disk, or to a database file that is not in its place any more."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

from joinder.errors import TransientError
from joinder.services.hub import Hub
from joinder.services.jobs import Job
from joinder.services.store_trouble import trouble_of
from joinder.store.engine import StoreFull, StoreOrphaned, StoreTrouble

RETRY_AFTER = timedelta(minutes=1)


def arm(hub: Hub) -> None:
    """For processes that renew tokens; a passing command leaves the disk as it is."""
    ballast = hub.store.ballast
    if ballast is not None:
        ballast.arm(hub.settings.ballast_mib * 1024 * 1024)
    if hub.store.file is not None:
        hub.store.file.arm()


def trouble(hub: Hub) -> str | None:
    """What is wrong with the store now, in a sentence for the operator."""
    failing = hub.store.failing()
    return _refusal(hub) or (trouble_of(failing) if failing is not None else None)


def is_orphaned(hub: Hub) -> bool:
    """Nothing is begun while it is. Each look asks: that is how it is noticed where nobody writes."""
    if hub.store.file is None:
        return False
    try:
        hub.store.file.check()
    except StoreOrphaned:
        return True
    return False


def _refusal(hub: Hub) -> str | None:
    """Why no renewal may begin. Of commits that fail there is none: its intent is how an end of that is noticed."""
    problem = hub.store.file.problem() if hub.store.file is not None else None
    if problem is not None:
        return problem
    ballast = hub.store.ballast
    if ballast is None or ballast.ok:
        return None
    return (
        f"The disk of the database is full: {ballast.path.name} had to be given up, and comes back by itself when "
        f"{4 * ballast.size_bytes // 1024**2} MiB are free. Until then no token is renewed."
    )


def check(hub: Hub) -> None:
    """Before a vendor is called for a new token. Raises TransientError."""
    reason = _refusal(hub)
    if reason is not None:
        raise TransientError(reason, retry_after=RETRY_AFTER)


def make_room(hub: Hub, trouble: StoreTrouble) -> bool:
    """After a failed commit of a new token: True when there is room now, and it should be tried again at once."""
    return hub.store.ballast is not None and isinstance(trouble, StoreFull) and hub.store.ballast.free()


async def _due(hub: Hub) -> list[str]:
    ballast = hub.store.ballast
    due = ["ballast"] if ballast is not None and not ballast.ok and ballast.has_room() else []
    return due if hub.store.failing() is None else [*due, "commits"]


async def _work(hub: Hub, what: str) -> None:
    if what == "commits":
        with contextlib.suppress(StoreTrouble):  # told already
            await hub.store.apply()  # finds out whether they succeed again
    elif hub.store.ballast is not None:
        await asyncio.to_thread(hub.store.ballast.lay)


JOB = Job("durability", _due, _work)
