"""A vendor's further question after a form, such as a code it sent: what is asked, sealed with what it carries.

It stands on the join session, beside the form's token, for fifteen minutes, and five such steps at most.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from joinder.clock import now
from joinder.errors import ConsentContinues, PluginBug
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.join import session_secrets
from joinder.store.tables import JoinSession
from joinder.vendor import Field

STEPS_MOST = 5
STEP_LIFE_S = 15 * 60
CONTINUES = "continues"  # JoinSession.end_code while the next form waits
_MEMBER = "next"


class _Stored(msgspec.Struct):
    question: str
    fields: tuple[Field, ...]
    carry: dict[str, str]
    step: int


@dataclass(frozen=True, kw_only=True)
class Further:
    """The question that is open, and what the plugin wants handed back with its answer."""

    question: str
    fields: tuple[Field, ...]
    carry: Secrets
    step: int  # from 1


def in_secrets(secrets: session_secrets.Opened) -> Further | None:
    """Returns the open question of a session; None where its first step is open, or none is."""
    if _MEMBER not in secrets:
        return None
    stored = msgspec.json.decode(secrets[_MEMBER], type=_Stored)
    return Further(question=stored.question, fields=stored.fields, carry=Secrets(stored.carry), step=stored.step)


async def of(hub: Hub, row: JoinSession) -> Further | None:
    """Raises JoinRefused once the session has ended."""
    return in_secrets(await session_secrets.of(hub, row))


async def step_of(hub: Hub, row: JoinSession) -> int:
    """Returns which step is open: 0 is the first form, or the vendor's page. Raises JoinRefused as `of` does."""
    return _step(await of(hub, row))


def _step(further: Further | None) -> int:
    return further.step if further is not None else 0


async def go_on(hub: Hub, row: JoinSession, asked: ConsentContinues) -> None:
    """Opens the next form, its tries counted anew. Raises PluginBug for a plugin that asks without end."""
    secrets = dict(await session_secrets.of(hub, row))
    step = 1 + _step(in_secrets(secrets))
    if step > STEPS_MOST:
        raise PluginBug(f"plugin {row.vendor} asks the owner more than {STEPS_MOST} times")
    stored = _Stored(question=str(asked), fields=asked.fields, carry=dict(asked.carry), step=step)
    secrets[_MEMBER] = msgspec.json.encode(stored).decode()
    sealed = session_secrets.seal(hub, row.account_id, row.token_hash, secrets)
    async with hub.store.write(row.account_id) as session:
        found = await session.get(JoinSession, row.token_hash)
        if found is not None and found.ended_at is None:
            found.secrets_sealed, found.kept_sealed, found.used_at, found.attempts = sealed, None, None, 0
            found.end_code, found.end_text = CONTINUES, None
            found.expires_at = min(found.expires_at, now() + STEP_LIFE_S)
