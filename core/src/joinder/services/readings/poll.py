"""One enrollment's regular reading: its sites, live power and what is new since the last time."""

from __future__ import annotations

import logging
from typing import NamedTuple

from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    Paused,
    RateLimited,
    UnknownVendor,
    VendorError,
)
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import spending
from joinder.services.grants import site_rights, standing
from joinder.services.readings import readings
from joinder.services.readings.sites import get_site, refresh_site
from joinder.services.records import health
from joinder.services.refusals import NotFound
from joinder.services.work import leases
from joinder.services.work.leases import NEVER
from joinder.services.work.schedule import after_failure, after_operator_trouble, next_poll
from joinder.store.readings import read_coverage
from joinder.store.sites import StoredSite, read_devices, read_sites_of
from joinder.store.tables import Due, Enrollment
from joinder.store.types import Statement
from joinder.vendor import Vendor

KIND = "poll"
LEASE_S = 300.0
SITE_EVERY_S = 86400
OPERATOR_TRIES = 8
SITES_TO_TELL = 3  # refused before any was read: the rest would be refused as well
FIRST_LOOK_BACK_S = 86400
log = logging.getLogger("joinder.poll")
_ASKED = f"SELECT x.vendor, x.paused_at, EXISTS ({site_rights.WAITING}) FROM enrollment x WHERE x.id = :id"  # noqa: S608
_DONE = (
    "UPDATE due SET lease = NULL, lease_until = NULL, due_at = CASE WHEN EXISTS (SELECT 1 FROM enrollment e "
    "WHERE e.id = due.enrollment_id AND e.paused_at IS NULL AND e.status = 'enrolled') "
    "THEN CAST(:due_at AS BIGINT) ELSE CAST(:never AS BIGINT) END "
    "WHERE kind = 'poll' AND enrollment_id = :enrollment AND lease = :lease"
)


async def poll(hub: Hub, enrollment_id: str) -> bool:
    """Polls now; False when another process does.

    Raises NotFound, StoreTrouble, or the vendor's error after planning.
    """
    lease = leases.new_lease()
    if not await _applied(hub, leases.taking(hub.store.dialect, KIND, enrollment_id, lease, LEASE_S)):
        hub.metrics.polled((await _asked_about(hub, enrollment_id)).vendor, "skipped")
        return False
    is_held = True
    try:
        vendor = await _polled(hub, enrollment_id, lease)
        values = {"enrollment": enrollment_id, "lease": lease, "due_at": next_poll(vendor, utc_now()), "never": NEVER}
        is_held = not await _applied(hub, (_DONE, values))
        hub.metrics.polled(vendor.name, "ok")
    except VendorError as error:
        await _plan_next_try(hub, enrollment_id, lease, error)
        raise
    finally:
        if is_held:
            await _applied(hub, leases.releasing(KIND, enrollment_id, lease, None))
    return True


async def _polled(hub: Hub, enrollment_id: str, lease: str) -> Vendor:
    """Polls all its sites. Raises NotFound or the vendor's error."""
    asked = await _asked_about(hub, enrollment_id)
    vendor = hub.registry.vendor(asked.vendor)
    if asked.paused_at is not None:  # before its sites, of which it may have none
        raise Paused("The operator paused this enrollment")
    if asked.may_take_over:
        await site_rights.take_over(hub, enrollment_id)
    with spending("poll"):
        await _poll_sites(hub, vendor, await read_sites_of(hub.store, enrollment_id), enrollment_id, lease)
    return vendor


class _Asked(NamedTuple):
    """`may_take_over`: a site it may open waits for somebody who reads it."""

    vendor: str
    paused_at: int | None
    may_take_over: bool


async def _asked_about(hub: Hub, enrollment_id: str) -> _Asked:
    """Raises NotFound."""
    for row in await hub.store.rows(_ASKED, {"id": enrollment_id}):
        return _Asked(*row)
    raise NotFound


