"""Who began an exchange whose outcome is not written down, and whether that process may still be saving its token.

A lease that has run out gives nobody the right to send the token again: its holder may have been kept from the
database, or frozen, with the new token in hand. The intent names the process. While it says nothing, the token is not
sent again before

- its process is known to be gone (its journal's lock is free), and what its journal holds is applied; or
- five minutes have passed, and this process has had answers from the database for one minute: whoever waited with a
  token has then had its turn. On the same machine, where the process is known to live, it gets an hour.

A process that knows that it got no answer takes its name off the intent; then only the vendor's late answer is waited
for. The rule is the same on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import secrets

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.records.opened_grant import OpenedRow

MARGIN_S = 5.0
HOLDERS_TURN_S = 300
LIVING_HOLDERS_TURN_S = 3600
CLOCKS_APART_S = 900  # by which the clocks of two machines may differ
ANSWERED_S = 60.0


def new_intent(hub: Hub) -> str:
    """Makes a name for this process and this exchange of it."""
    return f"{hub.process}.{secrets.token_hex(8)}"


def holder_of(row: OpenedRow) -> str:
    """Names the process that began an exchange and has not told its outcome; empty when there is none."""
    return (row.intent_id or "").partition(".")[0]


def too_late(hub: Hub, row: OpenedRow) -> int:
    """Returns the moment, in epoch seconds, before which an exchange must have begun to bring no token any more."""
    answered = now() - int(hub.settings.refresh_deadline_s + MARGIN_S)
    holder = holder_of(row)
    if not holder or holder == hub.process:  # our own are not begun again while they are under way
        return answered
    is_alive = hub.journal.is_writing(holder)
    if is_alive is False:
        return answered
    turn_s = LIVING_HOLDERS_TURN_S if is_alive else HOLDERS_TURN_S
    if not is_alive and hub.store.pulse.answers_for_s() < ANSWERED_S:
        turn_s = LIVING_HOLDERS_TURN_S
    return min(answered, now() - turn_s)


def too_early(row: OpenedRow) -> int:
    """Returns the moment, in epoch seconds, after which a begin is of a clock that was wrong, and keeps nobody."""
    return now() + CLOCKS_APART_S if row.intent_id else now()
