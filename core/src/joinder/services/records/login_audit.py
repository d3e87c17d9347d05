"""Log-ins and refused authorisations in the audit: at most one a minute of each kind and client.

They change nothing, so nobody waits for the entry, and how long an answer takes tells nothing of it. What a stranger
tries under ids that are none costs one entry a minute in all.
"""

from __future__ import annotations

import asyncio
import logging

from joinder.runtime.hub import Hub, audit
from joinder.services.calls.buckets import Buckets
from joinder.store.audit_chain import SYSTEM
from joinder.store.tables import Account, ApiClient
from joinder.trouble import StoreTrouble

LOGIN, REFUSED_SCOPE = "client.login", "client.refused"
UNKNOWN = "unknown client"
log = logging.getLogger("joinder.audit")


class LoginAudit:
    """What this process noted lately."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._lately = Buckets(1)

    def login(self, client: ApiClient | None, result: str, reason: str | None = None) -> None:
        """Notes who got a token, or was refused one."""
        target = client.id if client is not None else UNKNOWN
        account_id = client.account_id if client is not None else SYSTEM
        self._note(account_id, LOGIN, target, result, reason)

    def refused(self, account_id: str, client_id: str, scope: str) -> None:
        """Notes that a client asked for what its token does not allow."""
        self._note(account_id, REFUSED_SCOPE, client_id, "refused", f"it lacks {scope}")

    def _note(self, account_id: str, action: str, target: str, result: str, reason: str | None) -> None:
        key = f"{action} {target} {result} {reason}"
        if self._lately.wait_s(key) > 0:
            return
        self._lately.take(key)
        task = asyncio.create_task(self._write(account_id, action, target, result, reason))
        self._hub.notes.add(task)
        task.add_done_callback(self._hub.notes.discard)

    async def _write(self, account_id: str, action: str, target: str, result: str, reason: str | None) -> None:
        try:
            async with self._hub.store.write() as session:
                if account_id == SYSTEM or await session.get(Account, account_id) is not None:
                    audit(session, account_id, target, action, target, reason=reason, result=result)
        except StoreTrouble as error:
            log.warning("%s of %s is not in the audit: %s", action, target, error)
