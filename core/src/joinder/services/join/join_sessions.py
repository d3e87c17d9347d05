"""One owner's way through a join flow: out to the vendor or to our form, and back to the integrator.

The session is found by the hash of a random token and belongs to one browser, told by a cookie. The token works once.
Everything that decides (vendor, redirect URIs, verifier, expiry) was stored when the session began; nothing of it is
taken from the request that ends it (RFC 9700 §4.7).

Of several requests that end it at once, one goes on; the others wait for it, in any process, and lead to the same end.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from authlib.oauth2.rfc7636 import create_s256_code_challenge
from sqlalchemy import CursorResult, update
from sqlmodel import col

from joinder import virtual
from joinder.clock import monotonic, now
from joinder.errors import (
    AppCredentialsRejected,
    ConsentContinues,
    ConsentInvalid,
    OperatorActionNeeded,
    TransientError,
    VendorError,
)
from joinder.grants import AuthorizeRequest
from joinder.ids import new_token
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.guard import password_refusal
from joinder.services.calls.strangers import Guest, SlowDown, Spent, Tier
from joinder.services.grants import apps
from joinder.services.join import (
    consents,
    continuations,
    join_ends,
    join_flows,
    kept_consents,
    landings,
    late_consents,
    reconnect,
    session_secrets,
)
from joinder.services.join.browser_sessions import (
    LIFE_S,
    authorize_path,
    cookie_name,
    refused,
    restart_url,
    session_of,
)
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_flows import FlowVendor, entries
from joinder.services.join.kept_consents import KeptConsent
from joinder.services.join.labels import NO_LABELS, Labels, problem_with
from joinder.services.join.landings import Landing, landing_of
from joinder.services.join.late_consents import HELD_MOST_S
from joinder.services.join.redirects import with_result
from joinder.services.join.signed_links import BadLink
from joinder.services.refusals import Invalid
from joinder.store.tables import Account, Enrollment, JoinFlow, JoinSession, VendorCredentials
from joinder.store.vault import token_hash
from joinder.vendor import Field, Flow, Vendor

MAX_ATTEMPTS = 5
MAX_STATE = 1024
RETRY_AFTER_S = 60
LOOK_S = 0.2
_ANYBODY = Guest()
Fault = Literal["missing", "too long", "not chosen"]
log = logging.getLogger("joinder.join")


class FormRefused(Exception):
    """The form is shown again: with what the owner can correct (422), or because the vendor is away (503).

    `faulty`: fields that are `missing`, `too long` or `not chosen`, before anybody was asked.
    """

    def __init__(
        self, form: Form, values: Mapping[str, str], error: VendorError, faulty: Mapping[str, Fault] | None = None
    ) -> None:
        super().__init__(str(error))
        self.form = form
        self.values = values
        self.error = error
        self.faulty = faulty or {}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Several vendors, none named: the owner picks one."""

    flow_id: str
    account_id: str
    vendors: list[Vendor]
    labels: Labels


@dataclass(frozen=True, kw_only=True)
class Intro:
    """What the owner reads before leaving for the vendor; `way_back` leads to the integrator with a no."""

    vendor: Vendor
    account_id: str
    way_back: str
    lands: bool  # on a page of ours, at the end


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
    account_id: str
    asked_by: str
    form_token: str
    leads_to: str  # the integrator's address, when it is over
    fields: tuple[Field, ...]
    question: str | None = None  # of a further step, which the vendor asks
    locale: str | None = None
    lands: bool = False


async def link(hub: Hub, account_id: str, flow_id: str, vendor_name: str | None, labels: Labels = NO_LABELS) -> str:
    """Returns where to send an owner. Raises NotFound, or Invalid where the link would be refused."""
    flow = await join_flows.get(hub, account_id, flow_id)
    offered = [entry.vendor for entry in entries(flow)]
    if vendor_name is not None and vendor_name not in offered:
        raise Invalid(f"This flow offers {', '.join(offered)}.")
    if labels.state is not None and len(labels.state) > MAX_STATE:
        raise Invalid(f"A state has at most {MAX_STATE} characters.")
    if labels.reference is not None and (problem := problem_with(labels.reference)):
        raise Invalid(f"The reference {problem}.")
    return hub.settings.public_url + authorize_path(flow_id, vendor_name, labels)


