"""One owner's way through a join flow: out to the vendor or to our form, and back to the integrator.

The session is found by the hash of a random token and belongs to one browser, told by a cookie. The token works once.
Everything that decides (vendor, redirect URIs, verifier, expiry) was stored when the session began; nothing of it is
taken from the request that ends it (RFC 9700 §4.7).

Of several requests that end it at once, one goes on; the others wait for it, in any process, and lead to the same end.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

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
    late_consents,
    reconnect,
    session_secrets,
)
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_flows import FlowVendor, entries
from joinder.services.join.kept_consents import KeptConsent
from joinder.services.join.labels import NO_LABELS, Labels, problem_with
from joinder.services.join.late_consents import HELD_MOST_S
from joinder.services.join.redirects import with_result
from joinder.services.refusals import Invalid
from joinder.store.tables import Account, Enrollment, JoinSession, VendorCredentials
from joinder.store.vault import token_hash
from joinder.vendor import Field, Flow, Vendor

LIFE_S = 30 * 60
MAX_ATTEMPTS = 5
MAX_STATE = 1024
COOKIES_MOST = 8  # of one browser
LOOK_S = 0.2
_ANYBODY = Guest()


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
    labels: Labels


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
    leads_to: str  # the integrator's address, when it is over
    fields: tuple[Field, ...]
    question: str | None = None  # of a further step, which the vendor asks


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


async def start(
    hub: Hub, flow_id: str, vendor_name: str | None, labels: Labels = NO_LABELS, guest: Guest = _ANYBODY
) -> Started | Choice:
    """Begins a session, or asks for the vendor. Raises JoinRefused or the vendor's error."""
    flow = await consents.flow_of(hub, flow_id)
    if len(labels.state or "") > MAX_STATE or (labels.reference and problem_with(labels.reference)):
        raise _refused(hub, None, "state_too_long")
    offered = {entry.vendor: entry for entry in entries(flow)}
    if vendor_name is None and len(offered) > 1:
        vendors = sorted((hub.registry.vendor(name) for name in offered), key=lambda vendor: vendor.label)
        return Choice(flow_id=flow_id, vendors=vendors, labels=labels)
    entry = offered.get(vendor_name) if vendor_name is not None else next(iter(offered.values()))
    if entry is None:
        raise _refused(hub, None, "vendor_not_offered")
    _spend(hub, hub.strangers.starts, guest, flow.id, entry.vendor)
    return await _begin(hub, flow.account_id, entry, flow_id=flow.id, redirect_uri=flow.redirect_uri, labels=labels)


async def start_reconnect(hub: Hub, text: str, guest: Guest = _ANYBODY) -> Started:
    """Begins a session that renews one enrollment (reconnect.py). Raises JoinRefused or the vendor's error."""
    try:
        link = reconnect.read(hub, text)
    except reconnect.BadLink:
        raise _refused(hub, None, "link_invalid") from None
    if link.expires_at <= now():
        raise _refused(hub, None, "link_expired")
    async with hub.store.read() as session:
        row = await session.get(Enrollment, link.enrollment_id)
    if row is None:
        raise _refused(hub, None, "flow_gone")
    _spend(hub, hub.strangers.starts, guest, row.id, row.vendor)
    entry = FlowVendor(vendor=row.vendor, credentials_id=row.credentials_id, options=row.options)
    return await _begin(
        hub, row.account_id, entry, flow_id=row.flow_id or "", redirect_uri=link.redirect_uri, reconnects_id=row.id
    )


