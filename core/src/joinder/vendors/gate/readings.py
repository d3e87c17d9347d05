"""An answer of fetch_readings: each row, register and power by itself, then what they say together (plausible.py)."""

from __future__ import annotations

import re
from collections import Counter as Counts
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, TypeGuard, get_args

import msgspec
from msgspec import Meta, structs

from joinder import physics
from joinder.clean import clean_line
from joinder.energy import (
    ENERGY_METRICS,
    Counter,
    Device,
    Live,
    Quality,
    Reading,
    Readings,
    ReadingsQuery,
    Refusal,
)
from joinder.errors import UnexpectedPayload
from joinder.series import QUARTER, day_span, zone
from joinder.vendors.gate import plausible, values
from joinder.vendors.gate.rules import Refusals, Rule, checked_warnings
from joinder.vendors.gate.sites import WH_MOST, checked_devices

RUNNING = "running"  # Reading.rule: the period is not over
METRICS = (*ENERGY_METRICS, "soc_percent")
_QUARTER_WH_MOST = physics.MOST_W / 4
_AT = attrgetter("start")
_RULE = re.compile("[a-z_]{1,40}")
_Wh = Annotated[float, Meta(ge=0, le=_QUARTER_WH_MOST)] | None


_values_of = attrgetter("quality", "rule", *METRICS)
# What a row holds when nothing is wrong with it: checked in one call for all rows, as nearly every one is sound.
_SoundValues = tuple[
    Quality,
    Annotated[str, Meta(pattern=rf"\A{_RULE.pattern}\Z")] | None,
    _Wh,
    _Wh,
    _Wh,
    _Wh,
    _Wh,
    _Wh,
    _Wh,
    Annotated[float, Meta(ge=0, le=100)] | None,
]


class _Sound(msgspec.Struct, array_like=True):
    """Of a type of its own: one that is put together of others msgspec looks up by a hash that costs 17 µs a call."""

    rows: list[_SoundValues]


def checked_readings(answer: Readings, query: ReadingsQuery, *, now: datetime) -> Readings:
    """Returns what of the answer may be stored and served; `refused` tells what not, and why.

    Raises UnexpectedPayload.
    """
    refusals = Refusals()
    devices = checked_devices(answer.devices, refusals, now=now)
    known = _known(query.site.devices, devices)
    gate = _Gate(query, now, _told_apart(known), refusals)
    rows = tuple(plausible.intervals(gate.rows(answer.intervals), query, known, refusals))
    return Readings(
        intervals=rows,
        counters=gate.counters(answer.counters),
        live=plausible.live(gate.live(answer.live), known, refusals),
        devices=devices,
        warnings=_with_own_doubts(checked_warnings(answer.warnings, refusals), rows, refusals),
        refused=refusals.listed(),
    )


class Judged(NamedTuple):
    """A stored row as it may stay, None where it must go, and what it lost."""

    row: Reading | None
    refused: tuple[Refusal, ...] = ()


def checked_stored(told: Sequence[tuple[Reading, datetime]], query: ReadingsQuery) -> list[Judged]:
    """Returns what of stored rows, in order and each with the instant it was told, would have passed here.

    They are of one subject, `query.device_id`. A row of which nothing is left is an empty one that says why. Judging
    what this answers anew changes nothing: what one refusal uncovers in the rows beside it is refused as well.
    """
    refusals = Refusals()
    ids = _told_apart(query.site.devices)
    gates: dict[datetime, _Gate] = {}
    judged = []
    for row, at in told:
        gate = gates.get(at) or gates.setdefault(at, _Gate(query, at, ids, refusals))
        judged.append(gate.stored(row))
    while _together(judged, query, refusals):
        pass
    return judged


def _together(judged: list[Judged], query: ReadingsQuery, refusals: Refusals) -> bool:
    """Judges what the rows say together, and tells whether any changed by it."""
    places = [index for index, one in enumerate(judged) if one.row is not None]
    before = [row for one in judged if (row := one.row) is not None]
    is_changed = False
    for index, after in zip(places, plausible.intervals(before, query, query.site.devices, refusals), strict=True):
        refused = refusals.taken()
        is_changed = is_changed or after != judged[index].row
        judged[index] = Judged(after, (*judged[index].refused, *refused))
    return is_changed


def _with_own_doubts(warnings: tuple[str, ...], rows: Iterable[Reading], refusals: Refusals) -> tuple[str, ...]:
    """Adds the plugin's doubts: one that found a load impossible, as series.with_load does, need not say so too."""
    if physics.NO_LOAD in warnings or refusals.has(Rule.LOAD):
        return warnings
    has_found = any(row.rule is not None and row.rule == Rule.LOAD and row.load_wh is None for row in rows)
    return (*warnings, physics.NO_LOAD) if has_found else warnings


def _known(before: Iterable[Device], told: Iterable[Device]) -> list[Device]:
    """Returns the site's devices as this answer tells them; a size that it does not repeat still holds."""
    found = {(device.kind, device.vendor_id): device for device in before}
    for device in told:
        key = (device.kind, device.vendor_id)
        found[key] = _sized(device, found[key]) if key in found else device
    return list(found.values())


