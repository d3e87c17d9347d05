"""The coverage ledger: merging loses nothing and invents nothing, and a year of polls stays small."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effort import EVERYTHING, examples
from joinder.services.readings.coverage import Freshness, Gap, gaps, merged, reachable, windows
from joinder.services.readings.periods import floor
from joinder.store.readings import CoveredSpan
from joinder.vendor import History

QUARTER, HOUR, DAY = 900, 3600, 86400
FRESH = Freshness(settles_after_s=2 * DAY)
NOW = 1_790_000_000
BERLIN = ZoneInfo("Europe/Berlin")


@st.composite
def spans(draw: st.DrawFn) -> CoveredSpan:
    """Asked in the past ten days, of the time before they were asked; on quarter hours or not."""
    end = NOW - draw(
        st.one_of(st.integers(0, 4 * HOUR), st.integers(0, 10 * DAY), st.integers(0, 900).map(QUARTER.__mul__))
    )
    length = draw(st.one_of(st.integers(1, 2 * DAY), st.integers(1, 200).map(QUARTER.__mul__)))
    fetched_at = draw(st.one_of(st.integers(end, NOW), st.sampled_from([end, NOW])))
    return CoveredSpan(end - length, end, fetched_at)


ledgers = st.lists(spans(), max_size=25)


def ordered(known: Sequence[CoveredSpan]) -> list[CoveredSpan]:
    return sorted(known, key=lambda span: span.start)


def settled(known: Sequence[CoveredSpan]) -> list[Gap]:
    """The union of what has settled, as the ledger's rule says it: span by span."""
    found: list[Gap] = []
    for start, end in sorted((span.start, FRESH.settled_until(span)) for span in known):
        if start >= end:
            continue
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def asked(known: Sequence[CoveredSpan]) -> list[Gap]:
    return settled([CoveredSpan(span.start, span.end, span.end + 10 * DAY) for span in known])


thoroughly = settings(max_examples=examples(250), deadline=None)


@thoroughly
@given(ledgers)
def test_merging_keeps_what_was_asked_and_what_has_settled(known):
    after = merged(known, NOW, FRESH)
    assert settled(after) == settled(known)
    assert asked(after) == asked(known)


@thoroughly
@given(ledgers, st.integers(0, 5 * DAY))
def test_now_and_later_the_same_is_missing(known, later):
    start, end, moment = NOW - 15 * DAY, NOW - HOUR, NOW + later
    assert gaps(merged(known, NOW, FRESH), start, end, moment, FRESH) == gaps(ordered(known), start, end, moment, FRESH)


@thoroughly
@given(ledgers)
def test_the_ledger_does_not_overlap_and_merging_again_changes_nothing(known):
    after = merged(known, NOW, FRESH)
    assert all(a.end <= b.start for a, b in pairwise(after))
    assert merged(after, NOW, FRESH) == after
    assert all(span.fetched_at <= NOW for span in after)


@thoroughly
@given(ledgers, ledgers)
def test_the_order_in_which_answers_come_does_not_matter_to_what_is_missing(first, second):
    one = merged([*merged(first, NOW, FRESH), *second], NOW, FRESH)
    other = merged([*first, *second], NOW, FRESH)
    start, end = NOW - 15 * DAY, NOW - HOUR
    assert gaps(one, start, end, NOW, FRESH) == gaps(other, start, end, NOW, FRESH)


@thoroughly
@given(ledgers, st.integers(0, 12 * DAY), st.integers(1, 12 * DAY))
def test_gaps_and_what_is_known_make_up_the_range(known, back, length):
    start = NOW - back
    end = min(NOW, start + length)
    missing = gaps(ordered(known), start, end, NOW, FRESH)
    assert all(start <= a < b <= end for a, b in missing)
    assert all(a[1] < b[0] for a, b in pairwise(missing))
    answered = [*known, *(CoveredSpan(a, b, b + 10 * DAY) for a, b in missing)]
    assert gaps(ordered(answered), start, end, NOW, FRESH) == []


