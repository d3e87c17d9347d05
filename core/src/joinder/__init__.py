"""The plugin author's vocabulary. `import joinder` loads nothing that serves, stores or draws."""

from joinder import errors, http, oauth
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
from joinder.grants import AppCredentials, AuthorizeRequest, Callback, Consent, Context, Grant, GrantState
from joinder.hookspecs import hookimpl
from joinder.redact import Secrets
from joinder.vendor import (
    AppCredentialType,
    Capability,
    Field,
    Flow,
    History,
    Limits,
    OAuth2,
    Refresh,
    Support,
    Vendor,
)

__all__ = [
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
    "Limits",
    "Live",
    "MeterRole",
    "OAuth2",
    "Reading",
    "Readings",
    "ReadingsQuery",
    "Refresh",
    "Secrets",
    "Site",
    "Support",
    "Vendor",
    "errors",
    "hookimpl",
    "http",
    "oauth",
]
