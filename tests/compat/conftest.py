"""The hub of the API's tests."""

from __future__ import annotations

from api.conftest import anonymous, api, app, apps, browser, hub, new_browser, new_tenant, public_url, tenant

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
]
