"""An answer of fetch_readings: each row, register and power by itself, then what they say together (plausible.py)."""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, get_args

import msgspec
from msgspec import Meta, Struct, structs

from joinder import physics
from joinder.energy import ENERGY_METRICS, Counter, Device, Live, Quality, Reading, Readings, ReadingsQuery
from joinder.errors import UnexpectedPayload
from joinder.series import QUARTER, day_span, zone
from joinder.vendors.gate import plausible, values
from joinder.vendors.gate.rules import Refusals, Rule, checked_warnings
from joinder.vendors.gate.sites import WH_MOST, checked_devices

RUNNING = "running"  # Reading.rule: the period is not over
METRICS = (*ENERGY_METRICS, "soc_percent")
_QUARTER_S = QUARTER.total_seconds()
_QUARTER_WH_MOST = physics.MOST_W * _QUARTER_S / 3600
_RULE = re.compile("[a-z_]{1,40}")
_Wh = Annotated[float, Meta(ge=0, le=_QUARTER_WH_MOST)] | None
_Id = Annotated[str, Meta(min_length=1, max_length=values.ID_MOST)] | None


class _SoundRow(Struct, frozen=True):
    """What a quarter hour's row is when nothing is wrong with it: checked in one call, as nearly every row is sound."""

    start: Annotated[datetime, Meta(tz=True)]
    end: Annotated[datetime, Meta(tz=True)]
    quality: Quality
    device_id: _Id
    solar_wh: _Wh
    charge_wh: _Wh
    discharge_wh: _Wh
    import_wh: _Wh
    export_wh: _Wh
    load_wh: _Wh
    soc_percent: Annotated[float, Meta(ge=0, le=100)] | None
    rule: Annotated[str, Meta(pattern=f"^{_RULE.pattern}$")] | None


def checked_readings(answer: Readings, query: ReadingsQuery, *, now: datetime) -> Readings:
    """What of the answer may be stored and served; `refused` tells what not, and why. Raises UnexpectedPayload."""
    refusals = Refusals()
    devices = checked_devices(answer.devices, refusals, now=now)
    known = {(device.kind, device.vendor_id): device for device in (*query.site.devices, *devices)}.values()
    gate = _Gate(query, now, _told_apart(known), refusals)
    rows = tuple(plausible.intervals(gate.rows(answer.intervals), query, known, refusals))
    return Readings(
        intervals=rows,
        counters=gate.counters(answer.counters),
        live=plausible.live(gate.live(answer.live), known, refusals),
        devices=devices,
        warnings=_with_own_doubts(checked_warnings(answer.warnings, refusals), rows),
        refused=refusals.listed(),
    )


def _with_own_doubts(warnings: tuple[str, ...], rows: Iterable[Reading]) -> tuple[str, ...]:
    """A plugin that found a load impossible by itself, as series.with_load does, need not say so too."""
    has_found = any(row.rule == Rule.LOAD and row.load_wh is None for row in rows)
    return (*warnings, physics.NO_LOAD) if has_found and physics.NO_LOAD not in warnings else warnings


def _told_apart(devices: Iterable[Device]) -> frozenset[str]:
    """Ids that mean one device: a row of one that two devices share is of neither."""
    ids = Counts(device.vendor_id for device in devices)
    return frozenset(device_id for device_id, count in ids.items() if count == 1)


