"""Applications to programmes, and what an operator decides of them.

An enrollment's status says where it stands in its programme; its health, whether it can be read. Whether it is approved
is asked of its vendor as always (services/grants/approvals.py): the virtual one answers what the operator decided, and
others decide for themselves. Who the customer is stands sealed, and is never shown.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal

import msgspec
from msgspec import Struct, field
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder import virtual
from joinder.clock import now
from joinder.errors import ApprovalRefused
from joinder.grants import Grant, GrantState
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.grants import approvals, standing
from joinder.services.join import enrollments, programs, stored_consents, virtual_homes
from joinder.services.join.enrollments import Overview
from joinder.services.join.stored_consents import Origin
from joinder.services.records import health
from joinder.services.records.opened_grant import open_grant
from joinder.services.records.told import EVERYTHING, Told
from joinder.services.refusals import (
    ApplicationTime,
    EnrollmentStatus,
    Invalid,
    KeyReused,
    NotFound,
    NotOffered,
)
from joinder.store.tables import Application, Enrollment, GrantRow, Program, SiteRow
from joinder.virtual.configuration import VirtualHome, home_of

Decision = Literal["approved", "rejected", "resubmitrequested", "unenrolled"]
Status = Literal["applied", "pendingvendor", "enrolled", "rejected", "resubmitrequested", "unenrolled"]
# Which decisions a status allows; a new application is taken in every other than `enrolled`.
_ALLOWED: Mapping[str, tuple[Decision, ...]] = {
    "applied": ("approved", "rejected", "resubmitrequested"),
    "pendingvendor": ("approved", "rejected", "resubmitrequested"),
    "resubmitrequested": ("rejected",),
    "enrolled": ("unenrolled",),
}
REASON_MOST = 500  # characters
_BY_CONSENT = (
    "Applications to {vendor} are made by the owner's consent, through a join flow that names the programme: "
    "send the owner there, or the reconnect link of the enrollment."
)
_TABLE, _COLUMN = "enrollment_application", "sealed"


class Customer(Struct, frozen=True, kw_only=True):
    """An application as it is kept; all but `additional_info` is of a person, and not shown again."""

    applied_at: datetime
    utility_account: str
    customer: dict[str, Any]
    address: dict[str, Any]
    additional_info: dict[str, str] = field(default_factory=dict)
    system_info: dict[str, Any] = field(default_factory=dict)


async def submit(
    hub: Hub, account_id: str, actor: str, program_id: str, customer: Customer, key: str | None, told: Told = EVERYTHING
) -> tuple[Overview, bool]:
    """Applies for a programme without a browser. The same `key` again answers the first enrollment while it lives.

    The key names a customer, so it is kept as long as the enrollment, in its own transaction: nothing can be cut in
    between. Returns, too, whether it was there before. Raises Invalid, NotOffered where owners must consent, KeyReused.
    """
    body = hashlib.sha256(msgspec.json.encode([program_id, customer], order="deterministic")).digest()
    async with hub.store.read() as session:
        program = await programs.named(session, account_id, program_id, told)
        known = await _submitted(session, account_id, key)
    if known is not None:
        return await enrollments.get(hub, account_id, _answering(known, body)), True
    _require_virtual(program)
    home = virtual_homes.new_home(name=f"Home in {program.name}"[:100])
    row = await _enroll(hub, account_id, actor, program, _furnished(home), "pendingvendor", customer, (key, body))
    return await enrollments.get(hub, account_id, row), False


async def enroll_virtual(
    hub: Hub,
    account_id: str,
    actor: str,
    program_id: str,
    *,
    site_id: str | None,
    status: Status,
    customer: Customer | None,
) -> Overview:
    """Makes a virtual enrollment in any status; without a site it gets a home of its own. Raises Invalid."""
    async with hub.store.read() as session:
        program = await programs.named(session, account_id, program_id)
        home = await _home(hub, session, account_id, site_id) if site_id is not None else None
    _require_virtual(program)
    home = home or _furnished(virtual_homes.new_home())
    first: Status = "applied" if status in ("rejected", "resubmitrequested") else status
    first = "enrolled" if status == "unenrolled" else first
    row = await _enroll(hub, account_id, actor, program, home, first, customer, (None, None))
    if status == "rejected" or status == "resubmitrequested" or status == "unenrolled":
        await decide(hub, account_id, row, actor, status, "It was made so.")
    return await enrollments.get(hub, account_id, row)


async def apply(hub: Hub, account_id: str, enrollment_id: str, actor: str, customer: Customer) -> None:
    """Takes a newer application of an enrollment that is not enrolled.

    Raises NotFound, EnrollmentStatus, ApplicationTime for one older than the one on record, or NotOffered.
    """
    async with hub.store.write(account_id, enrollment_id) as session:
        enrollment = await owned(session, Enrollment, enrollment_id, account_id)
        if enrollment.status == "enrolled":
            raise EnrollmentStatus("It is enrolled: unenroll it before it applies again.")
        _require_operators(enrollment)
        before = await session.get(Application, enrollment_id)
        if before is not None and customer.applied_at.timestamp() < before.applied_at:
            raise ApplicationTime("This application is older than the one on record; nothing was changed.")
        await _wait(hub, session, enrollment, {})
        await _record(hub, session, enrollment, customer)
        enrollment.status, enrollment.status_reason, enrollment.paused_at = "applied", None, None
        await _wait_for_operator(hub, session, enrollment)
        audit(session, account_id, actor, "enrollment.apply", enrollment_id)


async def decide(
    hub: Hub, account_id: str, enrollment_id: str, actor: str, decision: Decision, reason: str | None = None
) -> None:
    """Writes down what an operator decides, and does what follows.

    Raises NotFound, EnrollmentStatus, NotOffered, or Invalid for a reason that is too long.
    """
    if reason is not None and len(reason) > REASON_MOST:
        wanted = {"/reason": f"has at most {REASON_MOST} characters"}
        raise Invalid("The reason is too long", errors=wanted)
    async with hub.store.write(account_id, enrollment_id) as session:
        enrollment = await owned(session, Enrollment, enrollment_id, account_id)
        if decision not in _ALLOWED.get(enrollment.status, ()):
            raise EnrollmentStatus(f"It is {enrollment.status}, which {decision} does not follow.")
        if decision != "unenrolled":
            _require_operators(enrollment)
        enrollment.status_reason = reason
        audit(session, account_id, actor, f"enrollment.{decision}", enrollment_id, reason=reason)
        if decision == "unenrolled":
            await _unenroll(hub, session, enrollment, reason)
        elif decision == "resubmitrequested":
            enrollment.status = decision
            _tell(session, enrollment, "enrollment.resubmit_requested", {"reason": reason})
        else:
            waits = virtual.APPROVES if decision == "approved" else virtual.REJECTS
            await _wait(hub, session, enrollment, virtual.decided(waits, reason))
    if decision in ("approved", "rejected"):
        await _asked(hub, enrollment_id)


async def additional_info(hub: Hub, enrollment_id: str) -> Mapping[str, str] | None:
    """Returns what the newest application said besides; None where there is none."""
    async with hub.store.read() as session:
        row = await session.get(Application, enrollment_id)
        if row is None:
            return None
        await hub.vault.unlock(session, row.account_id)
    return _opened(hub, row).additional_info


async def _asked(hub: Hub, enrollment_id: str) -> None:
    """Asks the vendor, which answers as was decided."""
    try:
        await approvals.ask(hub, enrollment_id)
    except ApprovalRefused:
        return


async def _submitted(session: AsyncSession, account_id: str, key: str | None) -> Application | None:
    if key is None:
        return None
    query = select(Application).where(
        col(Application.account_id) == account_id, col(Application.key_hash) == _key_hash(key)
    )
    return (await session.execute(query)).scalar_one_or_none()


def _answering(known: Application, body: bytes | None) -> str:
    """Returns the enrollment that answers. Raises KeyReused."""
    if known.body_hash != body:
        raise KeyReused("It was used for another application: every customer has its own.")
    return known.enrollment_id


async def _enroll(
    hub: Hub,
    account_id: str,
    actor: str,
    program: Program,
    home: VirtualHome,
    status: Status,
    customer: Customer | None,
    submitted: tuple[str | None, bytes | None],
) -> str:
    """Stores the enrollment with its application in one transaction, and returns its id."""
    consent = await virtual_homes.consent_to(hub, home, virtual.GRANTS if status == "enrolled" else virtual.ASKS)
    async with hub.store.write(account_id) as session:
        known = await _submitted(session, account_id, submitted[0])
        if known is not None:  # submitted twice at once
            return _answering(known, submitted[1])
        row = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor=virtual.NAME, program_id=program.id)
        )
        row.status = status
        if status != "enrolled":
            await _wait_for_operator(hub, session, row)
        if customer is not None:
            await _record(hub, session, row, customer, *submitted)
        audit(session, account_id, actor, "enrollment.submit", row.id)
    return row.id


async def _record(
    hub: Hub,
    session: AsyncSession,
    enrollment: Enrollment,
    customer: Customer,
    key: str | None = None,
    body_hash: bytes | None = None,
) -> None:
    await hub.vault.unlock(session, enrollment.account_id)
    row = await session.get(Application, enrollment.id)
    if row is None:
        row = Application(enrollment_id=enrollment.id, account_id=enrollment.account_id, applied_at=0, sealed=b"")
        row.key_hash, row.body_hash = _key_hash(key) if key is not None else None, body_hash
        session.add(row)
    row.applied_at = int(customer.applied_at.timestamp())
    row.sealed = hub.vault.seal(msgspec.to_builtins(customer), **_place(enrollment.account_id, enrollment.id))
    _tell(session, enrollment, "enrollment.applied", {"programID": enrollment.program_id})


def _opened(hub: Hub, row: Application) -> Customer:
    return msgspec.convert(hub.vault.open(row.sealed, **_place(row.account_id, row.enrollment_id)), Customer)


def _place(account_id: str, enrollment_id: str) -> dict[str, str]:
    return {"table": _TABLE, "row": enrollment_id, "column": _COLUMN, "owner": account_id}


async def _wait(hub: Hub, session: AsyncSession, enrollment: Enrollment, facts: Mapping[str, str]) -> None:
    """Lets the virtual grant wait for whatever `facts` say; without any, for the operator."""
    row = await session.get(GrantRow, enrollment.id)
    if row is None:
        raise NotFound
    await hub.vault.unlock(session, enrollment.account_id)
    grant = open_grant(hub, enrollment.account_id, row)
    kept = virtual.approved(grant).facts
    waiting = {**kept, **(facts or virtual.decided(virtual.ASKS))}
    changed = Grant(secrets=grant.secrets, facts=waiting, site_ids=grant.site_ids, state=GrantState.PENDING_APPROVAL)
    await stored_consents.replace_grant(hub, session, enrollment, changed)


async def _wait_for_operator(hub: Hub, session: AsyncSession, enrollment: Enrollment) -> None:
    reason = "The operator decides."
    await standing.settle(hub, session, enrollment, "pending_approval", reason=reason, actor="operator")


async def _unenroll(hub: Hub, session: AsyncSession, enrollment: Enrollment, reason: str | None) -> None:
    """Stops the reading; what was read stays."""
    enrollment.status, enrollment.paused_at = "unenrolled", enrollment.paused_at or now()
    text = "The operator unenrolled it" + (f": {reason.removesuffix('.')}." if reason else ".")
    await standing.settle(hub, session, enrollment, "needs_consent", reason=text, actor="nobody")
    _tell(session, enrollment, "enrollment.unenrolled", {"reason": reason})


def _tell(session: AsyncSession, enrollment: Enrollment, kind: str, data: Mapping[str, object | None]) -> None:
    health.write_event(session, enrollment, kind, {name: value for name, value in data.items() if value is not None})


async def _home(hub: Hub, session: AsyncSession, account_id: str, site_id: str) -> VirtualHome:
    try:
        site = await owned(session, SiteRow, site_id, account_id)
    except NotFound:
        raise Invalid("No such site", errors={"/siteID": "no such virtual site in this account"}) from None
    row = await session.get(GrantRow, site.enrollment_id)
    await hub.vault.unlock(session, account_id)
    if row is None:
        raise NotFound
    return home_of(open_grant(hub, account_id, row).facts)


def _furnished(home: VirtualHome) -> VirtualHome:
    return msgspec.structs.replace(home, devices=virtual.owners_home(home.vendor_id).devices)


def _require_virtual(program: Program) -> None:
    if program.vendors != [virtual.NAME]:
        raise NotOffered(_BY_CONSENT.format(vendor=", ".join(program.vendors)))


def _require_operators(enrollment: Enrollment) -> None:
    """Raises NotOffered where the vendor decides."""
    if enrollment.vendor != virtual.NAME:
        raise NotOffered(_BY_CONSENT.format(vendor=enrollment.vendor) + " The vendor itself decides.")


def _key_hash(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
