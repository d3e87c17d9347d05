"""The only place where secrets turn into ciphertext and back.

Envelope encryption: a key-encryption key (KEK, from a file) wraps one data key per account; AES-256-GCM with a random
96-bit nonce; the associated data binds a ciphertext to table, row, column, account and key, so that a row moved to
another place or account does not open. Without a KEK nothing starts.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
import stat
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession
from sqlmodel import col, select

from joinder.ids import new_id
from joinder.settings import ConfigError
from joinder.store.tables import DataKey

SYSTEM = "system"
_NONCE = 12


class SealBroken(Exception):
    """A ciphertext does not open: changed, moved, or sealed with another key."""


def create_key_file(path: Path) -> None:
    """A new KEK, readable by its owner only. Raises ConfigError when the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; a key is never overwritten") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")


def read_key_file(path: Path) -> bytes:
    """32 bytes. Raises ConfigError when absent, malformed or readable by others."""
    try:
        mode = path.stat().st_mode
        key = base64.b64decode(path.read_bytes().strip(), validate=True)
    except FileNotFoundError:
        raise ConfigError(
            f"No key: {path} does not exist. Run `joinder keys create {path}`, or name yours in JOINDER_KEY_FILE"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError(f"{path} does not hold 32 bytes in base64")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} is readable by others; run: chmod 600 {path}")
    return key


class Vault:
    """Seals and opens for one process. Data keys are unwrapped once and kept in memory."""

    def __init__(self, kek: bytes) -> None:
        self._kek = AESGCM(kek)
        self._kek_id = hashlib.sha256(b"joinder kek id" + kek).hexdigest()[:16]
        self._keys: dict[tuple[str, str], tuple[str, bytes]] = {}

    def __repr__(self) -> str:
        return f"Vault(kek {self._kek_id})"

    async def prepare(self, session: AsyncSession) -> None:
        """Proves that this KEK belongs to this database, or makes it so for an empty one. Raises ConfigError."""
        await self.unlock(session, SYSTEM, create=True)
        await self.unlock(session, SYSTEM, "pepper", create=True)

    async def unlock(self, session: AsyncSession, owner: str, purpose: str = "data", *, create: bool = False) -> None:
        """Loads the owner's key; with `create` makes it when there is none, in this writing session's transaction."""
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

    def _new_key(self, owner: str, purpose: str) -> DataKey:
        key_id, nonce = new_id("dkey"), secrets.token_bytes(_NONCE)
        wrapped = nonce + self._kek.encrypt(nonce, secrets.token_bytes(32), _bound("data_key", key_id, purpose, owner))
        return DataKey(
            id=key_id, owner=owner, purpose=purpose, kek_id=self._kek_id, wrapped=wrapped, created_at=int(time.time())
        )

    def _unwrapped(self, key: DataKey) -> bytes:
        try:
            return self._kek.decrypt(
                key.wrapped[:_NONCE], key.wrapped[_NONCE:], _bound("data_key", key.id, key.purpose, key.owner)
            )
        except InvalidTag:
            raise ConfigError(
                f"Wrong key: this database was sealed with key {key.kek_id}, the key file holds {self._kek_id}"
            ) from None

    def seal(self, value: object, *, table: str, row: str, column: str, owner: str) -> bytes:
        """`value` (anything JSON) as ciphertext for exactly this place. `unlock` first."""
        key_id, key = self._keys[owner, "data"]
        nonce = secrets.token_bytes(_NONCE)
        sealed = AESGCM(key).encrypt(nonce, msgspec.json.encode(value), _bound(table, row, column, owner, key_id))
        return key_id.encode() + nonce + sealed

    def open(self, sealed: bytes, *, table: str, row: str, column: str, owner: str) -> Any:
        """The value sealed for this place. Raises SealBroken."""
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
        """Peppered HMAC-SHA256 of a random secret: what is stored instead of a client secret (256 bits of entropy)."""
        return hmac.digest(self._keys[SYSTEM, "pepper"][1], secret.encode(), "sha256")


def token_hash(token: str) -> bytes:
    """SHA-256 of a random 256-bit token that is found by its hash."""
    return hashlib.sha256(token.encode()).digest()


def _bound(*parts: str) -> bytes:
    return "\x1f".join(parts).encode()
