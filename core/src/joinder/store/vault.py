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
from typing import Any, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.clock import monotonic
from joinder.ids import new_id
from joinder.settings import ConfigError
from joinder.store.key_file import Kek
from joinder.store.tables import DataKey

SYSTEM = "system"
DATA_KEYS = "data_key"  # what is written about where one is wrapped
REREAD_S = 5.0  # how long a process may go on without knowing of a new data key
KNOWN_AFTER_S = 15  # a new one seals nothing before
PEPPER = "pepper"  # purpose of the system's keys under which fingerprints are made
_NONCE = 12
_HMAC = 32
_NOBODYS = bytes(_HMAC)


class SealBroken(Exception):
    """A ciphertext does not open: changed, moved, or sealed with another key."""


class _Ring(NamedTuple):
    """An owner's keys, the oldest first, and when they were looked at. `first`: the one whose purpose has no number."""

    opened: dict[str, bytes]
    made_at: list[tuple[str, int]]
    read_at: float
    first: str | None

    def sealing(self) -> tuple[str, bytes]:
        """Returns the newest key that every process knows by now; the only one needs no age."""
        old_enough = [key_id for key_id, made_at in self.made_at[1:] if made_at + KNOWN_AFTER_S <= time.time()]
        key_id = old_enough[-1] if old_enough else self.made_at[0][0]
        return key_id, self.opened[key_id]


