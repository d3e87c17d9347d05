"""A fleet's energy as stored, row by row: every site, every period of a range. No vendor is asked.

Whoever writes the rows down holds one window of one site at a time, whatever the size of the fleet.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence

from msgspec import Struct

from joinder.energy import DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.readings import intervals
from joinder.services.readings.intervals import MAX_SPAN_DAYS, Window
from joinder.services.readings.periods import SummaryLevel
from joinder.services.readings.totals import COLUMN, NO_TOTALS, Total, Totals
from joinder.store.readings import METRICS, read_intervals
from joinder.store.types import Row

DAY_S = 86_400
WEEK = 7  # days of quarter hours: more at once live so long that the collector of garbage looks at them again and again
SITES_A_PAGE = 200
PERIODS_MOST = 10_000  # of a window, more than any has
_SITES = (
    "SELECT s.id, s.account_id, s.vendor, s.vendor_id, e.reference, s.timezone FROM site s "
    "JOIN enrollment e ON e.id = s.enrollment_id WHERE s.id > :after AND s.fetched_at IS NOT NULL {filters}"
)
_FILTERS = {"account_id": "s.account_id", "vendor": "s.vendor", "reference": "e.reference"}
_WORST = ("measured", "estimated", "partial")


class Question(Struct, frozen=True, kw_only=True):
    """Which rows: [start, end) in epoch seconds, of the sites that fit what is not None."""

    start: int
    end: int
    level: SummaryLevel
    account_id: str | None = None
    vendor: str | None = None
    reference: str | None = None


class Site(Struct, frozen=True):
    id: str
    account_id: str
    vendor: str
    vendor_id: str
    reference: str | None
    timezone: str | None


async def count(hub: Hub, question: Question) -> int:
    """Counts the sites."""
    sql, values = _filtered(_SITES, question)
    ((found,),) = await hub.store.rows(f"SELECT count(*) FROM ({sql}) counted", {"after": "", **values})  # noqa: S608
    return int(found)


async def sites(hub: Hub, question: Question, after: str = "") -> AsyncIterator[Site]:
    """Yields the sites in order of id, from behind `after`."""
    sql, values = _filtered(_SITES, question)
    while True:
        asked = {"after": after, "limit": SITES_A_PAGE, **values}
        page = [Site(*row) for row in await hub.store.rows(f"{sql} ORDER BY s.id LIMIT :limit", asked)]
        for site in page:
            yield site
        if len(page) < SITES_A_PAGE:
            return
        after = page[-1].id


async def energy(hub: Hub, site: Site, question: Question) -> AsyncIterator[Totals]:
    """Yields the site's periods, a window at a time, with every metric. Quarter hours come as they are stored."""
    for start, end in _windows(question):
        if question.level == "15mins":
            yield _stored(await read_intervals(hub.store, site.id, "15mins", start, end))
        else:
            since = 0 if start == question.start else start  # the first period is whole, as a read's is
            window = Window(question.level, start, end, PERIODS_MOST)
            yield _columns([one for one in await _summed(hub, site, window) if since <= one.start < end])


def _windows(question: Question) -> Iterator[tuple[int, int]]:
    step = (WEEK if question.level == "15mins" else MAX_SPAN_DAYS[question.level]) * DAY_S
    for start in range(question.start, question.end, step):
        yield start, min(start + step, question.end)


def _stored(rows: Sequence[Row]) -> Totals:
    if not rows:
        return NO_TOTALS
    columns = tuple(zip(*rows, strict=True))
    return Totals(columns[0], columns[1], {name: columns[COLUMN[name]] for name in METRICS}, columns[-1])


async def _summed(hub: Hub, site: Site, window: Window) -> list[Total]:
    """Sums by the site's own periods, all that the window touches."""
    found: dict[int, list[Total]] = {}
    for kind in DeviceKind:
        page = await intervals.stored_of_site(hub, site.account_id, site.id, kind, window)
        for total in page.totals:
            found.setdefault(total.start, []).append(total)
    return [_joined(found[start]) for start in sorted(found)]


def _joined(totals: Sequence[Total]) -> Total:
    values = {name: value for total in totals for name, value in total.values.items()}
    quality = max((total.quality for total in totals), key=_WORST.index)
    return Total(totals[0].start, totals[0].end, values, quality)


def _columns(totals: Sequence[Total]) -> Totals:
    return Totals(
        [total.start for total in totals],
        [total.end for total in totals],
        {name: [total.values.get(name) for total in totals] for name in METRICS},
        [total.quality for total in totals],
    )


def _filtered(sql: str, question: Question) -> tuple[str, dict[str, str]]:
    given = {name: getattr(question, name) for name in _FILTERS if getattr(question, name) is not None}
    filters = " ".join(f"AND {_FILTERS[name]} = :{name}" for name in given)
    return sql.format(filters=filters), given
