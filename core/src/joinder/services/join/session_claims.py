"""Of several requests that end a session at once, one goes on; the others wait for it and lead to the same end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from joinder.clock import monotonic, now
from joinder.errors import ConsentContinues, ConsentInvalid, TransientError, VendorError
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.join import consents, continuations, join_ends, kept_consents, late_consents
from joinder.services.join.browser_sessions import refused, restart_url
from joinder.services.join.kept_consents import KeptConsent
from joinder.services.join.late_consents import HELD_MOST_S
from joinder.store.tables import JoinSession

MAX_ATTEMPTS = 5
LOOK_S = 0.2
_TAKE = (
    "UPDATE join_session SET used_at = :now, attempts = attempts + 1, kept_sealed = :kept WHERE token_hash = :id "
    "AND used_at IS NULL AND ended_at IS NULL AND attempts = :attempts AND secrets_sealed = :secrets"
)


class Reopened(Exception):
    """The request that was waited for left the form open, and this is why."""

    def __init__(self, error: VendorError) -> None:
        super().__init__(str(error))
        self.error = error


async def same_end(hub: Hub, row: JoinSession) -> str:
    """Tells where the session leads, once whoever holds it has ended it. Raises JoinRefused, or Reopened."""
    until = monotonic() + HELD_MOST_S
    while True:
        async with hub.store.read() as session:
            found = await session.get(JoinSession, row.token_hash)
        if found is None:
            raise refused(hub, None, "link_invalid")
        if found.ended_at is not None or found.enrollment_id is not None:
            return join_ends.target(found, restart_url(hub, found))
        if found.used_at is None and found.end_code is not None and found.attempts < MAX_ATTEMPTS:
            raise Reopened(_told(found))
        if found.used_at is None and found.attempts >= MAX_ATTEMPTS:
            await consents.end(hub, found, "too_many_tries")
        elif found.used_at is not None and found.used_at < now() - HELD_MOST_S:
            await late_consents.recover(hub, found)
        elif monotonic() > until or hub.stopping.is_set():
            raise refused(hub, found, "still_running")
        else:
            await asyncio.sleep(LOOK_S)


def _told(row: JoinSession) -> VendorError:
    """Returns the refusal as the other request noted it."""
    text = row.end_text or ""
    if row.end_code == continuations.CONTINUES:
        return ConsentContinues(text, fields=())
    return ConsentInvalid(text) if row.end_code == "wrong_entries" else TransientError(text)


async def claim(hub: Hub, row: JoinSession, entered: Mapping[str, str] | None = None, *, keeps: bool = True) -> bool:
    """Claims the step of the session that `row` shows; of two requests at once, one gets True and goes on.

    Since `row` was read another request may have opened the next step, to which these entries are no answer.
    What was `entered` is kept until it is known to work, or not; an answer to a further question is not (`keeps`).
    """
    kept = kept_consents.seal(hub, row, KeptConsent(values=Secrets(entered))) if entered and keeps else None
    while True:
        async with hub.store.read() as session:
            found = await session.get(JoinSession, row.token_hash)
        if found is None or not _is_open(found) or not await _same_step(hub, row, found):
            return False
        if await _taken(hub, found, kept):
            return True


def _is_open(row: JoinSession) -> bool:
    return row.used_at is None and row.ended_at is None and row.attempts < MAX_ATTEMPTS


async def _same_step(hub: Hub, row: JoinSession, found: JoinSession) -> bool:
    if found.secrets_sealed == row.secrets_sealed:
        return True
    return await continuations.step_of(hub, found) == await continuations.step_of(hub, row)


async def _taken(hub: Hub, row: JoinSession, kept: bytes | None) -> bool:
    """Takes the session if it still stands as `row` was read."""
    stood = {"id": row.token_hash, "attempts": row.attempts, "secrets": row.secrets_sealed}
    (claimed,) = await hub.store.apply((_TAKE, {**stood, "now": now(), "kept": kept}), serialize_on=row.account_id)
    return claimed == 1
