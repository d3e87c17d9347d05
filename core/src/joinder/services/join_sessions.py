"""One owner's way through a join flow: out to the vendor or to our form, and back to the integrator.

The session is found by the hash of a random token and belongs to one browser, told by a cookie. The token works once.
Everything that decides (vendor, redirect URIs, verifier, expiry) was stored when the session began; nothing of it is
taken from the request that ends it (RFC 9700 §4.7).
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from sqlalchemy import CursorResult, delete, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import now
from joinder.errors import (
    ConsentDenied,
    ConsentInvalid,
    TransientError,
    VendorError,
)
from joinder.grants import AuthorizeRequest, Callback, Consent, Context
from joinder.ids import is_id, new_token
from joinder.redact import Secrets
from joinder.services import enrollments, vendor_credentials
from joinder.services.hub import Hub
from joinder.services.join_flows import FlowVendor, entries
from joinder.services.redirects import with_result
from joinder.services.vendor_context import vendor_context
from joinder.store.tables import Account, JoinFlow, JoinSession, VendorCredentials
from joinder.store.vault import token_hash
from joinder.vendor import Flow, Vendor

LIFE_S = 30 * 60
MAX_ATTEMPTS = 5
MAX_STATE = 1024


class JoinRefused(Exception):
    """The owner cannot go on here. `code` names the page that explains it; nothing was stored, no vendor called."""

    def __init__(self, code: str, *, status: int = 400, restart_url: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.restart_url = restart_url


class FormRefused(Exception):
    """The form is shown again: with what the owner can correct (422), or because the vendor is away (503)."""

    def __init__(self, form: Form, values: Mapping[str, str], error: VendorError) -> None:
        super().__init__(str(error))
        self.form = form
        self.values = values
        self.error = error


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Several vendors, none named: the owner picks one."""

    flow_id: str
    vendors: list[Vendor]
    state: str | None


@dataclass(frozen=True, kw_only=True)
class Started:
    """Where to send the browser, and the cookie that binds the session to it."""

    url: str
    cookie_name: str
    cookie: str


@dataclass(frozen=True, kw_only=True)
class Form:
    """A hosted form to show; `asked_by` is the account that will read the system."""

    vendor: Vendor
    asked_by: str
    form_token: str


async def start(hub: Hub, flow_id: str, vendor_name: str | None, state: str | None) -> Started | Choice:
    """Begins a session, or asks for the vendor. Raises JoinRefused or the vendor's error."""
    flow = await _flow(hub, flow_id)
    if state is not None and len(state) > MAX_STATE:
        raise JoinRefused("state_too_long")
    offered = {entry.vendor: entry for entry in entries(flow)}
    if vendor_name is None and len(offered) > 1:
        vendors = sorted((hub.registry.vendor(name) for name in offered), key=lambda vendor: vendor.label)
        return Choice(flow_id=flow_id, vendors=vendors, state=state)
    entry = offered.get(vendor_name) if vendor_name is not None else next(iter(offered.values()))
    if entry is None:
        raise JoinRefused("vendor_not_offered")
    return await _start(hub, flow, entry, state)


async def _start(hub: Hub, flow: JoinFlow, entry: FlowVendor, state: str | None) -> Started:
    vendor = hub.registry.vendor(entry.vendor)
    token, cookie, verifier = new_token(), new_token(), new_token()
    row_id = token_hash(token)
    async with hub.store.write(flow.account_id) as session:
        await hub.vault.unlock(session, flow.account_id)
        await session.execute(delete(JoinSession).where(col(JoinSession.expires_at) < now() - 86400))
        session.add(
            JoinSession(
                token_hash=row_id,
                account_id=flow.account_id,
                flow_id=flow.id,
                vendor=vendor.name,
                credentials_id=entry.credentials_id,
                cookie_hash=token_hash(cookie),
                secrets_sealed=_seal(hub, flow.account_id, row_id, {"verifier": verifier, "form": new_token()}),
                client_redirect_uri=flow.redirect_uri,
                client_state=state,
                created_at=now(),
                expires_at=now() + LIFE_S,
            )
        )
        ctx = await _context(hub, session, vendor, entry.credentials_id, entry.options)
    if vendor.flow is Flow.FORM:
        url = f"/join/sessions/{token}"
    else:
        pkce = vendor.oauth2 is not None and vendor.oauth2.pkce
        request = AuthorizeRequest(
            state=token,
            redirect_uri=callback_url(hub, vendor.name),
            code_challenge=str(create_s256_code_challenge(verifier)) if pkce else None,  # type: ignore[no-untyped-call]
        )
        url = _rerouted(hub, await hub.registry.build_authorize_url(vendor.name, ctx, request))
    return Started(url=url, cookie_name=cookie_name(hub, token), cookie=cookie)


