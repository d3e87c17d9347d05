"""The end of a join session: consent at the vendor, then grant, enrollment and sites in one transaction.

What a code was exchanged for stands on disk before anything else is asked (kept_consents.py). A hook that fails in
passing after that loses nothing: the owner has joined, and late_consents.py asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import now, utc_now
from joinder.errors import (
    ApprovalRefused,
    AuthorizationLost,
    ConsentContinues,
    ConsentDenied,
    ConsentIncomplete,
    ConsentInvalid,
    DeviceUnreachable,
    NotSupported,
    PluginBug,
    TransientError,
    UnexpectedPayload,
    VendorError,
)
from joinder.grants import Callback, Consent, Context, GrantState
from joinder.ids import is_id, new_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit
from joinder.services.calls import app_secrets
from joinder.services.calls.call_refusals import BudgetSpent
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.grants import apps, judging, standing
from joinder.services.join import (
    continuations,
    enrollments,
    join_ends,
    kept_consents,
    reconnect,
    session_secrets,
)
from joinder.services.join.join_ends import IssuerMismatch, JoinRefused, WrongAccount
from joinder.services.join.join_flows import entries
from joinder.services.join.kept_consents import Keeper
from joinder.services.join.labels import Labels
from joinder.services.join.redirects import callback_at, with_result
from joinder.services.records import health
from joinder.services.work import leases
from joinder.services.work.schedule import after_failure
from joinder.store.driver_errors import said
from joinder.store.tables import Enrollment, GrantRow, JoinFlow, JoinSession, VendorCredentials
from joinder.trouble import StoreRefused, StoreTrouble
from joinder.vendor import Flow, Vendor

KIND = "consent"  # of `due`: a grant that is kept until its sites are listed
FINAL = (ConsentDenied, ConsentInvalid, ConsentIncomplete, NotSupported, ApprovalRefused, IssuerMismatch)
_LATER = "The owner's consent is stored; the vendor does not list the sites yet, and Joinder asks again."
log = logging.getLogger("joinder.join")


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """A hook call about to be made."""

    vendor: Vendor
    ctx: Context
    callback: Callback
    keeper: Keeper
    is_app_suspected: bool = False

    @property
    def is_form(self) -> bool:
        return self.vendor.flow is Flow.FORM or self.is_continued

    @property
    def is_continued(self) -> bool:
        return self.callback.carried is not None


async def finish(hub: Hub, row: JoinSession, values: Mapping[str, str]) -> VendorError | None:
    """Takes a claimed session to its end, which it writes down.

    Answers why a form is to be shown again instead; None once the session has ended, or its consent is kept.
    """
    asked: _Asked | None = None
    try:
        asked = await _asked(hub, row, Secrets(values))
        consent = await hub.registry.handle_callback(asked.vendor.name, asked.ctx, asked.callback)
        if asked.is_app_suspected and row.credentials_id and row.credentials_version:
            await apps.accepted(hub, row.credentials_id, row.credentials_version, "token")
        kept_consents.require_tokens(asked.vendor, asked.ctx.app, consent.grant.secrets)
        await place(hub, row, consent)
    except JoinRefused as refusal:
        await end(hub, row, refusal.code)
    except ConsentContinues as further:
        return await _continued(hub, row, further)
    except VendorError as error:
        return await _failed(hub, row, asked, error)
    except Exception as error:  # noqa: BLE001 - the session ends, or the grant that is kept is placed later
        told = said(error)
        log.error("join at %s failed: %s", row.vendor, told)
        is_ours = isinstance(told, StoreTrouble) and not isinstance(told, StoreRefused)
        code = "store_unavailable" if is_ours else "internal_error"
        await (adopt(hub, row) if asked and asked.keeper.has_kept else end(hub, row, code))
    return None


async def _asked(hub: Hub, row: JoinSession, values: Secrets) -> _Asked:
    """Raises JoinRefused when what the session is for is gone, or the vendor's error."""
    vendor = hub.registry.vendor(row.vendor)
    options = await _options(hub, row)
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
        ctx = await context(hub, session, vendor, row.credentials_id, options)
        app = await session.get(VendorCredentials, row.credentials_id or "")  # the very row of the context
    if row.credentials_version is not None and (app is None or app.version != row.credentials_version):
        raise JoinRefused("app_changed")
    _check_issuer(vendor, values)
    secrets = await session_secrets.of(hub, row)
    further = continuations.in_secrets(secrets)
    keeper = Keeper(hub, row, vendor, ctx.app, values)
    callback = Callback(
        values=values,
        redirect_uri=redirect_uri(hub, vendor, secrets.get("state")),
        code_verifier=secrets["verifier"] if vendor.oauth2 and vendor.oauth2.pkce else None,
        carried=further.carry if further is not None else None,
        keep=keeper,
    )
    is_app_suspected = app is not None and app.suspected_by == "token"
    return _Asked(vendor=vendor, ctx=ctx, callback=callback, keeper=keeper, is_app_suspected=is_app_suspected)


