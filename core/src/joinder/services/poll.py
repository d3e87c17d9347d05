"""One enrollment's regular reading: its sites, live power and what is new since the last time."""

from __future__ import annotations

import logging

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    Paused,
    RateLimited,
    TransientError,
    UnknownVendor,
    VendorError,
)
from joinder.services import health, leases, readings, site_rights
from joinder.services.budgets import spending
from joinder.services.hub import Hub
from joinder.services.refusals import NotFound
from joinder.services.schedule import after_failure, next_poll
from joinder.services.sites import get_site, refresh_site
from joinder.store.engine import Statement, StoreTrouble
from joinder.store.readings import read_coverage
from joinder.store.sites import StoredSite, read_sites_of
from joinder.store.tables import Enrollment
from joinder.vendor import Vendor

KIND = "poll"
LEASE_S = 300.0
SITE_EVERY_S = 86400
FIRST_LOOK_BACK_S = 86400
log = logging.getLogger("joinder.poll")


async def poll(hub: Hub, enrollment_id: str) -> bool:
    """Polls now, unless another process does. False then.

    Raises NotFound, or the vendor's error after planning.
    """
    lease = leases.new_lease()
    if not await _applied(hub, leases.taking(hub.store.dialect, KIND, enrollment_id, lease, LEASE_S)):
        hub.metrics.polled(await _exists(hub, enrollment_id), "skipped")
        return False
    due_at: int | None = None
    try:
        vendor = hub.registry.vendor(await _exists(hub, enrollment_id))
        await _refuse_paused(hub, enrollment_id)
        await site_rights.take_over(hub, enrollment_id)
        with spending("poll"):
            await _poll_sites(hub, vendor, await read_sites_of(hub.store, enrollment_id), enrollment_id, lease)
        due_at = next_poll(vendor, utc_now())
        hub.metrics.polled(vendor.name, "ok")
    except VendorError as error:
        await _plan_next_try(hub, enrollment_id, lease, error)
        raise
    finally:
        await _applied(hub, leases.releasing(KIND, enrollment_id, lease, due_at))
    return True


async def _exists(hub: Hub, enrollment_id: str) -> str:
    """Its vendor. Raises NotFound."""
    for (vendor,) in await hub.store.rows("SELECT vendor FROM enrollment WHERE id = :id", {"id": enrollment_id}):
        return str(vendor)
    raise NotFound


async def _refuse_paused(hub: Hub, enrollment_id: str) -> None:
    """Before its sites, of which it may have none."""
    if await hub.store.rows("SELECT 1 FROM enrollment WHERE id = :id AND paused_at IS NOT NULL", {"id": enrollment_id}):
        raise Paused("The operator paused this enrollment")


async def _applied(hub: Hub, statement: Statement) -> bool:
    try:
        (changed,) = await hub.store.apply(statement)
    except StoreTrouble as trouble:
        raise TransientError("The store cannot be written now", detail=str(trouble)) from None
    return bool(changed)


async def _poll_sites(hub: Hub, vendor: Vendor, sites: list[StoredSite], enrollment_id: str, lease: str) -> None:
    """Every site, whatever happens to one; then raises the first failure. What concerns all of them ends it at once.

    Sites nobody has read yet come first, all of them, before what any of them measures.
    """
    failures: dict[str, VendorError] = {}
    unread = [site for site in sites if site.fetched_at is None]
    for index, (site, is_known) in enumerate([*((site, False) for site in unread), *((site, True) for site in sites)]):
        if site.id in failures:
            continue
        if index:
            await _applied(hub, leases.renewing(hub.store.dialect, KIND, enrollment_id, lease, LEASE_S))
        try:
            await (_poll_site(hub, vendor, site) if is_known else refresh_site(hub, site))
        except (AuthorizationLost, AppCredentialsRejected, RateLimited):
            raise
        except VendorError as error:
            failures[site.id] = error
    if failures:
        raise next(iter(failures.values()))


async def _poll_site(hub: Hub, vendor: Vendor, site: StoredSite) -> None:
    """What the site measures now and since the last time; the site itself once a day."""
    if site.fetched_at is not None and now() - site.fetched_at > SITE_EVERY_S:
        await refresh_site(hub, site)
    site, devices = await get_site(hub, site.account_id, site.id)
    moment = now()
    start = moment
    history = vendor.limits.resolution("15mins")
    if history is not None:
        oldest = moment - int(history.window.total_seconds())
        known = await read_coverage(hub.store, site.id, "15mins", oldest, moment)
        start = max(oldest, _resume_at(known[-1].end if known else None, moment))
    await readings.fetch(hub, site, devices, start=start, end=moment, live=True)


def _resume_at(covered_until: int | None, moment: int) -> int:
    """A little before where the last poll ended: its newest rows may have been incomplete."""
    at = moment - FIRST_LOOK_BACK_S if covered_until is None else covered_until - 2 * 3600
    return at - at % 900


async def _plan_next_try(hub: Hub, enrollment_id: str, lease: str, error: VendorError) -> None:
    """Gives the lease back in the transaction that decides, or a resume in between would be overwritten."""
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        due_at = leases.NEVER if enrollment is None else _next_try(hub, session, enrollment, error)
        await leases.release(session, KIND, enrollment_id, lease, due_at)


def _next_try(hub: Hub, session: AsyncSession, enrollment: Enrollment, error: VendorError) -> int:
    """Trouble that somebody must end stops the polling; renewed consent or credentials start it again."""
    if enrollment.paused_at is not None:
        return leases.NEVER
    hub.metrics.polled(enrollment.vendor, "failed")
    if isinstance(error, UnknownVendor):  # a plugin that is not there made no call that could note its failure
        health.failed(session, enrollment, error)
    if error.health in ("needs_consent", "operator_action") or enrollment.health == "quarantined":
        return leases.NEVER
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    return after_failure(enrollment.failures, utc_now(), retry_after)
