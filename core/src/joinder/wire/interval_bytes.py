"""Writes a page of intervals straight from its columns, to the byte as msgspec encodes the structs of intervals.py.

A day of quarter hours is the most frequent read: 96 structs, and 192 moments in the site's zone, cost more than all
else of it. Structs remain for what is seldom asked: provenance, and the other formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from msgspec import structs

from joinder.services.readings.intervals import Page
from joinder.services.readings.periods import QUARTER_S
from joinder.wire.base import local_times
from joinder.wire.intervals import BatteryIntervals, MeterIntervals, SolarIntervals, around, shown

DAY_S = 86_400
_DAYS_KEPT = 512  # 8 kB each
_QUARTERS = [f"T{hour:02}:{minute:02}:00" for hour in range(24) for minute in range(0, 60, 15)]
Answer = type[SolarIntervals] | type[BatteryIntervals] | type[MeterIntervals]


def encoded(answer: Answer, owner_id: str, level: str, page: Page) -> bytes:
    """Returns `msgspec.json.encode(answer.of(owner_id, level, page))`."""
    if page.totals.origins is not None:
        return msgspec.json.encode(answer.of(owner_id, level, page))
    rows: Any = msgspec.Raw(f"[{_rows(answer, level, page)}]".encode())  # what it holds is encoded already
    return msgspec.json.encode(answer(intervals=rows, **around(owner_id, level, page)))


def _rows(answer: Answer, level: str, page: Page) -> str:
    """Writes one row's members into a template, a column at a time; `quality`, always there, ends the commas."""
    totals, template, columns = page.totals, "", list[Sequence[str]]()
    starts, ends = _texts(level, page.zone, totals.starts, totals.ends)
    for name, encoded_name in _members(answer):
        if name in ("start", "end"):
            template += f'"{encoded_name}":"%s",'
            columns.append(starts if name == "start" else ends)
        elif totals and name in answer.metrics:
            metric = answer.metrics[name]
            part, column = _numbers(encoded_name, shown(metric, totals.values[metric]))
            template += part
            columns.append(column)
    row = f'{{{template}"quality":"%s"}}'
    return ",".join(map(row.__mod__, zip(*columns, totals.qualities, strict=True)))


@cache
def _members(answer: Answer) -> Sequence[tuple[str, str]]:
    return [(field.name, field.encode_name) for field in structs.fields(answer.row_type)]


def _numbers(name: str, values: Sequence[float | None]) -> tuple[str, Sequence[str]]:
    """Returns a member's part of the template, and its texts; where a value is unknown, the member is left out."""
    texts = msgspec.json.encode(values)[1:-1].decode().split(",")
    if None not in values:
        return f'"{name}":%s,', texts
    return "%s", ["" if text == "null" else f'"{name}":{text},' for text in texts]


def _texts(
    level: str, zone: ZoneInfo, starts: Sequence[int], ends: Sequence[int]
) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the moments as text. Where one period begins as the last ends, it is written once."""
    if level not in ("15mins", "hour"):
        when = local_times(zone)
        return [when(at) for at in starts], [when(at) for at in ends]
    if starts[1:] == ends[:-1]:
        texts = _quarters(zone, [*starts, *ends[-1:]])
        return texts[:-1], texts[1:]
    return _quarters(zone, starts), _quarters(zone, ends)


def _quarters(zone: ZoneInfo, moments: Sequence[int]) -> list[str]:
    days = {day: quarters_of_day(zone, day) for day in {at // DAY_S for at in moments}}
    return [days[at // DAY_S][at % DAY_S // QUARTER_S] for at in moments]


@lru_cache(_DAYS_KEPT)
def quarters_of_day(zone: ZoneInfo, day: int) -> Sequence[str]:
    """Writes the quarter hours of a day of UTC (counted from 1970) in the zone's time, with its offset.

    The offset is asked for once, unless the day ends with another.
    """
    moments = range(day * DAY_S, (day + 1) * DAY_S, QUARTER_S)
    first, last = (datetime.fromtimestamp(at, zone) for at in (moments[0], moments[-1]))
    if first.utcoffset() != last.utcoffset() or first.minute % 15 or first.second:
        return [datetime.fromtimestamp(at, zone).isoformat() for at in moments]
    offset = first.isoformat()[19:]
    begun = first.hour * 4 + first.minute // 15
    dates = (first.date().isoformat(), last.date().isoformat())
    return [dates[at // 96] + _QUARTERS[at % 96] + offset for at in range(begun, begun + 96)]
