"""Proves the audit, and hands it out: what was edited, deleted, put elsewhere or cut off since is found.

An export ends with each chain's head under a signature that anybody verifies with the server's public keys. Kept
elsewhere, it proves later on that the database did not go back behind it: `against`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from msgspec import Struct, field
from sqlalchemy import delete
from sqlmodel import col, select

from joinder.runtime.hub import Hub, audit
from joinder.services.records.signing_keys import SigningKeys
from joinder.services.refusals import Unprocessable
from joinder.store.audit_chain import BEGUN, NOTHING, SYSTEM, ends_of, hash_of
from joinder.store.tables import Audit, AuditHead

BATCH = 500
FINDINGS_MOST = 100  # of one run


class Finding(Struct, frozen=True, kw_only=True):
    """What does not hold, of which account's chain, at which entry where that is known."""

    account_id: str
    problem: str
    seq: int | None = None


class Proof(Struct, kw_only=True):
    """What was looked at: chained entries, and those that are older than the chain."""

    entries: int = 0
    chains: int = 0
    older: int = 0
    findings: list[Finding] = []


class Line(Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """One line of an export: an entry, or at the end of a chain its signed head."""

    account_id: str = field(name="accountID")
    seq: int
    hash: str
    id: str | None = None
    at: int | None = None
    actor: str | None = None
    action: str | None = None
    target: str | None = None
    reason: str | None = None
    result: str | None = None
    request_id: str | None = field(default=None, name="requestID")
    before_hash: str | None = None
    after_hash: str | None = None
    base_seq: int | None = None
    base_hash: str | None = None
    signature: str | None = None


async def verify(hub: Hub, account_id: str | None = None) -> Proof:
    """Walks the chains, of one account or of all, and tells what does not hold."""
    proof = Proof()
    async with hub.store.read() as session:
        await hub.vault.know_peppers(session)
    heads = {head.account_id: head for head in await _heads(hub, account_id)}
    for head in heads.values():
        proof.findings += await _check_chain(hub, head, proof)
    proof.findings += await _strays(hub, heads, proof, account_id)
    proof.findings = proof.findings[:FINDINGS_MOST]
    return proof


async def _check_chain(hub: Hub, head: AuditHead, proof: Proof) -> list[Finding]:
    owner = head.account_id
    proof.chains += 1
    if not hub.vault.fits(ends_of(head), head.mac):
        return [Finding(account_id=owner, problem="its head was changed", seq=head.seq)]
    seq, before = head.base_seq, head.base_hash
    async for row in _entries(hub, owner):
        found = (row.seq or 0, row.hash)
        if found[0] != seq + 1:
            return [Finding(account_id=owner, problem=_gap(found[0], seq), seq=seq + 1)]
        if found[0] > head.seq and await _went_on(hub, head, found[0]):
            break
        if found[0] > head.seq:
            return [Finding(account_id=owner, problem="an entry stands behind the head", seq=found[0])]
        if hash_of(row, found[0], before) != row.hash:
            return [Finding(account_id=owner, problem="an entry, or its place, was changed", seq=found[0])]
        seq, before = found[0], row.hash
        proof.entries += 1
    if (seq, before) != (head.seq, head.hash):
        return [Finding(account_id=owner, problem="the last entries were deleted", seq=seq + 1)]
    return []


async def _went_on(hub: Hub, looked_at: AuditHead, seq: int) -> bool:
    """Tells whether the chain has grown as far as `seq` since its head was looked at."""
    (head,) = await _heads(hub, looked_at.account_id) or [looked_at]
    return head.seq >= seq and hub.vault.fits(ends_of(head), head.mac)


def _gap(found: int, last: int) -> str:
    return "an entry stands twice" if found <= last else "entries were deleted"


async def _strays(hub: Hub, heads: dict[str, AuditHead], proof: Proof, account_id: str | None) -> list[Finding]:
    """Finds entries that no chain holds, and chains that are gone."""
    lost: dict[str, str] = {}
    if account_id is None:
        begun = {row.target async for row in _entries(hub, SYSTEM) if row.action == BEGUN}
        lost |= dict.fromkeys(begun - set(heads), "its whole chain was deleted")
    lost |= dict.fromkeys(await _chained(hub, account_id) - set(heads), "its chain's head was deleted")
    begun_meanwhile = {head.account_id for head in await _heads(hub, account_id)} if lost else set()
    lost = {name: problem for name, problem in lost.items() if name not in begun_meanwhile}
    findings = [Finding(account_id=name, problem=problem) for name, problem in sorted(lost.items())]
    sql = "SELECT account_id, max(at), count(*) FROM audit WHERE seq IS NULL GROUP BY account_id"
    for owner, newest, count in await hub.store.scan(sql, {}):
        if account_id not in (None, owner):
            continue
        proof.older += int(count)
        if owner in heads and int(newest) > heads[owner].began_at:
            problem = "entries outside of the chain are younger than it: by hand, or of an older version"
            findings.append(Finding(account_id=owner, problem=problem))
    return findings


async def export(hub: Hub, account_id: str | None = None) -> AsyncIterator[Line]:
    """Yields every chained entry, each account's signed head behind them."""
    keys = SigningKeys(hub)
    for head in await _heads(hub, account_id):
        seq, hashed = head.base_seq, head.base_hash
        async for row in _entries(hub, head.account_id):
            if row.seq is not None and row.hash is not None and row.seq <= head.seq:
                seq, hashed = row.seq, row.hash
                yield _line(row, row.seq, row.hash)
        end = Line(
            account_id=head.account_id,
            seq=seq,
            hash=hashed.hex(),
            base_seq=head.base_seq,
            base_hash=head.base_hash.hex(),
        )
        end.signature = await keys.sign(_signed_part(end))
        yield end


async def against(hub: Hub, lines: Iterable[bytes]) -> list[Finding]:
    """Compares an earlier export with the database: what it holds must be there, unchanged, or pruned since.

    Raises Unprocessable for a file that is no export.
    """
    public = await SigningKeys(hub).public()
    heads = {head.account_id: head for head in await _heads(hub, None)}
    findings: list[Finding] = []
    signed, seen = set[str](), set[str]()
    for number, text in enumerate(lines, 1):
        line = _read(text, number)
        seen.add(line.account_id)
        if line.signature is not None:
            signed.add(line.account_id)
            if not _is_ours(line, public):
                findings.append(Finding(account_id=line.account_id, problem="the file's signature is not ours"))
        head = heads.get(line.account_id)
        if head is None or line.seq > head.seq:
            findings.append(Finding(account_id=line.account_id, problem="the database went back", seq=line.seq))
        elif line.seq > head.base_seq and not await _holds(hub, line):
            findings.append(Finding(account_id=line.account_id, problem="differs from the file", seq=line.seq))
    findings += [Finding(account_id=name, problem="the file's end is missing") for name in sorted(seen - signed)]
    return findings[:FINDINGS_MOST]


async def prune(hub: Hub, actor: str, account_id: str, before: int) -> int:
    """Deletes entries older than `before`, in epoch seconds; the chain begins behind them from now on.

    Returns how many. The newest entry stays. Raises Unprocessable while the chain does not hold.
    """
    if (await verify(hub, account_id)).findings:
        raise Unprocessable("The chain does not hold, so nothing is pruned; see `joinder audit verify`.")
    async with hub.store.write(f"audit {account_id}") as session:
        query = select(Audit).where(col(Audit.account_id) == account_id, col(Audit.seq).is_not(None))
        old = query.where(col(Audit.at) < before).order_by(col(Audit.seq).desc()).limit(1)
        head, last = await session.get(AuditHead, account_id), (await session.execute(old)).scalar_one_or_none()
        if head is None or last is None or last.seq is None or last.hash is None or last.seq >= head.seq:
            return 0
        count = last.seq - head.base_seq
        gone = delete(Audit).where(col(Audit.account_id) == account_id, col(Audit.seq) <= last.seq)
        await session.execute(gone)
        head.base_seq, head.base_hash = last.seq, last.hash
        audit(session, account_id, actor, "audit.prune", f"{count} entries")
    return count


async def _heads(hub: Hub, account_id: str | None) -> list[AuditHead]:
    query = select(AuditHead).order_by(col(AuditHead.account_id))
    if account_id is not None:
        query = query.where(col(AuditHead.account_id) == account_id)
    async with hub.store.read() as session:
        return list((await session.execute(query)).scalars())


async def _entries(hub: Hub, account_id: str) -> AsyncIterator[Audit]:
    """Walks a chain in its order, some entries at a time."""
    last: int | None = None
    while True:
        query = select(Audit).where(col(Audit.account_id) == account_id, col(Audit.seq).is_not(None))
        if last is not None:
            query = query.where(col(Audit.seq) > last)
        async with hub.store.read() as session:
            rows = list((await session.execute(query.order_by(col(Audit.seq)).limit(BATCH))).scalars())
        for row in rows:
            yield row
        if len(rows) < BATCH:
            return
        last = rows[-1].seq


async def _chained(hub: Hub, account_id: str | None) -> set[str]:
    rows = await hub.store.scan("SELECT DISTINCT account_id FROM audit WHERE seq IS NOT NULL", {})
    return {str(row[0]) for row in rows if account_id in (None, row[0])}


async def _holds(hub: Hub, line: Line) -> bool:
    sql = "SELECT hash FROM audit WHERE account_id = :account AND seq = :seq"
    rows = await hub.store.rows(sql, {"account": line.account_id, "seq": line.seq})
    return bool(rows) and bytes(rows[0][0] or NOTHING).hex() == line.hash


def _line(row: Audit, seq: int, hashed: bytes) -> Line:
    names = ("id", "at", "actor", "action", "target", "reason", "result", "request_id", "before_hash", "after_hash")
    said: dict[str, Any] = {name: getattr(row, name) for name in names}
    return Line(account_id=row.account_id, seq=seq, hash=hashed.hex(), **said)


def _signed_part(line: Line) -> bytes:
    return msgspec.json.encode([line.account_id, line.base_seq, line.base_hash, line.seq, line.hash])


def _is_ours(line: Line, public: Any) -> bool:
    try:
        return jws.deserialize_compact(line.signature or "", public, algorithms=["ES256"]).payload == _signed_part(line)
    except (JoseError, ValueError):
        return False


def _read(text: bytes, number: int) -> Line:
    try:
        return msgspec.json.decode(text, type=Line)
    except msgspec.DecodeError:
        raise Unprocessable(f"Line {number} is none of `joinder audit export`.") from None