class _Gate:
    """One answer's, row by row."""

    _emptied: set[tuple[str | None, datetime]]  # periods whose row held no possible value: a twin of it proves nothing

    def __init__(self, query: ReadingsQuery, now: datetime, device_ids: frozenset[str], refusals: Refusals) -> None:
        self._query = query
        self._now = now
        self._device_ids = device_ids
        self._refusals = refusals
        self._where = zone(query.site.timezone) or zone("UTC")

    def rows(self, told: object) -> list[Reading]:
        """In order of time, each period of a subject once. Raises UnexpectedPayload for no list, or an endless one."""
        length = QUARTER if self._query.resolution == "15mins" else timedelta(hours=23)
        most = ((self._query.end - self._query.start) / length + 3) * (len(self._device_ids) + 2)
        rows = self._listed(told, most, "rows")
        self._emptied = set()
        found: dict[tuple[str | None, datetime], Reading] = {}
        contradicted = set()
        for row in rows:
            sound = self._row(row)
            if sound is None:
                continue
            key = (sound.device_id, sound.start)
            if found.setdefault(key, sound) != sound:
                contradicted.add(key)
        for key in contradicted | (self._emptied & found.keys()):
            self._refuse(Rule.TWICE, found.pop(key))
        return sorted(found.values(), key=lambda row: (row.start, row.device_id or ""))

    def counters(self, told: object) -> tuple[Counter, ...]:
        """Registers of the past, of this site and its devices."""
        listed = self._listed(told, 4 * (len(self._device_ids) + 2), "counters")
        return tuple(sound for counter in listed if (sound := self._counter(counter)))

    def live(self, told: object) -> Live | None:
        """Power of the past; None where the answer holds none."""
        if told is None:
            return None
        if not isinstance(told, Live):
            self._refusals.note(Rule.SHAPE, "live")
            return None
        measured_at = values.instant(told.measured_at, "measured_at", self._refusals, now=self._now)
        if measured_at is None:
            return None
        most = physics.MOST_W
        watts = {
            name: values.number(getattr(told, name), name, self._refusals, low=-most, high=most)
            for name in ("solar_w", "battery_w", "grid_w", "load_w")
        }
        return Live(measured_at=measured_at, soc_percent=self._charge(told.soc_percent), **watts)

    def _listed(self, told: object, most: float, what: str) -> Sequence[object]:
        if not isinstance(told, tuple | list):
            raise UnexpectedPayload(f"The plugin answered no list of {what}")
        if len(told) > 2 * most + 100:
            raise UnexpectedPayload(f"The plugin answered {len(told)} {what} where at most {most:.0f} can be")
        return told

    def _charge(self, percent: object) -> float | None:
        return values.number(percent, "soc_percent", self._refusals, low=0, high=100, rule=Rule.CHARGE)

    def _row(self, row: object) -> Reading | None:
        if not isinstance(row, Reading):
            self._refusals.note(Rule.SHAPE, "interval")
            return None
        if not self._in_place(row):
            return None
        try:
            msgspec.convert(row, _SoundRow, from_attributes=True, builtin_types=(datetime,))
        except (msgspec.ValidationError, TypeError):
            return self._running(self._mended(row))
        return self._running(row)

    def _in_place(self, row: Reading) -> bool:
        """Whole periods of the past, inside what was asked, of what was asked."""
        start, end = row.start, row.end
        is_time = isinstance(start, datetime) and isinstance(end, datetime) and start.tzinfo and end.tzinfo
        if not is_time or not start < end:
            self._refusals.note(Rule.TIMES, "interval")
            return False
        if not self._is_of_subject(row.device_id):
            self._refusals.note(Rule.SUBJECT)
        elif start > self._now:
            self._refusals.note(Rule.FUTURE, "interval")
        elif not self._query.start <= start < self._query.end:
            self._refusals.note(Rule.OUTSIDE)
        elif not self._is_whole(start, end):
            self._refusals.note(Rule.UNALIGNED)
        else:
            return True
        return False

    def _is_of_subject(self, device_id: object) -> bool:
        if self._query.device_id is not None:
            return device_id == self._query.device_id
        return device_id is None or (isinstance(device_id, str) and device_id in self._device_ids)

    def _is_whole(self, start: datetime, end: datetime) -> bool:
        if self._query.resolution == "15mins":
            return start.timestamp() % _QUARTER_S == 0 and end - start == QUARTER
        assert self._where is not None  # noqa: S101 - UTC is always known
        return (start, end) == day_span(start.astimezone(self._where).date(), self._where)

    def _mended(self, row: Reading) -> Reading | None:
        """Each value alone: what is none is unknown. None, and its span refused, where nothing is left."""
        hours = (row.end - row.start).total_seconds() / 3600
        kept: dict[str, Any] = {name: self._energy(name, getattr(row, name), hours) for name in ENERGY_METRICS}
        kept["soc_percent"] = self._charge(row.soc_percent)
        lost = [name for name, value in kept.items() if value is None and getattr(row, name) is not None]
        if lost and all(value is None for value in kept.values()):
            rule = Rule.CHARGE if lost == ["soc_percent"] else Rule.NUMBER
            self._refusals.note(rule, lost[0], (row.device_id, row.start, row.end), count=0)
            self._emptied.add((row.device_id, row.start))
            return None
        sound_quality: Quality = row.quality if row.quality in get_args(Quality) else "estimated"
        if sound_quality != row.quality:
            self._refusals.note(Rule.SHAPE, "quality")
        told_rule = row.rule if isinstance(row.rule, str) and _RULE.fullmatch(row.rule) else None
        why = told_rule or (str(Rule.NUMBER) if lost else None)
        return structs.replace(row, quality=sound_quality, rule=why, **kept)

    def _energy(self, name: str, value: object, hours: float) -> float | None:
        """A little below zero, a production is the inverters' standby draw: 0, without a word."""
        if name == "solar_wh" and isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
            value = 0.0 if physics.solar_power(value / hours) == 0.0 else value
        return values.number(value, name, self._refusals, low=0, high=physics.MOST_W * hours)

    def _running(self, row: Reading | None) -> Reading | None:
        """A period that is not over is told in part, whatever the plugin calls it."""
        if row is None or row.end <= self._now or row.quality == "partial":
            return row
        return structs.replace(row, quality="partial", rule=row.rule or RUNNING)

    def _counter(self, counter: object) -> Counter | None:
        if not isinstance(counter, Counter):
            self._refusals.note(Rule.SHAPE, "counter")
            return None
        if not self._is_of_subject(counter.device_id):
            self._refusals.note(Rule.SUBJECT, "counter")
            return None
        at = values.instant(counter.at, "counter", self._refusals, now=self._now)
        if at is None:
            return None
        kept = {
            name: values.number(getattr(counter, name), name, self._refusals, low=0, high=WH_MOST)
            for name in ENERGY_METRICS
        }
        return structs.replace(counter, soc_percent=self._charge(counter.soc_percent), **kept)

    def _refuse(self, rule: Rule, row: Reading) -> None:
        self._refusals.note(rule, span=(row.device_id, row.start, row.end))
