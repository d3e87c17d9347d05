"""Enrollments: one consent each, with its grant, its sites and its health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

from sqlalchemy import ColumnElement
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import from_epoch, now, to_epoch, utc_now
from joinder.grants import AppCredentials, Callback, Consent, Grant, GrantState
from joinder.ids import new_id
from joinder.redact import Secrets
from joinder.services import expiry, health, kept_consents, leases, reconnect
from joinder.services.hub import Hub, audit, owned
from joinder.services.schedule import next_refresh
from joinder.services.vendor_context import vendor_context
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

FIRST_QUESTION_S = 60


@dataclass(kw_only=True)
class Overview:
    """An enrollment as shown: the row, what its grant tells without secrets, its site ids."""

    row: Enrollment
    grant: GrantRow | None
    site_ids: list[str]
    sites_read: int  # of them; the others are known by id only
    reconnect_url: str | None = None  # for the owner, where the owner must act


async def operator_consent(hub: Hub, vendor: str, app: AppCredentials, *, credentials_id: str) -> Consent:
    """Opens the sites an app credential reaches without any owner."""
    ctx = vendor_context(hub, vendor, app, budget=credentials_id)
    return await hub.registry.handle_callback(vendor, ctx, Callback(values=Secrets({})))


async def store_consent(
    hub: Hub,
    session: AsyncSession,
    account_id: str,
    consent: Consent,
    *,
    vendor: str,
    credentials_id: str | None = None,
    flow_id: str | None = None,
    program_id: str | None = None,
    options: Mapping[str, str] | None = None,
    replaces: Enrollment | None = None,
    fills: Enrollment | None = None,
) -> Enrollment:
    """A new enrollment, or the same owner's earlier one with its grant replaced; ids and history stay.

    `replaces`: exactly this one, which the caller has locked and knows to be the owner's. `fills`: one without a grant,
    in place of a new one.
    """
    known_id = None if replaces else await _known(session, account_id, vendor, consent)
    enrollment = await locked(hub, session, known_id) if known_id else replaces or fills
    if enrollment is None:
        enrollment = Enrollment(
            id=new_id("enrl"),
            account_id=account_id,
            vendor=vendor,
            health="connecting",
            health_since=now(),
            created_at=now(),
        )
        session.add(enrollment)
        await session.flush()
        health.write_event(session, enrollment, "enrollment.created", {"vendor": vendor})
    elif enrollment is not fills:
        health.write_event(session, enrollment, "enrollment.reconnected", {"vendor": vendor})
    enrollment.credentials_id, enrollment.flow_id, enrollment.program_id = credentials_id, flow_id, program_id
    enrollment.vendor_account_id = consent.account_id or enrollment.vendor_account_id
    enrollment.options = dict(options or {})
    pending = consent.grant.state is GrantState.PENDING_APPROVAL
    enrollment.status = "pendingvendor" if pending else "enrolled"
    enrollment.failures = 0
    await _replace_grant(hub, session, enrollment, consent.grant)
    await _attach_sites(session, enrollment, consent.grant.site_ids)
    await session.flush()
    well = await health.begun(session, enrollment.id)
    health.change(session, enrollment, "pending_approval" if pending else well)
    await _schedule(hub, session, enrollment, consent.grant)
    audit(session, account_id, "owner" if flow_id or replaces else "operator", "enrollment.consent", enrollment.id)
    return enrollment


async def _schedule(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant) -> None:
    """What is due: its first poll now, or a question to the vendor while it waits for approval."""
    pending = grant.state is GrantState.PENDING_APPROVAL
    refresh_at = next_refresh(hub.registry.vendor(enrollment.vendor), grant, utc_now())
    due = {
        "refresh": leases.NEVER if pending else refresh_at,
        "poll": leases.NEVER if pending else now(),
        "approval": now() + FIRST_QUESTION_S if pending else leases.NEVER,
        expiry.KIND: expiry.first_look(hub.registry.vendor(enrollment.vendor), grant, utc_now()),
    }
    for kind, due_at in due.items():
        await leases.schedule(session, kind, enrollment.id, due_at, app=app_of(enrollment))


def app_of(enrollment: Enrollment) -> str:
    """With whose due work that of this enrollment is done."""
    return enrollment.credentials_id or enrollment.vendor


async def list_page(hub: Hub, account_id: str, filters: dict[str, str], *, after: str, limit: int) -> list[Overview]:
    """Keyset page by id; `filters` are columns of enrollment."""
    query = select(Enrollment).where(col(Enrollment.account_id) == account_id, col(Enrollment.id) > after)
    for column, value in filters.items():
        query = query.where(getattr(Enrollment, column) == value)
    async with hub.store.read() as session:
        rows = list((await session.execute(query.order_by(col(Enrollment.id)).limit(limit))).scalars())
        return await _overviews(hub, session, rows)


async def of_ids(hub: Hub, ids: Sequence[str]) -> list[Overview]:
    """Of any account, for the admin, in the order of `ids`; those that are not there are left out."""
    async with hub.store.read() as session:
        rows = (await session.execute(select(Enrollment).where(col(Enrollment.id).in_(ids)))).scalars()
        found = {row.id: row for row in rows}
        return await _overviews(hub, session, [found[row_id] for row_id in ids if row_id in found])


async def _overviews(hub: Hub, session: AsyncSession, rows: Sequence[Enrollment]) -> list[Overview]:
    ids = [row.id for row in rows]
    grants = (await session.execute(select(GrantRow).where(col(GrantRow.enrollment_id).in_(ids)))).scalars()
    by_enrollment = {grant.enrollment_id: grant for grant in grants}
    sites: dict[str, list[SiteRow]] = {row_id: [] for row_id in ids}
    for site in (await session.execute(select(SiteRow).where(col(SiteRow.enrollment_id).in_(ids)))).scalars():
        sites[site.enrollment_id].append(site)
    urls = await _reconnect_urls(hub, session, rows)
    return [
        Overview(
            row=row,
            grant=by_enrollment.get(row.id),
            site_ids=sorted(site.id for site in sites[row.id]),
            sites_read=sum(site.fetched_at is not None for site in sites[row.id]),
            reconnect_url=urls.get(row.id),
        )
        for row in rows
    ]


async def get(hub: Hub, account_id: str, enrollment_id: str) -> Overview:
    """Raises NotFound."""
    async with hub.store.read() as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        grant = await session.get(GrantRow, enrollment_id)
        found = await session.execute(select(SiteRow).where(col(SiteRow.enrollment_id) == enrollment_id))
        sites = list(found.scalars())
        url = (await _reconnect_urls(hub, session, [row])).get(row.id)
        return Overview(
            row=row,
            grant=grant,
            site_ids=sorted(site.id for site in sites),
            sites_read=sum(site.fetched_at is not None for site in sites),
            reconnect_url=url,
        )


async def _reconnect_urls(hub: Hub, session: AsyncSession, rows: Sequence[Enrollment]) -> dict[str, str]:
    return await reconnect.links(hub, session, [row for row in rows if row.health in health.OWNER_MUST_ACT])


async def lineage(hub: Hub, account_id: str, enrollment_id: str) -> list[GrantVersion]:
    """Where its last tokens came from, newest first; never the tokens. Raises NotFound."""
    async with hub.store.read() as session:
        await owned(session, Enrollment, enrollment_id, account_id)
        query = select(GrantVersion).where(col(GrantVersion.enrollment_id) == enrollment_id)
        return list((await session.execute(query.order_by(col(GrantVersion.version).desc()))).scalars())


async def delete(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> None:
    """Erases tokens, sites, devices and readings. The event and the audit entry remain."""
    async with hub.store.write(account_id, enrollment_id) as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        for table in (Interval, CounterRow, Coverage):
            await session.execute(sql_delete(table).where(_about(table, enrollment_id)))
        await session.execute(sql_delete(Quota).where(col(Quota.app) == enrollment_id))  # of an owner's own key
        await kept_consents.forget(session, enrollment_id)
        health.write_event(session, row, "enrollment.deleted", {"vendor": row.vendor})
        audit(session, account_id, actor, "enrollment.delete", enrollment_id)
        await session.delete(row)


def _sites_of(enrollment_id: str) -> SelectOfScalar[str]:
    return select(SiteRow.id).where(col(SiteRow.enrollment_id) == enrollment_id)


def _devices_of(enrollment_id: str) -> SelectOfScalar[str]:
    return select(DeviceRow.id).where(col(DeviceRow.site_id).in_(_sites_of(enrollment_id)))


def _about(table: type[Interval | CounterRow | Coverage], enrollment_id: str) -> ColumnElement[bool]:
    subject: Any = col(table.subject_id)
    told: ColumnElement[bool] = subject.in_(_sites_of(enrollment_id)) | subject.in_(_devices_of(enrollment_id))
    return told


def seal_grant(hub: Hub, account_id: str, enrollment_id: str, grant: Grant) -> bytes:
    value = {"secrets": dict(grant.secrets), "facts": dict(grant.facts), "site_ids": grant.site_ids}
    return hub.vault.seal(value, table="grant", row=enrollment_id, column="sealed", owner=account_id)


class SealedGrant(Protocol):
    """A row of `grant`, however it was read."""

    @property
    def enrollment_id(self) -> str: ...
    @property
    def sealed(self) -> bytes: ...
    @property
    def expires_at(self) -> int | None: ...
    @property
    def refresh_expires_at(self) -> int | None: ...
    @property
    def state(self) -> str: ...


def open_grant(hub: Hub, account_id: str, row: SealedGrant) -> Grant:
    """Decrypted, for a hook call; the account's key must be unlocked."""
    value = hub.vault.open(row.sealed, table="grant", row=row.enrollment_id, column="sealed", owner=account_id)
    return Grant(
        secrets=Secrets(value["secrets"]),
        facts=MappingProxyType(value["facts"]),
        expires_at=from_epoch(row.expires_at),
        refresh_expires_at=from_epoch(row.refresh_expires_at),
        site_ids=tuple(value["site_ids"] or ()),
        state=GrantState(row.state) if row.state in tuple(GrantState) else GrantState.ACTIVE,
    )


