"""New data keys for accounts, beside running servers: what is sealed with an old one is sealed again.

It may be cut anywhere and goes on with the next run. A new key is stored first and seals nothing until every process
knows it; then each ciphertext is replaced only where it is still the one that was read, so a token that is renewed
meanwhile stays. An old key ends when nothing needs it any more, a day after the new one began at the earliest: the
journals of other machines may hold tokens under it until then. The system's own key, which seals signing keys and the
tokens of ended enrollments, is renewed with those of accounts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub, audit
from joinder.services.refusals import Conflict
from joinder.store.tables import Account, DataKey, StoreState
from joinder.store.vault import DATA_KEYS, KNOWN_AFTER_S, SYSTEM, keys_of

BATCH = 200
ENDS_AFTER_S = 86_400
STATE = "data_key_rotation"
KEY_ID_LENGTH = 21


@dataclass(frozen=True)
class Sealed:
    """A column of ciphertexts: its table, the columns of its key, and where its account stands."""

    table: str
    column: str
    key: tuple[str, ...]
    account: str = "s.account_id"
    join: str = ""

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


_OF_SYSTEM = f"'{SYSTEM}'"
_OF_ENROLLMENT = " JOIN enrollment e ON e.id = s.enrollment_id"
COLUMNS = (
    Sealed("vendor_credentials", "secrets_sealed", ("id",)),
    Sealed("grant", "sealed", ("enrollment_id",), "e.account_id", _OF_ENROLLMENT),
    Sealed("join_session", "secrets_sealed", ("token_hash",)),
    Sealed("join_session", "kept_sealed", ("token_hash",)),
    Sealed("webhook_endpoint", "secret_sealed", ("id",)),
    Sealed("webhook_endpoint", "old_secret_sealed", ("id",)),
    Sealed("idempotency", "answer_sealed", ("client_id", "key_hash")),
    Sealed("enrollment_application", "sealed", ("enrollment_id",)),
    Sealed("signing_key", "private_sealed", ("id",), _OF_SYSTEM),
    Sealed("revocation", "sealed", ("enrollment_id",), _OF_SYSTEM),
)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Ciphertexts of this run that are sealed with a new key, and keys that ended."""

    done: int
    total: int
    ended: int = 0


async def foretold(hub: Hub) -> tuple[int, int]:
    """Says how many accounts and ciphertexts a rotation is about."""
    counts = [await _count(hub, one) for one in COLUMNS]
    return len(await _owners(hub)) - 1, sum(counts)


async def rotate(hub: Hub, actor: str) -> AsyncIterator[Progress]:
    """Gives every account and the system a new key and seals all of it again, yielding how far it is.

    Goes on with what was cut.
    """
    began_at = await _begin(hub, actor)
    newest = [await _new_key(hub, account_id, began_at) for account_id in await _owners(hub)]
    await asyncio.sleep(max(0, max(newest, default=0) + KNOWN_AFTER_S + 1 - now()))
    done, total = 0, (await foretold(hub))[1]
    for account_id in await _owners(hub):
        hub.vault.forget(account_id)
        for one in COLUMNS:
            while count := await _seal_some(hub, one, account_id):
                done += count
                yield Progress(done=done, total=max(total, done))
    ended = [await _end_old(hub, account_id) for account_id in await _owners(hub)]
    async with hub.store.write(DATA_KEYS) as session:
        state = await session.get(StoreState, STATE)
        if state is not None:
            await session.delete(state)
        audit(session, SYSTEM, actor, "data-keys.rotate", f"{done} ciphertexts")
    yield Progress(done=done, total=done, ended=sum(ended))


async def _begin(hub: Hub, actor: str) -> int:
    """Returns when this rotation began: now, or the one that was cut."""
    async with hub.store.write(DATA_KEYS) as session:
        state = await session.get(StoreState, STATE)
        if state is None:
            state = StoreState(name=STATE, value={"began_at": now()})
            session.add(state)
            audit(session, SYSTEM, actor, "data-keys.begin", "accounts")
        return int(state.value["began_at"])


