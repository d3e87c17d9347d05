"""Where readings came from: the endpoints called for them, without ids, and the plugin that read them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from joinder.runtime.hub import Hub
from joinder.store.types import Upsert, Write

ENDPOINTS_MOST = 12
_OPAQUE = re.compile(r"\d|%|[A-Za-z0-9_-]{24,}")  # a segment with a digit or as long as a token: an id, not a word
_VERSION = re.compile(r"v?\d{1,2}")
_SOURCES = "SELECT id, endpoints, plugin, version FROM reading_source WHERE id IN ({places})"


@dataclass(frozen=True, kw_only=True)
class Source:
    endpoints: tuple[str, ...]
    plugin: str
    version: str


def endpoint(method: str, url: str, ids: Collection[str]) -> str:
    """Returns the method and path, with each segment that may be an id left out: `GET /api/v4/systems/{id}/summary`."""
    path = unquote(urlsplit(url).path)
    for known in ids:
        path = path.replace(known, "{id}") if len(known) > 2 else path
    return f"{method.upper()} {'/'.join(_word(segment) for segment in path.split('/'))}"[:200]


def _word(segment: str) -> str:
    if not _OPAQUE.search(segment) or _VERSION.fullmatch(segment) or segment.endswith((".json", ".xml")):
        return segment
    return "{id}"


def stored(hub: Hub, vendor: str, endpoints: Iterable[str]) -> tuple[int, list[Write]]:
    """Returns the source's id, and what to store with the readings that name it.

    That is nothing where this process has stored it.
    """
    found = next((entry for entry in hub.registry.installed if entry.name == vendor and entry.vendor), None)
    plugin, version = (found.distribution, found.version) if found else (vendor, "?")
    lines = "\n".join(sorted(set(endpoints))[:ENDPOINTS_MOST])
    digest = hashlib.sha256(f"{plugin}\n{version}\n{lines}".encode()).digest()
    source_id = int.from_bytes(digest[:8], "big") >> 2
    if source_id in hub.sources_stored:
        return source_id, []
    record = (source_id, lines, plugin, version)
    return source_id, [Upsert("reading_source", ("id",), ("endpoints", "plugin", "version"), [record], False)]


async def sources(hub: Hub, ids: Iterable[int | None]) -> dict[int, Source]:
    """Reads sources by id; those that are unknown are left out."""
    wanted = sorted({source_id for source_id in ids if source_id is not None})
    if not wanted:
        return {}
    names = {f"id{index}": source_id for index, source_id in enumerate(wanted)}
    sql = _SOURCES.format(places=", ".join(f":{name}" for name in names))
    return {
        int(row[0]): Source(endpoints=tuple(str(row[1]).split("\n")), plugin=str(row[2]), version=str(row[3]))
        for row in await hub.store.rows(sql, names)
    }
