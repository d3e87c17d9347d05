"""A fleet's energy, summed over its sites by the database, and how many sites each sum stands for. No vendor is asked.

All sites are summed over the same periods, those of one time zone. Days, and months of them, are a site's daily values
where it lies in that zone and has them, else its quarter hours, which are stored for every site.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder import physics
from joinder.clock import now
from joinder.energy import ENERGY_METRICS, DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.readings.intervals import Window, refuse_span
from joinder.services.readings.periods import QUARTER_S, SummaryLevel, floor, following
from joinder.services.readings.totals import ENERGIES
from joinder.store.types import Row

_HAS = (
    "CASE WHEN EXISTS (SELECT 1 FROM device d WHERE d.site_id = s.id AND d.kind = '{kind}' AND d.gone_at IS NULL) "
    "THEN 1 ELSE 0 END AS {kind}"
)
_FLEET = (
    f"SELECT s.id, s.timezone, s.operational_since, s.gone_at, {', '.join(_HAS.format(kind=k) for k in DeviceKind)} "  # noqa: S608 - our own names
    "FROM site s JOIN enrollment e ON e.id = s.enrollment_id "
    "WHERE s.account_id = :account AND s.fetched_at IS NOT NULL {filters}"
)
# What one site tells of a metric in a period, and of how many seconds; what no site can have told counts as unknown.
_TOLD = "sum(CASE WHEN {m} BETWEEN 0 AND :{most} THEN {m} END) AS {m}"
_TOLD_S = 'sum(CASE WHEN {m} BETWEEN 0 AND :{most} THEN "end" - start ELSE 0 END) AS {m}_s'
_OF_SITES = (
    "SELECT subject_id, {told}, max(CASE WHEN quality = 'partial' THEN 1 ELSE 0 END) AS is_partial FROM {rows} "
    "AND resolution = '{resolution}' AND start >= :start AND start < :end AND \"end\" <= :end {more} "
    "GROUP BY subject_id"
)
_QUARTERS = f'AND "end" - start = {QUARTER_S}'
_OF_FLEET = "interval WHERE subject_id IN (SELECT id FROM fleet)"
# Pairs of a site and a day: `counted` tells which have a daily value, and the others come from their quarter hours.
_BY_DAYS = (
    "days (day_start, day_end) AS (VALUES {days}), "
    "pairs AS (SELECT f.id, d.day_start, d.day_end, CASE WHEN f.timezone = :zone THEN i.start END AS counted "
    "FROM fleet f CROSS JOIN days d LEFT JOIN interval i ON i.subject_id = f.id AND i.resolution = 'day' "
    'AND i.start = d.day_start AND i."end" = d.day_end)'
)
# CROSS JOIN keeps SQLite from looking through all readings for those of a pair.
_COUNTED = (
    "pairs p CROSS JOIN interval WHERE p.counted IS NOT NULL AND subject_id = p.id AND start = p.day_start "
    'AND "end" = p.day_end'
)
_OTHERS = (
    "pairs p CROSS JOIN interval WHERE p.counted IS NULL AND subject_id = p.id AND start >= p.day_start "
    "AND start < p.day_end"
)
_BOTH = (
    "SELECT subject_id, {sums}, max(is_partial) AS is_partial FROM (SELECT * FROM daily UNION ALL SELECT * FROM rest) b"
)
_FIGURE = (
    "sum(t.{m}), count(t.{m}), "
    "sum(CASE WHEN t.{m} IS NOT NULL AND (t.{m}_s < :length OR t.is_partial = 1) THEN 1 ELSE 0 END)"
)
_SILENT = (  # who has such a device, and was there all the time
    "sum(CASE WHEN f.{kind} = 1 AND {unknown} AND (f.gone_at IS NULL OR f.gone_at >= :end) "
    "AND (f.operational_since IS NULL OR f.operational_since <= :start) THEN 1 ELSE 0 END)"
)


class Fleet(Struct, frozen=True, kw_only=True):
    """Which sites: an account's, that fit what is not None. `known`: vendors besides which there is none; None: all."""

    account_id: str
    vendor: str | None = None
    reference: str | None = None
    known: Collection[str] | None = None


class Figure(Struct, frozen=True):
    """A sum and the sites in it; `partial_sites` of them lack a part of the period.

    `silent_sites` are not in it: they have such a device, and told nothing. `wh` is None where no site told.
    """

    wh: float | None
    sites: int
    partial_sites: int
    silent_sites: int


class Period(Struct, frozen=True):
    """[start, end) in epoch seconds, and a figure for each metric that there is anything to say of."""

    start: int
    end: int
    figures: dict[str, Figure]


class Aggregate(Struct, frozen=True):
    sites: int  # of the fleet, whatever they have and tell
    zone: ZoneInfo
    periods: list[Period]
    next_start: int | None  # where the next page begins

    @property
    def is_complete(self) -> bool:
        """Tells whether no sum lacks a part, or a site that could be in it."""
        figures = (figure for period in self.periods for figure in period.figures.values())
        return not any(figure.partial_sites or figure.silent_sites for figure in figures)


