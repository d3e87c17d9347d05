"""Makes the Context a hook call receives."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from joinder.clock import utc_now
from joinder.grants import AppCredentials, Context
from joinder.services.hub import Hub


def vendor_context(
    hub: Hub, vendor: str, app: AppCredentials | None, options: Mapping[str, str] | None = None
) -> Context:
    return Context(
        http=hub.http.vendor(hub.registry.vendor(vendor).hosts),
        device=hub.http.device,
        app=app,
        options=options or {},
        now=utc_now,
        log=logging.getLogger(f"joinder.vendor.{vendor}"),
    )
