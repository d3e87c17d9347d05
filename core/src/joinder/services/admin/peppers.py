"""A new pepper for what is stored of clients' secrets, for links and for the audit's heads, beside running servers.

The new one makes nothing until every process knows it. From then on heads of the audit are sealed with it at once, and
a client's fingerprint at its next log-in, as only its secret makes another one. Until the old pepper ends, both are
taken: it ends by the operator's word, and not while a client needs it. It may be cut anywhere; the next run goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub, audit
from joinder.services.refusals import Conflict, NotFound
from joinder.store.audit_chain import ends_of, mac_of
from joinder.store.tables import ApiClient, AuditHead, StoreState
from joinder.store.vault import DATA_KEYS, KNOWN_AFTER_S, PEPPER, SYSTEM, keys_of

STATE = "pepper_rotation"
ENDS_AFTER = 4  # times KNOWN_AFTER_S: by a clock that is behind, the old one makes what is new for longer


@dataclass(frozen=True, kw_only=True)
class PepperUse:
    """A pepper. The one that is `newest` makes what is new; another that no client needs may be retired."""

    id: str
    newest: bool
    clients: list[str]  # names of those whose fingerprint it made
    heads: int

    @property
    def is_retirable(self) -> bool:
        return not self.newest and not self.clients


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Heads of the audit that the newest pepper seals."""

    pepper_id: str
    done: int
    total: int


async def uses(hub: Hub) -> list[PepperUse]:
    """Lists the peppers, the oldest first, with what each made."""
    async with hub.store.read() as session:
        return await _uses(hub, session)


async def rotate(hub: Hub, actor: str) -> AsyncIterator[Progress]:
    """Makes a new pepper, then seals every head of the audit with it, yielding how far it is."""
    made_at = await _begin(hub, actor)
    await asyncio.sleep(max(0, made_at + KNOWN_AFTER_S + 1 - now()))
    newest = await _in_use(hub)
    owners = await _heads(hub)
    for number, owner in enumerate(owners, 1):
        await _seal_again(hub, owner)
        yield Progress(pepper_id=newest, done=number, total=len(owners))
    async with hub.store.write(DATA_KEYS) as session:
        state = await session.get(StoreState, STATE)
        if state is not None:
            await session.delete(state)
        audit(session, SYSTEM, actor, "pepper.rotate", newest)
    yield Progress(pepper_id=newest, done=len(owners), total=len(owners))


async def retirable(hub: Hub, pepper_id: str) -> None:
    """Checks that the pepper may be retired. Raises NotFound, or Conflict while it is needed, or may be."""
    async with hub.store.read() as session:
        _check_retirable(await _uses(hub, session), pepper_id)
        newest = (await keys_of(session, SYSTEM, PEPPER))[-1]
    wait_s = newest.created_at + ENDS_AFTER * KNOWN_AFTER_S - now()
    if wait_s > 0:
        raise Conflict(f"A machine whose clock is behind may still make something with it. Try again in {wait_s} s.")


async def retire(hub: Hub, actor: str, pepper_id: str) -> None:
    """Erases a pepper; links that it signed work no more. Raises NotFound, or Conflict while it is needed."""
    await retirable(hub, pepper_id)
    await _in_use(hub)
    for owner in await _heads(hub):  # whatever a process that was late has sealed since
        await _seal_again(hub, owner)
    async with hub.store.write(DATA_KEYS) as session:
        _check_retirable(await _uses(hub, session), pepper_id)
        (ended,) = [row for row in await keys_of(session, SYSTEM, PEPPER) if row.id == pepper_id]
        await session.delete(ended)
        audit(session, SYSTEM, actor, "pepper.retire", pepper_id)
    hub.vault.forget(SYSTEM, PEPPER)


async def _begin(hub: Hub, actor: str) -> int:
    """Stores the new pepper, unless a rotation that was cut has. Returns when it was made."""
    async with hub.store.write(DATA_KEYS) as session:
        peppers = await keys_of(session, SYSTEM, PEPPER)
        if await session.get(StoreState, STATE) is not None:
            return peppers[-1].created_at
        number = 1 + max(int(one.purpose.partition(" ")[2] or 1) for one in peppers)
        made = hub.vault.new_key(SYSTEM, f"{PEPPER} {number}")
        made.created_at = max(now(), peppers[-1].created_at + 1)
        session.add(made)
        session.add(StoreState(name=STATE, value={"pepper": made.id}))
        audit(session, SYSTEM, actor, "pepper.begin", made.id)
        return made.created_at


async def _in_use(hub: Hub) -> str:
    """Returns the newest pepper. Raises Conflict while it makes nothing yet."""
    hub.vault.forget(SYSTEM, PEPPER)
    async with hub.store.read() as session:
        await hub.vault.know_peppers(session)
        newest = (await keys_of(session, SYSTEM, PEPPER))[-1].id
    if hub.vault.sealing_key(SYSTEM, PEPPER) != newest:
        raise Conflict("The new pepper is not in use yet, as this machine's clock was put back. Try again later.")
    return newest


async def _heads(hub: Hub) -> list[str]:
    async with hub.store.read() as session:
        return list((await session.execute(select(AuditHead.account_id))).scalars())


async def _seal_again(hub: Hub, owner: str) -> None:
    """Seals a head by the newest pepper, if an earlier one vouches for it: what was changed stays to be found."""
    async with hub.store.write(f"audit {owner}") as session:
        head = await session.get(AuditHead, owner)
        if head is not None and hub.vault.fits(ends_of(head), head.mac):
            head.mac = mac_of(hub.vault.fingerprint, head)


async def _uses(hub: Hub, session: AsyncSession) -> list[PepperUse]:
    await hub.vault.know_peppers(session)
    peppers = await keys_of(session, SYSTEM, PEPPER)
    clients = (await session.execute(select(ApiClient).where(col(ApiClient.revoked_at).is_(None)))).scalars().all()
    heads = [hub.vault.pepper_of(head.mac) for head in (await session.execute(select(AuditHead))).scalars()]
    return [
        PepperUse(
            id=one.id,
            newest=one is peppers[-1],
            clients=sorted(client.name for client in clients if one.id in _made_with(hub, client)),
            heads=heads.count(one.id),
        )
        for one in peppers
    ]


def _made_with(hub: Hub, client: ApiClient) -> set[str]:
    """Names the peppers without which a secret of this client works no more."""
    is_old_valid = client.old_secret_until is not None and now() < client.old_secret_until
    held = [client.secret_hash, client.old_secret_hash if is_old_valid else None]
    return {hub.vault.pepper_of(one) for one in held if one is not None}


def _check_retirable(uses: list[PepperUse], pepper_id: str) -> None:
    use = next((one for one in uses if one.id == pepper_id), None)
    if use is None:
        raise NotFound(f"There is no pepper {pepper_id}; see `joinder keys peppers`.")
    if use.newest:
        raise Conflict(f"{pepper_id} makes what is new. First: joinder keys rotate --pepper")
    if use.clients:
        named = ", ".join(use.clients[:5]) + (f" and {len(use.clients) - 5} more" if len(use.clients) > 5 else "")
        raise Conflict(f"Clients that have not come since need {pepper_id}: {named}. Rotate or revoke them first.")
