"""The end of a join session: consent at the vendor, then grant, enrollment and sites in one transaction."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col

from joinder.clock import now
from joinder.grants import Callback, Consent, Context
from joinder.ids import is_id
from joinder.redact import Secrets
from joinder.services import app_secrets, enrollments, reconnect
from joinder.services.hub import Hub
from joinder.services.join_flows import entries
from joinder.services.vendor_context import vendor_context
from joinder.store.tables import Enrollment, JoinFlow, JoinSession, VendorCredentials
from joinder.vendor import Flow, Vendor


class JoinRefused(Exception):
    """The owner cannot go on here. `code` names the page that explains it; nothing was stored, no vendor called."""

    def __init__(self, code: str, *, status: int = 400, restart_url: str | None = None) -> None:
        super().__init__(code)
        self.code = code
        self.status = status
        self.restart_url = restart_url


async def exchange(hub: Hub, row: JoinSession, values: Mapping[str, str]) -> str:
    """Answers the enrollment's id. Raises JoinRefused when what the session is for is gone, or the vendor's error."""
    vendor = hub.registry.vendor(row.vendor)
    options = await _options(hub, row)
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
        ctx = await context(hub, session, vendor, row.credentials_id, options)
    verifier = (await secrets_of(hub, row))["verifier"] if vendor.oauth2 and vendor.oauth2.pkce else None
    redirect_uri = callback_url(hub, vendor.name) if vendor.flow is Flow.REDIRECT else None
    callback = Callback(values=Secrets(values), redirect_uri=redirect_uri, code_verifier=verifier)
    consent = await hub.registry.handle_callback(vendor.name, ctx, callback)
    async with hub.store.write(row.account_id) as session:
        enrollment = await _stored(hub, session, row, consent, options)
        await session.execute(
            update(JoinSession)
            .where(col(JoinSession.token_hash) == row.token_hash)
            .values(enrollment_id=enrollment.id, used_at=now())
        )
        return enrollment.id


async def _options(hub: Hub, row: JoinSession) -> Mapping[str, str]:
    if row.reconnects_id is None:
        flow = await flow_of(hub, row.flow_id)
        return next((entry.options for entry in entries(flow) if entry.vendor == row.vendor), {})
    async with hub.store.read() as session:
        enrollment = await session.get(Enrollment, row.reconnects_id)
    if enrollment is None:
        raise JoinRefused("unknown_flow", status=404)
    return enrollment.options


async def _stored(
    hub: Hub, session: AsyncSession, row: JoinSession, consent: Consent, options: Mapping[str, str]
) -> Enrollment:
    replaced = await _replaced(hub, session, row, consent)
    flow_id, program_id = (replaced.flow_id, replaced.program_id) if replaced else await _flow_and_program(session, row)
    return await enrollments.store_consent(
        hub,
        session,
        row.account_id,
        consent,
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        flow_id=flow_id,
        program_id=program_id,
        options=options,
        replaces=replaced,
    )


async def _replaced(hub: Hub, session: AsyncSession, row: JoinSession, consent: Consent) -> Enrollment | None:
    """The enrollment that is being reconnected."""
    if row.reconnects_id is None:
        return None
    enrollment = await enrollments.locked(hub, session, row.reconnects_id)
    if enrollment is None:  # ended meanwhile
        raise JoinRefused("unknown_flow", status=404)
    await reconnect.same_owner(session, enrollment, consent)
    return enrollment


async def _flow_and_program(session: AsyncSession, row: JoinSession) -> tuple[str, str | None]:
    flow = await session.get(JoinFlow, row.flow_id)
    if flow is None:  # deleted while the vendor answered
        raise JoinRefused("unknown_flow", status=404)
    return flow.id, flow.program_id


async def flow_of(hub: Hub, flow_id: str) -> JoinFlow:
    """Raises JoinRefused."""
    async with hub.store.read() as session:
        flow = await session.get(JoinFlow, flow_id) if is_id(flow_id, "flow") else None
    if flow is None:
        raise JoinRefused("unknown_flow", status=404)
    return flow


def callback_url(hub: Hub, vendor: str) -> str:
    """What the operator registers at the vendor."""
    return f"{hub.settings.public_url}/join/{vendor}/auth-granted"


async def context(
    hub: Hub, session: AsyncSession, vendor: Vendor, credentials_id: str | None, options: Mapping[str, str]
) -> Context:
    row = await session.get(VendorCredentials, credentials_id or "")
    return vendor_context(hub, vendor.name, app_secrets.open_app(hub, row), options, budget=credentials_id)


async def secrets_of(hub: Hub, row: JoinSession) -> Mapping[str, str]:
    """`verifier` and `form`."""
    async with hub.store.read() as session:
        await hub.vault.unlock(session, row.account_id)
    return hub.vault.open_strings(row.secrets_sealed, **_place(row.account_id, row.token_hash))


def seal(hub: Hub, account_id: str, row_id: bytes, value: Mapping[str, str]) -> bytes:
    return hub.vault.seal(dict(value), **_place(account_id, row_id))


def _place(account_id: str, row_id: bytes) -> dict[str, str]:
    return {"table": "join_session", "row": row_id.hex(), "column": "secrets_sealed", "owner": account_id}
