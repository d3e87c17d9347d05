"""What a caller is told of: everything, or some vendors alone and what is theirs.

Whatever names a vendor asks here: what a path names (`may_see`), lists (`page_of`, `of_enrollments`), what bodies may
name, and the sentences that list what they may. tests/api/test_compatible.py asks every operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from msgspec import Struct
from sqlalchemy import ColumnElement
from sqlmodel import col, select
from sqlmodel.sql.expression import SelectOfScalar

from joinder.runtime.hub import Hub
from joinder.store.tables import Enrollment, JoinFlow, Program


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
_OF_VENDORS: Mapping[str, type[JoinFlow] | type[Program]] = {"flow_id": JoinFlow, "program_id": Program}
# Vendor and type of credentials by the parameter of a path: on the driver itself, as hot reads pass here.
_OF_ONE = {
    "site_id": "SELECT vendor, NULL FROM site WHERE id = :id AND account_id = :account",
    "device_id": "SELECT vendor, NULL FROM device WHERE id = :id AND account_id = :account",
    "enrollment_id": "SELECT vendor, NULL FROM enrollment WHERE id = :id AND account_id = :account",
    "credentials_id": "SELECT vendor, type FROM vendor_credentials WHERE id = :id AND account_id = :account",
    "backfill_id": "SELECT e.vendor, NULL FROM backfill b JOIN enrollment e ON e.id = b.enrollment_id "
    "WHERE b.id = :id AND b.account_id = :account",
}


def vendors_in(row: JoinFlow | Program) -> list[str]:
    """Returns the vendors a flow or a programme is of. Whoever knows one of them sees it, and no other in it."""
    return list(row.vendors) if isinstance(row, Program) else [entry["vendor"] for entry in row.vendors]


async def may_see(hub: Hub, account_id: str, told: Told, name: str, row_id: str) -> bool:
    """Tells whether it is told of what a parameter of a path stands for.

    So it is of what is of no vendor, or not the account's, which the operation itself does not find.
    """
    if told.vendors is None:
        return True
    if name in _OF_VENDORS:
        async with hub.store.read() as session:
            found: JoinFlow | Program | None = await session.get(_OF_VENDORS[name], row_id)
        return found is None or found.account_id != account_id or bool(told.known(vendors_in(found)))
    if name not in _OF_ONE:
        return True
    rows = await hub.store.rows(_OF_ONE[name], {"id": row_id, "account": account_id})
    return all(_is_told_of(told, *row) for row in rows)


def _is_told_of(told: Told, vendor: str, credential_type: str | None) -> bool:
    return told.knows(vendor) if credential_type is None else told.knows_type(vendor, credential_type)


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
