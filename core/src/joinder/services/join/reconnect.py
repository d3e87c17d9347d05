"""Links that let an owner consent again for one enrollment: its id, sites and history stay, its grant is replaced.

A link is stateless: enrollment, end and redirect URI under an HMAC. It opens nothing by itself: only a consent of the
same owner at the vendor counts (is_same_owner). Another owner's renews the enrollment it belongs to (consents.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.grants import Consent
from joinder.runtime.hub import Hub, audited, owned
from joinder.services.grants import site_rights
from joinder.services.join import signed_links
from joinder.services.join.redirects import problem_with
from joinder.services.refusals import Conflict, Invalid, Unprocessable
from joinder.store.enrollments import StoredEnrollment
from joinder.store.tables import Enrollment, JoinFlow, VendorCredentials
from joinder.vendor import Flow

LIFE_S = 30 * 86400
_PURPOSE = "reconnect link"


class Link(Struct, frozen=True, array_like=True):
    """What a link says."""

    enrollment_id: str
    expires_at: int
    redirect_uri: str


async def ask(hub: Hub, account_id: str, enrollment_id: str, redirect_uri: str | None, actor: str | None = None) -> str:
    """Returns the link for the owner. Raises NotFound, Conflict where no owner consents, Invalid, or Unprocessable.

    `redirect_uri` None: that of the enrollment's flow. Given, it must be one of the account's flows'. `actor`: who
    asked for the link.
    """
    made = await _asked(hub, account_id, enrollment_id, redirect_uri)
    if actor is not None:
        await audited(hub, account_id, actor, "enrollment.reconnect-link", enrollment_id)
    return made


async def _asked(hub: Hub, account_id: str, enrollment_id: str, redirect_uri: str | None) -> str:
    async with hub.store.read() as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        await refuse_operators(hub, session, row)
        await hub.vault.know_peppers(session)
        if redirect_uri is not None:
            await _check_redirect(session, account_id, redirect_uri)
            return url(hub, enrollment_id, redirect_uri)
        flow = await session.get(JoinFlow, row.flow_id or "")
    if flow is None:
        needed = {"/redirectURI": "is needed: the enrollment has no join flow, or none any more"}
        raise Unprocessable("Nobody knows where the owner would go afterwards", errors=needed)
    return url(hub, enrollment_id, flow.redirect_uri)


async def links(hub: Hub, session: AsyncSession, rows: Sequence[Enrollment | StoredEnrollment]) -> dict[str, str]:
    """Returns, by enrollment, the link back to its flow's redirect URI; none where the flow is gone or never was."""
    flow_ids = {row.flow_id for row in rows if row.flow_id}
    if not flow_ids:
        return {}
    found = await session.execute(select(JoinFlow).where(col(JoinFlow.id).in_(flow_ids)))
    redirects = {flow.id: flow.redirect_uri for flow in found.scalars()}
    await hub.vault.know_peppers(session)
    return {row.id: url(hub, row.id, redirects[row.flow_id]) for row in rows if row.flow_id in redirects}


def url(hub: Hub, enrollment_id: str, redirect_uri: str) -> str:
    return hub.settings.public_url + path(hub, enrollment_id, redirect_uri, LIFE_S)


def path(hub: Hub, enrollment_id: str, redirect_uri: str, life_s: int) -> str:
    """Returns the path of a link that lives `life_s`. What it says is in the query, which access logs leave out."""
    content = signed_links.signed(hub, _PURPOSE, Link(enrollment_id, now() + life_s, redirect_uri))
    return f"/join/reconnect?link={content}"


def read(hub: Hub, text: str) -> Link:
    """Returns what an untouched link says, also when its time is over. Raises BadLink."""
    return signed_links.read(hub, _PURPOSE, text, Link)


async def is_same_owner(session: AsyncSession, enrollment: Enrollment, consent: Consent) -> bool:
    """Tells whether the account that consented is the one this enrollment is of."""
    if enrollment.vendor_account_id is not None and consent.account_id is not None:
        return enrollment.vendor_account_id == consent.account_id
    return await site_rights.shares(session, enrollment.id, consent.grant.site_ids)


async def _check_redirect(session: AsyncSession, account_id: str, redirect_uri: str) -> None:
    """Raises Invalid unless the account sends owners there anyway."""
    problem = problem_with(redirect_uri)
    if problem is None:
        known = select(JoinFlow.id).where(
            col(JoinFlow.account_id) == account_id, col(JoinFlow.redirect_uri) == redirect_uri
        )
        if (await session.execute(known.limit(1))).first() is None:
            problem = "must be the redirectURI of one of this account's join flows"
    if problem is not None:
        raise Invalid("The owner cannot be sent there", errors={"/redirectURI": problem})


async def refuse_operators(hub: Hub, session: AsyncSession, row: Enrollment) -> None:
    """Raises Conflict where no owner gave the consent."""
    credentials = await session.get(VendorCredentials, row.credentials_id or "")
    vendor = hub.registry.vendor(row.vendor)
    kind = vendor.app_credential(credentials.type) if credentials is not None else None
    if (kind.flow if kind is not None else vendor.flow) is Flow.OPERATOR:
        raise Conflict("No owner consents to this enrollment: it lives on the operator's vendor credentials.")