async def of_fleet(hub: Hub, fleet: Fleet, window: Window, zone: ZoneInfo) -> Aggregate:
    """Sums the periods of `zone` that the window touches, up to now, at most `window.limit`. Raises Unprocessable."""
    refuse_span(window)
    filters, values = _filters(fleet)
    among = _FLEET.format(filters=filters)
    ((sites,),) = await hub.store.scan(f"SELECT count(*) FROM ({among}) counted", values)  # noqa: S608 - our own names
    periods, following_page = list[Period](), None
    for start, end in _spans(window, zone):
        if len(periods) == window.limit:
            following_page = start
            break
        sql = _sql(among, _days(start, end, zone) if window.level in ("day", "month") else ())
        (row,) = await hub.store.scan(sql, {**values, **_of_period(window.level, start, end, zone)})
        periods.append(Period(start, end, _figures(row)))
    return Aggregate(int(sites), zone, periods, following_page)


def _filters(fleet: Fleet) -> tuple[str, dict[str, Any]]:
    values = {"account": fleet.account_id}
    sql = ""
    for column, name, value in (("s.vendor", "vendor", fleet.vendor), ("e.reference", "reference", fleet.reference)):
        if value is not None:
            sql, values[name] = f"{sql} AND {column} = :{name}", value
    if fleet.known is not None:
        known = {f"known{index}": name for index, name in enumerate(sorted(fleet.known))}
        sql, values = f"{sql} AND s.vendor IN ({', '.join(f':{name}' for name in known) or 'NULL'})", values | known
    return sql, values


def _days(start: int, end: int, zone: ZoneInfo) -> Sequence[tuple[int, int]]:
    """Returns the days of a period."""
    found = list[tuple[int, int]]()
    while start < end:
        after = following(start, "day", zone)
        found.append((start, after))
        start = after
    return found


def _sql(among: str, days: Sequence[tuple[int, int]]) -> str:
    """Writes the statement of one period: a row of three columns a metric, then one a kind of device."""
    told = f"told AS ({_of_sites('15mins', 'most_quarter', _OF_FLEET, _QUARTERS)})"
    if days:
        daily = _of_sites("day", "most_day", _COUNTED, "")
        rest = _of_sites("15mins", "most_quarter", _OTHERS, _QUARTERS)
        sums = ", ".join(f"sum({m}) AS {m}, sum({m}_s) AS {m}_s" for m in ENERGY_METRICS)
        spans = ", ".join(str(day) for day in days)  # numbers of our own
        both = f"{_BOTH.format(sums=sums)} GROUP BY subject_id"
        told = f"{_BY_DAYS.format(days=spans)}, daily AS ({daily}), rest AS ({rest}), told AS ({both})"
    figures = [_FIGURE.format(m=metric) for metric in ENERGY_METRICS]
    for kind in DeviceKind:
        unknown = " AND ".join(f"t.{metric} IS NULL" for metric in ENERGIES[kind])
        figures.append(_SILENT.format(kind=kind, unknown=unknown))
    return (
        f"WITH fleet AS ({among}), {told} SELECT {', '.join(figures)} "  # noqa: S608 - our own names
        "FROM fleet f LEFT JOIN told t ON t.subject_id = f.id"
    )


def _of_sites(resolution: str, most: str, rows: str, more: str) -> str:
    told = ", ".join(part.format(m=metric, most=most) for metric in ENERGY_METRICS for part in (_TOLD, _TOLD_S))
    return _OF_SITES.format(told=told, rows=rows, resolution=resolution, more=more)


def _of_period(level: SummaryLevel, start: int, end: int, zone: ZoneInfo) -> dict[str, Any]:
    values = {"start": start, "end": end, "length": end - start, "most_quarter": physics.MOST_W / 4}
    return values | ({"most_day": physics.MOST_W * 26, "zone": zone.key} if level in ("day", "month") else {})


def _spans(window: Window, zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    start, until = floor(window.start, window.level, zone), min(window.end, now())
    while start < until:
        end = following(start, window.level, zone)
        yield start, end
        start = end


def _figures(row: Row) -> dict[str, Figure]:
    silent: Mapping[str, int] = {
        metric: int(count or 0)
        for kind, count in zip(DeviceKind, row[3 * len(ENERGY_METRICS) :], strict=True)
        for metric in ENERGIES[kind]
    }
    found = {}
    for index, metric in enumerate(ENERGY_METRICS):
        wh, sites, partial = row[3 * index : 3 * index + 3]
        figure = Figure(None if wh is None else float(wh), int(sites), int(partial or 0), silent[metric])
        if figure.sites or figure.silent_sites:
            found[metric] = figure
    return found
