"""Consents of ended enrollments, ended at their vendors too (RFC 7009).

The tokens are copied, sealed, in the transaction that deletes the enrollment. The worker hands them to the vendor,
again and again for a day; then they are erased, whatever came of it. What another enrollment lives on is not revoked.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

from msgspec import Struct, ValidationError, convert
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import NotSupported, UnknownVendor, VendorError
from joinder.grants import AppCredentials, Context, Grant
from joinder.observe import tracing
from joinder.observe.log_context import log_context
from joinder.observe.metrics import RevocationResult
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.grants import site_rights
from joinder.services.records import events
from joinder.services.records.opened_grant import opened
from joinder.services.work import leases
from joinder.services.work.jobs import Job
from joinder.store.driver_errors import said
from joinder.store.tables import Account, Enrollment, GrantRow, Revocation, VendorCredentials
from joinder.store.vault import SYSTEM, SealBroken
from joinder.vendor import Flow, Vendor

How = Literal["requested", "at vendor", "failed", "kept", "owner ends it at the vendor"]
TOKENS = ("refresh_token", "access_token")
LEASE_S = 120.0
GIVE_UP_AFTER_S = 86_400
BACKOFF_FIRST_S, BACKOFF_MOST_S = 60, 3600
LATE_ANSWER_S = 10  # beyond the deadline, an exchange that was under way can no longer bring a new token
_RESULTS: dict[How, RevocationResult] = {"at vendor": "revoked", "kept": "kept", "failed": "given_up"}
A_TURN = 50  # of one app, before others get theirs
SITES_COMPARED = 50  # grants that hold the same token list the same sites
log = logging.getLogger("joinder.revocations")
_APPS = (
    "SELECT coalesce(credentials_id, vendor) FROM revocation WHERE due_at <= :now "
    "AND (lease IS NULL OR lease_boot <> :clock OR lease_until < {time}) "
    "GROUP BY coalesce(credentials_id, vendor) ORDER BY min(due_at)"
)
_NEXT = (
    "SELECT enrollment_id, account_id, vendor, credentials_id, sealed, attempts, created_at FROM revocation "
    "WHERE due_at <= :now AND coalesce(credentials_id, vendor) = :app "
    "AND (lease IS NULL OR lease_boot <> :clock OR lease_until < {time}) ORDER BY due_at LIMIT 1"
)
_TAKE = (
    "UPDATE revocation SET lease = :lease, lease_boot = :clock, lease_until = {time} + :ttl "
    "WHERE enrollment_id = :id AND due_at <= :now "
    "AND (lease IS NULL OR lease_boot <> :clock OR lease_until < {time})"
)
_WAITS = "SELECT 1 FROM revocation WHERE enrollment_id = :id"


class RevokedTokens(Struct, frozen=True):
    """What a revocation needs, as it is sealed: nothing else of the enrollment is left by then."""

    secrets: dict[str, str]
    site_ids: list[str]
    vendor_account_id: str | None
    app_type: str | None
    app_secrets: dict[str, str]

    def __repr__(self) -> str:
        return f"Held({', '.join(self.secrets)})"


class RevocationRow(NamedTuple):
    enrollment_id: str
    account_id: str
    vendor: str
    credentials_id: str | None
    sealed: bytes
    attempts: int
    created_at: int


async def request(hub: Hub, session: AsyncSession, enrollment: Enrollment) -> How | None:
    """Asks for the consent's revocation in the deletion's transaction, and never stands in its way.

    Returns `requested`, or what becomes of the consent instead; None where no owner gave one.
    """
    credentials = await session.get(VendorCredentials, enrollment.credentials_id or "")
    vendor = _vendor(hub, enrollment.vendor)
    if vendor is not None and _has_no_owner(vendor, credentials.type if credentials is not None else None):
        return None
    row = await session.get(GrantRow, enrollment.id)
    grant = await opened(hub, session, enrollment.account_id, row)
    if grant is not None and await _serves_another(hub, session, enrollment, grant.site_ids, grant.secrets):
        return "kept"
    if grant is None or vendor is None or not can_revoke(vendor) or not _tokens(grant):
        return "owner ends it at the vendor"
    app = open_app(hub, credentials)
    await hub.vault.unlock(session, SYSTEM)
    session.add(
        Revocation(
            enrollment_id=enrollment.id,
            account_id=enrollment.account_id,
            vendor=enrollment.vendor,
            credentials_id=enrollment.credentials_id,
            sealed=_sealed(hub, enrollment.id, _held(enrollment, grant, app)),
            created_at=now(),
            due_at=_first_try(hub, row),
        )
    )
    return "requested"


def can_revoke(vendor: Vendor) -> bool:
    return vendor.oauth2 is not None and vendor.oauth2.revocation_url is not None


async def foretold(hub: Hub, enrollment_ids: Sequence[str]) -> list[str]:
    """Says what becomes of their consents at the vendors when they end: a sentence for each vendor."""
    return await _foretold(hub, col(Enrollment.id).in_(enrollment_ids))


async def foretold_of_account(hub: Hub, account_id: str) -> list[str]:
    """Says what `foretold` says, of all the account's enrollments."""
    return await _foretold(hub, col(Enrollment.account_id) == account_id)


