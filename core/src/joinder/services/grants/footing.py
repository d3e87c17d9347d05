"""Whether this process may renew tokens in its database as it stands now (services/grants/failover.py finds out)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from joinder.runtime.hub import Hub
from joinder.store import epoch
from joinder.store.types import Statement


def refusal(hub: Hub) -> str | None:
    """Says why no renewal may begin, in a sentence for the operator.

    None when one may, and where nobody has looked yet.
    """
    return None if is_sure(hub) else hub.footing.reason


def is_sure(hub: Hub) -> bool:
    """Tells whether the database is where this process last found it, and takes renewals there."""
    footing = hub.footing
    return not hub.store.can_fail_over or (bool(footing.epoch) and footing.server == hub.store.server)


def asked(hub: Hub, sql: str, values: Mapping[str, Any]) -> Statement:
    """Fills in `{stands}` of a statement with the condition that the database is where this process last found it."""
    if not hub.store.can_fail_over:
        return sql.format(stands="1 = 1"), values
    condition, more = epoch.stands(hub.process, hub.footing)
    return sql.format(stands=condition), {**values, **more}


def went_back(hub: Hub, stored_at: int) -> None:
    """Notes that the database has an older token than this process stored.

    `stored_at`: epoch seconds, before which nothing is missing.
    """
    hub.footing.epoch = ""
    hub.footing.doubted_from = stored_at