async def introduce(hub: Hub, flow_id: str, vendor_name: str | None, labels: Labels) -> Choice | Intro | None:
    """Returns what the owner reads first: the choice of a vendor, or who asks for what; None where nothing does.

    Nothing is written: programs that look at links begin no session. Raises JoinRefused.
    """
    flow, entry = await _entry_of(hub, flow_id, vendor_name, labels)
    if entry is None:
        return _choice(hub, flow, labels)
    vendor = landings.vendor_of(hub, entry.vendor)
    if flow.skip_intro or vendor is None or vendor.flow is not Flow.REDIRECT:
        return None
    no = _refusal(flow, labels.state, "user_denied")
    return Intro(vendor=vendor, account_id=flow.account_id, way_back=no, lands=not flow.skip_landing)


async def introduce_again(hub: Hub, text: str) -> Intro | None:
    """Returns what the owner of a reconnect link reads first; None where the flow leaves it out. Raises JoinRefused."""
    link, row = await _reconnected(hub, text)
    vendor = landings.vendor_of(hub, row.vendor)
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, row.flow_id or "")
    if vendor is None or vendor.flow is not Flow.REDIRECT or (flow is not None and flow.skip_intro):
        return None
    denied = with_result(link.redirect_uri, error="access_denied", error_code="user_denied")
    lands = flow is not None and not flow.skip_landing
    return Intro(vendor=vendor, account_id=row.account_id, way_back=denied, lands=lands)


async def start(
    hub: Hub,
    flow_id: str,
    vendor_name: str | None,
    labels: Labels = NO_LABELS,
    guest: Guest = _ANYBODY,
    *,
    locale: str | None = None,
) -> Started | Choice:
    """Begins a session, or asks for the vendor. Raises JoinRefused."""
    flow, entry = await _entry_of(hub, flow_id, vendor_name, labels)
    if entry is None:
        return _choice(hub, flow, labels)
    _spend(hub, hub.strangers.starts, guest, flow.id, entry.vendor)
    return await _begin(
        hub,
        flow.account_id,
        entry,
        flow_id=flow.id,
        redirect_uri=flow.redirect_uri,
        labels=labels,
        locale=locale,
        lands=not flow.skip_landing,
    )


async def _entry_of(
    hub: Hub, flow_id: str, vendor_name: str | None, labels: Labels
) -> tuple[JoinFlow, FlowVendor | None]:
    """Returns the flow, and which of its vendors is meant; None where the owner is to choose. Raises JoinRefused."""
    flow = await consents.flow_of(hub, flow_id)
    if len(labels.state or "") > MAX_STATE or (labels.reference and problem_with(labels.reference)):
        refusal = refused(hub, None, "state_too_long")
        raise refusal.asked_by(flow.account_id, way_back=_refusal(flow, None, "state_too_long"))
    offered = {entry.vendor: entry for entry in entries(flow)}
    if vendor_name is None:
        return flow, next(iter(offered.values())) if len(offered) == 1 else None
    entry = offered.get(vendor_name) or offered.get(vendor_name.lower())
    if entry is None:
        refusal = refused(hub, None, "vendor_not_offered").asked_by(flow.account_id)
        refusal.restart_url = authorize_path(flow.id, None, labels)
        raise refusal
    return flow, entry


def _choice(hub: Hub, flow: JoinFlow, labels: Labels) -> Choice:
    found = [landings.vendor_of(hub, entry.vendor) for entry in entries(flow)]
    vendors = sorted((vendor for vendor in found if vendor is not None), key=lambda vendor: vendor.label)
    return Choice(flow_id=flow.id, account_id=flow.account_id, vendors=vendors, labels=labels)


def _refusal(flow: JoinFlow, state: str | None, code: str) -> str:
    """Returns the integrator's address where no session was begun."""
    error = "access_denied" if code == "user_denied" else "invalid_request"
    return with_result(flow.redirect_uri, state=state, error=error, error_code=code)


async def start_reconnect(hub: Hub, text: str, guest: Guest = _ANYBODY, *, locale: str | None = None) -> Started:
    """Begins a session that renews one enrollment (reconnect.py). Raises JoinRefused."""
    link, row = await _reconnected(hub, text)
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, row.flow_id or "")
    _spend(hub, hub.strangers.starts, guest, row.id, row.vendor)
    entry = FlowVendor(vendor=row.vendor, credentials_id=row.credentials_id, options=row.options)
    return await _begin(
        hub,
        row.account_id,
        entry,
        flow_id=row.flow_id or "",
        redirect_uri=link.redirect_uri,
        reconnects_id=row.id,
        locale=locale,
        lands=flow is not None and not flow.skip_landing,
    )