async def _foretold(hub: Hub, condition: ColumnElement[bool]) -> list[str]:
    query = (
        select(Enrollment.vendor, VendorCredentials.type)
        .outerjoin(VendorCredentials, col(VendorCredentials.id) == col(Enrollment.credentials_id))
        .where(condition)
        .distinct()
    )
    async with hub.store.read() as session:
        found = (await session.execute(query)).all()
    told: dict[str, str] = {}
    for name, credentials_type in found:
        vendor = _vendor(hub, name)
        if vendor is None:
            told[name] = f"The plugin for {name} does not work: the owner ends the consent there."
        elif _has_no_owner(vendor, credentials_type):
            told.setdefault(name, f"{vendor.label}: no owner consented; the app credentials stay.")
        elif can_revoke(vendor):
            told[name] = f"{vendor.label} is told to revoke the tokens; a server or worker tries for a day."
        else:
            told[name] = f"{vendor.label} cannot be told: the owner ends the consent there."
    return [told[name] for name in sorted(told)]


async def renewed_meanwhile(hub: Hub, enrollment_id: str, fresh: Grant) -> None:
    """Has the new token revoked instead of the spent one, where an exchange outlived its enrollment."""
    if not await hub.store.rows(_WAITS, {"id": enrollment_id}):
        return
    async with hub.store.write(enrollment_id) as session:
        row = await session.get(Revocation, enrollment_id)
        if row is None:
            return
        await hub.vault.unlock(session, SYSTEM)
        try:
            held = _unsealed(hub, row.enrollment_id, row.sealed)
        except SealBroken as error:  # it would not be told to the vendor, either
            log.warning("%s is not told of a newer token of %s: %s", row.vendor, row.enrollment_id, error)
            return
        row.sealed = _sealed(hub, enrollment_id, RevokedTokens(_tokens(fresh), *_rest(held)))
        row.due_at = now()


def _rest(held: RevokedTokens) -> tuple[list[str], str | None, str | None, dict[str, str]]:
    return held.site_ids, held.vendor_account_id, held.app_type, held.app_secrets


async def _due(hub: Hub) -> list[str]:
    """Lists the apps with something to revoke now, by credentials id or vendor, the longest waiting first."""
    rows = await hub.store.rows(*leases.on_clock(hub.store.dialect, _APPS, {"now": now()}))
    return [str(row[0]) for row in rows]


async def work(hub: Hub, app: str) -> None:
    """Revokes what is due of one app, one after the other."""
    for _ in range(A_TURN):
        lease = leases.new_lease()
        row = None if hub.stopping.is_set() else await _take(hub, app, lease)
        if row is None:
            return
        with log_context(job="revocation", enrollment_id=row.enrollment_id), tracing.span("job", kind="revocation"):
            await _work_one(hub, row, lease)


