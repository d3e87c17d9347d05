"""Whose a row is that a path names: for callers who are told of some vendors alone."""

from __future__ import annotations

from joinder.runtime.hub import Hub

_TABLES = {
    "site_id": "site",
    "device_id": "device",
    "enrollment_id": "enrollment",
    "credentials_id": "vendor_credentials",
}


async def whose(hub: Hub, account_id: str, name: str, row_id: str) -> tuple[str, str | None] | None:
    """Returns the vendor of what a parameter of this name stands for, and the type of app credentials.

    None where it is nothing of a vendor, or nothing of the account.
    """
    if name not in _TABLES:
        return None
    kind = "type" if name == "credentials_id" else "NULL"
    sql = f"SELECT vendor, {kind} FROM {_TABLES[name]} WHERE id = :id AND account_id = :account"  # noqa: S608 - our own names
    for vendor, credential_type in await hub.store.rows(sql, {"id": row_id, "account": account_id}):
        return str(vendor), credential_type
    return None
