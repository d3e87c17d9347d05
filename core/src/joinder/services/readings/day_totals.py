"""A day's own total beside the sum of its quarter hours: where they disagree, neither is certain.

The day row is then `estimated`, whichever of the two was read last; once they agree again it is what it was.
"""

from __future__ import annotations

from collections.abc import Sequence

from joinder import physics
from joinder.clock import now
from joinder.energy import ENERGY_METRICS
from joinder.runtime.hub import Hub
from joinder.services.readings.periods import QUARTER_S, ceiling, floor, following, zone_of
from joinder.services.records import notices
from joinder.store.sites import StoredSite
from joinder.store.types import Row, Write
from joinder.vendors.gate.rules import Refusals, Rule

NOISE_WH = 10.0  # both are rounded
DAYS_MOST = 62  # of one answer: a year of days is compared when its quarter hours come
_DAYS = (
    f'SELECT start, "end", quality, rule, {", ".join(ENERGY_METRICS)} FROM interval '  # noqa: S608 - our own names
    "WHERE subject_id = :subject AND resolution = 'day' AND start >= :start AND start < :end ORDER BY start"
)
_ADDED = ", ".join(f"sum({name}), count({name})" for name in ENERGY_METRICS)
_SUMS = (
    f"SELECT {_ADDED}, sum(CASE WHEN quality = 'partial' THEN 1 ELSE 0 END) FROM interval "  # noqa: S608 - our own names
    "WHERE subject_id = :subject AND resolution = '15mins' AND start >= :start AND start < :end"
)
_MARK = (
    "UPDATE interval SET quality = :quality, rule = :rule "
    "WHERE subject_id = :subject AND resolution = 'day' AND start = :start"
)


async def compare(hub: Hub, site: StoredSite, subject: str, start: int, end: int) -> None:
    """Compares the days that [start, end) touches and that are over, as far as both are known."""
    if hub.registry.vendor(site.vendor).limits.resolution("day") is None:
        return
    zone = zone_of(site.timezone)
    until = min(ceiling(end, "day", zone), floor(now(), "day", zone))
    since = max(floor(start, "day", zone), until - DAYS_MOST * 86400)
    rows = await hub.store.rows(_DAYS, {"subject": subject, "start": since, "end": until}) if since < until else []
    writes: list[Write] = []
    for row in rows:
        if row[1] == following(row[0], "day", zone):
            writes += await _compared(hub, site, subject, row)
    if writes:
        await hub.store.apply(*writes, serialize_on=site.enrollment_id)


async def _compared(hub: Hub, site: StoredSite, subject: str, day: Row) -> list[Write]:
    start, end, quality, rule, *totals = day
    if not _is_judged(quality, rule):
        return []
    (sums,) = await hub.store.rows(_SUMS, {"subject": subject, "start": start, "end": end})
    differs = verdict(quality, rule, totals, sums, (end - start) // QUARTER_S)
    if differs is None:
        return []
    values = {"subject": subject, "start": start, "quality": "measured", "rule": None}
    if not differs:
        return [(_MARK, values)]
    refusals = Refusals()
    refusals.note(Rule.DAY_DISAGREES)
    hub.metrics.refused(site.vendor, str(Rule.DAY_DISAGREES), 1)
    told = notices.writes(site.enrollment_id, site.id, (), refusals.listed())
    return [(_MARK, {**values, "quality": "estimated", "rule": str(Rule.DAY_DISAGREES)}), *told]


def verdict(
    quality: str, rule: str | None, totals: Sequence[float | None], sums: Sequence[float | None], quarters: int
) -> bool | None:
    """Tells whether the day is now to be marked (True) or no longer (False); None: it stays as it is.

    `sums`: of each metric in turn its sum over the quarter hours and how many told it; last, how many are partial.
    """
    differs = _differs(totals, sums, quarters) if _is_judged(quality, rule) else None
    return None if differs == (rule == Rule.DAY_DISAGREES) else differs


def _is_judged(quality: str, rule: str | None) -> bool:
    return quality == "measured" or rule == Rule.DAY_DISAGREES


def _differs(totals: Sequence[float | None], sums: Sequence[float | None], quarters: int) -> bool | None:
    """Tells whether totals and sums disagree.

    None where no metric is told by both, the quarter hours all there and whole.
    """
    if sums[-1]:
        return None
    pairs = [
        (total, sums[2 * index])
        for index, total in enumerate(totals)
        if total is not None and sums[2 * index + 1] == quarters
    ]
    if not pairs:
        return None
    return any(disagree(total, float(summed)) for total, summed in pairs if summed is not None)


def disagree(total: float, summed: float) -> bool:
    return abs(total - summed) > max(NOISE_WH, max(total, summed) * physics.DAYS_AGREE_WITHIN)
