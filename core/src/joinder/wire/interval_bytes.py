"""Writes a page of intervals straight from its columns, to the byte as msgspec encodes the structs of intervals.py.

A day of quarter hours is the most frequent read: 96 structs, and 192 moments in the site's zone, cost more than all
else of it. Structs remain for what is seldom asked: provenance, and the other formats.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import msgspec
from msgspec import structs

from joinder.services.readings.intervals import Page
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals, around, shown
from joinder.wire.local_times import spans

Answer = type[SolarIntervals] | type[BatteryIntervals] | type[MeterIntervals] | type[ChargerIntervals]


def encoded(answer: Answer, owner_id: str, level: str, page: Page) -> bytes:
    """Returns `msgspec.json.encode(answer.of(owner_id, level, page))`."""
    if page.totals.origins is not None:
        return msgspec.json.encode(answer.of(owner_id, level, page))
    rows: Any = msgspec.Raw(f"[{_rows(answer, level, page)}]".encode())  # what it holds is encoded already
    return msgspec.json.encode(answer(intervals=rows, **around(owner_id, level, page)))


def _rows(answer: Answer, level: str, page: Page) -> str:
    """Writes one row's members into a template, a column at a time; `quality`, always there, ends the commas."""
    totals, template, columns = page.totals, "", list[Sequence[str]]()
    starts, ends = spans(level, page.zone, totals.starts, totals.ends)
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