async def _known(session: AsyncSession, account_id: str, vendor: str, consent: Consent) -> str | None:
    """The same owner's enrollment: by the vendor's account id, else by a site both consents open."""
    if consent.account_id is not None:
        query = select(Enrollment.id).where(
            col(Enrollment.account_id) == account_id,
            col(Enrollment.vendor) == vendor,
            col(Enrollment.vendor_account_id) == consent.account_id,
        )
        found = (await session.execute(query.limit(1))).scalar_one_or_none()
        if found is not None:
            return found
    by_site = (
        select(Enrollment.id, Enrollment.vendor_account_id)
        .join(SiteRow, col(SiteRow.enrollment_id) == col(Enrollment.id))
        .where(
            col(SiteRow.account_id) == account_id,
            col(SiteRow.vendor) == vendor,
            col(SiteRow.vendor_id).in_(consent.grant.site_ids),
        )
    )
    same_site = (await session.execute(by_site.limit(1))).first()
    if same_site is None or (same_site.vendor_account_id and consent.account_id):
        return None
    return str(same_site.id)


async def known(session: AsyncSession, account_id: str, vendor: str, consent: Consent) -> str | None:
    """Whose grant this consent renews: the enrollment's id, or None for an owner who has none."""
    return await _known(session, account_id, vendor, consent)


