"""Which spans of a series were asked of the vendor, and what of a range must still be asked. Pure: no clock, no store.

An answer is settled up to `settles_after` before it was fetched: later rows may still be filled in or corrected, so
they are asked for again, though not at once. Times are epoch seconds.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from zoneinfo import ZoneInfo

from joinder.physics import NEIGHBOURS_S
from joinder.services.readings.periods import QUARTER_S, SummaryLevel, ceiling, floor
from joinder.store.readings import CoveredSpan
from joinder.vendor import History

ASK_AGAIN_AFTER_S = 900  # what has not settled is not asked for again sooner
TRIES_MOST = 3  # asked so often, what told nothing has nothing
TRY_AGAIN_AFTER_S = 86400  # and as often as it was tried, so many seconds lie before the next time
HOUR_S = 3600
HOLE_S = 23 * HOUR_S  # the shortest day: an inverter sleeps at night, so a shorter silence means nothing
Gap = tuple[int, int]


@dataclass(frozen=True)
class Freshness:
    """How one vendor's answers age."""

    settles_after_s: int
    ask_again_after_s: int = ASK_AGAIN_AFTER_S
    enough_since: int | None = None  # an answer of since then is good enough, settled or not

    def settled_until(self, span: CoveredSpan) -> int:
        """Returns until when a span has settled, in whole quarter hours: one that has in part is asked for again.

        A span that told nothing has settled once it was asked often enough.
        """
        if 0 < span.tries < TRIES_MOST:
            return span.start
        at = span.fetched_at - self.settles_after_s
        return min(span.end, max(span.start, at - at % QUARTER_S))

    def settled_at(self, end: int) -> int:
        """Returns the earliest moment at which an answer up to `end` has settled, in epoch seconds."""
        return end + -end % QUARTER_S + self.settles_after_s

    def is_young(self, span: CoveredSpan, moment: int) -> bool:
        is_enough = self.enough_since is not None and span.fetched_at >= self.enough_since
        return is_enough or moment - span.fetched_at < self._rests_s(span)

    def _rests_s(self, span: CoveredSpan) -> int:
        """Returns how long an answer is left alone.

        One that told nothing of a time that has settled rests a day and more.
        """
        is_over = span.tries > 0 and span.fetched_at - span.end >= self.settles_after_s
        return max(self.ask_again_after_s, TRY_AGAIN_AFTER_S * span.tries) if is_over else self.ask_again_after_s


def reachable(
    history: History, start: int, end: int, *, moment: int, zone: ZoneInfo, operational_since: int | None
) -> Gap | None:
    """Returns what of [start, end) can exist; None when nothing can. Times are epoch seconds.

    Nothing exists of the future, beyond the vendor's reach, or before the site did.
    """
    end = min(end, moment)
    if history.reach is not None:
        start = max(start, floor(int(moment - history.reach.total_seconds()), "day", zone) + 86400)
    if operational_since is not None:
        start = max(start, floor(operational_since, "day", zone))
    return (start, end) if start < end else None


def answered(
    before: Sequence[CoveredSpan], start: int, end: int, told: Sequence[Gap], moment: int
) -> list[CoveredSpan]:
    """Returns what an answer to [start, end) covers: from the first to the last period it tells of.

    Holes of a day and more are left out. The rest told nothing, once more than it did before.
    """
    spans: list[CoveredSpan] = []
    for begin, until in _stretches(told, start, end):
        spans += _empty(before, spans[-1].end if spans else start, begin, moment)
        spans.append(CoveredSpan(begin, until, moment))
    return [*spans, *_empty(before, spans[-1].end if spans else start, end, moment)]


def _stretches(told: Sequence[Gap], start: int, end: int) -> list[Gap]:
    """Returns the periods inside [start, end) in order, those joined between which less than a hole lies."""
    inside = ((max(begin, start), min(until, end)) for begin, until in told)
    return near((begin, until) for begin, until in inside if begin < until)


def _empty(before: Sequence[CoveredSpan], start: int, end: int, moment: int) -> list[CoveredSpan]:
    """Returns [start, end) as asked and silent, in pieces of equal tries."""
    if start >= end:
        return []
    marks = sorted({start, end} | {at for span in before for at in (span.start, span.end) if start < at < end})
    found: list[CoveredSpan] = []
    for begin, until in pairwise(marks):
        tries = max((_tries(span, moment) for span in before if span.start <= begin and span.end >= until), default=1)
        if found and found[-1].tries == tries:
            begin = found.pop().start
        found.append(CoveredSpan(begin, until, moment, tries))
    return found


def _tries(before: CoveredSpan, moment: int) -> int:
    """Counts the tries. Polls ask for the last hours again and again, so that one counts once in half a day."""
    is_new = moment - before.fetched_at >= TRY_AGAIN_AFTER_S // 2
    return max(1, before.tries + is_new)


