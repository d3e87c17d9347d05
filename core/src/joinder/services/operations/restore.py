"""Puts a copy in the database's place.

Beside it first, where it is opened with the key, migrated and set behind the barrier; then swapped in one step.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from msgspec import structs
from sqlalchemy.engine import URL

from joinder.runtime.hub import audit, open_hub
from joinder.services.grants import barrier
from joinder.services.operations.backup import Kind, read_manifest
from joinder.services.refusals import Conflict, NotFound, Unprocessable
from joinder.settings import Settings
from joinder.store import copies, dumps
from joinder.store.engine import parsed_url
from joinder.store.migrate import refuse_newer
from joinder.store.sqlite import sqlite_path
from joinder.store.vault import SYSTEM
from joinder.vendor import Refresh
from joinder.vendors.registry import Registry

_LABEL: dict[Kind, str] = {"sqlite": "SQLite", "postgresql": "PostgreSQL"}
_BEGINS: dict[bytes, Kind] = {b"SQLite format 3\0": "sqlite", b"PGDMP": "postgresql"}
_LONGEST_NAME = 40  # PostgreSQL cuts names at 63 bytes, and ours carry a date


@dataclass(frozen=True, kw_only=True)
class RestoreOutcome:
    place: str
    taken_at: int  # epoch seconds
    kept: str | None  # where the database that was there before is now
    behind: dict[str, int]  # grants behind the barrier, by vendor


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked, its source looked at."""

    settings: Settings
    url: URL
    source: Path
    actor: str
    told_at: int | None  # when the copy was taken, by its manifest
    registry: Registry
    replace: bool
    confirm: str | None


async def restore(
    settings: Settings,
    source: Path,
    actor: str,
    *,
    replace: bool = False,
    confirm: str | None = None,
    registry: Registry | None = None,
) -> RestoreOutcome:
    """Puts the copy in the database's place, its tokens behind the barrier and itself in its audit.

    Raises ConfigError for a wrong key or a newer schema, or a Refusal; the database is then as it was.
    """
    url = parsed_url(settings.database_url)
    kind: Kind = "sqlite" if url.get_backend_name() == "sqlite" else "postgresql"
    request = Request(
        settings=settings,
        url=url,
        source=source,
        actor=actor,
        told_at=await asyncio.to_thread(_looked_at, source, kind),
        registry=registry or Registry.load(allow=settings.plugins),
        replace=replace,
        confirm=confirm,
    )
    return await (_restore_sqlite(request) if kind == "sqlite" else _restore_postgres(request))


def kind_of(source: Path) -> Kind | None:
    with source.open("rb") as file:
        head = file.read(16)
    return next((kind for begin, kind in _BEGINS.items() if head.startswith(begin)), None)


def _looked_at(source: Path, kind: Kind) -> int | None:
    """Returns when the copy was taken, in epoch seconds; None where no manifest says so.

    Raises a Refusal for what cannot be restored.
    """
    if not source.is_file():
        raise NotFound(f"There is no copy {source}.")
    if kind_of(source) != kind:
        raise Unprocessable(f"{source} is no copy of a {_LABEL[kind]} database, which JOINDER_DATABASE_URL names.")
    manifest = read_manifest(source)
    return manifest.taken_at if manifest else None


async def _restore_sqlite(request: Request) -> RestoreOutcome:
    path = sqlite_path(request.url)
    empty = copies.is_empty(path)
    _confirm(request, path.name, empty=empty)
    with copies.beside(path) as part:
        await asyncio.to_thread(copies.copy, request.source, part)
        facts = copies.facts_in(part)
        refuse_newer(facts.revision, str(request.source))
        taken_at = request.told_at or facts.newest_grant_at
        behind = await _behind_barrier(request, f"sqlite:///{part}", taken_at)
        copies.close_for_all(part)
        try:
            copies.close_for_all(path)
        except copies.InUse:
            raise _in_use(str(path)) from None
        kept = path.with_name(_kept_name(path.name))
        copies.put_in_place(part, path, keep_as=None if empty and not copies.has_side_files(path) else kept)
    return RestoreOutcome(place=str(path), taken_at=taken_at, kept=None if empty else str(kept), behind=behind)


async def _restore_postgres(request: Request) -> RestoreOutcome:
    name, place = str(request.url.database), f"{request.url.host or 'localhost'}/{request.url.database}"
    there, empty = await dumps.exists(request.url), await dumps.is_empty(request.url)
    _confirm(request, name, empty=empty)
    if await dumps.connections(request.url):
        raise _in_use(place)
    async with _database_beside(request.url) as part:
        await dumps.load(part, request.source)
        facts = await dumps.facts_in(part)
        refuse_newer(facts.revision, str(request.source))
        taken_at = request.told_at or facts.newest_grant_at
        behind = await _behind_barrier(request, part.render_as_string(hide_password=False), taken_at)
        kept = _kept_name(name[:_LONGEST_NAME]) if there else None
        try:
            await dumps.put_in_place(part, request.url, keep_as=kept)
        except dumps.InUse:
            raise _in_use(place) from None
    if kept is not None and empty:
        await dumps.drop(request.url.set(database=kept))
        kept = None
    return RestoreOutcome(place=place, taken_at=taken_at, kept=kept, behind=behind)


@asynccontextmanager
async def _database_beside(url: URL) -> AsyncIterator[URL]:
    part = await dumps.create_beside(url, f"{str(url.database)[:_LONGEST_NAME]}_restoring")
    try:
        yield part
    finally:
        await dumps.drop(part)  # after the swap there is none of this name


def _confirm(request: Request, name: str, *, empty: bool) -> None:
    if empty:
        return
    if not request.replace:
        raise Conflict(f"{name} is not empty. To put the copy in its place: --replace --confirm {name}")
    if request.confirm != name:
        raise Conflict(f"--confirm must name what is replaced: {name}")


def _in_use(place: str) -> Conflict:
    return Conflict(f"{place} is in use: stop every joinder on it (and anything else that has it open), then restore.")


def _kept_name(name: str) -> str:
    return f"{name}.before-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


async def _behind_barrier(request: Request, database_url: str, taken_at: int) -> dict[str, int]:
    """Puts the barrier up, and counts by vendor what waits behind it.

    Opening proves the key and refuses a newer schema.
    """
    harmless = {vendor.name for vendor in request.registry.vendors if vendor.refresh is not Refresh.ROTATING}
    settings = structs.replace(request.settings, database_url=database_url)
    copied = f"a copy of {datetime.fromtimestamp(taken_at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    async with open_hub(settings, request.registry) as hub, hub.store.write() as session:
        audit(session, SYSTEM, request.actor, "database.restore", request.source.name, reason=copied)
        await barrier.put_up(session, taken_at=taken_at, not_rotating=harmless)
        await session.flush()
        return dict(Counter(one.vendor for one in await barrier.waiting(session)))