@thoroughly
@given(ledgers)
def test_an_answer_that_covers_everything_leaves_one_settled_row(known):
    later = NOW + 30 * DAY
    after = merged([*known, CoveredSpan(NOW - 20 * DAY, NOW, later)], later, FRESH)
    assert [(span.start, span.end) for span in after] == [(NOW - 20 * DAY, NOW)]


@pytest.mark.parametrize("every", [QUARTER, HOUR])
def test_a_year_of_polls_is_a_small_table(every):
    """Each poll asks from two hours before the end of the one before, as services/readings/poll.py does."""
    days = 365 if EVERYTHING else 60
    ledger: list[CoveredSpan] = []
    largest = 0
    for moment in range(NOW, NOW + days * DAY, every):
        start = ledger[-1].end - 2 * HOUR if ledger else moment - DAY
        ledger = merged([*ledger, CoveredSpan(start - start % QUARTER, moment, moment)], moment, FRESH)
        largest = max(largest, len(ledger))
    assert largest <= 48 + 4
    assert ledger[0].start <= NOW - DAY + QUARTER
    assert ledger[-1].end == moment


def test_what_came_late_is_asked_for_again_and_replaces_the_earlier_answer():
    early = CoveredSpan(NOW - DAY, NOW, NOW)
    later = NOW + 3 * DAY
    assert gaps([early], NOW - DAY, NOW, later, FRESH) == [(NOW - DAY, NOW)]
    after = merged([early, CoveredSpan(NOW - DAY, NOW, later)], later, FRESH)
    assert gaps(after, NOW - DAY, NOW, later, FRESH) == []


def test_seconds_after_the_vendor_was_asked_nothing_new_is_missing():
    known = [CoveredSpan(NOW - DAY, NOW, NOW)]
    assert gaps(known, NOW - DAY, NOW + 30, NOW + 30, FRESH) == []
    assert gaps(known, NOW - DAY, NOW + QUARTER, NOW + QUARTER, FRESH) == [(NOW - DAY, NOW + QUARTER)]


def test_the_impossible_is_never_asked():
    history = History(resolution="15mins", window=timedelta(days=7), reach=timedelta(days=30))
    built = NOW - 10 * DAY

    def span(start: int, end: int, since: int | None = None) -> Gap | None:
        return reachable(history, start, end, moment=NOW, zone=BERLIN, operational_since=since)

    assert span(NOW - DAY, NOW + DAY) == (NOW - DAY, NOW)
    beyond = span(NOW - 400 * DAY, NOW)
    assert beyond is not None
    assert NOW - 30 * DAY < beyond[0] <= NOW - 29 * DAY
    assert span(NOW - 20 * DAY, NOW, built) == (floor(built, "day", BERLIN), NOW)
    assert span(NOW - 20 * DAY, built - 2 * DAY, built) is None
    assert span(NOW, NOW + DAY) is None


@thoroughly
@given(
    st.integers(0, 800 * DAY),
    st.integers(1, 400 * DAY),
    st.sampled_from([timedelta(hours=24), timedelta(days=2), timedelta(days=7), timedelta(days=365)]),
    st.sampled_from(["15mins", "day"]),
)
def test_windows_tile_a_gap_newest_first_and_fit_the_vendor(back, length, window, resolution):
    history = History(resolution=resolution, window=window)
    gap = (NOW - back - length, NOW - back)
    found = windows(gap, history, BERLIN)
    level = "day" if resolution == "day" else "15mins"
    assert found[0][1] == gap[1]
    assert found[-1][0] == floor(gap[0], level, BERLIN)
    assert all(newer[0] == older[1] for newer, older in pairwise(found))
    assert all(floor(start, level, BERLIN) == start for start, _ in found)
    longest = max(window.total_seconds(), 25 * HOUR if resolution == "day" else 0)
    assert all(0 < end - start <= longest for start, end in found)
