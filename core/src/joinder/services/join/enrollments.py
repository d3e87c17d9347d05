"""Enrollments: one consent each, with its grant, its sites and its health."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement
from sqlalchemy import delete as sql_delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import ConsentContinues, HealthState, PluginBug
from joinder.grants import AppCredentials, Callback, Consent, Grant, GrantState
from joinder.ids import is_id, new_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.grants import expiry, revocations, saving, site_rights, standing
from joinder.services.grants.revocations import How
from joinder.services.join import kept_consents, reconnect
from joinder.services.join.labels import NO_LABELS, Labels
from joinder.services.records import health
from joinder.services.records.sealed_grants import opened, seal_grant
from joinder.services.refusals import NotFound
from joinder.services.work import leases
from joinder.services.work.schedule import next_refresh
from joinder.store import claims
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
    GrantRow,
    GrantVersion,
    Interval,
    Quota,
    SiteRow,
)

FIRST_QUESTION_S = 60
SITES_LISTED_EVERY_S = 86_400  # of app credentials that open them by themselves


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
    labels: Labels = NO_LABELS,
    replaces: Enrollment | None = None,
    by_operator: bool = False,
    fills: Enrollment | None = None,
) -> Enrollment:
    """Stores a new enrollment, or the same owner's earlier one with its grant replaced; ids and history stay.

    `replaces`: exactly this one, which the caller has locked and knows to be the owner's. `by_operator`: no owner, the
    app credentials open the sites by themselves. `fills`: one without a grant, in place of a new one.
    """
    operators = credentials_id if by_operator else None
    known_id = None if replaces else await _known(hub, session, account_id, vendor, consent, operators)
    found = await locked(hub, session, known_id) if known_id else replaces or fills
    is_new = found is None
    enrollment = found or await _made(hub, session, account_id, vendor)
    if enrollment is not fills:
        labels.put_on(enrollment)
    if is_new:
        health.write_event(session, enrollment, "enrollment.created", {"vendor": vendor, "flowID": flow_id})
    elif enrollment is not fills:
        health.write_event(session, enrollment, "enrollment.reconnected", {"vendor": vendor})
    enrollment.credentials_id, enrollment.flow_id, enrollment.program_id = credentials_id, flow_id, program_id
    enrollment.vendor_account_id = consent.account_id or enrollment.vendor_account_id
    enrollment.options = dict(options or {})
    pending = consent.grant.state is GrantState.PENDING_APPROVAL
    enrollment.status = "pendingvendor" if pending else "enrolled"
    enrollment.failures = 0
    await replace_grant(hub, session, enrollment, consent.grant)
    await site_rights.listed(session, enrollment, consent.grant.site_ids, whole=not pending, is_first=is_new)
    await session.flush()
    well = await health.begun(session, enrollment.id)
    await _settle(hub, session, enrollment, consent.grant, "pending_approval" if pending else well)
    if by_operator or hub.registry.lists_sites(vendor):
        await leases.schedule(session, "sites", enrollment.id, now() + SITES_LISTED_EVERY_S, app=enrollment.app)
    audit(session, account_id, "owner" if flow_id or replaces else "operator", "enrollment.consent", enrollment.id)
    return enrollment


async def _made(hub: Hub, session: AsyncSession, account_id: str, vendor: str) -> Enrollment:
    """Adds an enrollment that has no grant yet; whose plugin it is of is claimed with the first."""
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
    if (distribution := hub.registry.brought.get(vendor)) is not None:
        await claims.put(hub.store, session, vendor, distribution)
    return enrollment


async def _settle(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant, state: HealthState) -> None:
    """Plans what is due: its first poll now, or a question to the vendor while it waits for approval."""
    vendor, app = hub.registry.vendor(enrollment.vendor), enrollment.app
    due = {"refresh": next_refresh(vendor, grant, utc_now()), "poll": now(), "approval": now() + FIRST_QUESTION_S}
    await standing.settle(hub, session, enrollment, state, due=due, app=app)
    look_at = expiry.first_look(vendor, grant, utc_now())
    await leases.schedule(session, expiry.KIND, enrollment.id, look_at, app=app)


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


async def _known(
    hub: Hub, session: AsyncSession, account_id: str, vendor: str, consent: Consent, operators: str | None
) -> str | None:
    """Finds the id of the same owner's enrollment; None when there is none.

    It is known by the vendor's account id, by the very same secrets, or opens a site of this consent and waits for its
    owner. Others of the same site may be other owners'. The operator's own is known by the app credentials
    (`operators`).
    """
    of_vendor = select(Enrollment).where(col(Enrollment.account_id) == account_id, col(Enrollment.vendor) == vendor)
    if consent.account_id is not None:
        by_account = of_vendor.where(col(Enrollment.vendor_account_id) == consent.account_id)
        found = (await session.execute(by_account.order_by(col(Enrollment.created_at)).limit(1))).scalar_one_or_none()
        if found is not None:
            return found.id
    if operators is not None:
        own = of_vendor.where(col(Enrollment.credentials_id) == operators, col(Enrollment.flow_id).is_(None))
        found = (await session.execute(own.order_by(col(Enrollment.created_at)).limit(1))).scalar_one_or_none()
        return found.id if found is not None else None
    sharing = await site_rights.sharing(session, account_id, vendor, consent.grant.site_ids)
    maybe = [one for one in sharing if not (one.vendor_account_id and consent.account_id)]
    rows = {one.id: await session.get(GrantRow, one.id) for one in maybe}
    grants = {row_id: await opened(hub, session, account_id, row) for row_id, row in rows.items()}
    same = [one for one in maybe if _is_same(grants[one.id], consent.grant)]
    waiting = [one for one in maybe if _waits_for_owner(one, rows[one.id])]
    return next((one.id for one in (*same, *waiting)), None)


def _is_same(stored: Grant | None, grant: Grant) -> bool:
    """Tells whether the grants are the same, as when an owner enters the same key again.

    Grants without secrets are told apart by their facts, if any.
    """
    if stored is None or not (grant.secrets or grant.facts):
        return False
    same_facts = bool(grant.secrets) or dict(stored.facts) == dict(grant.facts)
    return same_facts and dict(stored.secrets) == dict(grant.secrets)


def _waits_for_owner(enrollment: Enrollment, row: GrantRow | None) -> bool:
    """Tells whether only a new consent helps it, or it was said to need one soon."""
    if enrollment.health in health.OWNER_MUST_ACT or enrollment.status in health.DECLINED:
        return True
    shown = expiry.shown(enrollment, row) if row is not None else None
    return shown is not None and shown.actor == "owner"


async def known(
    hub: Hub, session: AsyncSession, account_id: str, vendor: str, consent: Consent, *, by_link: bool = False
) -> str | None:
    """Tells whose grant this consent renews: the enrollment's id, or None for an owner who has none.

    `by_link`: who came by a reconnect link has an enrollment, so a common site is enough to tell which.
    """
    known_id = await _known(hub, session, account_id, vendor, consent, None)
    if known_id is not None or not by_link:
        return known_id
    sharing = await site_rights.sharing(session, account_id, vendor, consent.grant.site_ids)
    return next((one.id for one in sharing if not (one.vendor_account_id and consent.account_id)), None)


async def locked(hub: Hub, session: AsyncSession, enrollment_id: str) -> Enrollment | None:
    """Locks the enrollment, and returns it; None when it is gone.

    Nobody else's block about it runs until this one ends.
    """
    await hub.store.serialise(session, enrollment_id)
    return await session.get(Enrollment, enrollment_id, populate_existing=True)


async def replace_grant(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant) -> None:
    """Stores a new grant in place of whatever was there, as its next version."""
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
    row.denied_at = row.wait_until = row.odd_since = row.odd_code = None
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
