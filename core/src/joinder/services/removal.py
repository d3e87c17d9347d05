"""What goes when enrollments are ended: counted before anybody agrees to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func
from sqlmodel import col, select

from joinder.services.hub import Hub
from joinder.store.tables import DeviceRow, SiteRow


@dataclass(frozen=True, kw_only=True)
class Counted:
    sites: int
    devices: int


async def counted(hub: Hub, enrollment_ids: Sequence[str]) -> Counted:
    sites = select(SiteRow.id).where(col(SiteRow.enrollment_id).in_(enrollment_ids))
    async with hub.store.read() as session:
        of_sites = (await session.execute(select(func.count()).select_from(sites.subquery()))).scalar_one()
        devices = select(func.count()).select_from(DeviceRow).where(col(DeviceRow.site_id).in_(sites))
        return Counted(sites=of_sites, devices=(await session.execute(devices)).scalar_one())