async def finish_redirect(hub: Hub, vendor_name: str, query: Mapping[str, str], cookies: Mapping[str, str]) -> str:
    """Ends a session on the vendor's callback; answers where the owner goes. Raises JoinRefused."""
    carriers = _state_carriers(hub, vendor_name)
    state = next((query[name] for name in carriers if query.get(name)), "")
    row = await _session_of(hub, state, cookies)
    if row.vendor != vendor_name:
        raise JoinRefused("invalid_link")
    if (done := await _already_done(hub, row)) is not None:
        return done
    await _claim(hub, row)
    values = {name: value for name, value in query.items() if name not in carriers}
    try:
        enrollment_id = await asyncio.shield(_exchange(hub, row, values))
    except VendorError as error:
        return with_result(
            row.client_redirect_uri,
            state=row.client_state,
            error=oauth_error(error),
            error_description=str(error),
        )
    return with_result(row.client_redirect_uri, state=row.client_state, enrollmentID=enrollment_id)


def _state_carriers(hub: Hub, vendor_name: str) -> tuple[str, ...]:
    """Callback parameters in which this vendor may return the state."""
    vendor = next((vendor for vendor in hub.registry.vendors if vendor.name == vendor_name), None)
    return vendor.oauth2.state_returned_as if vendor and vendor.oauth2 else ("state",)


async def show_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form:
    """The hosted form of a session. Raises JoinRefused."""
    row = await _session_of(hub, token, cookies)
    vendor = hub.registry.vendor(row.vendor)
    if vendor.flow is not Flow.FORM or row.used_at is not None:
        raise JoinRefused("session_used", restart_url=_restart_url(row))
    return await _form(hub, row, vendor)


async def submit_form(
    hub: Hub, token: str, cookies: Mapping[str, str], values: Mapping[str, str], form_token: str
) -> str:
    """Ends a session with the owner's entries; answers where the owner goes. Raises JoinRefused or FormRefused."""
    row = await _session_of(hub, token, cookies)
    if (done := await _already_done(hub, row)) is not None:
        return done
    vendor = hub.registry.vendor(row.vendor)
    if vendor.flow is not Flow.FORM:
        raise JoinRefused("invalid_link")
    form = await _form(hub, row, vendor)
    if not hmac.compare_digest(form.form_token.encode(), form_token.encode()):
        raise JoinRefused("wrong_browser", status=403, restart_url=_restart_url(row))
    entered = _entered(form, values)
    await _claim(hub, row)
    try:
        enrollment_id = await asyncio.shield(_exchange(hub, row, entered))
    except VendorError as error:
        await _unclaim(hub, row)
        raise FormRefused(form, values, error) from None
    return with_result(row.client_redirect_uri, state=row.client_state, enrollmentID=enrollment_id)


async def cancel_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> str:
    """The owner says no: back to the integrator with access_denied. Raises JoinRefused."""
    row = await _session_of(hub, token, cookies)
    await _claim(hub, row)
    return with_result(
        row.client_redirect_uri,
        state=row.client_state,
        error="access_denied",
        error_description="The owner did not give consent",
    )


def callback_url(hub: Hub, vendor: str) -> str:
    """What the operator registers at the vendor."""
    return f"{hub.settings.public_url}/join/{vendor}/auth-granted"


def cookie_name(hub: Hub, token: str) -> str:
    """One cookie per session, so that two tabs do not disturb each other. `__Host-` needs https."""
    prefix = "__Host-" if hub.settings.is_https else ""
    return f"{prefix}join-{token_hash(token).hex()[:12]}"


def oauth_error(error: VendorError) -> str:
    """The error code of RFC 6749 §4.1.2.1 an integrator gets on its redirect URI."""
    if isinstance(error, ConsentDenied):
        return "access_denied"
    return "temporarily_unavailable" if isinstance(error, TransientError) else "server_error"


async def _flow(hub: Hub, flow_id: str) -> JoinFlow:
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, flow_id) if is_id(flow_id, "flow") else None
    if flow is None:
        raise JoinRefused("unknown_flow", status=404)
    return flow


async def _session_of(hub: Hub, token: str, cookies: Mapping[str, str]) -> JoinSession:
    """The live session of this token in this browser."""
    async with hub.store.read() as session:
        row = await session.get(JoinSession, token_hash(token)) if 20 <= len(token) <= 100 else None
    if row is None:
        raise JoinRefused("invalid_link")
    if row.expires_at <= now():
        raise JoinRefused("session_expired", restart_url=_restart_url(row))
    cookie = cookies.get(cookie_name(hub, token), "")
    if not hmac.compare_digest(token_hash(cookie), row.cookie_hash):
        raise JoinRefused("wrong_browser", restart_url=_restart_url(row))
    return row


async def _already_done(hub: Hub, row: JoinSession) -> str | None:
    """A reload after success leads to the same result again, without another call."""
    if row.used_at is None:
        return None
    if row.enrollment_id is None:
        raise JoinRefused("session_used", restart_url=_restart_url(row))
    return with_result(row.client_redirect_uri, state=row.client_state, enrollmentID=row.enrollment_id)


