"""The operator's app credentials at vendors: stored once, sealed, never shown unless revealed on purpose."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from msgspec import Struct
from sqlalchemy import and_, false, func, or_
from sqlalchemy import delete as delete_rows
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    ConsentInvalid,
    OperatorActionNeeded,
)
from joinder.grants import AppCredentials, Consent
from joinder.ids import new_id
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.calls.breakers import password_refusal
from joinder.services.calls.budgets import Quotas
from joinder.services.calls.vendor_context import SECRETS_TABLE, open_sealed
from joinder.services.grants import apps
from joinder.services.join import enrollments, stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.services.records.told import EVERYTHING, Told
from joinder.services.refusals import Conflict, Invalid, Unprocessable, pointer
from joinder.store.tables import Enrollment, JoinFlow, Quota, VendorCredentials
from joinder.vendor import AppCredentialType, Flow, checked_values


class CredentialsView(Struct, frozen=True, kw_only=True):
    """As answered: `secrets` only when revealed."""

    id: str
    name: str | None
    vendor: str
    type: str
    secrets: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"Shown({self.id}, {self.vendor}, {self.type})"


class Dependents(Struct, frozen=True, kw_only=True):
    """What stands in the way of deleting credentials."""

    flows: int
    enrollments: int


async def create(
    hub: Hub,
    account_id: str,
    actor: str,
    *,
    name: str | None,
    credentials: Mapping[str, object],
    told: Told = EVERYTHING,
) -> CredentialsView:
    """Stores one app credential, of a type the caller is told of.

    One that opens its sites by itself (OPERATOR) is tried at the vendor first.

    Raises Invalid naming the member, or the vendor's error; nothing is stored then.
    """
    name, (kind, values) = _name(name), _checked(hub, credentials, told)
    vendor, credentials_id = str(credentials["vendor"]), new_id("cred")
    app = AppCredentials(type=kind.type, secrets=Secrets(values))
    consent = None
    if kind.flow is Flow.OPERATOR:
        await accounts.refuse_virtual(hub, account_id)
        consent = await _tried(hub, vendor, app, credentials_id=credentials_id)
    async with hub.store.write(account_id) as session:
        await hub.vault.unlock(session, account_id)
        row = VendorCredentials(
            id=credentials_id,
            account_id=account_id,
            vendor=vendor,
            type=kind.type,
            name=name,
            secrets_sealed=_sealed(hub, account_id, credentials_id, values),
            created_at=now(),
            updated_at=now(),
        )
        session.add(row)
        await session.flush()
        audit(session, account_id, actor, "credentials.create", credentials_id)
        if consent is not None:
            await stored_consents.store(
                hub,
                session,
                account_id,
                consent,
                Origin(vendor=vendor, credentials_id=credentials_id),
                by_operator=True,
            )
    return _shown(row)


async def _tried(hub: Hub, vendor: str, app: AppCredentials, *, credentials_id: str) -> Consent:
    """Opens what was just sent opens by itself. Raises Unprocessable where the vendor refuses it."""
    try:
        return await enrollments.operator_consent(hub, vendor, app, credentials_id=credentials_id)
    except (AppCredentialsRejected, AuthorizationLost, ConsentInvalid, OperatorActionNeeded) as error:
        fields = error.fields if isinstance(error, ConsentInvalid) else {}
        refused = {pointer("credentials", member): sentence for member, sentence in fields.items()}
        refused = refused or {"/credentials": f"the vendor refuses them: {error}"}
        raise Unprocessable("The vendor refuses these credentials; nothing was stored.", errors=refused) from None


async def list_page(
    hub: Hub,
    account_id: str,
    *,
    vendor: str | None,
    name: str | None,
    after: str,
    limit: int,
    known: Collection[tuple[str, str]] | None = None,
) -> list[CredentialsView]:
    """Reads a keyset page by id. `known`: only these vendors' types; None: all."""
    table = VendorCredentials
    query = select(table).where(col(table.account_id) == account_id, col(table.id) > after)
    if vendor is not None:
        query = query.where(col(table.vendor) == vendor)
    if name is not None:
        query = query.where(col(table.name) == name)
    if known is not None:
        of_type = [and_(col(table.vendor) == one, col(table.type) == kind) for one, kind in sorted(known)]
        query = query.where(or_(false(), *of_type))
    async with hub.store.read() as session:
        rows = (await session.execute(query.order_by(col(table.id)).limit(limit))).scalars()
        return [_shown(row) for row in rows]


