"""What people call an enrollment, its first site's name, and an account, where anything else would show an id."""

from __future__ import annotations

from collections.abc import Iterable

from joinder.runtime.hub import Hub

MOST = 500  # asked for at once


async def of_enrollments(hub: Hub, enrollment_ids: Iterable[str | None]) -> dict[str, str]:
    """Reads enrollment id → name of its first site, over all accounts; what has no site is left out."""
    sql = "SELECT enrollment_id, min(name) FROM site WHERE enrollment_id IN ({ids}) GROUP BY enrollment_id"
    return await _named(hub, sql, enrollment_ids)


async def of_accounts(hub: Hub, account_ids: Iterable[str]) -> dict[str, str]:
    """Reads account id → its name; the system's own, and one that is gone, are left out."""
    return await _named(hub, "SELECT id, name FROM account WHERE id IN ({ids})", account_ids)


async def _named(hub: Hub, sql: str, ids: Iterable[str | None]) -> dict[str, str]:
    wanted = list(dict.fromkeys(one for one in ids if one))[:MOST]
    if not wanted:
        return {}
    values = {f"id_{index}": one for index, one in enumerate(wanted)}
    rows = await hub.store.scan(sql.format(ids=", ".join(f":{name}" for name in values)), values)
    return {str(row[0]): str(row[1]) for row in rows if row[1]}