async def _claim(hub: Hub, row: JoinSession) -> None:
    """Of two requests at once, one goes on."""
    async with hub.store.write(row.account_id) as session:
        claimed = await session.execute(
            update(JoinSession)
            .where(
                col(JoinSession.token_hash) == row.token_hash,
                col(JoinSession.used_at).is_(None),
                col(JoinSession.attempts) < MAX_ATTEMPTS,
            )
            .values(used_at=now(), attempts=JoinSession.attempts + 1)
        )
    if not isinstance(claimed, CursorResult) or not claimed.rowcount:
        raise JoinRefused("session_used", restart_url=_restart_url(row))


async def _unclaim(hub: Hub, row: JoinSession) -> None:
    async with hub.store.write(row.account_id) as session:
        await session.execute(
            update(JoinSession).where(col(JoinSession.token_hash) == row.token_hash).values(used_at=None)
        )


async def _exchange(hub: Hub, row: JoinSession, values: Mapping[str, str]) -> str:
    """Consent at the vendor, then grant, enrollment and sites in one transaction. Answers the enrollment's id."""
    vendor = hub.registry.vendor(row.vendor)
    flow = await _flow(hub, row.flow_id)
    options = next((entry.options for entry in entries(flow) if entry.vendor == row.vendor), {})
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
        ctx = await _context(hub, session, vendor, row.credentials_id, options)
    verifier = (await _secrets(hub, row))["verifier"] if vendor.oauth2 and vendor.oauth2.pkce else None
    redirect_uri = callback_url(hub, vendor.name) if vendor.flow is Flow.REDIRECT else None
    callback = Callback(values=Secrets(values), redirect_uri=redirect_uri, code_verifier=verifier)
    consent = await hub.registry.handle_callback(vendor.name, ctx, callback)
    return await _store(hub, row, flow, consent, options)


async def _store(hub: Hub, row: JoinSession, flow: JoinFlow, consent: Consent, options: Mapping[str, str]) -> str:
    async with hub.store.write(row.account_id) as session:
        if await session.get(JoinFlow, flow.id) is None:  # deleted while the vendor answered
            raise JoinRefused("unknown_flow", status=404)
        enrollment = await enrollments.store_consent(
            hub,
            session,
            row.account_id,
            consent,
            vendor=row.vendor,
            credentials_id=row.credentials_id,
            flow_id=flow.id,
            program_id=flow.program_id,
            options=options,
        )
        await session.execute(
            update(JoinSession)
            .where(col(JoinSession.token_hash) == row.token_hash)
            .values(enrollment_id=enrollment.id, used_at=now())
        )
        return enrollment.id


async def _context(
    hub: Hub, session: AsyncSession, vendor: Vendor, credentials_id: str | None, options: Mapping[str, str]
) -> Context:
    row = await session.get(VendorCredentials, credentials_id or "")
    return vendor_context(hub, vendor.name, vendor_credentials.open_app(hub, row), options, budget=credentials_id)


async def _form(hub: Hub, row: JoinSession, vendor: Vendor) -> Form:
    async with hub.store.read() as session:
        account = await session.get(Account, row.account_id)
    asked_by = account.name if account else ""
    return Form(vendor=vendor, asked_by=asked_by, form_token=(await _secrets(hub, row))["form"])


def _entered(form: Form, values: Mapping[str, str]) -> dict[str, str]:
    """The form's own fields, pasted blanks trimmed. Raises FormRefused for a missing or overlong one."""
    entered = {entry.name: values.get(entry.name, "").strip() for entry in form.vendor.consent_fields}
    errors = {}
    for entry in form.vendor.consent_fields:
        if entry.required and not entered[entry.name]:
            errors[entry.name] = f"Enter the {entry.label}"
        elif len(entered[entry.name]) > entry.max_length:
            errors[entry.name] = f"The {entry.label} must be at most {entry.max_length} characters long"
    if errors:
        raise FormRefused(form, values, ConsentInvalid("Some entries are missing", fields=errors))
    return {name: value for name, value in entered.items() if value}


def _restart_url(row: JoinSession) -> str:
    return with_result(f"/join/flows/{row.flow_id}/authorize", vendor=row.vendor, state=row.client_state)


def _rerouted(hub: Hub, url: str) -> str:
    """With simulators, the owner's browser goes where the vendor's host was rerouted to."""
    for host, stand_in in hub.settings.reroute.items():
        if url.startswith(f"https://{host}/"):
            return stand_in + url.removeprefix(f"https://{host}")
    return url


async def _secrets(hub: Hub, row: JoinSession) -> Mapping[str, str]:
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
    return hub.vault.open_strings(row.secrets_sealed, **_place(row.account_id, row.token_hash))


def _seal(hub: Hub, account_id: str, row_id: bytes, value: Mapping[str, str]) -> bytes:
    return hub.vault.seal(dict(value), **_place(account_id, row_id))


def _place(account_id: str, row_id: bytes) -> dict[str, str]:
    return {"table": "join_session", "row": row_id.hex(), "column": "secrets_sealed", "owner": account_id}
