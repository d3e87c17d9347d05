"""The operator's app credentials at a vendor, decrypted for a call."""

from __future__ import annotations

from joinder.grants import AppCredentials
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.store.tables import VendorCredentials

TABLE = "vendor_credentials"


def open_app(hub: Hub, row: VendorCredentials | None) -> AppCredentials | None:
    """Opens the app's credentials; None for a vendor without any.

    The account's key must be unlocked. Raises SealBroken.
    """
    return None if row is None else open_sealed(hub, row.account_id, row.id, row.type, row.secrets_sealed)


def open_sealed(hub: Hub, account_id: str, credentials_id: str, type_name: str, sealed: bytes) -> AppCredentials:
    place = {"table": TABLE, "row": credentials_id, "column": "secrets_sealed", "owner": account_id}
    return AppCredentials(type=type_name, secrets=Secrets(hub.vault.open_strings(sealed, **place)))
