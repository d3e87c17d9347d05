"""Keys of the key file: which wrap what, a new one, and what no longer needs an old one.

A rotation wraps the data keys anew and touches nothing they have sealed. It may be cut anywhere: before and after every
step each data key is wrapped by a key that is on the disk, and the next run goes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import func
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.plurals import counted
from joinder.runtime.hub import Hub, audit
from joinder.services.refusals import Conflict, NotFound
from joinder.store.key_file import add_key, key_path, make_durable, remove_key
from joinder.store.tables import DataKey
from joinder.store.vault import DATA_KEYS, SYSTEM

BATCH = 200


@dataclass(frozen=True, kw_only=True)
class KeyUse:
    """A key of the file. The one that is `first` wraps; another that wraps nothing may be retired."""

    id: str
    first: bool
    wraps: int

    @property
    def is_retirable(self) -> bool:
        return not self.first and self.wraps == 0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Data keys that `key_id` wraps."""

    key_id: str
    done: int
    total: int


async def uses(hub: Hub) -> list[KeyUse]:
    """Lists the keys in the file's order, with what each wraps. Raises ConfigError."""
    async with hub.store.read() as session:
        return await _uses(session, hub)


async def prepare(hub: Hub) -> tuple[str, bool]:
    """Returns the key to rotate to, and whether it is new: what was prepared, or cut, goes on. Raises ConfigError."""
    async with hub.store.write(DATA_KEYS) as session:
        first, *_, left = await _standing(session, hub)
        return (first, False) if left else (add_key(_path(hub)).id, True)


async def rotate(hub: Hub, actor: str) -> AsyncIterator[Progress]:
    """Prepares, then wraps every data key anew, some at a time, yielding how far it is. Raises ConfigError."""
    await prepare(hub)
    make_durable(_path(hub))
    while True:
        async with hub.store.write(DATA_KEYS) as session:
            progress = await _rewrap_some(session, hub, actor)
        yield progress
        if progress.done == progress.total:
            return


async def retirable(hub: Hub, key_id: str) -> None:
    """Checks that the key may be retired. Raises NotFound, or Conflict while the key is needed."""
    async with hub.store.read() as session:
        _check_retirable(await _uses(session, hub), key_id)


async def retire(hub: Hub, actor: str, key_id: str) -> None:
    """Takes a key out of the file. Raises NotFound, Conflict while it is needed, ConfigError."""
    async with hub.store.write(DATA_KEYS) as session:
        _check_retirable(await _uses(session, hub), key_id)
        audit(session, SYSTEM, actor, "key.retire", key_id)
        await session.flush()
        remove_key(_path(hub), key_id)


async def _uses(session: AsyncSession, hub: Hub) -> list[KeyUse]:
    query = select(DataKey.kek_id, func.count()).group_by(col(DataKey.kek_id))
    counts = {kek_id: int(count) for kek_id, count in await session.execute(query)}
    hub.vault.reread()
    return [
        KeyUse(id=kek.id, first=place == 0, wraps=counts.get(kek.id, 0)) for place, kek in enumerate(hub.vault.keks)
    ]


async def _standing(session: AsyncSession, hub: Hub) -> tuple[str, int, int]:
    """Returns the key that wraps, how many data keys there are, and how many it does not wrap yet."""
    first, *others = await _uses(session, hub)
    left = sum(other.wraps for other in others)
    return first.id, first.wraps + left, left


async def _rewrap_some(session: AsyncSession, hub: Hub, actor: str) -> Progress:
    """Wraps some keys anew.

    The audit's entry comes with the last of them, so that a rotation that was cut has one too.
    """
    first, total, left = await _standing(session, hub)
    query = select(DataKey).where(col(DataKey.kek_id) != first).order_by(col(DataKey.id)).limit(BATCH)
    rows = list((await session.execute(query)).scalars())
    for row in rows:
        hub.vault.rewrap(row)
    if rows and len(rows) == left:
        audit(session, SYSTEM, actor, "key.rotate", first)
    return Progress(key_id=first, done=total - left + len(rows), total=total)


def _check_retirable(uses: list[KeyUse], key_id: str) -> None:
    use = next((one for one in uses if one.id == key_id), None)
    if use is None:
        raise NotFound(f"The key file holds no key {key_id}; see `joinder keys status`.")
    if use.first:
        raise Conflict(f"{key_id} wraps what is new. First: joinder keys rotate")
    if use.wraps:
        raise Conflict(f"{key_id} still wraps {counted(use.wraps, 'data key')}. First: joinder keys rotate")


def _path(hub: Hub) -> Path:
    return key_path(hub.settings.key_file)
