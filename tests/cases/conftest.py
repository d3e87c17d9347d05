"""The hub and the clients of tests of the API, for cases that are told through the whole of it."""

from __future__ import annotations

from api.conftest import anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant, vendors

__all__ = [
    "anonymous",
    "api",
    "app",
    "apps",
    "browser",
    "hub",
    "new_browser",
    "new_tenant",
    "public_url",
    "tenant",
    "vendors",
]