async def _applied(hub: Hub, statement: Statement) -> bool:
    (changed,) = await hub.store.apply(statement)
    return bool(changed)


async def _poll_sites(hub: Hub, vendor: Vendor, sites: list[StoredSite], enrollment_id: str, lease: str) -> None:
    """Polls every site, whatever happens to one, then raises the first failure.

    What concerns all of them ends it at once.

    Sites nobody has read yet come first, all of them, before what any of them measures.
    """
    failures: dict[str, VendorError] = {}
    refused: dict[str, AuthorizationLost] = {}
    is_read = False
    unread = [site for site in sites if site.fetched_at is None]
    for index, (site, is_known) in enumerate([*((site, False) for site in unread), *((site, True) for site in sites)]):
        if site.id in failures or site.id in refused:
            continue
        if index:
            await _applied(hub, leases.renewing(hub.store.dialect, KIND, enrollment_id, lease, LEASE_S))
        try:
            await (_poll_site(hub, vendor, site) if is_known else refresh_site(hub, site))
            is_read = True
        except AuthorizationLost as error:
            refused[site.id] = error
            if not is_read and len(refused) == SITES_TO_TELL:
                break
        except (AppCredentialsRejected, RateLimited):
            raise
        except VendorError as error:
            failures[site.id] = error
    if refused and not is_read:  # nobody else's: the grant's
        raise next(iter(refused.values()))
    if failures:
        raise next(iter(failures.values()))


async def _poll_site(hub: Hub, vendor: Vendor, site: StoredSite) -> None:
    """Reads what the site measures now and since the last time; the site itself once a day."""
    if site.fetched_at is None or now() - site.fetched_at > SITE_EVERY_S:
        if site.fetched_at is not None:  # else it has just been read
            await refresh_site(hub, site)
        site, devices = await get_site(hub, site.account_id, site.id)
    else:
        devices = await read_devices(hub.store, site.id)
    moment = now()
    start = moment
    history = vendor.limits.resolution("15mins")
    if history is not None:
        oldest = moment - int(history.window.total_seconds())
        known = await read_coverage(hub.store, site.id, "15mins", oldest, moment)
        start = max(oldest, _resume_at(known[-1].end if known else None, moment))
    await readings.fetch(hub, site, devices, start=start, end=moment, live=True)


def _resume_at(covered_until: int | None, moment: int) -> int:
    """Returns a moment a little before where the last poll ended: its newest rows may have been incomplete."""
    at = moment - FIRST_LOOK_BACK_S if covered_until is None else covered_until - 2 * 3600
    return at - at % 900


async def _plan_next_try(hub: Hub, enrollment_id: str, lease: str, error: VendorError) -> None:
    """Gives the lease back in the transaction that decides, or a resume in between would be overwritten.

    What the judge has planned already (services/grants/judging.py) stands.
    """
    async with hub.store.write(enrollment_id) as session:
        enrollment, row = await session.get(Enrollment, enrollment_id), await session.get(Due, (KIND, enrollment_id))
        if enrollment is not None and row is not None:
            if enrollment.paused_at is None:
                hub.metrics.polled(enrollment.vendor, "failed")
            due = {KIND: _next_try(enrollment, error)} if row.due_at <= now() else {}
            if isinstance(error, UnknownVendor):  # a plugin that is not there made no call that could be judged
                await standing.troubled(hub, session, enrollment, error, due)
            else:
                await standing.settle(hub, session, enrollment, due=due)
        await leases.release(session, KIND, enrollment_id, lease, None)


def _next_try(enrollment: Enrollment, error: VendorError) -> int:
    """Returns when to try next, in epoch seconds. A plugin that keeps breaking is let alone until it is released."""
    if enrollment.health in ("quarantined", *health.OWNER_MUST_ACT):
        return NEVER
    if isinstance(error, AppCredentialsRejected):  # refused here until the app's next test: nothing counts the tries
        return after_operator_trouble(OPERATOR_TRIES, utc_now())
    return after_failure(enrollment.failures, utc_now(), error.retry_after)