async def _reconnected(hub: Hub, text: str) -> tuple[reconnect.Link, Enrollment]:
    """Returns what a reconnect link says, and the enrollment it is for. Raises JoinRefused."""
    try:
        link = reconnect.read(hub, text)
    except BadLink:
        raise refused(hub, None, "link_invalid") from None
    if link.expires_at <= now():
        raise refused(hub, None, "link_expired")
    async with hub.store.read() as session:
        row = await session.get(Enrollment, link.enrollment_id)
    if row is None:
        raise refused(hub, None, "connection_ended")
    return link, row


async def _begin(
    hub: Hub,
    account_id: str,
    entry: FlowVendor,
    *,
    flow_id: str,
    redirect_uri: str,
    labels: Labels = NO_LABELS,
    reconnects_id: str | None = None,
    locale: str | None = None,
    lands: bool = False,
) -> Started:
    """Begins a session. Whatever stands against it ends the session before the owner leaves."""
    token, cookie, verifier = new_token(), new_token(), new_token()
    row_id = token_hash(token)
    async with hub.store.write(account_id) as session:
        await hub.vault.unlock(session, account_id)
        app = await session.get(VendorCredentials, entry.credentials_id or "")
        row = JoinSession(
            token_hash=row_id,
            account_id=account_id,
            flow_id=flow_id,
            vendor=entry.vendor,
            credentials_id=entry.credentials_id,
            credentials_version=app.version if app is not None else None,
            cookie_hash=token_hash(cookie),
            secrets_sealed=session_secrets.seal(
                hub, account_id, row_id, {"verifier": verifier, "form": new_token(), "state": token}
            ),
            client_redirect_uri=redirect_uri,
            client_state=labels.state,
            client_reference=labels.reference,
            reconnects_id=reconnects_id,
            locale=locale,
            lands=lands,
            created_at=now(),
            expires_at=now() + LIFE_S,
        )
        session.add(row)
    try:
        if app is not None and not await apps.joins_may_begin(hub, app.id):
            raise AppCredentialsRejected("The vendor refuses the app's credentials; they must be corrected first")
        url = await _way_out(hub, row, entry, token, verifier)
    except VendorError as error:
        code = join_ends.code_of(error)
        await consents.end(hub, row, code, join_ends.text_of(error))
        raise _not_begun(hub, row, code, error) from None
    return Started(url=url, cookie_name=cookie_name(hub, token), cookie=cookie)


def _not_begun(hub: Hub, row: JoinSession, code: str, error: VendorError) -> JoinRefused:
    """Returns what the owner reads who could not even leave."""
    if isinstance(error, TransientError):
        log.info("join: %s: %s", type(error).__name__, error)
        refusal = JoinRefused(code, status=503, restart_url=restart_url(hub, row), retry_after_s=RETRY_AFTER_S)
    else:
        log.warning("join: %s: %s", type(error).__name__, error)
        refusal = JoinRefused(code, status=None if code == "app_refused" else 502)
    return refusal.about(row)


async def _way_out(hub: Hub, row: JoinSession, entry: FlowVendor, token: str, verifier: str) -> str:
    """Returns the URL of the vendor's consent page, or of our form.

    A vendor that asked for a pause is no reason to stay: what it gives for a code is kept, and the rest is asked for
    later.
    """
    vendor = hub.registry.vendor(entry.vendor)
    if vendor.flow is Flow.FORM:
        if vendor.asks_password and vendor.name not in hub.settings.password_grants:
            raise OperatorActionNeeded(password_refusal(vendor.name, f"{vendor.label}'s form"))
        return _form_path(token)
    async with hub.store.read() as session:
        ctx = await consents.context(hub, session, vendor, entry.credentials_id, entry.options)
    pkce = vendor.oauth2 is not None and vendor.oauth2.pkce
    request = AuthorizeRequest(
        state=token,
        redirect_uri=consents.redirect_uri(hub, vendor, token) or "",
        code_challenge=str(create_s256_code_challenge(verifier)) if pkce else None,  # type: ignore[no-untyped-call]
    )
    return _rerouted(hub, await hub.registry.build_authorize_url(vendor.name, ctx, request))


async def finish_redirect(
    hub: Hub, vendor_name: str, query: Mapping[str, str], cookies: Mapping[str, str], guest: Guest = _ANYBODY
) -> str:
    """Ends a session on the vendor's callback; answers where the owner goes. Raises JoinRefused."""
    carriers = _state_carriers(hub, vendor_name)
    state = state_in(hub, vendor_name, query)
    row = await session_of(hub, state, cookies)
    if row.vendor != vendor_name:
        raise refused(hub, row, "link_invalid")
    if row.ended_at is None and await continuations.of(hub, row) is not None:
        return _form_path(state)  # the code is spent: its answer is carried
    spent = _attempt(hub, row, guest)
    if await _claim(hub, row):
        await _finish(hub, row, {name: value for name, value in query.items() if name not in carriers}, spent)
    else:
        spent.give_back()
    try:
        return await _same_end(hub, row)
    except _Reopened:
        return _form_path(state)


