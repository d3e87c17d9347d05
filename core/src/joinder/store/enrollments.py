"""Enrollments as they are shown: plain tuples off the driver, with what their grants tell without secrets."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from joinder.store.types import Row, Store


class StoredEnrollment(NamedTuple):
    """As tables.Enrollment."""

    id: str
    account_id: str
    vendor: str
    credentials_id: str | None
    flow_id: str | None
    program_id: str | None
    vendor_account_id: str | None
    reference: str | None
    client_state: str | None
    status: str
    status_reason: str | None
    health: str
    health_since: int
    health_reason: str | None
    health_actor: str | None
    failures: int
    last_success_at: int | None
    last_attempt_at: int | None
    paused_at: int | None
    created_at: int


class StoredGrant(NamedTuple):
    """As tables.GrantRow."""

    version: int
    obtained_by: str
    obtained_at: int
    refresh_count: int
    expires_at: int | None
    refresh_expires_at: int | None
    warned_at: int | None


Shown = tuple[StoredEnrollment, StoredGrant | None]
_OWN = len(StoredEnrollment._fields)
_COLUMNS = ", ".join(
    [*(f"e.{name}" for name in StoredEnrollment._fields), *(f"g.{name}" for name in StoredGrant._fields)]
)
_SHOWN = f'SELECT {_COLUMNS} FROM enrollment e LEFT JOIN "grant" g ON g.enrollment_id = e.id WHERE '  # noqa: S608 - our own names
# Those it reads are among them, whichever version wrote them down. CROSS JOIN keeps SQLite from walking all sites of a
# vendor for each enrollment.
_SITES = (
    "SELECT s.enrollment_id, s.id, s.fetched_at FROM site s WHERE s.enrollment_id IN ({places}) AND s.gone_at IS NULL "
    "UNION SELECT r.enrollment_id, s.id, s.fetched_at FROM site_right r CROSS JOIN enrollment e CROSS JOIN site s "
    "WHERE r.enrollment_id IN ({places}) AND e.id = r.enrollment_id "
    "AND s.account_id = e.account_id AND s.vendor = e.vendor AND s.vendor_id = r.vendor_site_id AND s.gone_at IS NULL"
)


async def read_enrollments(store: Store, ids: Sequence[str]) -> list[Shown]:
    """Reads enrollments of any account, in the order of `ids`; those that are not there are left out."""
    if not ids:
        return []
    places, names = _listed("id", ids)
    found = {row[0]: _shown(row) for row in await store.rows(f"{_SHOWN} e.id IN ({places})", names)}
    return [found[row_id] for row_id in ids if row_id in found]


async def read_enrollment_page(
    store: Store,
    account_id: str,
    filters: Mapping[str, str],
    *,
    after: str,
    limit: int,
    vendors: Collection[str] | None = None,
) -> list[Shown]:
    """Reads a keyset page by id; `filters`: columns, by names of ours. `vendors`: of these alone; None: of all."""
    conditions = ["e.account_id = :account", "e.id > :after", *(f"e.{name} = :{name}" for name in filters)]
    values: dict[str, str | int] = {"account": account_id, "after": after, "limit": limit, **filters}
    if vendors is not None:
        places, names = _listed("known", sorted(vendors))
        conditions.append(f"e.vendor IN ({places or 'NULL'})")
        values |= names
    sql = f"{_SHOWN} {' AND '.join(conditions)} ORDER BY e.id LIMIT :limit"
    return [_shown(row) for row in await store.rows(sql, values)]


async def read_opened_sites(store: Store, ids: Sequence[str]) -> dict[str, dict[str, bool]]:
    """Reads, by enrollment, the ids of the sites it may open, and whether they were read."""
    opened: dict[str, dict[str, bool]] = {row_id: {} for row_id in ids}
    if not ids:
        return opened
    places, names = _listed("id", ids)
    for enrollment_id, site_id, fetched_at in await store.rows(_SITES.format(places=places), names):
        opened[enrollment_id][site_id] = fetched_at is not None
    return opened


def _shown(row: Row) -> Shown:
    grant = StoredGrant(*row[_OWN:])
    return StoredEnrollment(*row[:_OWN]), None if grant.obtained_by is None else grant


def _listed(name: str, values: Sequence[str]) -> tuple[str, dict[str, str]]:
    named = {f"{name}{index}": value for index, value in enumerate(values)}
    return ", ".join(f":{one}" for one in named), named