async def get(
    hub: Hub, account_id: str, credentials_id: str, actor: str, *, reveal: bool = False, reason: str | None = None
) -> CredentialsView:
    """Returns the credentials, with `reveal` the secrets too; that is audited, with the reason where one is given.

    Raises NotFound.
    """
    if not reveal:
        async with hub.store.read() as session:
            return _shown(await owned(session, VendorCredentials, credentials_id, account_id))
    async with hub.store.write(account_id) as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        await hub.vault.unlock(session, account_id)
        audit(session, account_id, actor, "credentials.reveal", credentials_id, reason=reason)
        return _shown(row, _revealable(hub, row))


async def quotas(hub: Hub, account_id: str, credentials_id: str) -> Quotas:
    """Returns what these credentials may still call. Raises NotFound."""
    async with hub.store.read() as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
    return await hub.budgets.left(row.id, hub.registry.vendor(row.vendor).limits)


async def change(
    hub: Hub, account_id: str, credentials_id: str, actor: str, *, patch: Mapping[str, object]
) -> CredentialsView:
    """Applies a JSON Merge Patch (RFC 7386) to `name` and the secret members; vendor and type stay as they are.

    Grants that waited for corrected credentials are tried again at once.
    """
    async with hub.store.read() as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        await hub.vault.unlock(session, account_id)
    changed = patch.get("credentials", {})
    kind, values = _checked(hub, _merged({"vendor": row.vendor, "type": row.type, **_opened(hub, row)}, changed))
    consent = None
    if kind.flow is Flow.OPERATOR and changed:
        await accounts.refuse_virtual(hub, account_id)
        app = AppCredentials(type=kind.type, secrets=Secrets(values))
        consent = await _tried(hub, row.vendor, app, credentials_id=credentials_id)
    async with hub.store.write(account_id) as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        if "name" in patch:
            row.name = _name(patch["name"])
        changed_before = row.updated_at
        if changed:
            row.secrets_sealed = _sealed(hub, account_id, credentials_id, values)
            row.version += 1
            apps.forget(row)
            row.updated_at = now()
        audit(session, account_id, actor, "credentials.change", credentials_id)
        if consent is not None:
            await stored_consents.store(
                hub,
                session,
                account_id,
                consent,
                Origin(vendor=row.vendor, credentials_id=credentials_id),
                by_operator=True,
            )
        known = await apps.enrollments_of(session, credentials_id) if changed else []
    for enrollment_id in known:
        await apps.resume(hub, enrollment_id, "The app credentials were changed; trying again.")
    if changed:
        await apps.retry_the_dead(hub, credentials_id, changed_before)
    return _shown(row)


def _merged(members: Mapping[str, object], changed: object) -> dict[str, object]:
    """Returns the members as the patch leaves them; null takes one away. Raises Invalid."""
    if not isinstance(changed, Mapping):
        raise Invalid("credentials must be an object", errors={"/credentials": "must be an object"})
    for fixed in ("vendor", "type"):
        if changed.get(fixed, members[fixed]) != members[fixed]:
            raise Invalid(f"{fixed} cannot be changed", errors={f"/credentials/{fixed}": "cannot be changed"})
    return {name: value for name, value in {**members, **changed}.items() if value is not None}


async def delete(hub: Hub, account_id: str, credentials_id: str, actor: str) -> None:
    """Deletes the credentials. Raises NotFound, or Conflict while a flow or an enrollment depends on them."""
    async with hub.store.write(account_id) as session:
        row = await owned(session, VendorCredentials, credentials_id, account_id)
        used = await _dependents(session, row)
        if used.flows or used.enrollments:
            raise Conflict(
                f"In use by {used.flows} join flow(s) and {used.enrollments} enrollment(s); delete those first."
            )
        await session.delete(row)
        await session.execute(delete_rows(Quota).where(col(Quota.app) == credentials_id))
        audit(session, account_id, actor, "credentials.delete", credentials_id)


