"""The key file: key-encryption keys in base64, one a line. The first wraps, the others only unwrap.

Its folder never holds half a file: a changed one is complete on the disk before it takes the name.
"""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from joinder import small_files
from joinder.settings import ConfigError, NotDone
from joinder.store.copies import sync

KEY_BYTES = 32


class Kek:
    """A key-encryption key; its id may be shown."""

    def __init__(self, secret: bytes) -> None:
        self.secret = secret
        self.id = hashlib.sha256(b"joinder kek id" + secret).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"Kek({self.id})"


def key_path(named: str) -> Path:
    """Returns where the keys are: in a systemd credential of the file's name, if there is one, else in the file.

    systemd keeps credentials in memory that nobody else can read, and decrypts those made by `systemd-creds encrypt`
    with the machine's TPM. Another source, such as a KMS, needs no more than a unit that puts such a file there.
    """
    folder, path = os.environ.get("CREDENTIALS_DIRECTORY"), Path(named)
    given = Path(folder) / path.name if folder else path
    return given if given.is_file() else path


def create_key_file(path: Path) -> None:
    """Writes a new key, readable by its owner only. Raises ConfigError when the file exists."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConfigError(f"{path} exists already; a key is never overwritten") from None
    except OSError as error:
        raise NotDone(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            _write(file, [_new_key()])
    except OSError as error:
        with suppress(OSError):
            path.unlink()  # half a key would stand in the way of a whole one
        raise NotDone(f"{path} cannot be written: {error.strerror}") from None
    make_durable(path)


def read_key_file(path: Path) -> tuple[Kek, ...]:
    """Reads the keys, at least one. Raises ConfigError when absent, malformed or readable by others."""
    try:
        lines = small_files.content(path).split()
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise ConfigError(
            f"No key: {path} does not exist. Run `joinder keys create {path}`, or name yours in JOINDER_KEY_FILE"
        ) from None
    except small_files.Unreadable as why:
        raise ConfigError(f"{path} {why}") from None
    keks = tuple(_parsed(line, path) for line in lines)
    if not keks:
        raise ConfigError(f"{path} does not hold {KEY_BYTES} bytes in base64")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(f"{path} is readable by others; run: chmod 600 {path}")
    return keks


def add_key(path: Path) -> Kek:
    """Adds a new key that wraps from now on; the others stay. Only under the store's lock. Raises ConfigError."""
    _refuse_credential(path)
    new = _new_key()
    _replace(path, [new, *read_key_file(path)])
    return new


def remove_key(path: Path, kek_id: str) -> None:
    """Takes out a key that wraps nothing. Only under the store's lock. Raises ConfigError."""
    _refuse_credential(path)
    _replace(path, [kek for kek in read_key_file(path) if kek.id != kek_id])


def _refuse_credential(path: Path) -> None:
    """Raises ConfigError for a file that only systemd replaces."""
    if _is_credential(path):
        raise ConfigError(
            f"{path} is a systemd credential: write the new key as its first line, encrypt it again, restart the "
            "unit, then: joinder keys rotate"
        )


def _is_credential(path: Path) -> bool:
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return folder is not None and path.parent == Path(folder)


def make_durable(path: Path) -> None:
    """Syncs the file before anything is wrapped by a key in it: a change may have been cut before it was on the disk.

    A credential of systemd is not ours to sync. Raises ConfigError.
    """
    if _is_credential(path):
        return
    try:
        sync(path)
        sync(path.resolve().parent)
    except OSError as error:
        raise NotDone(f"{path} cannot be made durable: {error.strerror}") from None


def _new_key() -> Kek:
    return Kek(secrets.token_bytes(KEY_BYTES))


def _parsed(line: bytes, path: Path) -> Kek:
    try:
        key = base64.b64decode(line, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(f"{path} does not hold {KEY_BYTES} bytes in base64, or several such keys, one a line")
    return Kek(key)


def _replace(path: Path, keks: Sequence[Kek]) -> None:
    target = path.resolve()  # a link stays one
    part = target.with_name(f"{target.name}.new")  # one name: the next change removes what a cut left behind
    try:
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            owner = target.stat()
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)  # servers may run as another user than who rotates
            _write(file, keks)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise NotDone(f"{path} cannot be changed: {error.strerror}") from None
    make_durable(path)


def _write(file: BinaryIO, keks: Sequence[Kek]) -> None:
    file.writelines(base64.b64encode(kek.secret) + b"\n" for kek in keks)
    file.flush()
    os.fsync(file.fileno())
