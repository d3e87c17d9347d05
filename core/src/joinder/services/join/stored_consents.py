"""A consent becomes an enrollment with its grant: a new one, or the same owner's earlier one.

Who the owner is, is told by the vendor's account id, by the very same secrets, or by a site that waits for its owner.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now, to_epoch, utc_now
from joinder.errors import HealthState
from joinder.grants import Consent, Grant, GrantState
from joinder.ids import new_id
from joinder.runtime.hub import Hub, audit
from joinder.services.grants import expiry, site_rights, standing
from joinder.services.join.enrollments import locked
from joinder.services.join.labels import NO_LABELS, Labels
from joinder.services.records import health
from joinder.services.records.opened_grant import opened, seal_grant
from joinder.services.work import leases
from joinder.services.work.schedule import next_refresh
from joinder.store import claims
from joinder.store.tables import Enrollment, GrantRow, GrantVersion

FIRST_QUESTION_S = 60
SITES_LISTED_EVERY_S = 86_400  # of app credentials that open them by themselves


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a consent came from: the vendor, the app it was given to, and the flow or programme it came through."""

    vendor: str
    credentials_id: str | None = None
    flow_id: str | None = None
    program_id: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Labels = NO_LABELS

    def put_on(self, enrollment: Enrollment) -> None:
        """Writes it down; the labels are put on apart, as those of an enrollment that waits may have been changed."""
        enrollment.credentials_id = self.credentials_id
        enrollment.flow_id, enrollment.program_id = self.flow_id, self.program_id
        enrollment.options = dict(self.options)


async def store(
    hub: Hub,
    session: AsyncSession,
    account_id: str,
    consent: Consent,
    origin: Origin,
    *,
    replaces: Enrollment | None = None,
    fills: Enrollment | None = None,
    by_operator: bool = False,
) -> Enrollment:
    """Stores a new enrollment, or the same owner's earlier one with its grant replaced; ids and history stay.

    `replaces`: exactly this one, which the caller has locked and knows to be the owner's. `fills`: one without a grant,
    in place of a new one. `by_operator`: no owner, the app credentials open the sites by themselves.
    """
    operators = origin.credentials_id if by_operator else None
    known_id = None if replaces else await _known(hub, session, account_id, origin.vendor, consent, operators)
    found = await locked(hub, session, known_id) if known_id else replaces or fills
    enrollment = found or await begin(hub, session, account_id, origin)
    origin.put_on(enrollment)
    if found is not None and found is not fills:
        origin.labels.put_on(enrollment)
        health.write_event(session, enrollment, "enrollment.reconnected", {"vendor": origin.vendor})
    enrollment.vendor_account_id = consent.account_id or enrollment.vendor_account_id
    await _accept(hub, session, enrollment, consent.grant, is_new=found is None)
    if by_operator or hub.registry.lists_sites(origin.vendor):
        await leases.schedule(session, "sites", enrollment.id, now() + SITES_LISTED_EVERY_S, app=enrollment.app)
    by_owner = origin.flow_id is not None or replaces is not None
    audit(session, account_id, "owner" if by_owner else "operator", "enrollment.consent", enrollment.id)
    return enrollment


async def begin(hub: Hub, session: AsyncSession, account_id: str, origin: Origin) -> Enrollment:
    """Adds an enrollment that has no grant yet, and tells of it; whose plugin it is of is claimed with the first."""
    enrollment = Enrollment(
        id=new_id("enrl"),
        account_id=account_id,
        vendor=origin.vendor,
        health="connecting",
        health_since=now(),
        created_at=now(),
    )
    origin.put_on(enrollment)
    origin.labels.put_on(enrollment)
    session.add(enrollment)
    await session.flush()
    if (distribution := hub.registry.brought.get(origin.vendor)) is not None:
        await claims.put(hub.store, session, origin.vendor, distribution)
    health.write_event(session, enrollment, "enrollment.created", {"vendor": origin.vendor, "flowID": origin.flow_id})
    return enrollment


async def _accept(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant, *, is_new: bool) -> None:
    """Stores the grant, what it opens, and what is due of it now."""
    pending = grant.state is GrantState.PENDING_APPROVAL
    if health.is_unenrolled(enrollment.status, enrollment.health_actor):
        enrollment.paused_at = None
    enrollment.status, enrollment.status_reason = "pendingvendor" if pending else "enrolled", None
    enrollment.failures = 0
    await replace_grant(hub, session, enrollment, grant)
    await site_rights.listed(session, enrollment, grant.site_ids, whole=not pending, is_first=is_new)
    await session.flush()
    well = await health.begun(session, enrollment.id)
    await _settle(hub, session, enrollment, grant, "pending_approval" if pending else well)


async def _settle(hub: Hub, session: AsyncSession, enrollment: Enrollment, grant: Grant, state: HealthState) -> None:
    """Plans what is due: its first poll now, or a question to the vendor while it waits for approval."""
    vendor, app = hub.registry.vendor(enrollment.vendor), enrollment.app
    due = {"refresh": next_refresh(vendor, grant, utc_now()), "poll": now(), "approval": now() + FIRST_QUESTION_S}
    await standing.settle(hub, session, enrollment, state, due=due, app=app)
    look_at = expiry.first_look(vendor, grant, utc_now())
    await leases.schedule(session, expiry.KIND, enrollment.id, look_at, app=app)


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
