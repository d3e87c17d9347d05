"""What the sites of a page of enrollments give: the power now and the last day hour by hour, of what is stored."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from joinder.clock import now
from joinder.physics import MOST_W
from joinder.runtime.hub import Hub

HOURS = 24
HOUR_S = 3600
FRESH_S = 1800  # as in services/readings/live.py: what was measured before is not the power now
NOW = -1  # stands for the hour of a power
_READ = (
    f"SELECT s.enrollment_id, {NOW}, sum(l.solar_w) FROM live l JOIN site s ON s.id = l.site_id "  # noqa: S608 - our own
    "WHERE s.enrollment_id IN ({places}) AND l.measured_at >= :fresh AND l.solar_w >= 0 AND l.solar_w <= :most "
    "GROUP BY s.enrollment_id UNION ALL "
    "SELECT s.enrollment_id, i.start / 3600, sum(i.solar_wh) FROM site s JOIN interval i ON i.subject_id = s.id "
    "WHERE s.enrollment_id IN ({places}) AND i.resolution = '15mins' AND i.start >= :since AND i.start < :until "
    "AND i.solar_wh >= 0 AND i.solar_wh <= :most GROUP BY s.enrollment_id, i.start / 3600"
)


@dataclass(frozen=True, kw_only=True)
class SitePower:
    """`solar_w`: None where nothing new is known. `hours_wh`: of the last 24 hours, the running one last."""

    solar_w: float | None
    hours_wh: Sequence[float | None]

    @property
    def day_wh(self) -> float | None:
        known = [value for value in self.hours_wh if value is not None]
        return sum(known) if known else None


async def of_enrollments(hub: Hub, enrollment_ids: Iterable[str]) -> Mapping[str, SitePower]:
    """Reads enrollment id → the sums over its sites, in one query; what nothing is known of is left out."""
    ids = list(enrollment_ids)
    if not ids:
        return {}
    last = now() // HOUR_S
    values = {f"id_{index}": one for index, one in enumerate(ids)}
    sql = _READ.format(places=", ".join(f":{name}" for name in values))
    span = {"since": (last - HOURS + 1) * HOUR_S, "until": (last + 1) * HOUR_S}
    power: dict[str, float] = {}
    hours: dict[str, list[float | None]] = {}
    for enrollment_id, hour, value in await hub.store.scan(
        sql, {**values, **span, "fresh": now() - FRESH_S, "most": MOST_W}
    ):
        if hour == NOW:
            power[str(enrollment_id)] = float(value)
        else:
            hours.setdefault(str(enrollment_id), [None] * HOURS)[int(hour) - last + HOURS - 1] = float(value)
    return {one: SitePower(solar_w=power.get(one), hours_wh=hours.get(one, [])) for one in {*power, *hours}}
