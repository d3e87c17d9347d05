"""POSTs that may be sent again: what a client did under one key is done once, and answered alike for a day.

The key is noted before anything is done, the answer when it is known. What was cut in between is told by the audit,
whose entry is of the change's own transaction: without one nothing was done, and the request may run again.
"""

from __future__ import annotations

import hashlib

from msgspec import Struct
from sqlalchemy import delete
from sqlmodel import col, select

from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.records.accounts import Caller
from joinder.services.refusals import AnswerLost, InFlight, KeyReused
from joinder.store.tables import Audit, Idempotency
from joinder.store.vault import SealBroken

KEPT_S = 86_400
CUT_AFTER_S = 120  # no request takes longer: its process is gone
KEY_MOST = 255


class Answer(Struct, frozen=True):
    """What was answered, as it is sealed: it may hold a secret that is shown once."""

    status: int
    headers: list[tuple[str, str]]
    body: str


class Place(Struct, frozen=True):
    """One key of one client."""

    account_id: str
    client_id: str
    key_hash: str

    @staticmethod
    def of(caller: Caller, key: str) -> Place:
        return Place(caller.account_id, caller.client_id, hashlib.sha256(key.encode()).hexdigest())


async def begin(hub: Hub, place: Place, fingerprint: str, request_id: str) -> Answer | None:
    """Notes that the request begins; returns the answer where it was given before.

    Raises InFlight, KeyReused or AnswerLost.
    """
    moment = now()
    async with hub.store.write(f"{place.client_id} {place.key_hash}") as session:
        await session.execute(delete(Idempotency).where(col(Idempotency.expires_at) < moment))
        await hub.vault.unlock(session, place.account_id)
        row = await session.get(Idempotency, (place.client_id, place.key_hash))
        if row is not None and row.fingerprint != fingerprint:
            raise KeyReused("Every request has a key of its own.")
        if row is not None and row.status is not None and row.answer_sealed is not None:
            return _opened(hub, place, row.answer_sealed)
        if row is not None and row.created_at > moment - CUT_AFTER_S:
            raise InFlight("Wait for the answer of the first request, then send it again.")
        if row is not None:
            query = select(Audit.target).where(
                col(Audit.account_id) == place.account_id, col(Audit.request_id) == row.request_id
            )
            changed = sorted(set((await session.execute(query)).scalars()))
            if changed:
                raise AnswerLost(f"It changed: {', '.join(changed)}.")
        row = row or Idempotency(
            client_id=place.client_id,
            key_hash=place.key_hash,
            account_id=place.account_id,
            fingerprint=fingerprint,
            request_id=request_id,
            created_at=moment,
            expires_at=moment + KEPT_S,
        )
        row.request_id, row.created_at = request_id, moment
        session.add(row)
    return None


async def end(hub: Hub, place: Place, answer: Answer | None, *, is_cut: bool) -> None:
    """Keeps the answer. None: the key is free again; `is_cut`: once the audit has told whether something was done."""
    async with hub.store.write(f"{place.client_id} {place.key_hash}") as session:
        row = await session.get(Idempotency, (place.client_id, place.key_hash))
        if row is None:
            return
        if answer is None and is_cut:
            row.created_at = 0
            return
        if answer is None:
            await session.delete(row)
            return
        await hub.vault.unlock(session, place.account_id)
        row.status, row.answer_sealed = answer.status, _sealed(hub, place, answer)


def _sealed(hub: Hub, place: Place, answer: Answer) -> bytes:
    return hub.vault.seal(answer, table="idempotency", row=_row(place), column="answer_sealed", owner=place.account_id)


def _opened(hub: Hub, place: Place, sealed: bytes) -> Answer:
    where = {"table": "idempotency", "row": _row(place), "column": "answer_sealed", "owner": place.account_id}
    try:
        status, headers, body = hub.vault.open(sealed, **where).values()
    except SealBroken:
        raise AnswerLost("It was sealed with a key that has ended.") from None
    return Answer(status, [(name, value) for name, value in headers], body)


def _row(place: Place) -> str:
    return f"{place.client_id} {place.key_hash}"
