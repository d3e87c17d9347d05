"""The end of a join session: consent at the vendor, then grant, enrollment and sites in one transaction.

What a code was exchanged for stands on disk before anything else is asked (kept_consents.py). A hook that fails in
passing after that loses nothing: the owner has joined, and late_consents.py asks again.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.errors import (
    ApprovalRefused,
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
from joinder.grants import Callback, Context
from joinder.ids import is_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.grants import apps, judging
from joinder.services.join import (
    continuations,
    join_ends,
    kept_consents,
    placed_consents,
    session_secrets,
)
from joinder.services.join.join_ends import IssuerMismatch, JoinRefused
from joinder.services.join.join_flows import options_in
from joinder.services.join.kept_consents import Keeper
from joinder.services.join.redirects import callback_at, with_result
from joinder.store.driver_errors import said
from joinder.store.tables import Enrollment, JoinFlow, JoinSession, VendorCredentials
from joinder.trouble import StoreRefused, StoreTrouble
from joinder.vendor import Flow, Vendor

FINAL = (ConsentDenied, ConsentInvalid, ConsentIncomplete, NotSupported, ApprovalRefused, IssuerMismatch)
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
        await placed_consents.place(hub, row, consent)
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
        await (placed_consents.adopt(hub, row) if asked and asked.keeper.has_kept else end(hub, row, code))
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
        return options_in(flow, row.vendor)
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, row.reconnects_id)
    if enrollment is None:
        raise JoinRefused("flow_gone")
    return enrollment.options


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
            await placed_consents.adopt(hub, row, error)
            return None
        await _reopen(hub, row, error)
        return error
    if has_kept and not isinstance(error, FINAL):
        await placed_consents.adopt(hub, row, error)
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
    return vendor_context(hub, vendor.name, open_app(hub, row), options, budget=credentials_id)
