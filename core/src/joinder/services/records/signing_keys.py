"""The keys that sign access tokens and exports of the audit: one signs, others are still, or already, public.

A new key is published before it signs, for as long as others may keep the key set; the one before stays public until
its last token has ended. When a key was made says all of that, so every process agrees without a word.
"""

from __future__ import annotations

import asyncio

from joserfc import jws
from joserfc.jwk import ECKey, KeySet
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import monotonic, now
from joinder.ids import new_id
from joinder.runtime.hub import Hub, audit
from joinder.store.tables import SigningKey
from joinder.store.vault import SYSTEM

TOKEN_LIFE_S = 3600
PUBLISHED_S = 600  # before it signs, and how long answers of the key set may be kept
REREAD_S = 60.0  # how long a process may go on without knowing of a rotation
UNKNOWN_S = 2.0  # and without looking again for a key it does not know
LEEWAY_S = 60
_LOCK = "signing_key"


class SigningKeys:
    """The keys as this process knows them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._rows: list[SigningKey] = []
        self._read_at = float("-inf")
        self._loading = asyncio.Lock()
        self._opened: dict[str, ECKey] = {}

    async def signing(self) -> ECKey:
        """Returns the key that signs now; the first is made on first use."""
        await self._fresh(REREAD_S)
        row = signing_at(self._rows, now())
        if row.id not in self._opened:
            place = {"table": "signing_key", "row": row.id, "column": "private_sealed", "owner": SYSTEM}
            async with self._hub.store.read() as session:
                await self._hub.vault.unlock(session, SYSTEM)
            self._opened[row.id] = ECKey.import_key(self._hub.vault.open(row.private_sealed, **place))
        return self._opened[row.id]

    async def public(self, kid: str | None = None) -> KeySet:
        """Returns the keys that verify; one that is asked for and not known is looked for again."""
        await self._fresh(REREAD_S)
        if kid is not None and kid not in {row.id for row in self._rows}:
            await self._fresh(UNKNOWN_S)
        return KeySet([ECKey.import_key(row.public_jwk) for row in public_at(self._rows, now())])

    async def sign(self, content: bytes) -> str:
        """Returns a compact JWS (RFC 7515) of the content."""
        key = await self.signing()
        return jws.serialize_compact({"alg": "ES256", "kid": key.kid}, content, key, algorithms=["ES256"])

    async def _fresh(self, age_s: float) -> None:
        async with self._loading:
            if self._rows and monotonic() - self._read_at < age_s:
                return
            self._rows = await _rows(self._hub)
            self._read_at = monotonic()


async def rotate(hub: Hub, actor: str, *, at_once: bool = False) -> str:
    """Makes a new key, and erases those whose last token has ended. Returns its id.

    `at_once`: it signs from now on and no other verifies, so every access token ends.
    """
    await _rows(hub)
    async with hub.store.write(_LOCK) as session:
        known = await _stored(session)
        kept = [] if at_once else [row.id for row in public_at(known, now())]
        await session.execute(delete(SigningKey).where(col(SigningKey.id).not_in(kept)))
        made = await _made(hub, session)
        made.created_at = max([made.created_at, *(row.created_at + 1 for row in known)])
        audit(session, SYSTEM, actor, "signing-key.rotate", made.id)
    return made.id


def signing_at(rows: list[SigningKey], moment: int) -> SigningKey:
    """Returns the newest of the keys, oldest first, that has been public for long enough; the first needs none."""
    ready = [row for row in rows[1:] if row.created_at + PUBLISHED_S <= moment]
    return ready[-1] if ready else rows[0]


def public_at(rows: list[SigningKey], moment: int) -> list[SigningKey]:
    """Returns the keys without those that signed nothing for longer than a token lives."""
    followers = zip(rows, [*rows[1:], None], strict=True)
    life_s = PUBLISHED_S + TOKEN_LIFE_S + LEEWAY_S
    return [row for row, after in followers if after is None or after.created_at + life_s > moment]


async def _rows(hub: Hub) -> list[SigningKey]:
    async with hub.store.read() as session:
        found = await _stored(session)
    if found:
        return found
    async with hub.store.write(_LOCK) as session:
        return await _stored(session) or [await _made(hub, session)]


async def _stored(session: AsyncSession) -> list[SigningKey]:
    query = select(SigningKey).order_by(col(SigningKey.created_at), col(SigningKey.id))
    return list((await session.execute(query)).scalars())


async def _made(hub: Hub, session: AsyncSession) -> SigningKey:
    key_id = new_id("jkey")
    key = ECKey.generate_key("P-256", parameters={"kid": key_id, "use": "sig", "alg": "ES256"})
    place = {"table": "signing_key", "row": key_id, "column": "private_sealed", "owner": SYSTEM}
    await hub.vault.unlock(session, SYSTEM)
    sealed = hub.vault.seal(key.as_dict(private=True), **place)
    public = dict(key.as_dict(private=False))
    row = SigningKey(id=key_id, private_sealed=sealed, public_jwk=public, created_at=now())
    session.add(row)
    return row
