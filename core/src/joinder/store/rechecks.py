"""What stored readings are judged by and mended with: keyset pages, and statements that leave a newer answer alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from joinder.energy import Counter, Live, Reading
from joinder.store.readings import METRICS, POWERS
from joinder.store.sites import StoredSite
from joinder.store.types import Row, Statement, Store

_SITE_COLUMNS = ", ".join(StoredSite._fields)
_SITES = f"SELECT {_SITE_COLUMNS} FROM site WHERE id > :after{{of}} ORDER BY id LIMIT :most"  # noqa: S608 - our own names
_ROWS = (
    f'SELECT start, "end", {", ".join(METRICS)}, quality, rule, fetched_at, source FROM interval '  # noqa: S608
    "WHERE subject_id = :subject AND resolution = :resolution AND start > :after AND start <= :until "
    "ORDER BY start LIMIT :most"
)
_STARTS = (
    "SELECT start FROM interval WHERE subject_id = :subject AND resolution = :resolution "
    "AND start >= :start AND start <= :end"
)
_SET = ", ".join(f"{name} = :{name}" for name in (*METRICS, "quality", "rule"))
_THIS = "WHERE subject_id = :subject AND resolution = :resolution AND start = :start AND fetched_at = :told_at"
_MEND = f"UPDATE interval SET {_SET} {_THIS}"  # noqa: S608
_DROP = f"DELETE FROM interval {_THIS}"  # noqa: S608
_DEVICES = "SELECT id, kind, vendor_id, state, fetched_at, gone_at FROM device WHERE site_id = :site ORDER BY id"
_MEND_DEVICE = "UPDATE device SET state = :state WHERE id = :id AND fetched_at = :told_at"
_MEND_SITE = (
    "UPDATE site SET name = :name, timezone = :timezone, timezone_by = :timezone_by, lat = :lat, lon = :lon, "
    "operational_since = :since "
    "WHERE id = :id AND fetched_at = :told_at"
)
_LIVE = f"SELECT measured_at, fetched_at, {', '.join(POWERS)} FROM live WHERE site_id = :site"  # noqa: S608
_MEND_LIVE = (
    f"UPDATE live SET {', '.join(f'{name} = :{name}' for name in POWERS)} "  # noqa: S608
    "WHERE site_id = :site AND fetched_at = :told_at"
)
_DROP_LIVE = "DELETE FROM live WHERE site_id = :site AND fetched_at = :told_at"
_COUNTERS = (
    f"SELECT at, {', '.join(METRICS)} FROM counter "  # noqa: S608
    "WHERE subject_id = :subject AND at > :after ORDER BY at LIMIT :most"
)
_MEND_COUNTER = (
    f"UPDATE counter SET {', '.join(f'{name} = :{name}' for name in METRICS)} "  # noqa: S608
    "WHERE subject_id = :subject AND at = :at"
)
_DROP_COUNTER = "DELETE FROM counter WHERE subject_id = :subject AND at = :at"
_STATE = "SELECT value FROM store_state WHERE name = :name"
END_OF_TIME = 2**62


async def sites(store: Store, vendor: str | None, after: str, most: int) -> list[StoredSite]:
    """Reads at most `most` sites by id, those after `after`; `vendor`: None for every vendor's."""
    values: dict[str, Any] = {"after": after, "most": most}
    if vendor is not None:
        values["vendor"] = vendor
    sql = _SITES.format(of="" if vendor is None else " AND vendor = :vendor")
    return [StoredSite(*row) for row in await store.rows(sql, values)]


async def count_sites(store: Store, vendor: str | None) -> int:
    if vendor is None:
        return int((await store.rows("SELECT count(*) FROM site", {}))[0][0])
    return int((await store.rows("SELECT count(*) FROM site WHERE vendor = :vendor", {"vendor": vendor}))[0][0])


async def devices(store: Store, site_id: str) -> list[Row]:
    """Reads rows (id, kind, vendor's id, state as JSON text, fetched_at, gone_at), those that are gone too."""
    return await store.rows(_DEVICES, {"site": site_id})


async def page(
    store: Store, subject: str, resolution: str, after: int, *, until: int = END_OF_TIME, most: int
) -> Sequence[Row]:
    """Reads rows (start, end, *METRICS, quality, rule, fetched_at, source) that begin in (after, until], in order.

    Times are epoch seconds; at most `most` rows.
    """
    values = {"subject": subject, "resolution": resolution, "after": after, "until": until, "most": most}
    return await store.rows(_ROWS, values)


async def starts(store: Store, subject: str, resolution: str, start: int, end: int) -> set[int]:
    """Reads the starts, in epoch seconds, of the rows that begin in [start, end]."""
    values = {"subject": subject, "resolution": resolution, "start": start, "end": end}
    return {row[0] for row in await store.rows(_STARTS, values)}


def mended(subject: str, resolution: str, start: int, row: Reading | None, told_at: int) -> Statement:
    """Makes the statement that leaves the row as it may stay, or without one deletes it.

    It does nothing where the row was told anew since `told_at`. Times are epoch seconds.
    """
    values: dict[str, Any] = {"subject": subject, "resolution": resolution, "start": start, "told_at": told_at}
    if row is None:
        return _DROP, values
    values |= {name: getattr(row, name) for name in (*METRICS, "quality", "rule")}
    return _MEND, values


def mended_device(device_id: str, state: dict[str, Any], told_at: int) -> Statement:
    return _MEND_DEVICE, {"id": device_id, "state": msgspec.json.encode(state).decode(), "told_at": told_at}


def mended_site(site: StoredSite) -> Statement:
    values = {"id": site.id, "name": site.name, "timezone": site.timezone, "lat": site.lat, "lon": site.lon}
    told = {"timezone_by": site.timezone_by, "since": site.operational_since, "told_at": site.fetched_at}
    return _MEND_SITE, {**values, **told}


async def live(store: Store, site_id: str) -> list[Row]:
    """Reads none or one (measured_at, fetched_at, *POWERS)."""
    return await store.rows(_LIVE, {"site": site_id})


def mended_live(site_id: str, power: Live | None, told_at: int) -> Statement:
    values: dict[str, Any] = {"site": site_id, "told_at": told_at}
    if power is None:
        return _DROP_LIVE, values
    return _MEND_LIVE, values | {name: getattr(power, name) for name in POWERS}


async def counters(store: Store, subject: str, after: int, most: int) -> list[Row]:
    """Reads at most `most` rows (at, *METRICS) after `after` (epoch seconds), in order."""
    return await store.rows(_COUNTERS, {"subject": subject, "after": after, "most": most})


def mended_counter(subject: str, at: int, counter: Counter | None) -> Statement:
    values: dict[str, Any] = {"subject": subject, "at": at}
    if counter is None:
        return _DROP_COUNTER, values
    return _MEND_COUNTER, values | {name: getattr(counter, name) for name in METRICS}


async def state(store: Store, name: str) -> str | None:
    """Reads a fact about this database, as JSON; None when it is not there."""
    for (value,) in await store.rows(_STATE, {"name": name}):
        return str(value)
    return None