def _sized(device: Device, before: Device) -> Device:
    if device.max_power_w is None:
        device = structs.replace(device, max_power_w=before.max_power_w, is_peak=before.is_peak)
    return device if device.nameplate_wh else structs.replace(device, nameplate_wh=before.nameplate_wh)


def _told_apart(devices: Iterable[Device]) -> frozenset[str]:
    """Returns the ids that mean one device: a row of one that two devices share is of neither."""
    ids = Counts(device.vendor_id for device in devices)
    return frozenset(device_id for device_id, count in ids.items() if count == 1)


class _Gate:
    """One answer's, row by row."""

    def __init__(self, query: ReadingsQuery, now: datetime, device_ids: frozenset[str], refusals: Refusals) -> None:
        self._query = query
        self._now = now
        self._kinds_of_rows = len(device_ids) + 2
        self._device_ids = device_ids
        self._subjects = {query.device_id} if query.device_id is not None else {None, *device_ids}
        self._refusals = refusals
        self._emptied: set[tuple[str | None, datetime]] = set()  # periods whose row held nothing possible
        self._where = None if query.resolution == "15mins" else zone(query.site.timezone) or zone("UTC")

    def rows(self, told: object) -> list[Reading]:
        """Returns the rows in order of time, each period of a subject once.

        Raises UnexpectedPayload for no list, or an endless one.
        """
        length = QUARTER if self._where is None else timedelta(hours=23)
        most = ((self._query.end - self._query.start) / length + 3) * self._kinds_of_rows
        rows = self._listed(told, most, "rows")
        self._emptied.clear()
        are_sound = _have_sound_values([row for row in rows if type(row) is Reading])
        found: dict[tuple[str | None, datetime], Reading] = {}
        contradicted = set()
        for row in rows:
            sound = self._row(row, are_sound)
            if sound is None:
                continue
            key = (sound.device_id, sound.start)
            first = found.setdefault(key, sound)
            if (first is not sound and first != sound) or self._tells_nothing_but_twice(sound):
                contradicted.add(key)
        for key in contradicted | (self._emptied & found.keys()):
            self._refuse(Rule.TWICE, found.pop(key))
        return sorted(
            found.values(), key=_AT if len(self._subjects) == 1 else lambda row: (row.start, row.device_id or "")
        )

    def _tells_nothing_but_twice(self, row: Reading) -> bool:
        """Tells whether a plugin's own finding (series.Quarters.told_twice) left nothing of the row.

        The finding is counted where it lost only a part as well.
        """
        if row.rule != Rule.TWICE:
            return False
        if all(getattr(row, name) is None for name in METRICS):
            return True
        self._refusals.note(Rule.TWICE)
        return False

    def _row(self, row: object, has_sound_values: bool = False) -> Reading | None:
        """Judges one row by itself, and leaves it as it is where nothing is wrong with it, as with nearly every one."""
        if self._is_in_place(row) and (has_sound_values or _have_sound_values([row])):
            return row
        return self._mended(row)

    def stored(self, row: Reading) -> Judged:
        """Judges one row that was written down, maybe by a version that checked less."""
        sound = self._row(row)
        refused = self._refusals.taken()
        whole = next((one.rule for one in refused if one.spans), None)
        if sound is None and whole is not None:
            sound = Reading(start=row.start, end=row.end, device_id=row.device_id, quality="partial", rule=whole)
        return Judged(sound, refused)

    def counters(self, told: object) -> tuple[Counter, ...]:
        """Registers of the past, of this site and its devices, each moment of a subject once: as it is kept."""
        found: dict[tuple[str | None, datetime], Counter] = {}
        contradicted = set()
        for counter in self._listed(told, 4 * self._kinds_of_rows, "counters"):
            sound = self._counter(counter)
            if sound is None:
                continue
            key = (sound.device_id, sound.at.replace(microsecond=0))
            if found.setdefault(key, sound) != sound:
                contradicted.add(key)
        for key in contradicted:
            self._refusals.note(Rule.TWICE, "counter")
            del found[key]
        return tuple(found.values())

    def live(self, told: object) -> Live | None:
        """Returns the power of the past; None where the answer holds none."""
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

    def _is_in_place(self, row: object) -> TypeGuard[Reading]:
        """Tells whether it is as nearly every row is.

        That is a plain one, a whole period that is over, in UTC, of what was asked.
        """
        if type(row) is not Reading:
            return False
        start, end, device_id = row.start, row.end, row.device_id
        return (
            type(start) is type(end) is datetime
            and start.tzinfo is end.tzinfo is UTC
            and self._query.start <= start < self._query.end
            and end <= self._now
            and (device_id is None or type(device_id) is str)
            and device_id in self._subjects
            and self._is_whole(start, end)
            and type(row.lacks) is tuple
            and not row.lacks
        )

    def _mended(self, row: object) -> Reading | None:
        """Returns as much of the row as holds."""
        if not isinstance(row, Reading):
            self._refusals.note(Rule.SHAPE, "interval")
            return None
        placed = self._placed(row)
        return None if placed is None else self._running(self._filled(placed))

    def _placed(self, row: Reading) -> Reading | None:
        """Returns the row with its times in UTC; None where it is out of place.

        Its place is a whole period of the past, inside what was asked, of what was asked.
        """
        start, end = values.utc(row.start), values.utc(row.end)
        if start is None or end is None or not start < end:
            self._refusals.note(Rule.TIMES, "interval")
        elif not self._is_of_subject(row.device_id):
            self._refusals.note(Rule.SUBJECT, span=self._stranger(row.device_id, start, end))
        elif start > self._now:
            self._refusals.note(Rule.FUTURE, "interval")
        elif not self._query.start <= start < self._query.end:
            self._refusals.note(Rule.OUTSIDE)
        elif not self._is_whole(start, end):
            self._refusals.note(Rule.UNALIGNED)
        else:
            told = {name: getattr(row, name) for name in (*METRICS, "quality", "rule")}
            told["lacks"] = self._known_ids(row.lacks)
            return Reading(start=start, end=end, device_id=values.identifier(row.device_id), **told)
        return None

    def _known_ids(self, told: object) -> tuple[str, ...]:
        """Keeps ids of this site's devices; what else a plugin adds up, such as phases, has a name of its own only."""
        ids = told if isinstance(told, tuple | list) else ()
        return tuple(sorted({one for one in ids if isinstance(one, str) and one in self._device_ids}))

    def _stranger(self, device_id: object, start: datetime, end: datetime) -> tuple[str, datetime, datetime] | None:
        """Tells where a site's answer has a device that it does not list: a sum over the others lacks it there."""
        if self._query.device_id is not None or not isinstance(device_id, str):
            return None
        return clean_line(device_id[: values.ID_MOST]), start, end

    def _is_of_subject(self, device_id: object) -> bool:
        return (device_id is None or isinstance(device_id, str)) and device_id in self._subjects

    def _is_whole(self, start: datetime, end: datetime) -> bool:
        """Tells whether the period is a whole one; both times are in UTC."""
        if self._where is None:
            return end - start == QUARTER and not (start.minute % 15 or start.second or start.microsecond)
        return (start, end) == day_span(start.astimezone(self._where).date(), self._where)

    def _filled(self, row: Reading) -> Reading | None:
        """Judges each value alone: what is none is unknown. None, and its span refused, where nothing is left."""
        hours = (row.end - row.start).total_seconds() / 3600
        kept: dict[str, Any] = {name: self._energy(name, getattr(row, name), hours) for name in ENERGY_METRICS}
        kept["soc_percent"] = self._charge(row.soc_percent)
        lost = [name for name, value in kept.items() if value is None and getattr(row, name) is not None]
        if lost and all(value is None for value in kept.values()):
            rule = Rule.CHARGE if lost == ["soc_percent"] else Rule.NUMBER
            self._refusals.note(rule, lost[0], (row.device_id, row.start, row.end), count=0)
            self._emptied.add((row.device_id, row.start))
            return None
        sound_quality: Quality | None = next(
            (one for one in get_args(Quality) if isinstance(row.quality, str) and one == row.quality), None
        )
        if sound_quality is None:
            self._refusals.note(Rule.SHAPE, "quality")
        told_rule = str.__str__(row.rule) if isinstance(row.rule, str) and _RULE.fullmatch(row.rule) else None
        why = told_rule or (str(Rule.NUMBER) if lost else None)
        return structs.replace(row, quality=sound_quality or "estimated", rule=why, **kept)

    def _energy(self, name: str, value: object, hours: float) -> float | None:
        """Judges an energy. A little below zero, a production is the inverters' standby draw: 0, without a word."""
        most = physics.MOST_W * hours
        told = values.plain(value) if name == "solar_wh" else None
        if told is not None and -most < told < 0:
            value = 0.0 if physics.solar_power(told / hours) == 0.0 else value
        return values.number(value, name, self._refusals, low=0, high=most)

    def _running(self, row: Reading | None) -> Reading | None:
        """Marks a period that is not over as told in part, whatever the plugin calls it."""
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
        source = None if counter.source is None else values.identifier(counter.source)
        if source is None and counter.source is not None:  # nobody could tell which register it is
            self._refusals.note(Rule.SHAPE, "source")
            return None
        if at is None:
            return None
        kept = {
            name: values.number(getattr(counter, name), name, self._refusals, low=0, high=WH_MOST)
            for name in ENERGY_METRICS
        }
        charge, device_id = self._charge(counter.soc_percent), values.identifier(counter.device_id)
        return Counter(at=at, device_id=device_id, source=source, soc_percent=charge, **kept)

    def _refuse(self, rule: Rule, row: Reading) -> None:
        self._refusals.note(rule, span=(row.device_id, row.start, row.end))


def _have_sound_values(rows: Sequence[Reading]) -> bool:
    try:
        msgspec.convert((list(map(_values_of, rows)),), _Sound)
    except (msgspec.ValidationError, TypeError):
        return False
    return True
