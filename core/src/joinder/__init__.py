"""The plugin author's vocabulary. `import joinder` loads nothing; each name is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from joinder import errors, http, oauth, physics, series
    from joinder.contract import CONTRACT
    from joinder.energy import (
        Counter,
        Device,
        DeviceKind,
        Live,
        MeterRole,
        Reading,
        Readings,
        ReadingsQuery,
        Site,
    )
    from joinder.grants import (
        AppCredentials,
        AuthorizeRequest,
        Callback,
        Consent,
        Context,
        Grant,
        GrantState,
        Kept,
        MachineToken,
    )
    from joinder.hookspecs import hookimpl
    from joinder.redact import Secrets
    from joinder.vendor import (
        SOLAR_AND_STORAGE,
        AppCredentialType,
        Capability,
        Field,
        Flow,
        History,
        Limits,
        OAuth2,
        OperatorAction,
        Rate,
        Refresh,
        ServedFile,
        Support,
        Vendor,
    )

__all__ = [
    "CONTRACT",
    "SOLAR_AND_STORAGE",
    "AppCredentialType",
    "AppCredentials",
    "AuthorizeRequest",
    "Callback",
    "Capability",
    "Consent",
    "Context",
    "Counter",
    "Device",
    "DeviceKind",
    "Field",
    "Flow",
    "Grant",
    "GrantState",
    "History",
    "Kept",
    "Limits",
    "Live",
    "MachineToken",
    "MeterRole",
    "OAuth2",
    "OperatorAction",
    "Rate",
    "Reading",
    "Readings",
    "ReadingsQuery",
    "Refresh",
    "Secrets",
    "ServedFile",
    "Site",
    "Support",
    "Vendor",
    "errors",
    "hookimpl",
    "http",
    "oauth",
    "physics",
    "series",
]

_HOMES = ("contract", "energy", "grants", "hookspecs", "redact", "vendor")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module joinder has no attribute {name}")
    if name in ("errors", "http", "oauth", "physics", "series"):
        return import_module(f"joinder.{name}")
    homes = (import_module(f"joinder.{home}") for home in _HOMES)
    return next(getattr(home, name) for home in homes if hasattr(home, name))
