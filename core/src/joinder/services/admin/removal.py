"""What goes when enrollments are ended: counted before anybody agrees to it. For the admin, who sees every account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import exists, func
from sqlalchemy.orm import aliased
from sqlmodel import col, select

from joinder.runtime.hub import Hub
from joinder.store.tables import DeviceRow, Enrollment, Interval, SiteRight, SiteRow


@dataclass(frozen=True, kw_only=True)
class Belongings:
    site_names: list[str]
    devices: int
    intervals: int


async def belongings(hub: Hub, enrollment_ids: Sequence[str]) -> Belongings:
    """Walks the readings of all of them, and counts what goes. A site that another enrollment may open stays."""
    others = aliased(Enrollment)
    stays = (
        exists()
        .where(col(SiteRight.vendor_site_id) == col(SiteRow.vendor_id), col(others.id) == col(SiteRight.enrollment_id))
        .where(col(others.account_id) == col(SiteRow.account_id), col(others.vendor) == col(SiteRow.vendor))
        .where(col(others.id).not_in(enrollment_ids))
    )
    goes = (col(SiteRow.enrollment_id).in_(enrollment_ids), ~stays)
    sites = select(SiteRow.id).where(*goes)
    devices = select(DeviceRow.id).where(col(DeviceRow.site_id).in_(sites))
    names = select(SiteRow.name).where(*goes).order_by(col(SiteRow.id))
    intervals = select(func.count()).select_from(Interval)
    intervals = intervals.where(col(Interval.subject_id).in_(sites) | col(Interval.subject_id).in_(devices))
    async with hub.store.read() as session:
        return Belongings(
            site_names=list((await session.execute(names)).scalars()),
            devices=(await session.execute(select(func.count()).select_from(devices.subquery()))).scalar_one(),
            intervals=(await session.execute(intervals)).scalar_one(),
        )