class Vault:
    """Seals and opens for one process. Data keys are unwrapped once and kept in memory.

    `read_keks` is asked again when a data key turns up that another process wrapped with a newer KEK.
    """

    def __init__(self, read_keks: Callable[[], Sequence[Kek]]) -> None:
        self._read_keks = read_keks
        self._keks = tuple(read_keks())
        self._keys: dict[tuple[str, str], _Ring] = {}

    def __repr__(self) -> str:
        return f"Vault({', '.join(kek.id for kek in self._keks)})"

    async def prepare(self, session: AsyncSession) -> None:
        """Proves that these KEKs open this database, or makes it so for an empty one. Raises ConfigError."""
        for kek_id in (await session.execute(select(col(DataKey.kek_id)).distinct())).scalars():
            self._kek(kek_id)
        await self.unlock(session, SYSTEM, create=True)
        await self.unlock(session, SYSTEM, PEPPER, create=True)

    async def unlock(self, session: AsyncSession, owner: str, purpose: str = "data", *, create: bool = False) -> None:
        """Loads the owner's keys; with `create` makes one when there is none, in this writing session's transaction.

        They are looked at again now and then: another process may have begun a new one. What creates is about DATA_KEYS
        (`Store.write`): a KEK is retired only while nobody wraps with it.
        """
        if self.is_unlocked(owner, purpose):
            return
        rows = await keys_of(session, owner, purpose)
        if not rows and not create:
            raise SealBroken(f"{owner} has no {purpose} key")
        if not rows:
            rows = [self.new_key(owner, purpose)]
            session.add(rows[0])
            await session.flush()
            # Sealed with a key that was rolled back, nothing would ever open again.
            event.listen(session.sync_session, "after_rollback", lambda _: self._keys.pop((owner, purpose), None))
        known = self._keys.get((owner, purpose))
        opened = known.opened if known else {}
        self._keys[owner, purpose] = _Ring(
            {row.id: opened.get(row.id) or self._unwrapped(row) for row in rows},
            [(row.id, row.created_at) for row in rows],
            monotonic(),
            next((row.id for row in rows if row.purpose == purpose), None),
        )

    def is_unlocked(self, owner: str, purpose: str = "data") -> bool:
        """Tells whether the owner's keys are known, and were looked at lately."""
        ring = self._keys.get((owner, purpose))
        return ring is not None and monotonic() - ring.read_at < REREAD_S

    def sealing_key(self, owner: str, purpose: str = "data") -> str:
        """Returns the id of the key that seals now. `unlock` first."""
        return self._keys[owner, purpose].sealing()[0]

    def forget(self, owner: str, purpose: str = "data") -> None:
        """Looks at the owner's keys again when they are needed next."""
        if (owner, purpose) in self._keys:
            self._keys[owner, purpose] = self._keys[owner, purpose]._replace(read_at=float("-inf"))

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

    def new_key(self, owner: str, purpose: str) -> DataKey:
        """Returns a new key, to be stored; of several of an owner the newest seals, once it is old enough."""
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
        key_id, key = self._keys[owner, "data"].sealing()
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(value), _bound(table, row, column, owner, key_id))
        return key_id.encode() + nonce + sealed

    def open(self, sealed: bytes, *, table: str, row: str, column: str, owner: str) -> Any:
        """Opens the value sealed for this place. Raises SealBroken."""
        key_id, rest = sealed[:21].decode(errors="replace"), sealed[21:]
        try:
            key = self._keys[owner, "data"].opened[key_id]
            plain = AESGCM(key).decrypt(rest[:_NONCE], rest[_NONCE:], _bound(table, row, column, owner, key_id))
        except (InvalidTag, ValueError, KeyError):
            raise SealBroken(f"{table}.{column} of {row} does not open with this account's key") from None
        return msgspec.json.decode(plain)

    def open_strings(self, sealed: bytes, *, table: str, row: str, column: str, owner: str) -> Mapping[str, str]:
        return msgspec.convert(self.open(sealed, table=table, row=row, column=column, owner=owner), dict[str, str])

    async def know_peppers(self, session: AsyncSession) -> Callable[[str], bytes]:
        """Looks at the peppers now and then, and returns `fingerprint`."""
        await self.unlock(session, SYSTEM, PEPPER)
        return self.fingerprint

    def fingerprint(self, secret: str) -> bytes:
        """Returns the peppered HMAC-SHA256 of a random secret (256 bits of entropy), behind the pepper's id.

        It is what is stored instead of a client secret. Of the first pepper, as long as there is that one, the id is
        left out.
        """
        pepper_id, pepper = self._peppers().sealing()
        tag = b"" if pepper_id == self._peppers().first else pepper_id.encode()
        return tag + _hmac(pepper, secret)

    def fits(self, secret: str, stored: bytes) -> bool:
        """Tells whether `stored` is the secret's fingerprint under a pepper that has not ended; takes as long if no."""
        pepper_id, told = _pepper_of(stored, self._peppers().first)
        found = {each: _hmac(pepper, secret) for each, pepper in self._peppers().opened.items()}
        return hmac.compare_digest(found.get(pepper_id, _NOBODYS), told) and pepper_id in found

    def signatures(self, text: str) -> list[bytes]:
        """Returns what may stand for `text` under any pepper, without its id, the one that signs now first."""
        ring = self._peppers()
        now_first = sorted(ring.opened, key=lambda pepper_id: pepper_id != ring.sealing()[0])
        return [_hmac(ring.opened[pepper_id], text) for pepper_id in now_first]

    def is_outdated(self, stored: bytes) -> bool:
        """Tells whether a fingerprint was made with a pepper before the one that makes them now."""
        known, made_with = list(self._peppers().opened), self.pepper_of(stored)
        return made_with in known and known.index(made_with) < known.index(self.sealing_key(SYSTEM, PEPPER))

    def pepper_of(self, stored: bytes) -> str:
        """Returns the id of the pepper that a fingerprint was made with."""
        return _pepper_of(stored, self._peppers().first)[0]

    def _peppers(self) -> _Ring:
        return self._keys[SYSTEM, PEPPER]


async def keys_of(session: AsyncSession, owner: str, purpose: str = "data") -> list[DataKey]:
    """Reads the owner's keys, the oldest first. A later one has its number in its purpose: `data 2`."""
    is_one = (col(DataKey.purpose) == purpose) | col(DataKey.purpose).startswith(f"{purpose} ")
    query = select(DataKey).where(col(DataKey.owner) == owner, is_one)
    return list((await session.execute(query.order_by(col(DataKey.created_at), col(DataKey.id)))).scalars())


def _hmac(pepper: bytes, secret: str) -> bytes:
    return hmac.digest(pepper, secret.encode(), "sha256")


def _pepper_of(stored: bytes, first: str | None) -> tuple[str, bytes]:
    """Returns whose fingerprint it is, and the HMAC."""
    tag, told = stored[:-_HMAC], stored[-_HMAC:]
    return tag.decode(errors="replace") or first or "", told


def token_hash(token: str) -> bytes:
    """Returns the SHA-256 of a random 256-bit token that is found by its hash."""
    return hashlib.sha256(token.encode()).digest()


def _wrapped(kek: Kek, data_key: bytes, *place: str) -> bytes:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + AESGCM(kek.secret).encrypt(nonce, data_key, _bound("data_key", *place))


def _bound(*parts: str) -> bytes:
    return "\x1f".join(parts).encode()
