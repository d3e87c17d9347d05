"""Enrollments: one consent each, with its grant, its sites and its health."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.errors import ConsentContinues, PluginBug
from joinder.grants import AppCredentials, Callback, Consent
from joinder.ids import is_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.grants import revocations, saving, site_rights
from joinder.services.grants.revocations import How
from joinder.services.join import kept_consents, reconnect
from joinder.services.records import health
from joinder.services.refusals import NotFound
from joinder.store.enrollments import (
    Shown,
    StoredEnrollment,
    StoredGrant,
    read_enrollment_page,
    read_enrollments,
    read_opened_sites,
)
from joinder.store.tables import (
    CounterRow,
    Coverage,
    DeviceRow,
    Enrollment,
    GrantVersion,
    Interval,
    Quota,
    SiteRow,
)


@dataclass(kw_only=True)
class Overview:
    """An enrollment as shown: the row, what its grant tells without secrets, the ids of the sites it may open."""

    row: StoredEnrollment
    grant: StoredGrant | None
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
    page = await read_enrollment_page(hub.store, account_id, filters, after=after, limit=limit, vendors=known)
    return await _overviews(hub, page)


async def of_ids(hub: Hub, ids: Sequence[str]) -> list[Overview]:
    """Reads enrollments of any account, for the admin, in the order of `ids`; those that are not there are left out."""
    return await _overviews(hub, await read_enrollments(hub.store, ids))


async def get(hub: Hub, account_id: str, enrollment_id: str) -> Overview:
    """Returns the enrollment. Raises NotFound."""
    for shown in await read_enrollments(hub.store, [enrollment_id] if is_id(enrollment_id) else []):
        if shown[0].account_id == account_id:
            (overview,) = await _overviews(hub, [shown])
            return overview
    raise NotFound


async def _overviews(hub: Hub, page: Sequence[Shown]) -> list[Overview]:
    sites = await read_opened_sites(hub.store, [row.id for row, _ in page])
    urls = await _reconnect_urls(hub, [row for row, _ in page if row.health in health.OWNER_MUST_ACT])
    return [
        Overview(
            row=row,
            grant=grant,
            site_ids=sorted(sites[row.id]),
            sites_read=sum(sites[row.id].values()),
            reconnect_url=urls.get(row.id),
        )
        for row, grant in page
    ]


async def _reconnect_urls(hub: Hub, rows: Sequence[StoredEnrollment]) -> dict[str, str]:
    if not rows:
        return {}
    async with hub.store.read() as session:
        return await reconnect.links(hub, session, rows)


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