async def locked(hub: Hub, session: AsyncSession, enrollment_id: str) -> Enrollment | None:
    """Nobody else's block about this enrollment runs until this one ends."""
    await hub.store.serialise(session, enrollment_id)
    return await session.get(Enrollment, enrollment_id, populate_existing=True)


async def _replace_grant(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant) -> None:
    await hub.vault.unlock(session, enrollment.account_id)
    row = await session.get(GrantRow, enrollment.id)
    if row is None:
        row = GrantRow(enrollment_id=enrollment.id, sealed=b"", version=0, obtained_at=0)
        session.add(row)
    row.sealed = seal_grant(hub, enrollment.account_id, enrollment.id, grant)
    row.version += 1
    row.expires_at, row.refresh_expires_at = to_epoch(grant.expires_at), to_epoch(grant.refresh_expires_at)
    row.state = str(grant.state)
    row.obtained_by, row.obtained_at, row.refresh_count = "consent", now(), 0
    row.intent_id = row.intent_at = row.refused_at = row.suspected_at = row.warned_at = None
    row.intent_count = 0
    session.add(
        GrantVersion(
            enrollment_id=enrollment.id,
            version=row.version,
            obtained_by=row.obtained_by,
            obtained_at=row.obtained_at,
            expires_at=row.expires_at,
            refresh_expires_at=row.refresh_expires_at,
        )
    )


async def _attach_sites(session: AsyncSession, enrollment: Enrollment, vendor_ids: tuple[str, ...]) -> None:
    """A site keeps its id and history when a newer consent opens it."""
    query = select(SiteRow).where(
        col(SiteRow.account_id) == enrollment.account_id,
        col(SiteRow.vendor) == enrollment.vendor,
        col(SiteRow.vendor_id).in_(vendor_ids),
    )
    known = {site.vendor_id: site for site in (await session.execute(query)).scalars()}
    for vendor_id in vendor_ids:
        if vendor_id in known:
            await _move_site(session, known[vendor_id], enrollment)
        else:
            session.add(
                SiteRow(
                    id=new_id("site"),
                    account_id=enrollment.account_id,
                    enrollment_id=enrollment.id,
                    vendor=enrollment.vendor,
                    vendor_id=vendor_id,
                    name=vendor_id,
                )
            )


async def _move_site(session: AsyncSession, site: SiteRow, to: Enrollment) -> None:
    before = await session.get(Enrollment, site.enrollment_id)
    if before is not None and before.id != to.id:
        health.write_event(session, before, "enrollment.site_moved", {"siteID": site.id, "to": to.id})
        health.write_event(session, to, "enrollment.site_moved", {"siteID": site.id, "from": before.id})
    site.enrollment_id = to.id
