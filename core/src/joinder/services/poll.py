"""One enrollment's regular reading: its sites, live power and what is new since the last time."""

from __future__ import annotations

import logging

from sqlmodel import col, select

from joinder.clock import now, utc_now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    RateLimited,
    TransientError,
    UnknownVendor,
    VendorError,
)
from joinder.services import health, leases, readings
from joinder.services.budgets import spending
from joinder.services.hub import Hub
from joinder.services.refusals import NotFound
from joinder.services.schedule import after_failure, next_poll
from joinder.services.sites import get_site, refresh_site
from joinder.store.readings import read_coverage
from joinder.store.tables import Enrollment, LiveRow, SiteRow
from joinder.vendor import Vendor

KIND = "poll"
LEASE_S = 300.0
SITE_EVERY_S = 86400
FIRST_LOOK_BACK_S = 86400
log = logging.getLogger("joinder.poll")


async def poll(hub: Hub, enrollment_id: str) -> bool:
    """Polls now, unless another process does. False then. Raises NotFound, or the vendor's error after planning."""
    async with hub.store.write(enrollment_id) as session:
        lease = await leases.take(session, KIND, enrollment_id, LEASE_S)
        enrollment = await session.get(Enrollment, enrollment_id)
    if enrollment is None:
        raise NotFound
    if lease is None:
        return False
    due_at = after_failure(enrollment.failures, utc_now())
    try:
        vendor = hub.registry.vendor(enrollment.vendor)
        async with hub.store.read() as session:
            query = select(SiteRow).outerjoin(LiveRow, col(LiveRow.site_id) == col(SiteRow.id))
            query = query.where(col(SiteRow.enrollment_id) == enrollment_id)
            longest_ago = col(LiveRow.fetched_at).asc().nulls_first()  # a quota that ends a poll starves no site
            sites = list((await session.execute(query.order_by(longest_ago, col(SiteRow.id)))).scalars())
        with spending("poll"):
            await _poll_sites(hub, vendor, sites, enrollment_id, lease)
        due_at = next_poll(vendor, utc_now())
    except VendorError as error:
        due_at = _next_try(enrollment, error)
        if isinstance(error, UnknownVendor):
            await _note_missing(hub, enrollment_id, error)
        raise
    finally:
        async with hub.store.write(enrollment_id) as session:
            await leases.release(session, KIND, enrollment_id, lease, due_at)
    return True


async def _poll_sites(hub: Hub, vendor: Vendor, sites: list[SiteRow], enrollment_id: str, lease: str) -> None:
    """Every site, whatever happens to one; then raises the first failure. What concerns all of them ends it at once."""
    failures = []
    for site in sites:
        try:
            await _poll_site(hub, vendor, site)
        except (AuthorizationLost, AppCredentialsRejected, RateLimited):
            raise
        except VendorError as error:
            failures.append(error)
        async with hub.store.write(enrollment_id) as session:
            await leases.renew(session, KIND, enrollment_id, lease, LEASE_S)
    if failures:
        raise failures[0]


async def _poll_site(hub: Hub, vendor: Vendor, site: SiteRow) -> None:
    if site.fetched_at is None or now() - site.fetched_at > SITE_EVERY_S:
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


async def _note_missing(hub: Hub, enrollment_id: str, error: UnknownVendor) -> None:
    """A plugin that is not there makes no call that could note its failure."""
    async with hub.store.write(enrollment_id) as session:
        enrollment = await session.get(Enrollment, enrollment_id)
        if enrollment is not None:
            health.failed(session, enrollment, error)


def _next_try(enrollment: Enrollment, error: VendorError) -> int:
    """Trouble that somebody must end stops the polling; renewed consent or credentials start it again."""
    if error.health in ("needs_consent", "operator_action"):
        return leases.NEVER
    retry_after = error.retry_after if isinstance(error, TransientError) else None
    return after_failure(enrollment.failures, utc_now(), retry_after)