def _check_issuer(vendor: Vendor, values: Mapping[str, str]) -> None:
    """Raises IssuerMismatch (RFC 9207 §2.4)."""
    if vendor.oauth2 is None or vendor.oauth2.issuer is None:
        return
    told = values.get("iss")
    if told is None and not vendor.oauth2.sends_issuer:
        return
    if told != vendor.oauth2.issuer:
        raise IssuerMismatch(f"The answer does not say that it comes from {vendor.label}; nothing was saved")


async def _options(hub: Hub, row: JoinSession) -> Mapping[str, str]:
    if row.reconnects_id is None:
        flow = await flow_of(hub, row.flow_id)
        return _options_in(flow, row.vendor)
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, row.reconnects_id)
    if enrollment is None:
        raise JoinRefused("flow_gone")
    return enrollment.options


def _options_in(flow: JoinFlow, vendor: str) -> Mapping[str, str]:
    return next((entry.options for entry in entries(flow) if entry.vendor == vendor), {})


async def _continued(hub: Hub, row: JoinSession, asked: ConsentContinues) -> VendorError | None:
    """Returns the question, which is the next form's. None: the session has ended, as the plugin asks without end."""
    try:
        await continuations.go_on(hub, row, asked)
    except PluginBug as error:
        await end(hub, row, join_ends.code_of(error), join_ends.text_of(error))
        return None
    return asked


async def _failed(hub: Hub, row: JoinSession, asked: _Asked | None, error: VendorError) -> VendorError | None:
    """Returns the end an error means; what is kept waits for the vendor, and a form is open again.

    Only an answer to our own call tells of the app: the way back through a browser can be made up.
    """
    if asked is not None and "error" not in asked.callback.values and row.credentials_id and row.credentials_version:
        await judging.join_failed(hub, row.credentials_id, row.credentials_version, error)
    has_kept = asked is not None and asked.keeper.has_kept
    if asked is not None and asked.is_form:
        passing = isinstance(error, TransientError | UnexpectedPayload) and not isinstance(error, DeviceUnreachable)
        if (
            passing and not asked.is_continued
        ):  # the answer to a further question is good for minutes: it is asked again
            await adopt(hub, row, error)
            return None
        await _reopen(hub, row, error)
        return error
    if has_kept and not isinstance(error, FINAL):
        await adopt(hub, row, error)
    else:
        await end(hub, row, join_ends.code_of(error, is_kept=has_kept), join_ends.text_of(error))
    return None


async def end(hub: Hub, row: JoinSession, code: str, text: str | None = None) -> None:
    """Ends a session once: one that has ended, or whose owner has joined, stays as it is."""
    if code == continuations.CONTINUES:
        code = "session_expired"
    async with hub.store.write(row.account_id) as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is not None and found.ended_at is None and found.enrollment_id is None:
            join_ends.write(hub, session, found, code, text)


