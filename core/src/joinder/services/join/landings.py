"""Where an owner's way ends on our own pages: how it went, who may read what, and every way on."""

from __future__ import annotations

from dataclasses import dataclass

from joinder.errors import UnknownVendor
from joinder.runtime.hub import Hub
from joinder.services.join import browser_sessions, join_ends, owner_links
from joinder.services.join.join_ends import ENDS
from joinder.services.join.redirects import with_result
from joinder.store.tables import Enrollment, JoinSession
from joinder.store.vault import token_hash
from joinder.vendor import Vendor

NO_RESTART = ("app_refused", "operator_action", "vendor_missing", "plugin_bug", "vendor_declined")
TOLD_BY_VENDOR = ("consent_unusable", "vendor_declined", "device_unreachable")  # its sentence helps the owner, too


@dataclass(frozen=True, kw_only=True)
class Landing:
    """How a session ended: `code` is one of ENDS, `said` the vendor's own sentence where it helps.

    `way_back` leads to the integrator with the result; `own_url` to the owner's page of the connection.
    """

    code: str
    said: str | None
    vendor_name: str
    vendor: Vendor | None
    account_id: str
    way_back: str
    restart_url: str | None
    own_url: str | None
    locale: str | None

    @property
    def status(self) -> int:
        return 200 if ENDS[self.code].is_success else ENDS[self.code].status


async def is_to_land(hub: Hub, token: str) -> bool:
    """Tells whether the owner of this session stops at its landing page before going on."""
    async with hub.store.read() as session:
        row = await session.get(JoinSession, token_hash(token))
    return row is not None and row.lands and row.ended_at is not None


async def landing_of(hub: Hub, row: JoinSession) -> Landing:
    """Returns the landing of a session that has ended."""
    code = row.end_code or "joined"  # an earlier version's session has no code
    end = ENDS[code]
    is_there = end.is_success and await _is_there(hub, row.enrollment_id)
    if end.is_success and row.enrollment_id is not None and not is_there:
        code = "connection_ended"
    can_restart = not end.is_success and code not in NO_RESTART
    return Landing(
        code=code,
        said=row.end_text if code in TOLD_BY_VENDOR and row.end_text != end.text else None,
        vendor_name=row.vendor,
        vendor=vendor_of(hub, row.vendor),
        account_id=row.account_id,
        way_back=way_back(row),
        restart_url=browser_sessions.restart_url(hub, row) if can_restart else None,
        own_url=owner_links.path(hub, row.enrollment_id or "", row.locale) if is_there else None,
        locale=row.locale,
    )


def way_back(row: JoinSession) -> str:
    """Returns the integrator's address with the result, also of an end that is told by a page."""
    try:
        return join_ends.target(row, "")
    except join_ends.JoinRefused as refused:
        return with_result(
            row.client_redirect_uri,
            state=row.client_state,
            error="access_denied",
            error_description=ENDS[refused.code].text,
            error_code=refused.code,
        )


def vendor_of(hub: Hub, name: str) -> Vendor | None:
    """Returns the vendor; None where its plugin is not there any more."""
    try:
        return hub.registry.vendor(name)
    except UnknownVendor:
        return None


async def _is_there(hub: Hub, enrollment_id: str | None) -> bool:
    async with hub.store.read() as session:
        return await session.get(Enrollment, enrollment_id or "") is not None