async def _take(hub: Hub, app: str, lease: str) -> RevocationRow | None:
    dialect = hub.store.dialect
    while found := await hub.store.rows(*leases.on_clock(dialect, _NEXT, {"now": now(), "app": app})):
        row = RevocationRow(*found[0])
        values = {"id": row.enrollment_id, "now": now(), "lease": lease, "ttl": LEASE_S}
        if (await hub.store.apply(leases.on_clock(dialect, _TAKE, values)))[0]:
            return row
    return None


async def _work_one(hub: Hub, row: RevocationRow, lease: str) -> None:
    try:
        how = await _tried(hub, row)
    except (NotSupported, SealBroken) as error:
        log.warning("%s is not told that %s has ended: %s", row.vendor, row.enrollment_id, error)
        how = "failed"
    except Exception as error:  # noqa: BLE001 - whatever goes wrong, the tokens are erased after a day
        told = error if isinstance(error, VendorError) else said(error)
        log.warning("%s was not told that %s has ended: %s", row.vendor, row.enrollment_id, told)
        if now() - row.created_at < GIVE_UP_AFTER_S:
            hub.metrics.revoked(row.vendor, "failed")
            await _plan(hub, row, lease, error.retry_after if isinstance(error, VendorError) else None)
            return
        how = "failed"
    await _end(hub, row, lease, how)


async def _tried(hub: Hub, row: RevocationRow) -> How:
    async with hub.store.read() as session:
        await hub.vault.unlock(session, SYSTEM)
    held = _unsealed(hub, row.enrollment_id, row.sealed)
    ended = Enrollment(
        id=row.enrollment_id,
        account_id=row.account_id,
        vendor=row.vendor,
        credentials_id=row.credentials_id,
        vendor_account_id=held.vendor_account_id,
        health_since=0,
        created_at=0,
    )
    async with hub.store.read() as session:
        if await _serves_another(hub, session, ended, held.site_ids, held.secrets):
            return "kept"
        ctx = await _context(hub, session, row, held)
    await hub.registry.revoke(row.vendor, ctx, Secrets(held.secrets))
    return "at vendor"


async def _context(hub: Hub, session: AsyncSession, row: RevocationRow, held: RevokedTokens) -> Context:
    """Makes the vendor's context with the app's credentials as they are now, or as they were when they are gone.

    Nobody counts the calls of an app that is gone.
    """
    credentials = await session.get(VendorCredentials, row.credentials_id or "")
    if credentials is None:
        app = AppCredentials(type=held.app_type, secrets=Secrets(held.app_secrets)) if held.app_type else None
        return vendor_context(hub, row.vendor, app)
    await hub.vault.unlock(session, row.account_id)
    return vendor_context(hub, row.vendor, open_app(hub, credentials), budget=credentials.id)


async def _plan(hub: Hub, row: RevocationRow, lease: str, retry_after: timedelta | None) -> None:
    wait_s = min(BACKOFF_FIRST_S * 2**row.attempts, BACKOFF_MOST_S) * random.uniform(0.5, 1.0)  # noqa: S311 - spreading load
    wait_s = max(wait_s, (retry_after or timedelta(0)).total_seconds())
    async with hub.store.write(row.enrollment_id) as session:
        waiting = await session.get(Revocation, row.enrollment_id)
        if waiting is not None and waiting.lease == lease:
            waiting.attempts += 1
            waiting.lease = waiting.lease_until = None
            waiting.due_at = min(now() + int(wait_s) + 1, row.created_at + GIVE_UP_AFTER_S)


async def _end(hub: Hub, row: RevocationRow, lease: str, how: How) -> None:
    """Erases the tokens, whatever came of it."""
    async with hub.store.write(row.enrollment_id) as session:
        waiting = await session.get(Revocation, row.enrollment_id)
        if waiting is None or waiting.lease != lease or waiting.sealed != row.sealed:
            return  # another worker's, or a newer token came meanwhile
        await session.delete(waiting)
        if await session.get(Account, row.account_id) is not None:
            told = await events.last_labels(session, row.enrollment_id)
            tell(session, row.account_id, row.enrollment_id, row.vendor, how, told)
    hub.metrics.revoked(row.vendor, _RESULTS[how])


