"""The only place where secrets turn into ciphertext and back.

Envelope encryption: a key-encryption key (KEK, from the key file) wraps one data key per account; AES-256-GCM with a
random 96-bit nonce; the associated data binds a ciphertext to table, row, column, account and key, so that a row moved
to another place or account does not open. Without a KEK nothing starts.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.ids import new_id
from joinder.settings import ConfigError
from joinder.store.key_file import Kek
from joinder.store.tables import DataKey

SYSTEM = "system"
DATA_KEYS = "data_key"  # what is written about where one is wrapped
_NONCE = 12


class SealBroken(Exception):
    """A ciphertext does not open: changed, moved, or sealed with another key."""


class Vault:
    """Seals and opens for one process. Data keys are unwrapped once and kept in memory.

    `read_keks` is asked again when a data key turns up that another process wrapped with a newer KEK.
    """

    def __init__(self, read_keks: Callable[[], Sequence[Kek]]) -> None:
        self._read_keks = read_keks
        self._keks = tuple(read_keks())
        self._keys: dict[tuple[str, str], tuple[str, bytes]] = {}

    def __repr__(self) -> str:
        return f"Vault({', '.join(kek.id for kek in self._keks)})"

    async def prepare(self, session: AsyncSession) -> None:
        """Proves that these KEKs open this database, or makes it so for an empty one. Raises ConfigError."""
        for kek_id in (await session.execute(select(col(DataKey.kek_id)).distinct())).scalars():
            self._kek(kek_id)
        await self.unlock(session, SYSTEM, create=True)
        await self.unlock(session, SYSTEM, "pepper", create=True)

    async def unlock(self, session: AsyncSession, owner: str, purpose: str = "data", *, create: bool = False) -> None:
        """Loads the owner's key; with `create` makes it when there is none, in this writing session's transaction.

        What creates is about DATA_KEYS (`Store.write`): a KEK is retired only while nobody wraps with it.
        """
        if (owner, purpose) in self._keys:
            return
        found = (
            await session.execute(select(DataKey).where(col(DataKey.owner) == owner, col(DataKey.purpose) == purpose))
        ).scalar_one_or_none()
        if found is None and not create:
            raise SealBroken(f"{owner} has no {purpose} key")
        if found is None:
            found = self._new_key(owner, purpose)
            session.add(found)
            await session.flush()
            # Sealed with a key that was rolled back, nothing would ever open again.
            event.listen(session.sync_session, "after_rollback", lambda _: self._keys.pop((owner, purpose), None))
        self._keys[owner, purpose] = (found.id, self._unwrapped(found))

    def is_unlocked(self, owner: str, purpose: str = "data") -> bool:
        return (owner, purpose) in self._keys

    @property
    def keks(self) -> tuple[Kek, ...]:
        return self._keks

    def reread(self) -> Kek:
        """Reads the key file again, and returns the KEK that wraps now. Raises ConfigError."""
        self._keks = tuple(self._read_keks())
        return self._keks[0]

    def rewrap(self, key: DataKey) -> None:
        """Wraps the key by the KEK that wraps now; the data key stays, and all it has sealed. Raises ConfigError."""
        plain, kek = self._unwrapped(key), self._keks[0]
        key.wrapped, key.kek_id = _wrapped(kek, plain, key.id, key.purpose, key.owner), kek.id

    def _new_key(self, owner: str, purpose: str) -> DataKey:
        key_id, kek = new_id("dkey"), self.reread()
        wrapped = _wrapped(kek, secrets.token_bytes(32), key_id, purpose, owner)
        return DataKey(
            id=key_id, owner=owner, purpose=purpose, kek_id=kek.id, wrapped=wrapped, created_at=int(time.time())
        )

    def _unwrapped(self, key: DataKey) -> bytes:
        bound = _bound("data_key", key.id, key.purpose, key.owner)
        try:
            return AESGCM(self._kek(key.kek_id).secret).decrypt(key.wrapped[:_NONCE], key.wrapped[_NONCE:], bound)
        except InvalidTag:
            raise ConfigError(f"{key.id}, the {key.purpose} key of {key.owner}, was changed or moved") from None

    def _kek(self, kek_id: str) -> Kek:
        known = {kek.id: kek for kek in self._keks}
        if kek_id not in known:
            self.reread()
            known = {kek.id: kek for kek in self._keks}
        if kek_id not in known:
            raise ConfigError(
                f"Wrong key: this database was sealed with key {kek_id}, the key file holds {', '.join(known)}"
            )
        return known[kek_id]

    def seal(self, value: object, *, table: str, row: str, column: str, owner: str) -> bytes:
        """Seals `value` (anything JSON) as ciphertext for exactly this place. `unlock` first."""
        key_id, key = self._keys[owner, "data"]
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(value), _bound(table, row, column, owner, key_id))
        return key_id.encode() + nonce + sealed

    def open(self, sealed: bytes, *, table: str, row: str, column: str, owner: str) -> Any:
        """Opens the value sealed for this place. Raises SealBroken."""
        _, key = self._keys[owner, "data"]
        key_id, rest = sealed[:21], sealed[21:]
        try:
            plain = AESGCM(key).decrypt(
                rest[:_NONCE], rest[_NONCE:], _bound(table, row, column, owner, key_id.decode())
            )
        except (InvalidTag, ValueError):
            raise SealBroken(f"{table}.{column} of {row} does not open with this account's key") from None
        return msgspec.json.decode(plain)

    def open_strings(self, sealed: bytes, *, table: str, row: str, column: str, owner: str) -> Mapping[str, str]:
        return msgspec.convert(self.open(sealed, table=table, row=row, column=column, owner=owner), dict[str, str])

    def fingerprint(self, secret: str) -> bytes:
        """Returns the peppered HMAC-SHA256 of a random secret (256 bits of entropy).

        It is what is stored instead of a client secret.
        """
        return hmac.digest(self._keys[SYSTEM, "pepper"][1], secret.encode(), "sha256")


def token_hash(token: str) -> bytes:
    """Returns the SHA-256 of a random 256-bit token that is found by its hash."""
    return hashlib.sha256(token.encode()).digest()


def _wrapped(kek: Kek, data_key: bytes, *place: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(kek.secret).encrypt(nonce, data_key, _bound("data_key", *place))


def _bound(*parts: str) -> bytes:
    return "\x1f".join(parts).encode()
