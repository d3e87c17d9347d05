"""What people call an enrollment: its first site's name, where anything else would show an id."""

from __future__ import annotations

from collections.abc import Iterable

from joinder.runtime.hub import Hub

MOST = 500  # asked for at once


async def of_enrollments(hub: Hub, enrollment_ids: Iterable[str | None]) -> dict[str, str]:
    """Reads enrollment id → name of its first site, over all accounts; what has no site is left out."""
    wanted = list(dict.fromkeys(one for one in enrollment_ids if one))[:MOST]
    if not wanted:
        return {}
    values = {f"id_{index}": one for index, one in enumerate(wanted)}
    places = ", ".join(f":{name}" for name in values)
    sql = f"SELECT enrollment_id, min(name) FROM site WHERE enrollment_id IN ({places}) GROUP BY enrollment_id"  # noqa: S608 - names of our own
    return {str(row[0]): str(row[1]) for row in await hub.store.scan(sql, values) if row[1]}
