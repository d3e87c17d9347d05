"""What goes when enrollments are ended: counted before anybody agrees to it. For the admin, who sees every account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import col, select

from joinder.services.hub import Hub
from joinder.store.tables import DeviceRow, Interval, SiteRow


@dataclass(frozen=True, kw_only=True)
class Belongings:
    site_names: list[str]
    devices: int
    intervals: int


async def belongings(hub: Hub, enrollment_ids: Sequence[str]) -> Belongings:
    """Walks the readings of all of them."""
    sites = select(SiteRow.id).where(col(SiteRow.enrollment_id).in_(enrollment_ids))
    devices = select(DeviceRow.id).where(col(DeviceRow.site_id).in_(sites))
    names = select(SiteRow.name).where(col(SiteRow.enrollment_id).in_(enrollment_ids)).order_by(col(SiteRow.id))
    intervals = select(func.count()).select_from(Interval)
    intervals = intervals.where(col(Interval.subject_id).in_(sites) | col(Interval.subject_id).in_(devices))
    async with hub.store.read() as session:
        return Belongings(
            site_names=list((await session.execute(names)).scalars()),
            devices=(await session.execute(select(func.count()).select_from(devices.subquery()))).scalar_one(),
            intervals=(await session.execute(intervals)).scalar_one(),
        )
