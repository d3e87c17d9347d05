"""A copy of the database while servers run, and a manifest that says what is in it. Never the key."""

from __future__ import annotations

import asyncio
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from sqlalchemy.engine import URL

from joinder.clock import now
from joinder.runtime.hub import audit
from joinder.services.refusals import Conflict, Unprocessable
from joinder.settings import ConfigError, NotDone, Settings
from joinder.store import copies, dumps
from joinder.store.advice import trouble_of
from joinder.store.engine import open_store, parsed_url
from joinder.store.facts import Facts
from joinder.store.key_file import key_path, read_key_file
from joinder.store.migrate import newest
from joinder.store.sqlite import sqlite_path
from joinder.store.vault import DATA_KEYS, SYSTEM, Vault
from joinder.trouble import StoreTrouble

Kind = Literal["sqlite", "postgresql"]
SUFFIXES: dict[Kind, str] = {"sqlite": ".sqlite3", "postgresql": ".dump"}
MANIFEST = ".manifest.json"


class Manifest(Struct, frozen=True, kw_only=True, rename="camel"):
    """Beside the copy, as FILE.manifest.json."""

    database: Kind
    taken_at: int  # epoch seconds; everything committed before is inside
    joinder: str
    schema: str
    key_ids: tuple[str, ...]  # the key files that open it
    counts: dict[str, int]
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Copy:
    path: Path
    manifest: Manifest
    removed: list[Path]  # older copies, by `keep`
    unaudited: str | None = None  # why the audit has no entry of it


async def back_up(
    settings: Settings, target: Path, actor: str, *, force: bool = False, keep: int | None = None
) -> Copy:
    """Copies into a file, or a new file in a folder of which the newest `keep` stay, and says so in the audit.

    The entry is written where it can be: a copy needs neither the key nor a database that takes a write. Raises
    ConfigError or a Refusal.
    """
    url = parsed_url(settings.database_url)
    kind: Kind = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"
    path = _checked_target(url, kind, target, force=force, keep=keep)
    taken_at = now()
    with copies.beside(path) as part:
        facts = await _copied(url, kind, part)
        manifest = await asyncio.to_thread(_manifest, part, kind, taken_at, facts)
        _put(part, path, manifest)
    removed = _rotate(target, kind, keep) if keep is not None else []
    unaudited = await _noted(settings, actor, path, manifest)
    return Copy(path=path, manifest=manifest, removed=removed, unaudited=unaudited)


async def _noted(settings: Settings, actor: str, path: Path, manifest: Manifest) -> str | None:
    """Writes the audit's entry. Returns why there is none; an older database is not migrated for it."""
    if manifest.schema != newest():
        return f"the database stays at the schema {manifest.schema} of another version"
    try:
        vault = Vault(lambda: read_key_file(key_path(settings.key_file)))
        store = await open_store(settings.database_url)
        try:
            async with store.write(DATA_KEYS) as session:
                await vault.prepare(session)
                store.sealing = vault.know_peppers
                audit(session, SYSTEM, actor, "database.backup", path.name, reason=f"SHA-256 {manifest.sha256}")
        finally:
            await store.close()
    except (ConfigError, StoreTrouble) as error:
        return (trouble_of(error) or str(error)).rstrip(".")
    return None


def read_manifest(copy: Path) -> Manifest | None:
    """Reads the copy's manifest; None when there is none. Raises Unprocessable when it does not belong to the copy."""
    path = _manifest_path(copy)
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise Unprocessable(f"{path} cannot be read: {error}") from None
    if _sha256(copy) != manifest.sha256:
        raise Unprocessable(f"{copy} is not the file {path.name} was written for: its checksum differs")
    return manifest


def _dated(kind: Kind) -> str:
    return f"joinder-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}{SUFFIXES[kind]}"


def _checked_target(url: URL, kind: Kind, target: Path, *, force: bool, keep: int | None) -> Path:
    if keep is not None:
        _make_folder(target)
    path = target / _dated(kind) if target.is_dir() else target
    _refuse_target(url, path, force=force)
    return path


def _make_folder(target: Path) -> None:
    """Makes the folder of dated copies where there is none. Raises Unprocessable."""
    try:
        target.mkdir(mode=0o700, exist_ok=True)
    except FileExistsError:
        raise Unprocessable(f"--keep needs a folder as the target; {target} is a file.") from None
    except OSError as error:
        raise Unprocessable(f"{target} cannot be made a folder: {error.strerror}") from None


def _refuse_target(url: URL, path: Path, *, force: bool) -> None:
    if not path.parent.is_dir():
        raise NotDone(f"The folder {path.parent} does not exist")
    if url.get_backend_name() == "sqlite":
        live = sqlite_path(url)
        if not live.exists():
            raise ConfigError(f"There is no database {live} to copy")
        if path.exists() and path.samefile(live):
            raise Conflict("The target is the database itself.")
    if path.exists() and not force:
        raise Conflict(f"{path} exists already; name another file, or overwrite it with --force.")


async def _copied(url: URL, kind: Kind, part: Path) -> Facts:
    if kind == "postgresql":
        return await dumps.dump(url, part)
    await asyncio.to_thread(copies.copy, sqlite_path(url), part)
    return copies.facts_in(part)


def _manifest(part: Path, kind: Kind, taken_at: int, facts: Facts) -> Manifest:
    return Manifest(
        database=kind,
        taken_at=taken_at,
        joinder=version("joinder"),
        schema=facts.revision,
        key_ids=facts.key_ids,
        counts=facts.counts,
        bytes=part.stat().st_size,
        sha256=_sha256(part),
    )


def _put(part: Path, path: Path, manifest: Manifest) -> None:
    """Puts the copy in place.

    The old manifest goes first and the new one comes last: none is ever beside another's copy.
    """
    _manifest_path(path).unlink(missing_ok=True)
    copies.put_in_place(part, path, keep_as=None)
    with copies.beside(_manifest_path(path)) as text:
        text.write_bytes(msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")
        copies.put_in_place(text, _manifest_path(path), keep_as=None)


def _rotate(folder: Path, kind: Kind, keep: int) -> list[Path]:
    """Deletes the oldest copies. Names carry the time, so that they sort by it. Other files are left alone."""
    named = re.compile(rf"joinder-\d{{8}}T\d{{6}}\.\d{{6}}Z{re.escape(SUFFIXES[kind])}")
    ours = sorted(path for path in folder.iterdir() if named.fullmatch(path.name))
    old = ours[: -keep or len(ours)]
    for path in old:
        path.unlink()
        _manifest_path(path).unlink(missing_ok=True)
    return old


def _manifest_path(copy: Path) -> Path:
    return copy.with_name(copy.name + MANIFEST)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
