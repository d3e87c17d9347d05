"""Enrollments: one consent each, with its grant, its sites and its health."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, text
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.errors import ConsentContinues, PluginBug
from joinder.grants import AppCredentials, Callback, Consent
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.grants import revocations, saving, site_rights
from joinder.services.grants.revocations import How
from joinder.services.join import kept_consents, reconnect
from joinder.services.records import health
from joinder.store.tables import (
    CounterRow,
    Coverage,
    DeviceRow,
    Enrollment,
    GrantRow,
    GrantVersion,
    Interval,
    Quota,
    SiteRow,
)

_SITES = (  # those it reads are among them, whichever version wrote them down
    "SELECT s.enrollment_id, s.id, s.fetched_at FROM site s WHERE s.enrollment_id IN ({places}) AND s.gone_at IS NULL "
    "UNION SELECT r.enrollment_id, s.id, s.fetched_at FROM site_right r JOIN enrollment e ON e.id = r.enrollment_id "
    "JOIN site s ON s.account_id = e.account_id AND s.vendor = e.vendor AND s.vendor_id = r.vendor_site_id "
    "WHERE r.enrollment_id IN ({places}) AND s.gone_at IS NULL"
)


@dataclass(kw_only=True)
class Overview:
    """An enrollment as shown: the row, what its grant tells without secrets, the ids of the sites it may open."""

    row: Enrollment
    grant: GrantRow | None
    site_ids: list[str]
    sites_read: int  # of them; the others are known by id only
    reconnect_url: str | None = None  # for the owner, where the owner must act


async def operator_consent(hub: Hub, vendor: str, app: AppCredentials, *, credentials_id: str) -> Consent:
    """Opens the sites an app credential reaches without any owner."""
    ctx = vendor_context(hub, vendor, app, budget=credentials_id)
    try:
        return await hub.registry.handle_callback(vendor, ctx, Callback(values=Secrets({})))
    except ConsentContinues:
        raise PluginBug(f"plugin {vendor} asks an owner, where the operator's credentials open the sites") from None


async def list_page(
    hub: Hub,
    account_id: str,
    filters: dict[str, str],
    *,
    after: str,
    limit: int,
    known: Collection[str] | None = None,
) -> list[Overview]:
    """Reads a keyset page by id; `filters` are columns of enrollment. `known`: only of these vendors; None: of all."""
    query = select(Enrollment).where(col(Enrollment.account_id) == account_id, col(Enrollment.id) > after)
    for column, value in filters.items():
        query = query.where(getattr(Enrollment, column) == value)
    if known is not None:
        query = query.where(col(Enrollment.vendor).in_(known))
    async with hub.store.read() as session:
        rows = list((await session.execute(query.order_by(col(Enrollment.id)).limit(limit))).scalars())
        return await _overviews(hub, session, rows)


async def of_ids(hub: Hub, ids: Sequence[str]) -> list[Overview]:
    """Reads enrollments of any account, for the admin, in the order of `ids`; those that are not there are left out."""
    async with hub.store.read() as session:
        rows = (await session.execute(select(Enrollment).where(col(Enrollment.id).in_(ids)))).scalars()
        found = {row.id: row for row in rows}
        return await _overviews(hub, session, [found[row_id] for row_id in ids if row_id in found])


async def _overviews(hub: Hub, session: AsyncSession, rows: Sequence[Enrollment]) -> list[Overview]:
    ids = [row.id for row in rows]
    grants = (await session.execute(select(GrantRow).where(col(GrantRow.enrollment_id).in_(ids)))).scalars()
    by_enrollment = {grant.enrollment_id: grant for grant in grants}
    sites = await _sites(session, ids)
    urls = await _reconnect_urls(hub, session, rows)
    return [
        Overview(
            row=row,
            grant=by_enrollment.get(row.id),
            site_ids=sorted(sites[row.id]),
            sites_read=sum(sites[row.id].values()),
            reconnect_url=urls.get(row.id),
        )
        for row in rows
    ]


async def _sites(session: AsyncSession, enrollment_ids: Sequence[str]) -> dict[str, dict[str, bool]]:
    """Reads, by enrollment, the ids of the sites it may open, and whether they were read."""
    found: dict[str, dict[str, bool]] = {row_id: {} for row_id in enrollment_ids}
    names = {f"id{index}": row_id for index, row_id in enumerate(enrollment_ids)}
    sql = _SITES.format(places=", ".join(f":{name}" for name in names) or "''")
    for enrollment_id, site_id, fetched_at in await session.execute(text(sql), names):
        found[enrollment_id][site_id] = fetched_at is not None
    return found


async def get(hub: Hub, account_id: str, enrollment_id: str) -> Overview:
    """Returns the enrollment. Raises NotFound."""
    async with hub.store.read() as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        (overview,) = await _overviews(hub, session, [row])
        return overview


async def _reconnect_urls(hub: Hub, session: AsyncSession, rows: Sequence[Enrollment]) -> dict[str, str]:
    return await reconnect.links(hub, session, [row for row in rows if row.health in health.OWNER_MUST_ACT])


async def lineage(hub: Hub, account_id: str, enrollment_id: str) -> list[GrantVersion]:
    """Tells where its last tokens came from, newest first; never the tokens. Raises NotFound."""
    async with hub.store.read() as session:
        await owned(session, Enrollment, enrollment_id, account_id)
        query = select(GrantVersion).where(col(GrantVersion.enrollment_id) == enrollment_id)
        newest = query.order_by(col(GrantVersion.version).desc()).limit(saving.VERSIONS_KEPT)
        return list((await session.execute(newest)).scalars())


async def delete(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> How | None:
    """Erases tokens, sites, devices and readings; sites that another enrollment may open stay with it.

    The event and the audit entry remain. Answers what becomes of the consent at the vendor (revocations.request); None
    where no owner gave one. Raises NotFound.
    """
    async with hub.store.write(account_id, enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        how = await revocations.request(hub, session, row)
        await site_rights.leave(session, row)
        await forget_series(session, enrollment_id)
        await session.execute(sql_delete(Quota).where(col(Quota.app) == enrollment_id))  # of an owner's own key
        revocation = "requested" if how == "requested" else "none"
        await kept_consents.forget(session, enrollment_id)
        told: dict[str, object] = {"vendor": row.vendor, "revocation": revocation}
        told |= {"by": "owner"} if actor == "owner" else {}
        health.write_event(session, row, "enrollment.deleted", told)
        if how is not None and how != "requested":
            revocations.tell(session, account_id, enrollment_id, row.vendor, how, health.labels_of(row))
        audit(session, account_id, actor, "enrollment.delete", enrollment_id)
        await session.delete(row)
    return how


async def forget_series(session: AsyncSession, enrollment_id: str) -> None:
    """Erases what was read of its sites and devices over time, and the ledger of it."""
    for table in (Interval, CounterRow, Coverage):
        await session.execute(sql_delete(table).where(_about(table, enrollment_id)))


def _sites_of(enrollment_id: str) -> SelectOfScalar[str]:
    return select(SiteRow.id).where(col(SiteRow.enrollment_id) == enrollment_id)


def _devices_of(enrollment_id: str) -> SelectOfScalar[str]:
    return select(DeviceRow.id).where(col(DeviceRow.site_id).in_(_sites_of(enrollment_id)))


def _about(table: type[Interval | CounterRow | Coverage], enrollment_id: str) -> ColumnElement[bool]:
    subject: Any = col(table.subject_id)
    told: ColumnElement[bool] = subject.in_(_sites_of(enrollment_id)) | subject.in_(_devices_of(enrollment_id))
    return told


async def locked(hub: Hub, session: AsyncSession, enrollment_id: str) -> Enrollment | None:
    """Locks the enrollment, and returns it; None when it is gone.

    Nobody else's block about it runs until this one ends.
    """
    await hub.store.serialise(session, enrollment_id)
    return await session.get(Enrollment, enrollment_id, populate_existing=True)