def _attempt(hub: Hub, row: JoinSession, guest: Guest) -> Spent:
    """Spends of the budget before the vendor is called. Raises JoinRefused, the session as it was: it is spent."""
    if row.ended_at is not None:
        return Spent([])
    return _spend(hub, hub.strangers.attempts, guest, row.reconnects_id or row.flow_id, row.vendor)


def _spend(hub: Hub, tier: Tier, guest: Guest, flow_id: str, vendor: str) -> Spent:
    try:
        return tier.spend(guest, flow_id, vendor)
    except SlowDown as error:
        join_ends.count_refusal(hub, vendor, "slow_down")
        raise JoinRefused("slow_down", retry_after_s=error.retry_after_s) from None


async def _finish(hub: Hub, row: JoinSession, values: Mapping[str, str], spent: Spent) -> VendorError | None:
    """Finishes in a task of its own, for the owner may leave.

    A stop waits for it, as the vendor's code is spent by then.
    """
    task = asyncio.create_task(_finished(hub, row, values, spent))
    hub.joins.add(task)
    task.add_done_callback(hub.joins.discard)
    return await asyncio.shield(task)


async def _finished(hub: Hub, row: JoinSession, values: Mapping[str, str], spent: Spent) -> VendorError | None:
    error = await consents.finish(hub, row, values)
    async with hub.store.read() as session:
        found = await session.get(JoinSession, row.token_hash)
    if found is not None and found.enrollment_id is not None:
        spent.give_back()
    return error


def state_in(hub: Hub, vendor_name: str, query: Mapping[str, str]) -> str:
    """Returns the session's token from a callback, wherever this vendor puts it."""
    return next((query[name] for name in _state_carriers(hub, vendor_name) if query.get(name)), "")


def _state_carriers(hub: Hub, vendor_name: str) -> tuple[str, ...]:
    """Names the callback parameters in which this vendor may return the state."""
    vendor = next((vendor for vendor in hub.registry.vendors if vendor.name == vendor_name), None)
    return vendor.oauth2.state_returned_as if vendor and vendor.oauth2 else ("state",)