async def _begin(
    hub: Hub,
    account_id: str,
    entry: FlowVendor,
    *,
    flow_id: str,
    redirect_uri: str,
    labels: Labels = NO_LABELS,
    reconnects_id: str | None = None,
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
        if code == "app_refused":
            raise JoinRefused(code) from None
        raise
    return Started(url=url, cookie_name=cookie_name(hub, token), cookie=cookie)


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
    state = next((query[name] for name in carriers if query.get(name)), "")
    row = await _session_of(hub, state, cookies)
    if row.vendor != vendor_name:
        raise _refused(hub, row, "link_invalid")
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
    refused = await consents.finish(hub, row, values)
    async with hub.store.read() as session:
        found = await session.get(JoinSession, row.token_hash)
    if found is not None and found.enrollment_id is not None:
        spent.give_back()
    return refused


def _state_carriers(hub: Hub, vendor_name: str) -> tuple[str, ...]:
    """Names the callback parameters in which this vendor may return the state."""
    vendor = next((vendor for vendor in hub.registry.vendors if vendor.name == vendor_name), None)
    return vendor.oauth2.state_returned_as if vendor and vendor.oauth2 else ("state",)


async def show_form(hub: Hub, token: str, cookies: Mapping[str, str]) -> Form:
    """Returns the hosted form of a session. Raises JoinRefused."""
    row = await _session_of(hub, token, cookies)
    vendor = hub.registry.vendor(row.vendor)
    if row.used_at is not None or row.ended_at is not None:
        raise _refused(hub, row, "link_used")
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
    row = await _session_of(hub, token, cookies)
    if row.ended_at is not None:
        return await _same_end(hub, row)
    form = await _form(hub, row, hub.registry.vendor(row.vendor))
    if not hmac.compare_digest(form.form_token.encode(), form_token.encode()):
        raise _refused(hub, row, "wrong_browser", status=403)
    entered = _entered(form, values)
    spent = _attempt(hub, row, guest)
    if await _claim(hub, row, entered, keeps=form.question is None):
        refused = await _finish(hub, row, entered, spent)
        if isinstance(refused, ConsentContinues):
            return _form_path(token)
        if refused is not None:
            raise FormRefused(form, values, refused)
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
    row = await _session_of(hub, token, cookies)
    if await _claim(hub, row):
        await consents.end(hub, row, "user_denied", "The owner did not give consent")
    return await _same_end(hub, row)


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


async def _session_of(hub: Hub, token: str, cookies: Mapping[str, str]) -> JoinSession:
    """Returns the live session of this token in this browser. Raises JoinRefused."""
    async with hub.store.read() as session:
        row = await session.get(JoinSession, token_hash(token)) if 20 <= len(token) <= 100 else None
    if row is None:
        raise _refused(hub, None, "link_invalid")
    if row.expires_at <= now():
        if row.ended_at is None and row.used_at is None:
            await consents.end(hub, row, row.end_code or "session_expired", row.end_text)
        raise JoinRefused("session_expired", restart_url=_restart_url(hub, row))
    cookie = cookies.get(cookie_name(hub, token), "")
    if not hmac.compare_digest(token_hash(cookie), row.cookie_hash):
        raise _refused(hub, row, "wrong_browser")
    return row


def _refused(hub: Hub, row: JoinSession | None, code: str, *, status: int | None = None) -> JoinRefused:
    """Counts and returns the refusal of a request that leaves the session as it is."""
    join_ends.count_refusal(hub, row.vendor if row else None, code)
    return JoinRefused(code, status=status, restart_url=_restart_url(hub, row) if row else None)


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
            raise _refused(hub, None, "link_invalid")
        if found.ended_at is not None or found.enrollment_id is not None:
            return join_ends.target(found, _restart_url(hub, found))
        if found.used_at is None and found.end_code is not None and found.attempts < MAX_ATTEMPTS:
            raise _Reopened(_told(found))
        if found.used_at is None and found.attempts >= MAX_ATTEMPTS:
            await consents.end(hub, found, "too_many_tries")
        elif found.used_at is not None and found.used_at < now() - HELD_MOST_S:
            await late_consents.recover(hub, found)
        elif monotonic() > until or hub.stopping.is_set():
            raise _refused(hub, found, "still_running")
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
        raise _refused(hub, row, "link_invalid")
    return Form(
        vendor=vendor,
        asked_by=account.name if account else "",
        form_token=secrets["form"],
        leads_to=row.client_redirect_uri,
        fields=vendor.consent_fields if further is None else further.fields,
        question=further.question if further is not None else None,
    )


def _form_path(token: str) -> str:
    return f"/join/sessions/{token}"


def _entered(form: Form, values: Mapping[str, str]) -> dict[str, str]:
    """Returns the form's own fields, pasted blanks trimmed. Raises FormRefused for a missing or overlong one."""
    entered = {entry.name: values.get(entry.name, "").strip() for entry in form.fields}
    errors = {}
    for entry in form.fields:
        if entry.required and not entered[entry.name]:
            errors[entry.name] = f"{'Choose' if entry.choices else 'Enter'} the {entry.label}"
        elif len(entered[entry.name]) > entry.max_length:
            errors[entry.name] = f"The {entry.label} must be at most {entry.max_length} characters long"
        elif entry.choices and entered[entry.name] and entry.problem(entered[entry.name]):
            errors[entry.name] = f"Choose one of the values for {entry.label}"
    if errors:
        raise FormRefused(form, values, ConsentInvalid("Some entries are missing", fields=errors))
    return {name: value for name, value in entered.items() if value}


def _restart_url(hub: Hub, row: JoinSession) -> str:
    if row.reconnects_id is not None:
        return reconnect.path(hub, row.reconnects_id, row.client_redirect_uri, LIFE_S)
    return authorize_path(row.flow_id, row.vendor, Labels.of(row))


def authorize_path(flow_id: str, vendor_name: str | None, labels: Labels) -> str:
    """Returns the path that begins a join at a vendor; None: a page where the owner chooses one."""
    path = f"/join/flows/{flow_id}/authorize"
    return with_result(path, vendor=vendor_name, state=labels.state, reference=labels.reference)


def _rerouted(hub: Hub, url: str) -> str:
    """Sends the owner's browser, with simulators, to where the vendor's host was rerouted to; a virtual one's to us."""
    for host, stand_in in {**hub.settings.reroute, virtual.HOST: f"{hub.settings.public_url}/virtual"}.items():
        if url.startswith(f"https://{host}/"):
            target, _, inner = (stand_in + url.removeprefix(f"https://{host}")).partition("#")
            return f"{target}?{inner.partition('?')[2]}" if inner else target  # a stand-in's page runs no script
    return url