def tell(
    session: AsyncSession, account_id: str, enrollment_id: str, vendor: str, how: How, labels: Mapping[str, object]
) -> None:
    """Writes the event of what became of a consent whose enrollment is gone."""
    data = {**labels, "vendor": vendor, "how": how}
    events.write(session, account_id, "enrollment.revoked", data, enrollment_id=enrollment_id)


async def _serves_another(
    hub: Hub, session: AsyncSession, ended: Enrollment, site_ids: Sequence[str], secrets: Mapping[str, str]
) -> bool:
    """Tells whether another enrollment depends on this consent.

    It does when it holds one of these tokens or this key, or is the same owner's by the same app: a vendor may end all
    of an owner's tokens with one of them.
    """
    of_vendor = select(Enrollment.id).where(
        col(Enrollment.account_id) == ended.account_id,
        col(Enrollment.vendor) == ended.vendor,
        col(Enrollment.id) != ended.id,
    )
    if ended.vendor_account_id is not None:
        same_owner = of_vendor.where(
            col(Enrollment.vendor_account_id) == ended.vendor_account_id,
            col(Enrollment.credentials_id) == ended.credentials_id,
        )
        if (await session.execute(same_owner.limit(1))).first() is not None:
            return True
    for other in await site_rights.sharing(session, ended.account_id, ended.vendor, site_ids[:SITES_COMPARED]):
        row = await session.get(GrantRow, other.id) if other.id != ended.id else None
        grant = await opened(hub, session, ended.account_id, row)
        if grant is not None and _is_common(grant.secrets, secrets):
            return True
    return False


def _is_common(some: Mapping[str, str], others: Mapping[str, str]) -> bool:
    tokens = [others[name] for name in TOKENS if others.get(name)]
    return any(token in some.values() for token in tokens) or (bool(others) and dict(some) == dict(others))


def _first_try(hub: Hub, row: GrantRow | None) -> int:
    """Returns when to try first, in epoch seconds.

    That is not before an exchange that is under way has told its token (`renewed_meanwhile`).
    """
    late_s = int(hub.settings.refresh_deadline_s) + LATE_ANSWER_S
    if row is None or row.intent_at is None or not now() - late_s < row.intent_at <= now():
        return now()
    return row.intent_at + late_s


def _held(enrollment: Enrollment, grant: Grant, app: AppCredentials | None) -> RevokedTokens:
    return RevokedTokens(
        secrets=_tokens(grant),
        site_ids=list(grant.site_ids),
        vendor_account_id=enrollment.vendor_account_id,
        app_type=app.type if app else None,
        app_secrets=dict(app.secrets) if app else {},
    )


def _tokens(grant: Grant) -> dict[str, str]:
    return {name: grant.secrets[name] for name in TOKENS if grant.secrets.get(name)}


def _sealed(hub: Hub, enrollment_id: str, held: RevokedTokens) -> bytes:
    return hub.vault.seal(held, **_place(enrollment_id))


def _unsealed(hub: Hub, enrollment_id: str, sealed: bytes) -> RevokedTokens:
    try:
        return convert(hub.vault.open(sealed, **_place(enrollment_id)), RevokedTokens)
    except ValidationError:
        raise SealBroken(f"the revocation of {enrollment_id} was sealed by another version") from None


def _place(enrollment_id: str) -> Mapping[str, str]:
    """Binds sealed tokens to the system's key: that of an account ends with it."""
    return {"table": "revocation", "row": enrollment_id, "column": "sealed", "owner": SYSTEM}


def _vendor(hub: Hub, name: str) -> Vendor | None:
    try:
        return hub.registry.vendor(name)
    except UnknownVendor:
        return None


def _has_no_owner(vendor: Vendor, credentials_type: str | None) -> bool:
    """Tells whether it lives on the operator's app credentials."""
    return vendor.flow_with(credentials_type) is Flow.OPERATOR


JOB = Job("revocation", _due, work)
