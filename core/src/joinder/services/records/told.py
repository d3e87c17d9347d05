"""What a caller is told of: everything, or some vendors alone and what is theirs.

Whatever names a vendor asks here: what a path names (`may_see`), lists (`page_of`, `of_enrollments`), what bodies may
name, and the sentences that list what they may. tests/api/test_compatible.py asks every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import ColumnElement
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.runtime.hub import Hub
from joinder.store.tables import Backfill, DeviceRow, Enrollment, JoinFlow, Program, SiteRow, VendorCredentials


class Told(Struct, frozen=True):
    """`vendors`: the only ones a client of Derapi is told of; `types` of credentials, as (vendor, type). None: all."""

    vendors: frozenset[str] | None = None
    types: frozenset[tuple[str, str]] | None = None

    def knows(self, vendor: str) -> bool:
        return self.vendors is None or vendor in self.vendors

    def knows_type(self, vendor: str, credential_type: str) -> bool:
        return self.knows(vendor) and (self.types is None or (vendor, credential_type) in self.types)

    def known(self, vendors: Iterable[str]) -> list[str]:
        return [vendor for vendor in vendors if self.knows(vendor)]


EVERYTHING = Told()
OfVendors = TypeVar("OfVendors", JoinFlow, Program)


def vendors_in(row: JoinFlow | Program) -> list[str]:
    """Returns the vendors a flow or a programme is of. Whoever knows one of them sees it, and no other in it."""
    return list(row.vendors) if isinstance(row, Program) else [entry["vendor"] for entry in row.vendors]


async def may_see(hub: Hub, account_id: str, told: Told, name: str, row_id: str) -> bool:
    """Tells whether it is told of what a parameter of a path stands for.

    So it is of what is of no vendor, or not the account's, which the operation itself does not find.
    """
    if told.vendors is None or name not in _TABLES:
        return True
    async with hub.store.read() as session:
        row = await session.get(_TABLES[name], row_id)
        if row is None or row.account_id != account_id:
            return True
        return await _is_told_of(session, told, row)


async def _is_told_of(session: AsyncSession, told: Told, row: Any) -> bool:
    if isinstance(row, VendorCredentials):
        return told.knows_type(row.vendor, row.type)
    if isinstance(row, JoinFlow | Program):
        return bool(told.known(vendors_in(row)))
    if isinstance(row, Backfill):
        row = await session.get(Enrollment, row.enrollment_id)
    return row is None or told.knows(row.vendor)


def of_enrollments(told: Told, enrollment_id: Any) -> Sequence[ColumnElement[bool]]:
    """Returns the conditions of what is of an enrollment, by the column that names it."""
    if told.vendors is None:
        return ()
    return (col(enrollment_id).in_(select(Enrollment.id).where(col(Enrollment.vendor).in_(told.vendors))),)


async def page_of(
    hub: Hub, told: Told, query_after: Callable[[str], SelectOfScalar[OfVendors]], *, after: str, limit: int
) -> list[OfVendors]:
    """Reads a keyset page by id of what it is told of."""
    found = list[OfVendors]()
    async with hub.store.read() as session:
        while len(found) < limit:
            rows = list((await session.execute(query_after(after).limit(limit))).scalars())
            found += [row for row in rows if told.known(vendors_in(row))]
            if len(rows) < limit:
                break
            after = rows[-1].id
    return found[:limit]


_TABLES: dict[str, Any] = {
    "site_id": SiteRow,
    "device_id": DeviceRow,
    "enrollment_id": Enrollment,
    "credentials_id": VendorCredentials,
    "flow_id": JoinFlow,
    "program_id": Program,
    "backfill_id": Backfill,
}
