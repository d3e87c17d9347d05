"""The audit's chain: each entry of an account is bound to the one before it, and the last to a key that no row holds.

Entries wait in the session until the change's own transaction is about to commit. They are chained there, under the
lock of their account's head, which is the last lock a transaction takes. An entry's hash covers what it says and the
hash before; the head's `mac` covers where the chain stands, under a key of the vault: who can write rows, and nothing
more, cannot make another chain. The system's chain holds the beginning of every other one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import event, inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstanceState, Session
from sqlmodel import SQLModel

from joinder.clock import now
from joinder.ids import next_id
from joinder.store.tables import Audit, AuditHead

SYSTEM = "system"
BEGUN = "audit.begin"  # of another account's chain, noted in the system's
NOTHING = bytes(32)  # stands before the first entry
Seal = Callable[[str], bytes]
Sealing = Callable[[AsyncSession], Awaitable[Seal]]  # looks first at which key seals now
Lock = Callable[..., Awaitable[None]]  # Store.serialise
_ENTRIES, _TOUCHED = "audit entries", "audit touched"


class Entry(Struct, kw_only=True):
    """One entry that waits for its transaction's end."""

    account_id: str
    actor: str
    action: str
    target: str
    reason: str | None = None
    result: str = "ok"
    request_id: str | None = None


def note(session: AsyncSession, entry: Entry) -> None:
    """Puts the entry with the change it is about."""
    session.info.setdefault(_ENTRIES, []).append(entry)


def watch(session: AsyncSession) -> None:
    """Notes the hash of each changed row, before and after, for the entry that is about it."""
    event.listen(session.sync_session, "before_flush", _note_touched)


async def close(session: AsyncSession, sealing: Sealing | None, lock: Lock) -> None:
    """Chains what waits, right before the commit. Raises LookupError without a key."""
    entries: list[Entry] = session.info.pop(_ENTRIES, [])
    if not entries:
        return
    if sealing is None:
        raise LookupError("the audit needs the vault's key")
    seal = await sealing(session)
    await session.flush()
    for account_id in sorted({entry.account_id for entry in entries} - {SYSTEM}):
        of_account = [entry for entry in entries if entry.account_id == account_id]
        await lock(session, f"audit {account_id}")
        if await _extend(session, seal, account_id, of_account):
            entries.append(Entry(account_id=SYSTEM, actor=SYSTEM, action=BEGUN, target=account_id))
    of_system = [entry for entry in entries if entry.account_id == SYSTEM]
    if of_system:
        await lock(session, f"audit {SYSTEM}")
        await _extend(session, seal, SYSTEM, of_system)
    await session.flush()


async def _extend(session: AsyncSession, seal: Seal, account_id: str, entries: Iterable[Entry]) -> bool:
    """Adds to an account's chain. Returns whether it begins with them."""
    head = await session.get(AuditHead, account_id, populate_existing=True)
    is_first = head is None
    if head is None:
        head = AuditHead(account_id=account_id, began_at=now(), hash=NOTHING, base_hash=NOTHING, mac=b"")
        session.add(head)
    for entry in entries:
        row = _row(session, entry)
        row.seq, row.hash = head.seq + 1, hash_of(row, head.seq + 1, head.hash)
        head.seq, head.hash = row.seq, row.hash
        session.add(row)
    head.mac = mac_of(seal, head)
    return is_first


def hash_of(row: Audit, seq: int, before: bytes) -> bytes:
    """Returns the hash of what an entry says, at its place behind `before`."""
    said = [seq, row.id, row.account_id, row.at, row.actor, row.action, row.target, row.reason, row.result]
    said += [row.request_id, row.before_hash, row.after_hash]
    return hashlib.sha256(before + msgspec.json.encode(said)).digest()


def mac_of(seal: Seal, head: AuditHead) -> bytes:
    """Returns what only who has the vault's key can make: where the chain begins and ends."""
    return seal(ends_of(head))


def ends_of(head: AuditHead) -> str:
    """Returns what a head's `mac` is about."""
    ends = [head.account_id, head.began_at, head.base_seq, head.base_hash.hex(), head.seq, head.hash.hex()]
    return "audit head " + msgspec.json.encode(ends).decode()


def _row(session: AsyncSession, entry: Entry) -> Audit:
    before, after = session.info.get(_TOUCHED, {}).get(entry.target, (None, None))
    return Audit(
        id=next_id("evnt"),
        account_id=entry.account_id,
        actor=entry.actor,
        action=entry.action,
        target=entry.target,
        reason=entry.reason,
        result=entry.result,
        request_id=entry.request_id,
        before_hash=before,
        after_hash=after,
        at=now(),
    )


def _note_touched(session: Session, *_: Any) -> None:
    touched: dict[str, tuple[str | None, str | None]] = session.info.setdefault(_TOUCHED, {})
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, SQLModel) and not isinstance(row, Audit | AuditHead):
            _touch(touched, row, is_new=row in session.new, is_deleted=row in session.deleted)


def _touch(touched: dict[str, tuple[str | None, str | None]], row: SQLModel, *, is_new: bool, is_deleted: bool) -> None:
    state: InstanceState[Any] = inspect(row)
    now_held = {name: state.dict.get(name) for name in [*state.mapper.columns.keys()]}
    key = str(state.mapper.primary_key_from_instance(row)[0])
    first = touched[key][0] if key in touched else None if is_new else _digest({**now_held, **state.committed_state})
    touched[key] = first, None if is_deleted else _digest(now_held)


def _digest(columns: dict[str, Any]) -> str:
    told = json.dumps(columns, sort_keys=True, default=str)  # a vendor's half of a character is no UTF-8: escaped here
    return hashlib.sha256(told.encode()).hexdigest()