async def _reopen(hub: Hub, row: JoinSession, error: VendorError) -> None:
    """Lets the owner correct the form. Whoever sent it at the same time, and waits, is told the same."""
    async with hub.store.write(row.account_id) as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is not None and found.ended_at is None:
            found.used_at = found.kept_sealed = None
            found.end_code, found.end_text = join_ends.code_of(error, is_form=True), join_ends.text_of(error)


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
    enrollment = Enrollment(
        id=new_id("enrl"),
        account_id=row.account_id,
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        flow_id=flow.id,
        program_id=flow.program_id,
        options=dict(_options_in(flow, row.vendor)),
        health="connecting",
        health_since=now(),
        health_reason=_LATER,
        created_at=now(),
    )
    Labels.of(row).put_on(enrollment)
    session.add(enrollment)
    await session.flush()
    health.write_event(session, enrollment, "enrollment.created", {"vendor": row.vendor, "flowID": flow.id})
    return enrollment


async def is_empty(session: AsyncSession, enrollment: Enrollment) -> bool:
    """Tells whether it never had a grant: it was made for one that is kept."""
    return await session.get(GrantRow, enrollment.id) is None


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
    flow = await session.get(JoinFlow, row.flow_id) if row.reconnects_id is None else None
    settled = owners or fills
    if flow is not None:
        flow_id: str | None = flow.id
        program_id, options = flow.program_id, _options_in(flow, row.vendor)
    elif settled is not None:
        flow_id, program_id, options = settled.flow_id, settled.program_id, settled.options
    else:  # deleted while the vendor answered
        raise JoinRefused("flow_gone")
    stored = await enrollments.store_consent(
        hub,
        session,
        row.account_id,
        consent,
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        flow_id=flow_id,
        program_id=program_id,
        options=options,
        labels=Labels.of(row),
        replaces=owners,
        fills=fills,
    )
    if fills is not None and stored.id != fills.id:
        await _merge(session, fills, stored)
    row.enrollment_id = stored.id
    pending = consent.grant.state is GrantState.PENDING_APPROVAL
    join_ends.write(hub, session, row, "pending_approval" if pending else "joined")
    return stored.id


async def _owners(
    hub: Hub, session: AsyncSession, row: JoinSession, consent: Consent, aimed: Enrollment | None
) -> Enrollment | None:
    """Finds the owner's enrollment: the one that is being reconnected, or whichever the consent belongs to."""
    if aimed is not None and await reconnect.is_same_owner(session, aimed, consent):
        return aimed
    by_link = row.reconnects_id is not None
    known_id = await enrollments.known(hub, session, row.account_id, row.vendor, consent, by_link=by_link)
    return await enrollments.locked(hub, session, known_id) if known_id else None


async def _merge(session: AsyncSession, provisional: Enrollment, into: Enrollment) -> None:
    """Ends the enrollment made for a grant that the owner's earlier one has now."""
    vendor = provisional.vendor
    health.write_event(session, provisional, "enrollment.deleted", {"vendor": vendor, "continuesAs": into.id})
    others = update(JoinSession).where(col(JoinSession.enrollment_id) == provisional.id)
    await session.execute(others.values(enrollment_id=into.id))
    await session.delete(provisional)


async def flow_of(hub: Hub, flow_id: str) -> JoinFlow:
    """Returns the flow an owner came by. Raises JoinRefused when it is gone."""
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, flow_id) if is_id(flow_id, "flow") else None
    if flow is None:
        raise JoinRefused("flow_gone")
    return flow


def callback_url(hub: Hub, vendor: str) -> str:
    """Returns the URL the operator registers at the vendor."""
    return callback_at(hub.settings.public_url, vendor)


def redirect_uri(hub: Hub, vendor: Vendor, state: str | None = None) -> str | None:
    """Returns the redirect URI of a callback; None where the owner fills in our form.

    It carries the state where the vendor returns none: single use and the browser's cookie hold there as well.
    """
    if vendor.flow is not Flow.REDIRECT:
        return None
    url = callback_url(hub, vendor.name)
    if state is None or vendor.oauth2 is None or vendor.oauth2.state_in == "parameter":
        return url
    return with_result(url, **{vendor.oauth2.state_returned_as[0]: state})


async def context(
    hub: Hub, session: AsyncSession, vendor: Vendor, credentials_id: str | None, options: Mapping[str, str]
) -> Context:
    row = await session.get(VendorCredentials, credentials_id or "")
    return vendor_context(hub, vendor.name, app_secrets.open_app(hub, row), options, budget=credentials_id)
