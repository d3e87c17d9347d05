"""A fleet's energy, summed over its sites by the database, and how many sites each sum stands for. No vendor is asked.

All sites are summed over the same periods, those of one time zone. What days, and months of them, are made of `days`
tells, as for one site.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder.clock import now
from joinder.energy import ENERGY_METRICS, DeviceKind
from joinder.runtime.hub import Hub
from joinder.services.readings import days
from joinder.services.readings.coverage import Gap
from joinder.services.readings.intervals import Window, refuse_span
from joinder.services.readings.periods import SummaryLevel, floor, following
from joinder.services.readings.totals import ENERGIES
from joinder.store.types import Row

_HAS = (
    "CASE WHEN EXISTS (SELECT 1 FROM device d WHERE d.site_id = s.id AND d.kind = '{kind}' AND d.gone_at IS NULL) "
    "THEN 1 ELSE 0 END AS {kind}"
)
_FLEET = (
    f"SELECT s.id, s.operational_since, s.gone_at, {', '.join(_HAS.format(kind=k) for k in DeviceKind)} "  # noqa: S608 - our own names
    "FROM site s JOIN enrollment e ON e.id = s.enrollment_id "
    "WHERE s.account_id = :account AND s.fetched_at IS NOT NULL {filters}"
)
# What each site tells in a period that is no day.
_PARTIAL = ", ".join(f"{days.ANY_PARTIAL} AS partial_{kind}" for kind in DeviceKind)
_TOLD = (
    f"told AS (SELECT subject_id, {days.TOLD_QUARTERS}, {_PARTIAL} FROM interval "  # noqa: S608 - our own names
    f"WHERE subject_id IN (SELECT id FROM fleet) AND {days.IS_QUARTER} "
    "AND start >= :start AND start < :end GROUP BY subject_id)"
)
# Each site of the fleet beside what it tells. By sorting both: joined, SQLite looks through all that was told for each.
_OF_SITE = ("operational_since", "gone_at", *DeviceKind)
_OF_PERIOD = (
    *(column for metric in ENERGY_METRICS for column in (metric, f"{metric}_s")),
    *(f"partial_{kind}" for kind in DeviceKind),
)
_BESIDE = (
    f"beside AS (SELECT id, {', '.join(f'max({name}) AS {name}' for name in (*_OF_SITE, *_OF_PERIOD))} FROM ("  # noqa: S608 - our own names
    f"SELECT id, {', '.join(_OF_SITE)}, {', '.join(f'NULL AS {name}' for name in _OF_PERIOD)} FROM fleet UNION ALL "
    f"SELECT subject_id, {', '.join('NULL' for _ in _OF_SITE)}, {', '.join(_OF_PERIOD)} FROM told) both_of GROUP BY id)"
)
_FIGURE = (
    "sum({m}), count({m}), sum(CASE WHEN {m} IS NOT NULL AND ({m}_s < :length OR partial_{kind} = 1) THEN 1 ELSE 0 END)"
)
_SILENT = (  # who has such a device, and was there all the time
    "sum(CASE WHEN {kind} = 1 AND {unknown} AND (gone_at IS NULL OR gone_at >= :end) "
    "AND (operational_since IS NULL OR operational_since <= :start) THEN 1 ELSE 0 END)"
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
        (row,) = await hub.store.scan(sql, {**values, **_of_period(window.level, start, end)})
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


def _days(start: int, end: int, zone: ZoneInfo) -> Sequence[Gap]:
    """Returns the days of a period."""
    found = list[Gap]()
    while start < end:
        after = following(start, "day", zone)
        found.append((start, after))
        start = after
    return found


def _sql(among: str, days_of: Sequence[Gap]) -> str:
    """Writes the statement of one period: a row of three columns a metric, then one a kind of device."""
    kind_of = {metric: kind for kind in DeviceKind for metric in ENERGIES[kind]}
    figures = [_FIGURE.format(m=metric, kind=kind_of[metric]) for metric in ENERGY_METRICS]
    for kind in DeviceKind:
        unknown = " AND ".join(f"{metric} IS NULL" for metric in ENERGIES[kind])
        figures.append(_SILENT.format(kind=kind, unknown=unknown))
    return (
        f"WITH fleet AS ({among}), {days.told_sql(days_of) if days_of else _TOLD}, {_BESIDE} "  # noqa: S608 - our own names
        f"SELECT {', '.join(figures)} FROM beside"
    )


def _of_period(level: SummaryLevel, start: int, end: int) -> dict[str, Any]:
    values = {"start": start, "end": end, "length": end - start, "most_quarter": days.MOST_QUARTER_WH}
    return values | ({"most_day": days.MOST_DAY_WH} if level in ("day", "month") else {})


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
