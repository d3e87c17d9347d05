"""The owner's own page of a connection, by a signed link: what is read, by whom, since when; and its end.

Whoever has the link is taken for the owner. It says which enrollment, and until when it works; nothing of it is stored.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct
from sqlalchemy import func
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub, audited, owned
from joinder.services.grants.revocations import How
from joinder.services.join import enrollments, reconnect, signed_links
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.redirects import with_result
from joinder.services.join.signed_links import BadLink
from joinder.services.records import health
from joinder.services.refusals import NotFound
from joinder.store.tables import Account, Enrollment, SiteRow

LIFE_S = 400 * 86400
PATH = "/join/connection"
OWNER = "owner"  # who acted, in the audit and in events
SITES_MOST = 50
_PAGE, _RECEIPT = "owner page", "owner receipt"


class OwnerLink(Struct, frozen=True, array_like=True):
    """What a link to the page says."""

    enrollment_id: str
    expires_at: int


class Receipt(Struct, frozen=True, array_like=True):
    """What a receipt says, whatever became of the connection since: it is in the link itself."""

    enrollment_id: str
    account_id: str
    asked_by: str
    vendor: str
    given_at: int
    made_at: int
    ended_at: int | None = None
    how: str | None = None  # what became of the consent at the vendor: requested | kept | owner | none


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A connection as its owner sees it. `state` is one of the catalogue's states."""

    link: str
    row: Enrollment
    asked_by: str
    state: str
    sites: list[str]
    last_read_at: int | None
    reconnect_url: str | None
    receipt_url: str


async def ask(hub: Hub, account_id: str, enrollment_id: str, actor: str) -> str:
    """Returns the link to the owner's page. Raises NotFound, or Conflict where no owner consents."""
    async with hub.store.read() as session:
        row = await owned(session, Enrollment, enrollment_id, account_id)
        await reconnect.refuse_operators(hub, session, row)
        await hub.vault.know_peppers(session)
    await audited(hub, account_id, actor, "enrollment.owner-link", enrollment_id)
    return hub.settings.public_url + path(hub, enrollment_id)


def path(hub: Hub, enrollment_id: str, locale: str | None = None) -> str:
    link = signed_links.signed(hub, _PAGE, OwnerLink(enrollment_id, now() + LIFE_S))
    return with_result(PATH, link=link, ui_locales=locale)


async def look(hub: Hub, link: str) -> Connection:
    """Returns the connection of a link. Raises JoinRefused."""
    row = await _row_of(hub, link)
    newest = select(func.max(SiteRow.fetched_at)).where(col(SiteRow.enrollment_id) == row.id)
    names = select(SiteRow.name).where(
        col(SiteRow.enrollment_id) == row.id, col(SiteRow.gone_at).is_(None), col(SiteRow.fetched_at).is_not(None)
    )
    async with hub.store.read() as session:
        account = await session.get(Account, row.account_id)
        sites = list((await session.execute(names.order_by(col(SiteRow.id)).limit(SITES_MOST))).scalars())
        last_read_at = (await session.execute(newest)).scalar_one()
        links = await reconnect.links(hub, session, [row] if row.health in health.OWNER_MUST_ACT else [])
    asked_by = account.name if account else ""
    return Connection(
        link=link,
        row=row,
        asked_by=asked_by,
        state=_state(row),
        sites=[name for name in sites if name],
        last_read_at=max((row.last_success_at or 0, last_read_at)) if last_read_at else None,
        reconnect_url=links.get(row.id),
        receipt_url=_receipt_url(hub, _receipt(row, asked_by)),
    )


async def withdraw(hub: Hub, link: str) -> str:
    """Ends the connection for its owner, at the vendor too where that can be done, and returns the receipt's address.

    Raises JoinRefused.
    """
    row = await _row_of(hub, link)
    async with hub.store.read() as session:
        account = await session.get(Account, row.account_id)
    try:
        how = await enrollments.delete(hub, row.account_id, row.id, OWNER)
    except NotFound:
        raise JoinRefused("connection_ended").asked_by(row.account_id) from None
    receipt = _receipt(row, account.name if account else "", ended_at=now(), how=_told(how))
    return _receipt_url(hub, receipt)


def receipt_of(hub: Hub, text: str) -> Receipt:
    """Returns what a receipt's address says. Raises JoinRefused."""
    try:
        return signed_links.read(hub, _RECEIPT, text, Receipt)
    except BadLink:
        raise JoinRefused("link_invalid") from None


async def _row_of(hub: Hub, link: str) -> Enrollment:
    """Raises JoinRefused."""
    try:
        said = signed_links.read(hub, _PAGE, link, OwnerLink)
    except BadLink:
        raise JoinRefused("link_invalid") from None
    if said.expires_at <= now():
        raise JoinRefused("link_expired")
    async with hub.store.read() as session:
        row = await session.get(Enrollment, said.enrollment_id)
    if row is None:
        raise JoinRefused("connection_ended")
    return row


def _receipt(row: Enrollment, asked_by: str, *, ended_at: int | None = None, how: str | None = None) -> Receipt:
    return Receipt(row.id, row.account_id, asked_by, row.vendor, row.created_at, now(), ended_at, how)


def _receipt_url(hub: Hub, receipt: Receipt) -> str:
    return with_result(f"{PATH}/receipt", link=signed_links.signed(hub, _RECEIPT, receipt))


def _state(row: Enrollment) -> str:
    if row.status == "rejected":
        return "rejected"
    if row.paused_at is not None and row.health in health.WELL:
        return "paused"
    if row.health in health.OWNER_MUST_ACT:
        return "needs_consent"
    known = ("ok", "connecting", "degraded", "operator_action", "pending_approval")
    return row.health if row.health in known else "other"


def _told(how: How | None) -> str:
    return {"requested": "requested", "kept": "kept", None: "none"}.get(how, "owner")