def gaps(known: Sequence[CoveredSpan], start: int, end: int, moment: int, freshness: Freshness) -> list[Gap]:
    """Returns what of [start, end) must be asked: never asked, or asked before it had settled and not just now.

    `known` in the order of their starts.
    """
    missing, at = [], start
    present = None  # up to here the vendor was asked just now: the seconds since hold nothing new
    for span in known:
        if span.start >= end:
            break
        young = freshness.is_young(span, moment)
        until = span.end if young else freshness.settled_until(span)
        if young and span.end >= span.fetched_at - 1:
            present = max(present or until, until)
        if until <= max(at, span.start):
            continue
        if span.start > at:
            missing.append((at, span.start))
        at = max(at, until)
    if at < end and not (present == at and end - at < freshness.ask_again_after_s):
        missing.append((at, end))
    return missing


def merged(spans: Sequence[CoveredSpan], moment: int, freshness: Freshness) -> list[CoveredSpan]:
    """Returns the same ledger in few rows that do not overlap; of each moment the latest answer counts.

    What has settled becomes one row where it adjoins. What has not is kept by the hour it was fetched in, and once that
    is longer ago than it takes to settle, in one row: it is only asked for again.
    """
    found: list[CoveredSpan] = []
    kind: object = None
    for piece in _pieces(spans, freshness):
        is_settled = freshness.settled_until(piece) == piece.end
        is_told = not piece.tries
        piece_kind = ("settled", is_told) if is_settled else _age(piece, moment, freshness)
        if found and piece_kind == kind and found[-1].end == piece.start:
            found[-1] = _joined(found[-1], piece, freshness if is_settled else None)
        else:
            found.append(piece)
        kind = piece_kind
    return found


def without(spans: Sequence[CoveredSpan], gaps: Sequence[Gap]) -> list[CoveredSpan]:
    """Returns the spans less the gaps, which then count as never asked. Gaps in order, without overlap."""
    left: list[CoveredSpan] = []
    for span in spans:
        at = span.start
        for start, end in gaps:
            if start < span.end and end > at:
                left.append(replace(span, start=at, end=start))
                at = end
        left.append(replace(span, start=at))
    return [span for span in left if span.start < span.end]


def near(gaps: Iterable[Gap]) -> list[Gap]:
    """Returns the gaps in order, those joined that lie less than a day apart: one call asks for both."""
    found: list[Gap] = []
    for start, end in sorted(gaps):
        if found and start - found[-1][1] < HOLE_S:
            found[-1] = (found[-1][0], max(found[-1][1], end))
        else:
            found.append((start, end))
    return found


def _age(span: CoveredSpan, moment: int, freshness: Freshness) -> tuple[str, int]:
    if span.tries:
        return f"silent {span.tries}", span.fetched_at // HOUR_S
    if freshness.is_young(span, moment):
        return "young", span.fetched_at
    if moment - span.fetched_at > freshness.settles_after_s:
        return "old", 0
    return "hour", span.fetched_at // HOUR_S


def _joined(first: CoveredSpan, second: CoveredSpan, freshness: Freshness | None) -> CoveredSpan:
    """Joins two spans: settled pieces (with `freshness`) stay settled, the others are as old as the older of them."""
    fetched_at = min(first.fetched_at, second.fetched_at)
    if freshness is not None:
        fetched_at = max(fetched_at, freshness.settled_at(second.end))
    return CoveredSpan(first.start, second.end, fetched_at, max(first.tries, second.tries))


def _pieces(spans: Sequence[CoveredSpan], freshness: Freshness) -> Iterator[CoveredSpan]:
    """Yields the spans in order, without overlap, each settled as a whole or not at all."""
    ordered = sorted((span for span in spans if span.start < span.end), key=lambda span: span.start)
    marks = sorted({at for span in ordered for at in (span.start, span.end, freshness.settled_until(span))})
    latest: list[tuple[int, int, int]] = []  # (-fetched_at, end, tries) of the spans begun: a heap
    index = 0
    for start, end in pairwise(marks):
        while index < len(ordered) and ordered[index].start <= start:
            heapq.heappush(latest, (-ordered[index].fetched_at, ordered[index].end, ordered[index].tries))
            index += 1
        while latest and latest[0][1] <= start:
            heapq.heappop(latest)
        if latest:
            yield CoveredSpan(start, end, -latest[0][0], latest[0][2])


def with_neighbours(gap: Gap, history: History, *, moment: int, zone: ZoneInfo, operational_since: int | None) -> Gap:
    """Widens a gap too short to judge its own rows by the two hours around it, which is the same call."""
    start, end = gap
    if history.resolution != "15mins" or end - start >= NEIGHBOURS_S:
        return gap
    wide = (start - start % QUARTER_S - NEIGHBOURS_S, end + NEIGHBOURS_S)
    return reachable(history, *wide, moment=moment, zone=zone, operational_since=operational_since) or gap


def windows(gap: Gap, history: History, zone: ZoneInfo) -> list[Gap]:
    """Cuts a gap into spans the vendor takes in one call, newest first, begun on a whole quarter hour or local day."""
    level: SummaryLevel = "day" if history.resolution == "day" else "15mins"
    length = int(history.window.total_seconds())
    first, end = floor(gap[0], level, zone), gap[1]
    found = []
    while end > first:
        start = max(first, ceiling(end - length, level, zone))
        if start >= end:  # a window shorter than a period
            start = floor(end - 1, level, zone)
        found.append((start, end))
        end = start
    return found
