"""Whose a vendor is: the distribution that first stored a grant for it. Another one is handed no key of its owners.

Kept in `store_state`, a row a vendor. Whoever opens the store holds the plugins it found against them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name
from sqlalchemy import exists
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import now
from joinder.store.tables import Enrollment, StoreState
from joinder.store.types import Store

if TYPE_CHECKING:
    from joinder.vendors.registry import Registry

_PREFIX = "claim "
_SETTLED = "claims settled"  # every enrollment was looked at: from then on consents make the claims


async def held(session: AsyncSession) -> dict[str, str]:
    """Returns vendor → the distribution it belongs to."""
    query = select(StoreState).where(col(StoreState.name).startswith(_PREFIX))
    rows = (await session.execute(query)).scalars()
    return {row.name.removeprefix(_PREFIX): str(row.value["distribution"]) for row in rows}


async def refuse_others(store: Store, vendors: Registry) -> None:
    """Disables every plugin whose vendor is another distribution's; of several that bring one, loads its owner's."""
    brought = vendors.brought
    for name, claimed in (await _settled(store, brought)).items():
        vendors.decide(name, partial(_problem, name, claimed))
        if name in brought and (problem := _problem(name, claimed, brought[name])) is not None:
            vendors.disable(name, problem)


async def _settled(store: Store, brought: Mapping[str, str]) -> dict[str, str]:
    """Returns the claims. What was stored before there were any goes, once, to who brings it now.

    `brought`: vendor → distribution, of the plugins that work.
    """
    async with store.read() as session:
        if await session.get(StoreState, _SETTLED) is not None:
            return await held(session)
        loose = [name for name in brought if await _is_enrolled(session, name)]
    async with store.write(_SETTLED) as session:  # processes that start at once come one after the other
        for name in loose:
            await put(store, session, name, brought[name])
        if await session.get(StoreState, _SETTLED) is None:
            session.add(StoreState(name=_SETTLED, value={"at": now()}))
        return await held(session)


async def put(store: Store, session: AsyncSession, vendor: str, distribution: str) -> None:
    """Part of a writing session. A claim that stands stays: see `adopt`."""
    name = _PREFIX + vendor
    if await session.get(StoreState, name) is None:
        await store.serialise(session, name)
        if await session.get(StoreState, name, populate_existing=True) is None:
            await adopt(session, vendor, distribution)


async def adopt(session: AsyncSession, vendor: str, distribution: str) -> None:
    """Gives the vendor to this distribution, whoever had it."""
    value = {"distribution": distribution, "at": now()}
    await session.merge(StoreState(name=_PREFIX + vendor, value=value))


def is_another(claimed: str, distribution: str) -> bool:
    return canonicalize_name(claimed) != canonicalize_name(distribution)


def _problem(vendor: str, claimed: str, distribution: str) -> str | None:
    if not is_another(claimed, distribution):
        return None
    return (
        f"{vendor} belongs to {claimed}, which stored its grants, and this is {distribution}: it is handed no key of "
        f"an owner. Install {claimed}, or, if {distribution} follows it: joinder vendors adopt {vendor} {distribution}"
    )


async def _is_enrolled(session: AsyncSession, vendor: str) -> bool:
    return bool((await session.execute(select(exists().where(col(Enrollment.vendor) == vendor)))).scalar())