async def show(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form | Landing:
    """Returns the page of a session as it stands: its form, or how it ended. Raises JoinRefused."""
    row = await session_of(hub, token, cookies)
    return await (landing_of(hub, row) if row.ended_at is not None else show_form(hub, token, cookies))


async def show_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form:
    """Returns the hosted form of a session. Raises JoinRefused."""
    row = await session_of(hub, token, cookies)
    vendor = hub.registry.vendor(row.vendor)
    if row.ended_at is not None:
        raise refused(hub, row, "link_used")
    if row.used_at is not None:
        raise refused(hub, row, "still_running")
    if vendor.flow is not Flow.FORM and await continuations.of(hub, row) is None:
        raise refused(hub, row, "unfinished")
    return await _form(hub, row, vendor)


async def submit_form(
    hub: Hub,
    token: str,
    cookies: Mapping[str, str],
    values: Mapping[str, str],
    form_token: str,
    guest: Guest = _ANYBODY,
) -> str:
    """Ends a session with the owner's entries; answers where the owner goes. Raises JoinRefused or FormRefused."""
    row = await session_of(hub, token, cookies)
    if row.ended_at is not None:
        return await _same_end(hub, row)
    form = await _form(hub, row, hub.registry.vendor(row.vendor))
    if not hmac.compare_digest(form.form_token.encode(), form_token.encode()):
        raise refused(hub, row, "wrong_browser", status=403)
    entered = _entered(form, values)
    spent = _attempt(hub, row, guest)
    if await _claim(hub, row, entered, keeps=form.question is None):
        error = await _finish(hub, row, entered, spent)
        if isinstance(error, ConsentContinues):
            return _form_path(token)
        if error is not None:
            raise FormRefused(form, values, error)
    else:
        spent.give_back()
    try:
        return await _same_end(hub, row)
    except _Reopened as reopened:
        if isinstance(reopened.error, ConsentContinues):
            return _form_path(token)
        raise FormRefused(form, values, reopened.error) from None


async def cancel_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> str:
    """Ends the session as the owner says no, and returns the way to the integrator, with access_denied.

    Raises JoinRefused.
    """
    row = await session_of(hub, token, cookies)
    if await _claim(hub, row):
        await consents.end(hub, row, "user_denied", "The owner did not give consent")
    return await _same_end(hub, row)


class _Reopened(Exception):
    """The request that was waited for left the form open, and this is why."""

    def __init__(self, error: VendorError) -> None:
        super().__init__(str(error))
        self.error = error


async def _same_end(hub: Hub, row: JoinSession) -> str:
    """Tells where the session leads, once whoever holds it has ended it. Raises JoinRefused, or _Reopened."""
    until = monotonic() + HELD_MOST_S
    while True:
        async with hub.store.read() as session:
            found = await session.get(JoinSession, row.token_hash)
        if found is None:
            raise refused(hub, None, "link_invalid")
        if found.ended_at is not None or found.enrollment_id is not None:
            return join_ends.target(found, restart_url(hub, found))
        if found.used_at is None and found.end_code is not None and found.attempts < MAX_ATTEMPTS:
            raise _Reopened(_told(found))
        if found.used_at is None and found.attempts >= MAX_ATTEMPTS:
            await consents.end(hub, found, "too_many_tries")
        elif found.used_at is not None and found.used_at < now() - HELD_MOST_S:
            await late_consents.recover(hub, found)
        elif monotonic() > until or hub.stopping.is_set():
            raise refused(hub, found, "still_running")
        else:
            await asyncio.sleep(LOOK_S)


def _told(row: JoinSession) -> VendorError:
    """Returns the refusal as the other request noted it."""
    text = row.end_text or ""
    if row.end_code == continuations.CONTINUES:
        return ConsentContinues(text, fields=())
    return ConsentInvalid(text) if row.end_code == "wrong_entries" else TransientError(text)


async def _claim(hub: Hub, row: JoinSession, entered: Mapping[str, str] | None = None, *, keeps: bool = True) -> bool:
    """Claims the session; of two requests at once, one gets True and goes on.

    What was `entered` is kept until it is known to work, or not; an answer to a further question is not (`keeps`).
    """
    kept = kept_consents.seal(hub, row, KeptConsent(values=Secrets(entered))) if entered and keeps else None
    async with hub.store.write(row.account_id) as session:
        claimed = await session.execute(
            update(JoinSession)
            .where(
                col(JoinSession.token_hash) == row.token_hash,
                col(JoinSession.used_at).is_(None),
                col(JoinSession.ended_at).is_(None),
                col(JoinSession.attempts) < MAX_ATTEMPTS,
            )
            .values(used_at=now(), attempts=JoinSession.attempts + 1, kept_sealed=kept)
        )
    return isinstance(claimed, CursorResult) and bool(claimed.rowcount)


async def _form(hub: Hub, row: JoinSession, vendor: Vendor) -> Form:
    async with hub.store.read() as session:
        account = await session.get(Account, row.account_id)
    secrets = await session_secrets.of(hub, row)
    further = continuations.in_secrets(secrets)
    if further is None and vendor.flow is not Flow.FORM:
        raise refused(hub, row, "link_invalid")
    return Form(
        vendor=vendor,
        account_id=row.account_id,
        asked_by=account.name if account else "",
        form_token=secrets["form"],
        leads_to=row.client_redirect_uri,
        fields=vendor.consent_fields if further is None else further.fields,
        question=further.question if further is not None else None,
        locale=row.locale,
        lands=row.lands,
    )


def _form_path(token: str) -> str:
    return f"/join/sessions/{token}"


def _entered(form: Form, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the form's own fields, pasted blanks trimmed. Raises FormRefused for a missing or overlong one."""
    entered = {entry.name: values.get(entry.name, "").strip() for entry in form.fields}
    faulty = {entry.name: fault for entry in form.fields if (fault := _fault(entry, entered[entry.name]))}
    if faulty:
        raise FormRefused(form, values, ConsentInvalid("Some entries are missing, or too long"), faulty)
    return {name: value for name, value in entered.items() if value}


def _fault(entry: Field, value: str) -> Fault | None:
    if entry.required and not value:
        return "not chosen" if entry.choices else "missing"
    if len(value) > entry.max_length:
        return "too long"
    return "not chosen" if entry.choices and value and entry.problem(value) else None


def _rerouted(hub: Hub, url: str) -> str:
    """Sends the owner's browser, with simulators, to where the vendor's host was rerouted to; a virtual one's to us."""
    for host, stand_in in {**hub.settings.reroute, virtual.HOST: f"{hub.settings.public_url}/virtual"}.items():
        if url.startswith(f"https://{host}/"):
            target, _, inner = (stand_in + url.removeprefix(f"https://{host}")).partition("#")
            return f"{target}?{inner.partition('?')[2]}" if inner else target  # a stand-in's page runs no script
    return url
