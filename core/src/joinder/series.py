"""What vendors' rows become: quarter hours and local days of one site or device, from values of any finer grid.

Pure: no clock, no network. Unknown stays None: a value that is missing, negative or not finite is left out, and an
interval that lacks a part of itself is marked partial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from joinder.energy import ENERGY_METRICS, Reading

QUARTER = timedelta(minutes=15)
Number = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]  # lax decoding would take "nan" and "inf" from a string
Span = tuple[datetime, datetime]


@dataclass
class _Sum:
    """One metric inside one interval: Wh, or % · s for the state of charge, and the seconds they cover."""

    value: float = 0.0
    seconds: float = 0.0


@dataclass
class _Slots:
    """Values by interval, as they come together from several rows and endpoints."""

    start: datetime
    end: datetime
    sums: dict[Span, dict[str, _Sum]] = field(default_factory=dict)
    incomplete: set[Span] = field(default_factory=set)

    def add(self, span: Span, metric: str, value: float, seconds: float) -> None:
        if self.start <= span[0] and span[1] <= self.end:
            total = self.sums.setdefault(span, {}).setdefault(metric, _Sum())
            total.value += value
            total.seconds += seconds

    def readings(self, device_id: str | None) -> tuple[Reading, ...]:
        return tuple(self._reading(span, device_id) for span in sorted(self.sums))

    def _reading(self, span: Span, device_id: str | None) -> Reading:
        sums, length_s = self.sums[span], (span[1] - span[0]).total_seconds()
        short = any(total.seconds < length_s - 1 for metric, total in sums.items() if metric != "soc_percent")
        values = {
            metric: round(total.value / total.seconds if metric == "soc_percent" else total.value, 3)
            for metric, total in sums.items()
        }
        partial = short or span in self.incomplete
        return Reading(
            start=span[0], end=span[1], device_id=device_id, quality="partial" if partial else "measured", **values
        )


class Quarters:
    """Quarter hours inside [start, end), aware. Rows that straddle quarters are shared out by time."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._slots = _Slots(start.astimezone(UTC), end.astimezone(UTC))
        self._row: Span | None = None
        self._parts: list[tuple[Span, float]] = []

    def energy(self, metric: str, start: datetime, end: datetime, wh: float | None) -> None:
        """`wh` over the row [start, end). Left out when unknown; a second row of the same time adds to the first."""
        if (known := plausible(wh)) is None or end <= start:
            return
        length_s = (end - start).total_seconds()
        for span, seconds in self._cut(start, end):
            self._slots.add(span, metric, known * seconds / length_s, seconds)

    def power(self, metric: str, start: datetime, end: datetime, watts: float | None) -> None:
        """Mean power of the row [start, end), as energy."""
        known = plausible(watts)
        self.energy(metric, start, end, None if known is None else known * (end - start).total_seconds() / 3600)

    def flow(self, positive: str, negative: str, start: datetime, end: datetime, watts: float | None) -> None:
        """Mean power with a sign, split by direction: (import_wh, export_wh), (discharge_wh, charge_wh)."""
        if watts is not None and math.isfinite(watts):
            self.power(positive, start, end, max(watts, 0.0))
            self.power(negative, start, end, max(-watts, 0.0))

    def soc(self, start: datetime, end: datetime, percent: float | None) -> None:
        """State of charge over the row; outside 0 to 100 it is unknown."""
        if (known := plausible(percent)) is not None and known <= 100:
            for span, seconds in self._cut(start, end):
                self._slots.add(span, "soc_percent", known * seconds, seconds)

    def _cut(self, start: datetime, end: datetime) -> list[tuple[Span, float]]:
        """A row has several values: it is cut once."""
        if self._row != (start, end):
            self._row, self._parts = (start, end), list(_quarters(start, end))
        return self._parts

    def readings(self, device_id: str | None = None) -> tuple[Reading, ...]:
        """Merged, sorted by start, one per quarter hour that has any value."""
        return self._slots.readings(device_id)


