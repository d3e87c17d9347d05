"""One owner's way through a join flow: out to the vendor or to our form, and back to the integrator.

The session is found by the hash of a random token and belongs to one browser, told by a cookie. The token works once.
Everything that decides (vendor, redirect URIs, verifier, expiry) was stored when the session began; nothing of it is
taken from the request that ends it (RFC 9700 §4.7).

What is read first stands in intros.py, our form in hosted_forms.py and form_answers.py, which request of several goes
on in session_claims.py, what a try costs in attempts.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from authlib.oauth2.rfc7636 import create_s256_code_challenge

from joinder import virtual
from joinder.clock import now
from joinder.errors import (
    AppCredentialsRejected,
    OperatorActionNeeded,
    TransientError,
    VendorError,
)
from joinder.grants import AuthorizeRequest
from joinder.ids import new_token
from joinder.runtime.hub import Hub
from joinder.services.calls.breakers import password_refusal
from joinder.services.calls.strangers import Guest
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.grants import apps
from joinder.services.join import (
    consents,
    continuations,
    join_ends,
    join_flows,
    session_secrets,
)
from joinder.services.join.attempts import attempt, finish, spend
from joinder.services.join.browser_sessions import (
    LIFE_S,
    authorize_path,
    cookie_name,
    refused,
    restart_url,
    session_of,
)
from joinder.services.join.hosted_forms import (
    form_path,
)
from joinder.services.join.intros import MAX_STATE, Choice, choice_of, entry_of, reconnected
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_flows import FlowVendor, entries
from joinder.services.join.labels import NO_LABELS, Labels, problem_with
from joinder.services.join.session_claims import Reopened, claim, same_end
from joinder.services.refusals import Invalid
from joinder.store.tables import JoinFlow, JoinSession, VendorCredentials
from joinder.store.types import Upsert
from joinder.store.vault import token_hash
from joinder.vendor import Flow

RETRY_AFTER_S = 60
_ANYBODY = Guest()
log = logging.getLogger("joinder.join")


@dataclass(frozen=True, kw_only=True)
class Started:
    """Where to send the browser, and the cookie that binds the session to it."""

    url: str
    cookie_name: str
    cookie: str


@dataclass(frozen=True, kw_only=True)
class _Beginning:
    """What a session is begun for: a flow or an enrollment to renew, at which vendor, and where the owner goes then."""

    account_id: str
    entry: FlowVendor
    flow_id: str
    redirect_uri: str
    labels: Labels = NO_LABELS
    reconnects_id: str | None = None
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
    flow, entry = await entry_of(hub, flow_id, vendor_name, labels)
    if entry is None:
        return choice_of(hub, flow, labels)
    spend(hub, hub.strangers.starts, guest, flow.id, entry.vendor)
    beginning = _Beginning(
        account_id=flow.account_id,
        entry=entry,
        flow_id=flow.id,
        redirect_uri=flow.redirect_uri,
        labels=labels,
        locale=locale,
        lands=not flow.skip_landing,
    )
    return await _begin(hub, beginning)


async def start_reconnect(hub: Hub, text: str, guest: Guest = _ANYBODY, *, locale: str | None = None) -> Started:
    """Begins a session that renews one enrollment (reconnect.py). Raises JoinRefused."""
    link, row = await reconnected(hub, text)
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, row.flow_id or "")
    spend(hub, hub.strangers.starts, guest, row.id, row.vendor)
    entry = FlowVendor(vendor=row.vendor, credentials_id=row.credentials_id, options=row.options)
    beginning = _Beginning(
        account_id=row.account_id,
        entry=entry,
        flow_id=row.flow_id or "",
        redirect_uri=link.redirect_uri,
        reconnects_id=row.id,
        locale=locale,
        lands=flow is not None and not flow.skip_landing,
    )
    return await _begin(hub, beginning)


async def _begin(hub: Hub, beginning: _Beginning) -> Started:
    """Begins a session. Whatever stands against it ends the session before the owner leaves."""
    token, cookie, verifier = new_token(), new_token(), new_token()
    async with hub.store.read() as session:
        await hub.vault.unlock(session, beginning.account_id)
        app = await session.get(VendorCredentials, beginning.entry.credentials_id or "")
    row = _row(hub, beginning, app, token, cookie, verifier)
    await hub.store.apply(_insert(row))
    try:
        if app is not None and not await apps.joins_may_begin(hub, app):
            raise AppCredentialsRejected("The vendor refuses the app's credentials; they must be corrected first")
        url = await _way_out(hub, row, beginning.entry, app, token, verifier)
    except VendorError as error:
        code = join_ends.code_of(error)
        await consents.end(hub, row, code, join_ends.text_of(error))
        raise _not_begun(hub, row, code, error) from None
    return Started(url=url, cookie_name=cookie_name(hub, token), cookie=cookie)


def _row(
    hub: Hub, beginning: _Beginning, app: VendorCredentials | None, token: str, cookie: str, verifier: str
) -> JoinSession:
    """Returns all that decides later, as it is stored now."""
    row_id = token_hash(token)
    secrets = {"verifier": verifier, "form": new_token(), "state": token}
    return JoinSession(
        token_hash=row_id,
        account_id=beginning.account_id,
        flow_id=beginning.flow_id,
        vendor=beginning.entry.vendor,
        credentials_id=beginning.entry.credentials_id,
        credentials_version=app.version if app is not None else None,
        cookie_hash=token_hash(cookie),
        secrets_sealed=session_secrets.seal(hub, beginning.account_id, row_id, secrets),
        client_redirect_uri=beginning.redirect_uri,
        client_state=beginning.labels.state,
        client_reference=beginning.labels.reference,
        reconnects_id=beginning.reconnects_id,
        locale=beginning.locale,
        lands=beginning.lands,
        created_at=now(),
        expires_at=now() + LIFE_S,
    )


def _insert(row: JoinSession) -> Upsert:
    """Makes a write of its own, which others of this moment share a commit with: strangers may begin by hundreds."""
    key, *columns = JoinSession.model_fields
    record = tuple(getattr(row, name) for name in (key, *columns))
    return Upsert("join_session", (key,), tuple(columns), [record], is_replacing=False)


def _not_begun(hub: Hub, row: JoinSession, code: str, error: VendorError) -> JoinRefused:
    """Returns what the owner reads who could not even leave."""
    if isinstance(error, TransientError):
        log.info("join: %s: %s", type(error).__name__, error)
        refusal = JoinRefused(code, status=503, restart_url=restart_url(hub, row), retry_after_s=RETRY_AFTER_S)
    else:
        log.warning("join: %s: %s", type(error).__name__, error)
        refusal = JoinRefused(code, status=None if code == "app_refused" else 502)
    return refusal.about(row)


async def _way_out(
    hub: Hub, row: JoinSession, entry: FlowVendor, app: VendorCredentials | None, token: str, verifier: str
) -> str:
    """Returns the URL of the vendor's consent page, or of our form.

    A vendor that asked for a pause is no reason to stay: what it gives for a code is kept, and the rest is asked for
    later.
    """
    vendor = hub.registry.vendor(entry.vendor)
    if vendor.flow is Flow.FORM:
        if vendor.asks_password and vendor.name not in hub.settings.password_grants:
            raise OperatorActionNeeded(password_refusal(vendor.name, f"{vendor.label}'s form"))
        return form_path(token)
    ctx = vendor_context(hub, vendor.name, open_app(hub, app), entry.options, budget=entry.credentials_id)
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
        return form_path(state)  # the code is spent: its answer is carried
    spent = attempt(hub, row, guest)
    if await claim(hub, row):
        await finish(hub, row, {name: value for name, value in query.items() if name not in carriers}, spent)
    else:
        spent.give_back()
    try:
        return await same_end(hub, row)
    except Reopened:
        return form_path(state)


def state_in(hub: Hub, vendor_name: str, query: Mapping[str, str]) -> str:
    """Returns the session's token from a callback, wherever this vendor puts it."""
    return next((query[name] for name in _state_carriers(hub, vendor_name) if query.get(name)), "")


def _state_carriers(hub: Hub, vendor_name: str) -> tuple[str, ...]:
    """Names the callback parameters in which this vendor may return the state."""
    vendor = next((vendor for vendor in hub.registry.vendors if vendor.name == vendor_name), None)
    return vendor.oauth2.state_returned_as if vendor and vendor.oauth2 else ("state",)


def _rerouted(hub: Hub, url: str) -> str:
    """Sends the owner's browser, with simulators, to where the vendor's host was rerouted to; a virtual one's to us."""
    for host, stand_in in {**hub.settings.reroute, virtual.HOST: f"{hub.settings.public_url}/virtual"}.items():
        if url.startswith(f"https://{host}/"):
            target, _, inner = (stand_in + url.removeprefix(f"https://{host}")).partition("#")
            return f"{target}?{inner.partition('?')[2]}" if inner else target  # a stand-in's page runs no script
    return url