async def _owners(hub: Hub) -> list[str]:
    async with hub.store.read() as session:
        return [SYSTEM, *(await session.execute(select(Account.id).order_by(col(Account.id)))).scalars()]


async def _new_key(hub: Hub, account_id: str, began_at: int) -> int:
    """Stores a new key for the account, unless this rotation has. Returns when its newest was made."""
    async with hub.store.write(DATA_KEYS) as session:
        keys = await keys_of(session, account_id)
        if not keys or (len(keys) > 1 and keys[-1].created_at >= began_at):
            return keys[-1].created_at if keys else 0
        number = 1 + max(int(key.purpose.partition(" ")[2] or 1) for key in keys)
        made = hub.vault.new_key(account_id, f"data {number}")
        made.created_at = max(now(), keys[-1].created_at + 1)
        session.add(made)
        return made.created_at


async def _seal_some(hub: Hub, one: Sealed, account_id: str) -> int:
    """Seals some of an account's ciphertexts again; those that were changed meanwhile are new already."""
    async with hub.store.read() as session:
        await hub.vault.unlock(session, account_id)
        newest = (await keys_of(session, account_id))[-1].id
    if hub.vault.sealing_key(account_id) != newest:
        raise Conflict("The new key is not in use yet, as this machine's clock was put back. Try again later.")
    keys = ", ".join(f"s.{name}" for name in one.key)
    sql = (
        f'SELECT {keys}, s.{one.column} FROM "{one.table}" s{one.join} WHERE {one.account} = :account '  # noqa: S608
        f"AND s.{one.column} IS NOT NULL AND length(s.{one.column}) > {KEY_ID_LENGTH} "
        f"AND substr(s.{one.column}, 1, {KEY_ID_LENGTH}) <> :newest LIMIT {BATCH}"
    )
    rows = await hub.store.scan(sql, {"account": account_id, "newest": newest.encode()})
    changed = 0
    for row in rows:
        changed += await _seal_again(hub, one, account_id, row)
    return changed


async def _seal_again(hub: Hub, one: Sealed, account_id: str, row: Any) -> int:
    *key, sealed = row
    place = {"table": one.table, "row": _row(key), "column": one.column, "owner": account_id}
    value = hub.vault.open(bytes(sealed), **place)
    where = " AND ".join(f"{name} = :k{number}" for number, name in enumerate(one.key))
    sql = f'UPDATE "{one.table}" SET {one.column} = :fresh WHERE {where} AND {one.column} = :sealed'  # noqa: S608
    values = {f"k{number}": part for number, part in enumerate(key)}
    values |= {"fresh": hub.vault.seal(value, **place), "sealed": sealed}
    async with hub.store.write() as session:
        done: Any = await session.execute(text(sql), values)
    return int(done.rowcount)


def _row(key: list[Any]) -> str:
    return " ".join(bytes(part).hex() if isinstance(part, bytes | memoryview) else str(part) for part in key)


async def _end_old(hub: Hub, account_id: str) -> int:
    """Erases the account's keys that nothing needs and nobody may still write with. Returns how many."""
    async with hub.store.write(DATA_KEYS) as session:
        keys = await keys_of(session, account_id)
        if len(keys) < 2 or keys[-1].created_at + ENDS_AFTER_S > now():
            return 0
        unneeded = [key for key in keys[:-1] if not await _is_needed(session, key, account_id)]
        for key in unneeded:
            await session.delete(key)
    return len(unneeded)


async def _is_needed(session: AsyncSession, key: DataKey, account_id: str) -> bool:
    for one in COLUMNS:
        sql = (
            f'SELECT 1 FROM "{one.table}" s{one.join} WHERE {one.account} = :account '  # noqa: S608
            f"AND substr(s.{one.column}, 1, {KEY_ID_LENGTH}) = :key LIMIT 1"
        )
        if (await session.execute(text(sql), {"account": account_id, "key": key.id.encode()})).first() is not None:
            return True
    return False


async def _count(hub: Hub, one: Sealed) -> int:
    sql = f'SELECT count(*) FROM "{one.table}" WHERE length({one.column}) > {KEY_ID_LENGTH}'  # noqa: S608
    return int((await hub.store.scan(sql, {}))[0][0])