class Days:
    """Local days inside [start, end): 23 or 25 hours long where the clock changes."""

    def __init__(self, zone: ZoneInfo, start: datetime, end: datetime) -> None:
        self._zone = zone
        self._slots = _Slots(start.astimezone(UTC), end.astimezone(UTC))

    def energy(self, metric: str, day: date, wh: float | None, *, partial: bool = False) -> None:
        if (known := plausible(wh)) is not None:
            span = day_span(day, self._zone)
            self._slots.add(span, metric, known, (span[1] - span[0]).total_seconds())
            if partial:
                self._slots.incomplete.add(span)

    def readings(self, device_id: str | None = None) -> tuple[Reading, ...]:
        return self._slots.readings(device_id)


def plausible(value: float | None) -> float | None:
    """A finite value of at least 0; anything else is unknown."""
    return value if value is not None and math.isfinite(value) and value >= 0 else None


def with_load(reading: Reading, *, battery: bool) -> Reading:
    """`reading` with load = solar + import + discharge - export - charge where all of them are known and it is not.

    `battery` False: the site has none, and its two terms count as 0. A load below 0 is measuring noise, not a load.
    """
    parts = [reading.solar_wh, reading.import_wh, reading.export_wh]
    parts += [reading.discharge_wh, reading.charge_wh] if battery else [0.0, 0.0]
    if reading.load_wh is not None or any(part is None for part in parts):
        return reading
    solar, imported, exported, discharged, charged = (part or 0.0 for part in parts)
    return msgspec.structs.replace(
        reading, load_wh=round(max(0.0, solar + imported + discharged - exported - charged), 3)
    )


def merged(parts: Iterable[Sequence[Reading]]) -> tuple[Reading, ...]:
    """Readings of several sources, one per interval and device: each metric from the first that knows it."""
    found: dict[tuple[datetime, datetime, str], Reading] = {}
    for reading in (reading for part in parts for reading in part):
        key = (reading.start, reading.end, reading.device_id or "")
        known = found.setdefault(key, reading)
        if known is not reading:
            found[key] = _filled(known, reading)
    return tuple(found[key] for key in sorted(found))


def _filled(known: Reading, other: Reading) -> Reading:
    gaps = {
        metric: getattr(other, metric) for metric in (*ENERGY_METRICS, "soc_percent") if getattr(known, metric) is None
    }
    quality = known.quality if known.quality != "measured" else other.quality
    return msgspec.structs.replace(known, quality=quality, **gaps)


def _quarters(start: datetime, end: datetime) -> Iterator[tuple[Span, float]]:
    """The quarter hours a row touches, with the seconds of it inside each."""
    at, end = start.astimezone(UTC), end.astimezone(UTC)
    while at < end:
        begin = at - timedelta(seconds=at.timestamp() % QUARTER.total_seconds())
        until = min(begin + QUARTER, end)
        yield (begin, begin + QUARTER), (until - at).total_seconds()
        at = until


def zone(name: str | None) -> ZoneInfo | None:
    """The time zone of an IANA name; None for one that is missing or unknown."""
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def day_span(day: date, where: ZoneInfo) -> Span:
    """From local midnight to the next, in UTC."""
    return midnight(day, where), midnight(day + timedelta(days=1), where)


def midnight(day: date, where: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), where).astimezone(UTC)


def days_between(start: datetime, end: datetime, where: ZoneInfo) -> Iterator[date]:
    """Local days that [start, end) touches."""
    day, last = start.astimezone(where).date(), (end - timedelta(microseconds=1)).astimezone(where).date()
    while day <= last:
        yield day
        day += timedelta(days=1)


def instants(wall_times: Iterable[datetime], where: ZoneInfo) -> Iterator[datetime]:
    """Rows' wall times without offset, in the order they happened, as UTC.

    In the hour that autumn repeats, the second pass is told by time not going on; times that spring skips are read
    with the offset before the change (PEP 495).
    """
    before: datetime | None = None
    for wall in wall_times:
        at = wall.replace(tzinfo=where, fold=0).astimezone(UTC)
        if before is not None and at <= before:
            later = wall.replace(tzinfo=where, fold=1).astimezone(UTC)
            at = later if later > before else at
        before = at
        yield at
