"""A site's head, devices, live power and registers as the gate would have let them pass."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import structs

from joinder.clock import to_epoch, utc_now
from joinder.energy import Counter, Device, DeviceKind, Live, Readings, ReadingsQuery, Site
from joinder.places import zone_at
from joinder.services.readings import zones
from joinder.services.readings.sites import site_of
from joinder.services.recheck.counts import RecheckFound
from joinder.store import rechecks
from joinder.store.readings import METRICS, POWERS
from joinder.store.sites import StoredSite
from joinder.store.types import Row, Store
from joinder.vendor import Limits, Resolution
from joinder.vendors.gate import Rule, checked_readings, checked_site
from joinder.vendors.gate.rules import Refusals
from joinder.vendors.gate.sites import checked_devices
from joinder.vendors.gate.values import AHEAD

EARLIEST_S = 631_152_000  # 1990: no time of before is one
LATEST_S = 2**34
COUNTERS_AT_ONCE = 50
_TIMES = ("lifetime_since", "reported_at")
_FIELDS = frozenset(Device.__struct_fields__)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A device, also one that is gone: its nameplate counted when it was there."""

    row_id: str
    device: Device
    is_gone: bool


@dataclass(frozen=True, kw_only=True)
class RecheckedSite:
    """A site as it may stay. `limits` None: its plugin is not installed."""

    site: StoredSite
    parts: Sequence[Part]
    limits: Limits | None

    def query(self, resolution: Resolution = "15mins", device_id: str | None = None) -> ReadingsQuery:
        """Makes the query for the gate: whatever lies in time at all."""
        row = self.site
        site = Site(
            vendor_id=row.vendor_id,
            name=row.name,
            timezone=row.timezone,
            devices=tuple(part.device for part in self.parts),
        )
        start, end = datetime.fromtimestamp(EARLIEST_S, UTC), datetime.fromtimestamp(LATEST_S, UTC)
        return ReadingsQuery(site=site, start=start, end=end, resolution=resolution, device_id=device_id)


def when(at: object) -> datetime | None:
    """Returns an instant of epoch seconds; None where no reading can be of it."""
    return datetime.fromtimestamp(at, UTC) if isinstance(at, int) and EARLIEST_S <= at < LATEST_S else None


def told_at(fetched_at: int) -> datetime:
    """Returns when a row was told, as its vendor's clock may have shown it."""
    at, moment = when(fetched_at), utc_now()
    return moment if at is None else min(at + AHEAD, moment)


def head(row: StoredSite, found: RecheckFound) -> StoredSite:
    """Returns the site without what nobody would take today.

    A zone that is none, or an offset only, is found by coordinates: the days that follow the offset are then no whole
    days any more, and go one by one.
    """
    found.rows += 1
    told = structs.replace(
        site_of(row._replace(operational_since=None), ()), operational_since=when(row.operational_since)
    )
    checked = checked_site(told, row.vendor_id, now=utc_now())
    zone_name = _zone_of(checked)
    known = row._replace(
        name=checked.name,
        timezone=zone_name,
        timezone_by=row.timezone_by if zone_name == row.timezone else "coordinates",
        lat=checked.lat,
        lon=checked.lon,
        operational_since=to_epoch(checked.operational_since),
    )
    found.has_offset_zone = _is_offset(known.timezone)
    if known != row:
        zone = Refusals()
        if known.timezone != row.timezone and checked.timezone == row.timezone:
            zone.note(Rule.ZONE)
        found.change(rechecks.mended_site(known), (*checked.refused, *zone.listed()), str(Rule.TIMES))
    return known


def _zone_of(site: Site) -> str | None:
    if site.timezone is not None and not _is_offset(site.timezone):
        return site.timezone
    return zone_at(site.lat, site.lon) or site.timezone


def _is_offset(name: str | None) -> bool:
    """Tells whether it is what earlier versions made of an offset."""
    return name is not None and zones.of_site(Site(vendor_id="", name=""), name).name is None


def part_of(row: Row, found: RecheckFound) -> Part:
    """Makes a device of its row, and mends the row's state where it says what cannot be."""
    row_id, kind, vendor_id, text, fetched_at, gone_at = row
    state = _state(text)
    told = _device(state, kind, vendor_id)
    refusals = Refusals()
    checked = next(iter(checked_devices((told,), refusals, now=utc_now())), None)
    if checked is None:
        checked = Device(vendor_id=vendor_id, kind=DeviceKind(kind))
    found.rows += 1
    if checked != told or not _can_be_read(text):
        kept = {name: value for name, value in msgspec.to_builtins(checked).items() if value is not None}
        found.change(rechecks.mended_device(row_id, kept, fetched_at), refusals.listed(), str(Rule.SHAPE))
    return Part(row_id=row_id, device=checked, is_gone=gone_at is not None)


def _state(text: str) -> Mapping[str, Any]:
    """Reads the state, NaN and Infinity too: an earlier version wrote them."""
    with suppress(ValueError):
        state = json.loads(text)
        return state if isinstance(state, dict) else {}
    return {}


def _can_be_read(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=Device)
    except msgspec.MsgspecError:
        return False
    return True


def _device(state: Mapping[str, Any], kind: str, vendor_id: str) -> Device:
    """Makes a device of whatever is in its state, unchecked."""
    told = {name: value for name, value in state.items() if name in _FIELDS}
    times = {name: _time(told[name]) for name in _TIMES if name in told}
    if isinstance(faults := told.get("faults"), list):
        told["faults"] = tuple(faults)
    return Device(**{**told, **times, "kind": DeviceKind(kind), "vendor_id": vendor_id})


def _time(value: object) -> object:
    with suppress(msgspec.MsgspecError):
        return msgspec.convert(value, datetime)
    return value


async def live(store: Store, home: RecheckedSite, found: RecheckFound) -> None:
    """Judges the last power."""
    for row in await rechecks.live(store, home.site.id):
        found.rows += 1
        measured_at, fetched_at, *powers = row
        at = when(measured_at)
        told = None if at is None else Live(measured_at=at, **dict(zip(POWERS, powers, strict=True)))
        query = home.query()
        answer = checked_readings(Readings(live=told), structs.replace(query, end=query.start), now=told_at(fetched_at))
        if answer.live is None or answer.live != told:
            write = rechecks.mended_live(home.site.id, answer.live, fetched_at)
            found.change(write, answer.refused, str(Rule.TIMES), drops=answer.live is None)


async def registers(
    store: Store, home: RecheckedSite, subject_id: str, device_id: str | None
) -> AsyncIterator[RecheckFound]:
    """Judges the registers of the last two days."""
    after = -(2**62)
    while rows := await rechecks.counters(store, subject_id, after, COUNTERS_AT_ONCE):
        after = rows[-1][0]
        yield _registers(home, subject_id, device_id, rows)


def _registers(home: RecheckedSite, subject_id: str, device_id: str | None, rows: Sequence[Row]) -> RecheckFound:
    found = RecheckFound(rows=len(rows))
    for row in rows:
        at = when(row[0])
        counter = Counter(at=at, device_id=device_id, **dict(zip(METRICS, row[1:], strict=True))) if at else None
        told = () if counter is None else (counter,)
        query = home.query(device_id=device_id)
        answer = checked_readings(Readings(counters=told), structs.replace(query, end=query.start), now=utc_now())
        kept = next(iter(answer.counters), None)
        if kept is None or kept != counter:
            write = rechecks.mended_counter(subject_id, row[0], kept)
            found.change(write, answer.refused, str(Rule.TIMES), drops=kept is None)
    return found
