"""Which enrollments may open a site, and which of them reads it.

A site is read by one enrollment and stays with it while that one lives, though others may open it too. When its reader
ends or waits for its owner, another that lives takes it over. When no grant lists it any more it is gone: it keeps its
id and history, and is read no more until it is listed again.

Sites move under the lock of their account (`Store.write(account_id, …)`), so that two moves never cross.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sqlalchemy import ColumnElement, delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.records import health
from joinder.services.work import leases
from joinder.store.driver_errors import said
from joinder.store.tables import Enrollment, SiteRight, SiteRow

NOT_LISTED = "The consent does not list it any more."
log = logging.getLogger("joinder.sites")
_STANDS_STILL = ("operator_action", "quarantined")
_SHARED = (
    "SELECT h.account_id FROM enrollment h WHERE h.id = :id "
    "AND (h.status <> 'enrolled' OR h.health IN ('needs_consent', 'lost_in_flight')) AND EXISTS "
    "(SELECT 1 FROM site s JOIN site_right r ON r.vendor_site_id = s.vendor_id AND r.enrollment_id <> h.id "
    "WHERE s.enrollment_id = h.id)"
)
WAITING = (
    "SELECT e.account_id FROM enrollment e CROSS JOIN site_right r CROSS JOIN site s CROSS JOIN enrollment h "
    "WHERE e.id = :id AND r.enrollment_id = e.id AND s.account_id = e.account_id AND s.vendor = e.vendor "
    "AND s.vendor_id = r.vendor_site_id AND h.id = s.enrollment_id AND h.id <> e.id AND s.gone_at IS NULL "
    "AND (h.status <> 'enrolled' OR h.health IN ('needs_consent', 'lost_in_flight')) LIMIT 1"
)
_LISTED = "SELECT vendor_site_id FROM site_right WHERE enrollment_id = :id"
_ACCOUNT = "SELECT account_id FROM enrollment WHERE id = :id"
Heirs = dict[str, Enrollment]  # by the vendor's id of the site


def lives(enrollment: Enrollment) -> bool:
    """Tells whether the enrollment's grant can read."""
    return enrollment.status == "enrolled" and enrollment.health not in health.OWNER_MUST_ACT


async def listed(
    session: AsyncSession,
    enrollment: Enrollment,
    vendor_ids: Sequence[str],
    *,
    whole: bool = False,
    is_first: bool = False,
) -> None:
    """Writes down what its grant opens from now on: attaches what is new, detaches what is not there any more.

    An empty list tells nothing, unless it is `whole`, as a consent's is. `is_first`: the enrollment's own event tells
    of these sites. The session's block holds the account.
    """
    if not vendor_ids and not whole:
        return
    before = set((await session.execute(_rights_of(enrollment.id))).scalars())
    wanted = list(dict.fromkeys(vendor_ids))
    session.add_all(
        SiteRight(enrollment_id=enrollment.id, vendor_site_id=site) for site in wanted if site not in before
    )
    ended = col(SiteRight.vendor_site_id).in_(before.difference(wanted))
    await session.execute(delete(SiteRight).where(col(SiteRight.enrollment_id) == enrollment.id, ended))
    await session.flush()
    await _attach(session, enrollment, wanted, is_first=is_first)
    await _detach(session, enrollment)


async def listed_by_renewal(hub: Hub, enrollment_id: str, vendor_ids: Sequence[str]) -> None:
    """Writes down the sites a renewed grant lists, once it is stored.

    Raises nothing: the next renewal makes up for a failure.
    """
    try:
        known = {row[0] for row in await hub.store.rows(_LISTED, {"id": enrollment_id})} if vendor_ids else set()
        if known != set(vendor_ids):
            await list_now(hub, enrollment_id, vendor_ids)
    except Exception as error:  # noqa: BLE001 - the token is stored, which is what its reader waits for
        log.warning("the sites of %s are not written down yet: %s", enrollment_id, said(error))


