"""Where a consent of a join session belongs: the owner's earlier enrollment, a new one, or one that waits for sites."""

from __future__ import annotations

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import now, utc_now
from joinder.errors import AuthorizationLost, VendorError
from joinder.grants import Consent, GrantState
from joinder.runtime.hub import Hub, audit
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.grants import standing
from joinder.services.join import enrollments, join_ends, reconnect, stored_consents
from joinder.services.join.join_ends import JoinRefused, WrongAccount
from joinder.services.join.join_flows import options_in
from joinder.services.join.labels import Labels
from joinder.services.join.stored_consents import Origin
from joinder.services.records import health
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure
from joinder.store.tables import Enrollment, GrantRow, JoinFlow, JoinSession

KIND = "consent"  # of `due`: a grant that is kept until its sites are listed
_LATER = "The owner's consent is stored; the vendor does not list the sites yet, and Joinder asks again."


async def place(hub: Hub, row: JoinSession, consent: Consent) -> str:
    """Stores the consent where it belongs, ends the session, and answers the enrollment's id.

    Raises WrongAccount, or JoinRefused when the flow is gone and the owner has no enrollment.
    """
    async with hub.store.write(row.account_id) as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is None:  # the account is being deleted
            raise JoinRefused("flow_gone")
        return await _placed(hub, session, found, consent)


async def _placed(hub: Hub, session: AsyncSession, row: JoinSession, consent: Consent) -> str:
    aimed = await enrollments.locked(hub, session, row.reconnects_id or row.enrollment_id or "")
    fills = aimed if aimed is not None and await is_empty(session, aimed) else None
    owners = await _owners(hub, session, row, consent, None if fills else aimed)
    if owners is None and aimed is not None and fills is None:
        raise WrongAccount("This is another account than the one that was connected before; nothing was changed")
    origin = await _origin(session, row, owners or fills)
    stored = await stored_consents.store(hub, session, row.account_id, consent, origin, replaces=owners, fills=fills)
    if fills is not None and stored.id != fills.id:
        await _merge(session, fills, stored)
    row.enrollment_id = stored.id
    pending = consent.grant.state is GrantState.PENDING_APPROVAL
    join_ends.write(hub, session, row, "pending_approval" if pending else "joined")
    return stored.id


async def _origin(session: AsyncSession, row: JoinSession, settled: Enrollment | None) -> Origin:
    """Tells where the consent came from: by the flow, or as the owner's enrollment says. Raises JoinRefused."""
    flow = await session.get(JoinFlow, row.flow_id) if row.reconnects_id is None else None
    if flow is not None:
        return _through(flow, row)
    if settled is None:  # deleted while the vendor answered
        raise JoinRefused("flow_gone")
    return Origin(
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        flow_id=settled.flow_id,
        program_id=settled.program_id,
        options=settled.options,
        labels=Labels.of(row),
    )


def _through(flow: JoinFlow, row: JoinSession) -> Origin:
    return Origin(
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        flow_id=flow.id,
        program_id=flow.program_id,
        options=options_in(flow, row.vendor),
        labels=Labels.of(row),
    )


async def _owners(
    hub: Hub, session: AsyncSession, row: JoinSession, consent: Consent, aimed: Enrollment | None
) -> Enrollment | None:
    """Finds the owner's enrollment: the one that is being reconnected, or whichever the consent belongs to."""
    if aimed is not None and await reconnect.is_same_owner(session, aimed, consent):
        return aimed
    by_link = row.reconnects_id is not None
    known_id = await stored_consents.known(hub, session, row.account_id, row.vendor, consent, by_link=by_link)
    return await enrollments.locked(hub, session, known_id) if known_id else None


async def _merge(session: AsyncSession, provisional: Enrollment, into: Enrollment) -> None:
    """Ends the enrollment made for a grant that the owner's earlier one has now."""
    vendor = provisional.vendor
    health.write_event(session, provisional, "enrollment.deleted", {"vendor": vendor, "continuesAs": into.id})
    others = update(JoinSession).where(col(JoinSession.enrollment_id) == provisional.id)
    await session.execute(others.values(enrollment_id=into.id))
    await session.delete(provisional)


async def adopt(hub: Hub, row: JoinSession, error: VendorError | None = None) -> None:
    """Gives what is kept an enrollment: the owner has joined. It becomes its grant when the vendor lists the sites.

    `error`: why not now. Twice is harmless.
    """
    async with hub.store.write(row.account_id) as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is None or found.kept_sealed is None or found.enrollment_id is not None:
            return
        enrollment = await _awaiting(hub, session, found)
        if enrollment is None:
            join_ends.write(hub, session, found, "flow_gone")
            return
        found.enrollment_id = enrollment.id
        due_at = now() if error is None else after_failure(0, utc_now(), error.retry_after)
        await leases.schedule(session, KIND, enrollment.id, due_at, app=enrollment.app)
        if not isinstance(error, AuthorizationLost | BudgetSpent | None) and await is_empty(session, enrollment):
            await standing.troubled(hub, session, enrollment, error, {})  # a refusal counts when it comes again
        join_ends.write(hub, session, found, "sites_later")
        audit(session, row.account_id, "owner", "enrollment.consent", enrollment.id)


async def _awaiting(hub: Hub, session: AsyncSession, row: JoinSession) -> Enrollment | None:
    """Returns the enrollment that is being reconnected, or a new one without a grant.

    None: the flow or the enrollment is gone.
    """
    if row.reconnects_id is not None:
        return await enrollments.locked(hub, session, row.reconnects_id)
    flow = await session.get(JoinFlow, row.flow_id)
    if flow is None:
        return None
    enrollment = await stored_consents.begin(hub, session, row.account_id, _through(flow, row))
    enrollment.health_reason = _LATER
    return enrollment


async def is_empty(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Tells whether it never had a grant: it was made for one that is kept."""
    return await session.get(GrantRow, enrollment.id) is None
