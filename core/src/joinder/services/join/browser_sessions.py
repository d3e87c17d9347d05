"""Which join sessions a browser holds: its cookies, the session of a token, and how to begin anew."""

from __future__ import annotations

import hmac
from collections.abc import Mapping

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.join import consents, join_ends, reconnect
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.labels import Labels
from joinder.services.join.redirects import with_result
from joinder.store.tables import JoinSession
from joinder.store.vault import token_hash

LIFE_S = 30 * 60
COOKIES_MOST = 8  # of one browser


def cookie_name(hub: Hub, token: str) -> str:
    """Names one cookie per session, so that two tabs do not disturb each other. `__Host-` needs https."""
    return f"{_cookie_prefix(hub)}{token_hash(token).hex()[:12]}"


def own_cookies(hub: Hub, cookies: Mapping[str, str]) -> list[str]:
    """Names of this browser's sessions, in its order: the oldest first."""
    return [name for name in cookies if name.startswith(_cookie_prefix(hub))]


def surplus_cookies(hub: Hub, cookies: Mapping[str, str]) -> list[str]:
    """Names to be forgotten so that one more fits. The first stays: it tells this browser from others."""
    names = own_cookies(hub, cookies)
    return names[1 : 1 + max(0, len(names) + 1 - COOKIES_MOST)]


def _cookie_prefix(hub: Hub) -> str:
    return "__Host-join-" if hub.settings.is_https else "join-"


async def session_of(hub: Hub, token: str, cookies: Mapping[str, str]) -> JoinSession:
    """Returns the session of this token in this browser, also one that has ended. Raises JoinRefused."""
    async with hub.store.read() as session:
        row = await session.get(JoinSession, token_hash(token)) if 20 <= len(token) <= 100 else None
    if row is None:
        raise refused(hub, None, "link_invalid")
    is_own = hmac.compare_digest(token_hash(cookies.get(cookie_name(hub, token), "")), row.cookie_hash)
    if row.expires_at <= now() and not (is_own and row.ended_at is not None):
        raise await _expired(hub, row)
    if not is_own:
        raise refused(hub, row, "wrong_browser")
    return row


async def _expired(hub: Hub, row: JoinSession) -> JoinRefused:
    """Ends what nobody ended, and returns what the owner reads."""
    if row.ended_at is None and row.used_at is None:
        await consents.end(hub, row, row.end_code or "session_expired", row.end_text)
    code = "link_used" if row.enrollment_id is not None else "session_expired"
    return JoinRefused(code, restart_url=restart_url(hub, row)).about(row)


def refused(hub: Hub, row: JoinSession | None, code: str, status: int | None = None) -> JoinRefused:
    """Counts and returns the refusal of a request that leaves the session as it is."""
    join_ends.count_refusal(hub, row.vendor if row else None, code)
    if row is None:
        return JoinRefused(code, status=status)
    return JoinRefused(code, status=status, restart_url=restart_url(hub, row)).about(row)


def restart_url(hub: Hub, row: JoinSession) -> str:
    """Returns where the owner begins again, in the language the first link asked for."""
    if row.reconnects_id is not None:
        link = reconnect.path(hub, row.reconnects_id, row.client_redirect_uri, LIFE_S)
        return with_result(link, ui_locales=row.locale)
    return authorize_path(row.flow_id, row.vendor, Labels.of(row), row.locale)


def authorize_path(flow_id: str, vendor_name: str | None, labels: Labels, locale: str | None = None) -> str:
    """Returns the path that begins a join at a vendor; None: a page where the owner chooses one."""
    path = f"/join/flows/{flow_id}/authorize"
    return with_result(path, vendor=vendor_name, state=labels.state, reference=labels.reference, ui_locales=locale)