async def list_now(hub: Hub, enrollment_id: str, vendor_ids: Sequence[str]) -> None:
    """Calls `listed` in a transaction of its own; what is new is read at once."""
    for (account_id,) in await hub.store.rows(_ACCOUNT, {"id": enrollment_id}):
        async with hub.store.write(account_id, enrollment_id) as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            if enrollment is None:
                return
            known = set((await session.execute(_rights_of(enrollment_id))).scalars())
            await listed(session, enrollment, vendor_ids)
            if not known.issuperset(vendor_ids):
                await _read_soon(session, [enrollment])


async def hand_over(hub: Hub, enrollment_id: str) -> None:
    """Gives the sites of an enrollment whose owner must act to who else may read them.

    Does nothing where nobody may, or it lives.
    """
    for (account_id,) in await hub.store.rows(_SHARED, {"id": enrollment_id}):
        async with hub.store.write(account_id, enrollment_id) as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            if enrollment is not None and not lives(enrollment):
                heirs = {site: heir for site, heir in (await _heirs(session, enrollment)).items() if lives(heir)}
                await _pass_on(session, await _sites_of(session, enrollment_id), enrollment, heirs)


async def take_over(hub: Hub, enrollment_id: str) -> None:
    """Takes over, before a poll, the sites it may open whose reader waits for its owner, however that came about."""
    for (account_id,) in await hub.store.rows(WAITING, {"id": enrollment_id}):
        async with hub.store.write(account_id, enrollment_id) as session:
            enrollment = await session.get(Enrollment, enrollment_id)
            if enrollment is not None and lives(enrollment):
                await _attach(session, enrollment, list((await session.execute(_rights_of(enrollment_id))).scalars()))


async def leave(session: AsyncSession, enrollment: Enrollment) -> None:
    """Leaves the sites and their history, before the enrollment is erased, to whoever else may open them.

    One that lives comes first.
    """
    heirs = await _heirs(session, enrollment)
    if heirs:
        await _pass_on(session, await _sites_of(session, enrollment.id), enrollment, heirs)
        await session.flush()


async def shares(session: AsyncSession, enrollment_id: str, vendor_ids: Iterable[str]) -> bool:
    """Tells whether its grant opens one of these sites."""
    query = _rights_of(enrollment_id).where(col(SiteRight.vendor_site_id).in_(vendor_ids))
    return (await session.execute(query.limit(1))).first() is not None


async def sharing(session: AsyncSession, account_id: str, vendor: str, vendor_ids: Iterable[str]) -> list[Enrollment]:
    """Lists the account's enrollments that open one of these sites, the oldest first."""
    opening = select(SiteRight.enrollment_id).where(col(SiteRight.vendor_site_id).in_(vendor_ids))
    query = select(Enrollment).where(
        col(Enrollment.account_id) == account_id, col(Enrollment.vendor) == vendor, col(Enrollment.id).in_(opening)
    )
    found = await session.execute(query.order_by(col(Enrollment.created_at), col(Enrollment.id)))
    return list(found.scalars())


async def first_read(hub: Hub, session: AsyncSession, site: SiteRow) -> None:
    """Ends the waiting of others that may open a site which was just read for the first time."""
    for enrollment in await sharing(session, site.account_id, site.vendor, [site.vendor_id]):
        if enrollment.id != site.enrollment_id and enrollment.health == "connecting":
            await standing.settle(hub, session, enrollment, "ok")


async def _attach(
    session: AsyncSession, enrollment: Enrollment, vendor_ids: Sequence[str], *, is_first: bool = False
) -> None:
    """Attaches sites to the enrollment. A site keeps its id and history, and its reader while that one lives."""
    query = select(SiteRow).where(
        col(SiteRow.account_id) == enrollment.account_id,
        col(SiteRow.vendor) == enrollment.vendor,
        col(SiteRow.vendor_id).in_(vendor_ids),
    )
    known = {site.vendor_id: site for site in (await session.execute(query)).scalars()}
    for vendor_id in vendor_ids:
        site = known.get(vendor_id)
        if site is None:
            site = _new_site(session, enrollment, vendor_id)
            if not is_first:
                health.write_event(session, enrollment, "site.discovered", {"siteID": site.id})
            continue
        reader = await session.get(Enrollment, site.enrollment_id)
        if reader is None or site.gone_at is not None or not lives(reader):
            _move(session, site, reader, enrollment)
        if site.gone_at is not None:
            site.gone_at = None
            health.write_event(session, enrollment, "site.discovered", {"siteID": site.id})


