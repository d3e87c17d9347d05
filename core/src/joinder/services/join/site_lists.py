"""What opens sites without a token that is renewed, listed again every day: they come and go without a consent.

App credentials that open them by themselves are asked by handle_callback, an owner's lasting key by `refresh`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from datetime import timedelta

from joinder.clock import now
from joinder.errors import VendorError
from joinder.grants import Callback, GrantState
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.calls.budgets import spending
from joinder.services.grants import site_rights
from joinder.services.join.stored_consents import SITES_LISTED_EVERY_S
from joinder.services.records.opened_grant import OpenedGrant, open_for_call
from joinder.services.work import leases
from joinder.vendor import Flow

KIND = "sites"
LEASE_S = 300.0
AGAIN_AFTER = timedelta(hours=1)  # a list that could not be read
log = logging.getLogger("joinder.sites")


async def list_again(hub: Hub, enrollment_id: str) -> None:
    """Attaches what is new and detaches what is gone, unless another process is at it. Raises NotFound."""
    lease = leases.new_lease()
    (taken,) = await hub.store.apply(leases.taking(hub.store.dialect, KIND, enrollment_id, lease, LEASE_S))
    if not taken:
        return
    due_at: int | None = None
    try:
        due_at = await _listed(hub, await open_for_call(hub, enrollment_id))
    finally:
        await hub.store.apply(leases.releasing(KIND, enrollment_id, lease, due_at))


async def _listed(hub: Hub, held: OpenedGrant) -> int:
    """Lists the sites, and says when they are listed next, in epoch seconds."""
    row = held.row
    by_app = hub.registry.vendor(row.vendor).flow_with(row.app_type) is Flow.OPERATOR
    if not by_app and not hub.registry.lists_sites(row.vendor):
        return leases.NEVER
    is_pending = held.grant.state is GrantState.PENDING_APPROVAL  # its `refresh` asks about something else
    if row.paused_at is not None or row.app_rejected_at is not None or is_pending:
        return _tomorrow()
    try:
        with spending("poll"):
            site_ids = await _asked(hub, held, by_app=by_app)
    except VendorError as error:
        log.warning("the sites of %s could not be listed: %s", row.id, error)
        return now() + int(max(AGAIN_AFTER, error.retry_after or AGAIN_AFTER).total_seconds())
    if not site_ids:  # the vendor's trouble rather than the end of a whole fleet
        log.warning("%s lists no site for %s; those that are known stay", row.vendor, row.id)
    await site_rights.list_now(hub, row.id, site_ids)
    return _tomorrow()


async def _asked(hub: Hub, held: OpenedGrant, *, by_app: bool) -> Sequence[str]:
    if by_app:
        callback = Callback(values=Secrets({}))
        return (await hub.registry.handle_callback(held.row.vendor, held.ctx, callback)).grant.site_ids
    return (await hub.registry.refresh(held.row.vendor, held.ctx, held.grant)).site_ids


def _tomorrow() -> int:
    return now() + int(SITES_LISTED_EVERY_S * random.uniform(0.9, 1.0))  # noqa: S311 - spreading load
