"""Which database this is. A restored one is another: what was meant for the one before is not for it."""

from __future__ import annotations

import secrets

from sqlalchemy.ext.asyncio import AsyncSession

from joinder.store.tables import StoreState

_IDENTITY = "identity"  # in store_state


async def store_identity(session: AsyncSession) -> str:
    """Returns the database's identity, made where there is none; part of a writing session."""
    row = await session.get(StoreState, _IDENTITY)
    return str(row.value["id"]) if row is not None else await new_identity(session)


async def new_identity(session: AsyncSession) -> str:
    made = secrets.token_hex(8)
    await session.merge(StoreState(name=_IDENTITY, value={"id": made}))
    return made