def _new_site(session: AsyncSession, enrollment: Enrollment, vendor_id: str) -> SiteRow:
    site = SiteRow(
        id=new_id("site"),
        account_id=enrollment.account_id,
        enrollment_id=enrollment.id,
        vendor=enrollment.vendor,
        vendor_id=vendor_id,
        name=vendor_id,
    )
    session.add(site)
    return site


async def _detach(session: AsyncSession, enrollment: Enrollment) -> None:
    """Gives what its grant lists no more to another that lives, or marks it as gone."""
    unlisted = col(SiteRow.vendor_id).not_in(_rights_of(enrollment.id))
    lost = await _sites_of(session, enrollment.id, unlisted, col(SiteRow.gone_at).is_(None))
    if not lost:
        return
    heirs = {site: heir for site, heir in (await _heirs(session, enrollment)).items() if lives(heir)}
    for site in await _pass_on(session, lost, enrollment, heirs):
        site.gone_at = now()
        health.write_event(session, enrollment, "site.gone", {"siteID": site.id, "reason": NOT_LISTED})


async def _pass_on(session: AsyncSession, sites: Iterable[SiteRow], reader: Enrollment, heirs: Heirs) -> list[SiteRow]:
    """Moves each site to its heir, and returns the sites that nobody takes."""
    left, taking = [], {}
    for site in sites:
        heir = heirs.get(site.vendor_id)
        if heir is None:
            left.append(site)
            continue
        _move(session, site, reader, heir)
        if lives(heir):
            taking[heir.id] = heir
    await _read_soon(session, taking.values())
    return left


def _move(session: AsyncSession, site: SiteRow, before: Enrollment | None, to: Enrollment) -> None:
    """Moves the site. What its vendor refused to the one before says nothing of the next."""
    if before is not None and before.id != to.id:
        health.write_event(session, before, "enrollment.site_moved", {"siteID": site.id, "to": to.id})
        health.write_event(session, to, "enrollment.site_moved", {"siteID": site.id, "from": before.id})
    site.enrollment_id, site.denied_at = to.id, None


async def _heirs(session: AsyncSession, reader: Enrollment) -> Heirs:
    """Finds who else may open its sites, the best heir of each.

    One that lives comes before one that does not, one that is read before one that is not.
    """
    read = select(SiteRow.vendor_id).where(col(SiteRow.enrollment_id) == reader.id)
    query = (
        select(SiteRight.vendor_site_id, Enrollment)
        .join(Enrollment, col(Enrollment.id) == col(SiteRight.enrollment_id))
        .where(
            col(Enrollment.account_id) == reader.account_id,
            col(Enrollment.vendor) == reader.vendor,
            col(Enrollment.id) != reader.id,
            col(SiteRight.vendor_site_id).in_(read),
        )
    )
    found = [(site, heir) for site, heir in (await session.execute(query)).all()]
    found.sort(key=lambda one: _rank(one[1]), reverse=True)
    return dict(found)  # the best comes last


def _rank(heir: Enrollment) -> tuple[bool, bool, bool, int, str]:
    """Ranks an heir; the least is the best."""
    return not lives(heir), heir.paused_at is not None, heir.health not in health.WELL, heir.created_at, heir.id


async def _sites_of(session: AsyncSession, enrollment_id: str, *conditions: ColumnElement[bool]) -> list[SiteRow]:
    """Lists the sites it reads, or has read."""
    query = select(SiteRow).where(col(SiteRow.enrollment_id) == enrollment_id, *conditions)
    return list((await session.execute(query.order_by(col(SiteRow.id)))).scalars())


async def _read_soon(session: AsyncSession, enrollments: Iterable[Enrollment]) -> None:
    """Plans a poll for now, but not where somebody else must start the reading again."""
    for enrollment in enrollments:
        if lives(enrollment) and enrollment.paused_at is None and enrollment.health not in _STANDS_STILL:
            await leases.schedule(session, "poll", enrollment.id, now())


def _rights_of(enrollment_id: str) -> SelectOfScalar[str]:
    return select(SiteRight.vendor_site_id).where(col(SiteRight.enrollment_id) == enrollment_id)
