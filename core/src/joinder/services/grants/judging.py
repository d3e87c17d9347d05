"""Judges what a vendor answered: gathers the evidence, asks the table (verdict.py), has its verdict carried out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import VendorError
from joinder.runtime.hub import Hub
from joinder.services.grants import apps, mass_refusal, site_rights
from joinder.services.grants.case import APP_DOOR, Case, VendorAnswer, is_old
from joinder.services.grants.consequences import carry_out
from joinder.services.grants.evidence import evidence_of
from joinder.services.grants.verdict import PROOF_AFTER, Door, Evidence, Others, Said, Verdict, heard, judge
from joinder.services.work import leases
from joinder.store.tables import Enrollment, GrantRow, SiteRow, VendorCredentials
from joinder.vendor import Refresh, Vendor

if TYPE_CHECKING:
    from joinder.services.records.opened_grant import RefreshAttempt


async def failed(hub: Hub, answer: VendorAnswer) -> Verdict:
    """Writes down what a failed read or question means."""
    if answer.door is Door.DATA and heard(answer.error, answer.door) is Said.NOTHING:
        return Verdict.SAYS_NOTHING
    async with hub.store.write(answer.row.id) as session:
        verdict, before = await _judged(hub, session, answer)
    await _afterwards(hub, answer, verdict, before)
    return verdict


async def renewal_failed(hub: Hub, attempt: RefreshAttempt, error: VendorError) -> None:
    """Judges a failed renewal as `failed` does, and gives the lease back in the same transaction.

    The intent goes too, unless the token may be spent.
    """
    row = attempt.held.row
    answer = VendorAnswer(row=row, door=Door.TOKEN, error=error)
    async with hub.store.write(row.id) as session:
        grant = await session.get(GrantRow, row.id)
        if grant is not None and grant.version == attempt.version and _tells_outcome(attempt.vendor, error):
            grant.intent_id = grant.intent_at = None
            grant.intent_count = row.intent_count
        elif grant is not None and grant.intent_id == attempt.intent_id:
            grant.intent_id = None  # nobody is at it any more; when it began still counts (services/grants/holders.py)
        verdict, before = await _judged(hub, session, answer)
        await leases.release(session, "refresh", row.id, attempt.lease, None)
    await _afterwards(hub, answer, verdict, before)


async def join_failed(hub: Hub, credentials_id: str, version: int, error: VendorError) -> None:
    """Judges what a vendor's answer to an owner's code or form means for the app it came through."""
    if heard(error, Door.JOIN) is not Said.APP_REFUSED:
        return
    async with hub.store.read() as session:
        app = await session.get(VendorCredentials, credentials_id)
        if app is None:
            return
        works = app.suspected_at is None and await _renewed_lately(session, credentials_id)
    evidence = Evidence(
        said=Said.APP_REFUSED,
        door=Door.JOIN,
        is_of_stored=app.version == version,
        is_proved=app.suspected_by == "token" and is_old(app.suspected_at, PROOF_AFTER),
        others=Others.WELL if works else Others.UNKNOWN,
    )
    verdict = judge(evidence).verdict
    if verdict in (Verdict.APP_SUSPECTED, Verdict.APP_REFUSED):
        await apps.refused(hub, credentials_id, version, "token", is_proved=verdict is Verdict.APP_REFUSED)


async def _judged(hub: Hub, session: AsyncSession, answer: VendorAnswer) -> tuple[Verdict, str]:
    """Carries out the verdict; returns it, and the health before it."""
    enrollment = await session.get(Enrollment, answer.row.id)
    grant = await session.get(GrantRow, answer.row.id)
    if enrollment is None or grant is None:
        return Verdict.SAYS_NOTHING, ""
    if answer.door is not Door.DATA and grant.version != answer.row.version:
        return Verdict.SAYS_NOTHING, enrollment.health  # a newer consent has replaced this grant, and planned its own
    before = enrollment.health
    case = Case(
        hub=hub,
        session=session,
        answer=answer,
        enrollment=enrollment,
        grant=grant,
        app=await session.get(VendorCredentials, enrollment.credentials_id or ""),
        site=await session.get(SiteRow, answer.site_id or ""),
    )
    verdict = judge(await evidence_of(case)).verdict
    enrollment.last_attempt_at = now()
    await carry_out(verdict, case)
    return verdict, before


def _tells_outcome(vendor: Vendor, error: VendorError) -> bool:
    """Tells whether the old token is known not to be spent by this exchange."""
    return heard(error, Door.TOKEN) is not Said.CUT_OFF or vendor.refresh is Refresh.REUSABLE


async def _renewed_lately(session: AsyncSession, credentials_id: str) -> bool:
    query = (
        select(GrantRow.obtained_at)
        .join(Enrollment, col(Enrollment.id) == col(GrantRow.enrollment_id))
        .where(col(Enrollment.credentials_id) == credentials_id, col(GrantRow.obtained_by) == "refresh")
        .where(col(GrantRow.obtained_at) > now() - int(PROOF_AFTER.total_seconds()))
    )
    return (await session.execute(query.limit(1))).first() is not None


async def _afterwards(hub: Hub, answer: VendorAnswer, verdict: Verdict, before: str) -> None:
    """Does what concerns more than this enrollment."""
    row = answer.row
    if verdict is Verdict.LOST_IN_FLIGHT and before != "lost_in_flight":
        hub.metrics.lost_in_flight(row.vendor)
    if verdict in (Verdict.GRANT_DEAD, Verdict.LOST_IN_FLIGHT):
        await site_rights.hand_over(hub, row.id)
    if verdict is Verdict.VENDORS_FAULT:
        await mass_refusal.undo_hasty(hub, row.vendor)
    if verdict in (Verdict.APP_SUSPECTED, Verdict.APP_REFUSED) and row.credentials_id and row.app_version:
        door = APP_DOOR[answer.door]
        proved = verdict is Verdict.APP_REFUSED
        await apps.refused(hub, row.credentials_id, row.app_version, door, is_proved=proved, by=row.id)
