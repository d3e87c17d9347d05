"""What people call what has an id: an enrollment by its first site's name, the others by their own."""

from __future__ import annotations

from collections.abc import Iterable

from joinder.ids import Tag, is_id
from joinder.runtime.hub import Hub

MOST = 500  # asked for at once
_OF_ENROLLMENTS = "SELECT enrollment_id, min(name) FROM site WHERE enrollment_id IN ({ids}) GROUP BY enrollment_id"
_OF_KIND: dict[Tag, str] = {
    "enrl": _OF_ENROLLMENTS,
    "acct": "SELECT id, name FROM account WHERE id IN ({ids})",
    "clnt": "SELECT id, name FROM api_client WHERE id IN ({ids})",
    "cred": "SELECT id, coalesce(name, vendor) FROM vendor_credentials WHERE id IN ({ids})",
    "prog": "SELECT id, name FROM program WHERE id IN ({ids})",
    "site": "SELECT id, name FROM site WHERE id IN ({ids})",
    "whep": "SELECT id, url FROM webhook_endpoint WHERE id IN ({ids})",
}


async def of_enrollments(hub: Hub, enrollment_ids: Iterable[str | None]) -> dict[str, str]:
    """Reads enrollment id → name of its first site, over all accounts; what has no site is left out."""
    return await _named(hub, _OF_ENROLLMENTS, enrollment_ids)


async def of_any(hub: Hub, texts: Iterable[str]) -> dict[str, str]:
    """Reads id → name, a query for each kind that is among them; what is no id, or has no name, is left out."""
    mixed, found = set(texts), dict[str, str]()
    for tag, sql in _OF_KIND.items():
        found |= await _named(hub, sql, sorted(one for one in mixed if is_id(one, tag)))
    return found


async def _named(hub: Hub, sql: str, ids: Iterable[str | None]) -> dict[str, str]:
    wanted = list(dict.fromkeys(one for one in ids if one))[:MOST]
    if not wanted:
        return {}
    values = {f"id_{index}": one for index, one in enumerate(wanted)}
    rows = await hub.store.scan(sql.format(ids=", ".join(f":{name}" for name in values)), values)
    return {str(row[0]): str(row[1]) for row in rows if row[1]}
