"""Stored answers of either of Enphase's APIs, read and added up as its plugin does it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar
from zoneinfo import ZoneInfo

import pytest

from joinder import Device, DeviceKind, Reading, Site
from joinder.http import Answer
from joinder.series import Days, Quarters
from joinder_enphase import intervals, shapes

T = TypeVar("T")
Check = Callable[[object], None]
ALWAYS = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
ALL_DAYS = (15422, 15421, 17118, 18505, 18511, 18487)
INVERTER = Device(vendor_id="12345", kind=DeviceKind.INVERTER)
HOME = Site(vendor_id="1765", name="x", devices=(INVERTER,))


def read(body: object, into: type[T]) -> T:
    """`body` as bytes of a file, as text of an example with comments, or as a value."""
    if isinstance(body, str):
        body = re.sub(r"//[^\n]*", "", body).encode()
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(200, {}, content, "GET enphaseenergy.com/x").json(into)


def readings(series: intervals.Series, telemetry: shapes.Rows) -> tuple[Reading, ...]:
    into = Quarters(*ALWAYS)
    intervals.add_rows(into, series, telemetry, Site(vendor_id="1", name="x"))
    return into.readings()


def total(series: intervals.Series, telemetry: shapes.Rows) -> dict[str, float]:
    """Number of quarter hours and the sum of every metric."""
    found = readings(series, telemetry)
    sums = {metric: sum(getattr(row, metric) or 0 for row in found) for metric in series.columns}
    return {"quarters": len(found), **sums}


def checks_rows(into: type[shapes.Rows], series: intervals.Series, **expected: float) -> Check:
    def check(body: object) -> None:
        assert total(series, read(body, into)) == pytest.approx(expected)

    return check


def checks_days(series: intervals.Series, *expected: float) -> Check:
    def check(body: object) -> None:
        where = ZoneInfo("US/Pacific")
        into = Days(where, *ALWAYS)
        intervals.add_days(into, series, read(body, shapes.Lifetime), where)
        found = [sum(getattr(row, metric) or 0 for metric in series.day_columns) for row in into.readings()]
        assert found == list(expected)

    return check