async def dependents(hub: Hub, account_id: str, credentials_id: str) -> Dependents:
    """Counts the flows and enrollments that depend on the credentials. Raises NotFound."""
    async with hub.store.read() as session:
        return await _dependents(session, await owned(session, VendorCredentials, credentials_id, account_id))


async def _dependents(session: AsyncSession, row: VendorCredentials) -> Dependents:
    used = select(func.count()).select_from(Enrollment).where(col(Enrollment.credentials_id) == row.id)
    enrolled = (await session.execute(used)).scalar_one()
    return Dependents(flows=len(await _flows_using(session, row)), enrollments=enrolled)


async def _flows_using(session: AsyncSession, row: VendorCredentials) -> list[JoinFlow]:
    query = select(JoinFlow).where(col(JoinFlow.account_id) == row.account_id)
    flows = (await session.execute(query)).scalars()
    return [flow for flow in flows if any(entry.get("credentialsID") == row.id for entry in flow.vendors)]


def _checked(
    hub: Hub, credentials: Mapping[str, object], told: Told = EVERYTHING
) -> tuple[AppCredentialType, dict[str, str]]:
    """Checks against the vendor's own declaration. Raises Invalid with a JSON Pointer per member."""
    known = [entry for entry in hub.registry.vendors if told.knows(entry.name)]
    vendor = next((entry for entry in known if entry.name == credentials.get("vendor")), None)
    if vendor is None:
        names = ", ".join(entry.name for entry in known if entry.app_credentials)
        raise Invalid("Unknown vendor", errors={"/credentials/vendor": f"must be one of: {names}"})
    kind = vendor.app_credential(str(credentials.get("type")))
    if kind is None or not told.knows_type(vendor.name, kind.type):
        types = ", ".join(entry.type for entry in vendor.app_credentials if told.knows_type(vendor.name, entry.type))
        wanted = f"must be one of: {types}" if types else f"{vendor.name} takes no app credentials"
        raise Invalid("Unknown credential type", errors={"/credentials/type": wanted})
    if kind.asks_password and vendor.name not in hub.settings.password_grants:
        refusal = password_refusal(vendor.name, kind.label)
        raise Invalid("This server takes no passwords for this vendor", errors={"/credentials/type": refusal})
    given = {member: value for member, value in credentials.items() if member not in ("vendor", "type")}
    values, problems = checked_values(kind.fields, given)
    if problems:
        errors = {pointer("credentials", member): problem for member, problem in problems.items()}
        raise Invalid("The credentials are incomplete or malformed", errors=errors)
    return kind, values


def _name(value: object) -> str | None:
    if value is not None and (not isinstance(value, str) or len(value) > 200):
        raise Invalid("name must be a text", errors={"/name": "must be a text of at most 200 characters"})
    return value


def _sealed(hub: Hub, account_id: str, credentials_id: str, values: Mapping[str, str]) -> bytes:
    return hub.vault.seal(
        dict(values), table=SECRETS_TABLE, row=credentials_id, column="secrets_sealed", owner=account_id
    )


def _opened(hub: Hub, row: VendorCredentials) -> Mapping[str, str]:
    return open_sealed(hub, row.account_id, row.id, row.type, row.secrets_sealed).secrets


def _revealable(hub: Hub, row: VendorCredentials) -> Mapping[str, str]:
    """Without a person's password, which is nobody else's."""
    vendor = next((vendor for vendor in hub.registry.vendors if vendor.name == row.vendor), None)
    kind = vendor.app_credential(row.type) if vendor is not None else None
    hidden = {entry.name for entry in kind.fields if entry.password} if kind is not None else set()
    return {name: value for name, value in _opened(hub, row).items() if name not in hidden}


def _shown(row: VendorCredentials, secrets: Mapping[str, str] | None = None) -> CredentialsView:
    return CredentialsView(id=row.id, name=row.name, vendor=row.vendor, type=row.type, secrets=secrets)
