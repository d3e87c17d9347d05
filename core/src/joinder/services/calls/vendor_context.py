"""Makes the Context a hook call receives, and decrypts the operator's app credentials for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from joinder.clock import utc_now
from joinder.errors import PluginBug
from joinder.grants import AppCredentials, Context
from joinder.http import DeviceHttp
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.store.tables import VendorCredentials
from joinder.vendor import endpoint_hosts

SECRETS_TABLE = "vendor_credentials"


def _undeclared(address: str, *, pin_sha256: str | None = None, port: int | None = None) -> DeviceHttp:
    raise PluginBug("device access refused: the vendor does not declare it")


def vendor_context(
    hub: Hub,
    vendor: str,
    app: AppCredentials | None,
    options: Mapping[str, str] | None = None,
    *,
    budget: str | None = None,
    grant: str | None = None,
) -> Context:
    """Makes the context of a vendor's hooks. Raises UnknownVendor.

    `budget`: whose calls these are, the id of the vendor credentials or else of the enrollment; None: not known yet, as
    of an owner's key that the vendor has not accepted. `grant`: the id of the enrollment, for limits of each grant.
    """
    described = hub.registry.vendor(vendor)
    http = hub.http.vendor(described.hosts + endpoint_hosts(described, app))
    return Context(
        http=http if budget is None else http.metered(hub.budgets.of_grant(budget, described.limits, grant)),
        device=hub.http.device_access(described) if described.device_access else _undeclared,
        app=app,
        app_token=hub.app_tokens.of(vendor, app),
        options=options or {},
        now=utc_now,
        log=logging.getLogger(f"joinder.vendor.{vendor}"),
    )


def open_app(hub: Hub, row: VendorCredentials | None) -> AppCredentials | None:
    """Opens the app's credentials; None for a vendor without any.

    The account's key must be unlocked. Raises SealBroken.
    """
    return None if row is None else open_sealed(hub, row.account_id, row.id, row.type, row.secrets_sealed)


def open_sealed(hub: Hub, account_id: str, credentials_id: str, type_name: str, sealed: bytes) -> AppCredentials:
    place = {"table": SECRETS_TABLE, "row": credentials_id, "column": "secrets_sealed", "owner": account_id}
    return AppCredentials(type=type_name, secrets=Secrets(hub.vault.open_strings(sealed, **place)))
