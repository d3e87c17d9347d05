from __future__ import annotations

from services.conftest import account_id, credentials_id, enroll, hub, registry, settings, vendor

__all__ = ["account_id", "credentials_id", "enroll", "hub", "registry", "settings", "vendor"]
