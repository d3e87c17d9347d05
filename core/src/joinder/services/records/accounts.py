"""Accounts (tenants) and their API clients."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.ids import new_id, new_token
from joinder.runtime.hub import Hub, audit, owned
from joinder.services.records.told import EVERYTHING, Told
from joinder.services.refusals import Conflict, NotFound, Unprocessable, WrongMode
from joinder.store.tables import Account, ApiClient, Program
from joinder.store.vault import DATA_KEYS

SCOPES = (
    "read:sites",
    "read:enrollments",
    "manage:enrollments",
    "read:flows",
    "manage:flows",
    "read:credentials",
    "manage:credentials",
    "read:webhooks",
    "manage:webhooks",
)
PRODUCTION, VIRTUAL = "production", "virtual"  # modes of an account: neither sees anything of the other's
REVEAL = "reveal:credentials"  # never granted by default: shows stored vendor secrets
OLD_SECRET_S = 24 * 3600
PROGRAM_LIFE_S = 7300 * 86_400  # of a programme that names no end
COMMAND_LINE = "command line"
_NO_ACCOUNT = "There is no such account; see `joinder accounts list`."


@dataclass(frozen=True)
class Caller:
    """Who a request comes from."""

    account_id: str
    client_id: str
    scopes: frozenset[str]
    mode: str = PRODUCTION
    told: Told = EVERYTHING
    enrollment_id: str | None = None  # of a browser key: all it may read of

    @property
    def is_compatible(self) -> bool:
        return self.told.vendors is not None

    @property
    def is_virtual(self) -> bool:
        return self.mode == VIRTUAL


class NewClient(Struct, frozen=True, kw_only=True):
    """Shown once."""

    client_id: str
    client_secret: str
    account_id: str
    scopes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"NewClient({self.client_id})"


async def create_account(hub: Hub, name: str, actor: str = COMMAND_LINE, *, mode: str = PRODUCTION) -> Account:
    """Creates an account and its data key. Raises Unprocessable for a name that cannot be.

    `mode`: one that is virtual has virtual homes and reaches no vendor; one in production has no virtual home.
    """
    account = Account(id=new_id("acct"), name=_checked_name(name), mode=mode, created_at=now())
    async with hub.store.write(DATA_KEYS) as session:
        session.add(account)
        if mode == VIRTUAL:
            await session.flush()
            session.add(_virtual_program(account))
        await hub.vault.unlock(session, account.id, create=True)
        audit(session, account.id, actor, "account.create", account.id)
    return account


def _virtual_program(account: Account) -> Program:
    """Makes the programme that a virtual account finds."""
    return Program(
        id=new_id("prog"),
        account_id=account.id,
        name="Virtual Program",
        start_at=account.created_at,
        end_at=account.created_at + PROGRAM_LIFE_S,
        resource_types=["batterysystem"],
        vendors=[VIRTUAL],
        options={},
        created_at=account.created_at,
    )


async def is_virtual(session: AsyncSession, account_id: str) -> bool:
    account = await session.get(Account, account_id)
    return account is not None and account.mode == VIRTUAL


async def refuse_virtual(hub: Hub, account_id: str) -> None:
    """Raises WrongMode before a vendor is called for a virtual account."""
    async with hub.store.read() as session:
        if await is_virtual(session, account_id):
            raise WrongMode("A virtual client reaches no vendor; use a production client for this.")


async def list_accounts(hub: Hub) -> list[Account]:
    async with hub.store.read() as session:
        return list((await session.execute(select(Account).order_by(col(Account.id)))).scalars())


async def rename_account(hub: Hub, account_id: str, actor: str, name: str) -> None:
    """Renames the account. Raises NotFound, or Unprocessable for a name that cannot be."""
    async with hub.store.write(account_id) as session:
        account = await session.get(Account, account_id)
        if account is None:
            raise NotFound(_NO_ACCOUNT)
        account.name = _checked_name(name)
        audit(session, account_id, actor, "account.rename", account_id)


async def account_or_only(hub: Hub, account_id: str | None) -> Account:
    """Returns the named account, or the only one. Raises NotFound, or Conflict where there are several."""
    found = [row for row in await list_accounts(hub) if account_id in (None, row.id)]
    if not found:
        raise NotFound(_NO_ACCOUNT if account_id else "There is no account yet: joinder accounts create NAME")
    if len(found) > 1:
        raise Conflict("There are several accounts: name one with --account; see `joinder accounts list`.")
    return found[0]


async def create_client(
    hub: Hub,
    account_id: str,
    name: str,
    scopes: tuple[str, ...] = SCOPES,
    actor: str = COMMAND_LINE,
    *,
    compatible: bool = False,
) -> NewClient:
    """Creates a client with a server-made 256-bit secret, of which only an HMAC is stored.

    `compatible`: a client of Derapi, which is told of no vendor it would not know. Raises NotFound or Unprocessable.
    """
    unknown = set(scopes) - {*SCOPES, REVEAL}
    if unknown:
        raise Unprocessable(f"Unknown scopes: {', '.join(sorted(unknown))}. Known: {', '.join((*SCOPES, REVEAL))}")
    if not name.strip() or not scopes:
        raise Unprocessable("A client has a name and at least one scope")
    secret, client_id = new_token(), new_id("clnt")
    async with hub.store.write(account_id) as session:
        if await session.get(Account, account_id) is None:
            raise NotFound(_NO_ACCOUNT)
        fingerprint = await hub.vault.know_peppers(session)
        session.add(
            ApiClient(
                id=client_id,
                account_id=account_id,
                name=name,
                secret_hash=fingerprint(secret),
                scopes=" ".join(scopes),
                compatible=compatible,
                created_at=now(),
            )
        )
        audit(session, account_id, actor, "client.create", client_id)
    return NewClient(client_id=client_id, client_secret=secret, account_id=account_id, scopes=scopes)


async def list_clients(hub: Hub, account_id: str | None = None) -> list[ApiClient]:
    """Lists the clients of an account, or of all."""
    query = select(ApiClient).order_by(col(ApiClient.account_id), col(ApiClient.id))
    if account_id is not None:
        query = query.where(col(ApiClient.account_id) == account_id)
    async with hub.store.read() as session:
        return list((await session.execute(query)).scalars())


async def get_client(hub: Hub, client_id: str) -> ApiClient:
    """Returns a client of any account, for the admin. Raises NotFound."""
    async with hub.store.read() as session:
        client = await session.get(ApiClient, client_id)
    if client is None:
        raise NotFound("There is no such client; see `joinder clients list`.")
    return client


async def rotate_client(
    hub: Hub, account_id: str, client_id: str, actor: str = COMMAND_LINE, *, at_once: bool = False
) -> NewClient:
    """Makes a new secret; the one before works for a day more, or ends `at_once`. Its access tokens live on.

    Raises NotFound, or Conflict for a revoked client.
    """
    secret = new_token()
    async with hub.store.write(account_id) as session:
        client = await owned(session, ApiClient, client_id, account_id)
        if client.revoked_at is not None:
            raise Conflict("This client is revoked; create another.")
        client.old_secret_hash = None if at_once else client.secret_hash
        client.old_secret_until = None if at_once else now() + OLD_SECRET_S
        client.secret_hash = (await hub.vault.know_peppers(session))(secret)
        audit(session, account_id, actor, "client.rotate", client_id)
        scopes = tuple(client.scopes.split())
    return NewClient(client_id=client_id, client_secret=secret, account_id=account_id, scopes=scopes)


async def revoke_client(hub: Hub, account_id: str, client_id: str, actor: str = COMMAND_LINE) -> None:
    """Revokes the client; twice is harmless. Raises NotFound."""
    async with hub.store.write(account_id) as session:
        client = await owned(session, ApiClient, client_id, account_id)
        client.revoked_at = client.revoked_at or now()
        client.old_secret_hash = client.old_secret_until = None
        audit(session, account_id, actor, "client.revoke", client_id)


def _checked_name(name: str) -> str:
    if not 1 <= len(name.strip()) <= 100 or not name.isprintable():
        raise Unprocessable("An account's name is 1 to 100 printable characters; owners read it on the join page")
    return name.strip()
