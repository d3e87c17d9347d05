"""Intervals written from columns are, to the byte, those written from structs: zones, clock changes, what is absent."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, available_timezones

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from effort import examples
from joinder.energy import DeviceKind
from joinder.services.readings.intervals import Page
from joinder.services.readings.missing import Missing
from joinder.services.readings.periods import QUARTER_S, SummaryLevel
from joinder.services.readings.totals import METRICS_OF, NO_TOTALS, summed
from joinder.store.readings import METRICS
from joinder.store.types import Row
from joinder.wire.interval_bytes import Answer, encoded
from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals
from joinder.wire.local_times import DAY_S, quarters_of_day

ANSWERS: dict[DeviceKind, Answer] = {
    DeviceKind.INVERTER: SolarIntervals,
    DeviceKind.BATTERY: BatteryIntervals,
    DeviceKind.METER: MeterIntervals,
    DeviceKind.CHARGER: ChargerIntervals,
}
LEVELS: tuple[SummaryLevel, ...] = ("15mins", "hour", "day", "month")
ZONES = sorted(available_timezones() - {"localtime"})
CHANGES = [  # a moment near which the offset changes: by an hour, by half of one, by a whole day, twice in a spring
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/Los_Angeles", datetime(2026, 11, 1, 9, tzinfo=UTC)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4, 15, tzinfo=UTC)),
    ("Asia/Kathmandu", datetime(2026, 6, 1, tzinfo=UTC)),
    ("Pacific/Apia", datetime(2011, 12, 30, 10, tzinfo=UTC)),
    ("Africa/Casablanca", datetime(2026, 2, 15, 2, tzinfo=UTC)),
    ("Antarctica/Troll", datetime(2026, 3, 29, 1, tzinfo=UTC)),
]
WH = st.one_of(st.none(), st.sampled_from([0.0, 0.0001, 0.0005, 1e-9, 1 / 3, 123456.789, 2.5e7]), st.floats(0, 2.5e7))
PERCENT = st.one_of(st.none(), st.floats(0, 100))


@st.composite
def places(draw: st.DrawFn) -> tuple[ZoneInfo, int]:
    """A zone and a quarter hour, often one near a change of its clocks."""
    if draw(st.booleans()):
        name, moment = draw(st.sampled_from(CHANGES))
        at = int(moment.timestamp()) + draw(st.integers(-100, 100)) * QUARTER_S
    else:
        name = draw(st.sampled_from(ZONES))
        at = draw(st.integers(946_684_800 // QUARTER_S, 2_145_916_800 // QUARTER_S)) * QUARTER_S
    return ZoneInfo(name), at


@st.composite
def rows(draw: st.DrawFn, at: int) -> list[Row]:
    """Quarter hours with holes between them, each metric known, unknown or both."""
    unknown = draw(st.sets(st.sampled_from(METRICS)))
    is_seldom = draw(st.booleans())
    found = []
    for _ in range(draw(st.integers(0, 30))):
        at += QUARTER_S * draw(st.sampled_from([0, 0, 0, 1, 5, 97] if is_seldom else [0]))
        values = (None if name in unknown else draw(PERCENT if name == "soc_percent" else WH) for name in METRICS)
        quality = draw(st.sampled_from(["measured", "measured", "estimated", "partial"]))
        found.append((at, at + QUARTER_S, *values, at, None, draw(st.sampled_from([None, 7])), quality))
        at += QUARTER_S
    return found


@pytest.mark.parametrize("kind", list(DeviceKind))
@settings(max_examples=examples(300), deadline=None)
@given(st.data(), places(), st.sampled_from(LEVELS), st.integers(1, 40), st.booleans())
def test_bytes_are_those_of_the_structs(kind, data, place, level, limit, with_origin):
    zone, at = place
    found = summed(data.draw(rows(at)), kind, level, zone, with_origin)
    shown = found.first(limit)
    following = found.starts[limit] if len(found) > limit else None
    page = Page(shown, zone, following, data.draw(st.sampled_from([None, at])), missing=[Missing(at, at + 1, "future")])
    answer = ANSWERS[kind]
    assert encoded(answer, "site-aaaaaaaaaaaaaaaa", level, page) == msgspec.json.encode(
        answer.of("site-aaaaaaaaaaaaaaaa", level, page)
    )


@pytest.mark.parametrize("kind", list(DeviceKind))
def test_a_page_of_nothing_is_an_empty_list(kind):
    page = Page(NO_TOTALS, ZoneInfo("Europe/Berlin"), None)
    told = msgspec.json.decode(encoded(ANSWERS[kind], "x", "hour", page))
    assert told == {"id": "x", "summaryLevel": "hour", "complete": True, "intervals": []}


@pytest.mark.parametrize("kind", list(DeviceKind))
@settings(max_examples=examples(200), deadline=None)
@given(st.data())
def test_of_quarter_hours_those_stay_that_tell_enough(kind, data):
    """A battery's tells both directions, any other one of its values."""
    found = data.draw(rows(1_780_272_000))
    metrics = [name for name in METRICS_OF[kind] if name != "soc_percent"]
    enough = all if kind is DeviceKind.BATTERY else any
    told = [row for row in found if enough(row[2 + METRICS.index(name)] is not None for name in metrics)]
    totals = list(summed(found, kind, "15mins", ZoneInfo("UTC"), True))
    assert [(one.start, one.end, one.quality) for one in totals] == [(row[0], row[1], row[-1]) for row in told]
    for one, row in zip(totals, told, strict=True):
        assert one.values == {name: row[2 + METRICS.index(name)] for name in METRICS_OF[kind]}
        assert one.origin is not None
        assert one.origin.fetched_at == row[2 + len(METRICS)]


@settings(max_examples=examples(500), deadline=None)
@given(places())
@example((ZoneInfo("Pacific/Apia"), 1_325_239_200))
def test_a_day_of_quarter_hours_is_written_as_datetime_writes_each(place):
    zone, at = place
    day = at // DAY_S
    moments = range(day * DAY_S, (day + 1) * DAY_S, QUARTER_S)
    assert list(quarters_of_day(zone, day)) == [datetime.fromtimestamp(one, zone).isoformat() for one in moments]
