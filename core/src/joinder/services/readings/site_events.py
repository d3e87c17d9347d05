"""What changes of a site is told: its name and place, its devices; to who asked for it, that new readings are in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from joinder.clock import now, utc_text
from joinder.ids import next_id
from joinder.services.records import health
from joinder.services.records.event_types import READINGS_UPDATED
from joinder.store.sites import StoredSite
from joinder.store.tables import DeviceRow, Enrollment, SiteRow
from joinder.store.types import Upsert, Write

KEPT_S = 7 * 86_400  # nobody asks for older ones: the readings themselves are stored
_WIRE_KINDS = {"inverter": "solarInverter", "battery": "battery", "meter": "meter", "charger": "charger"}
_FORGET = "DELETE FROM event WHERE enrollment_id = :enrollment AND at < :before AND type = :type"
_TELL = (
    "INSERT INTO event (id, account_id, enrollment_id, type, data, at, fanned_out) "
    "SELECT CAST(:id AS VARCHAR), CAST(:account AS VARCHAR), CAST(:enrollment AS VARCHAR), CAST(:type AS VARCHAR), "
    "CAST(CAST(:data AS TEXT) AS {json}), CAST(:at AS BIGINT), 1 = 0 "
    "WHERE EXISTS (SELECT 1 FROM webhook_endpoint w WHERE w.account_id = :account AND w.disabled_at IS NULL "
    "AND CAST(w.types AS TEXT) LIKE CAST(:named AS TEXT))"
)
_NAMED = f'%"{READINGS_UPDATED}"%'  # in JSON, as PostgreSQL and SQLite keep it
Seen = tuple[object, ...]


def seen(site: SiteRow) -> Seen:
    """Returns what of a site `tell_changes` compares."""
    return site.name, (site.lat, site.lon), site.timezone


async def tell_changes(session: AsyncSession, site: SiteRow, before: Seen) -> None:
    """Tells which members of a site differ from `before`, if any."""
    names = ("name", "location", "timezone")
    changed = [name for name, old, new in zip(names, before, seen(site), strict=True) if old != new]
    enrollment = await session.get(Enrollment, site.enrollment_id)
    if changed and enrollment is not None:
        health.write_event(session, enrollment, "site.changed", {"siteID": site.id, "changed": changed})


async def tell_device(
    session: AsyncSession, site: SiteRow | StoredSite, device: DeviceRow, what: Literal["discovered", "gone"]
) -> None:
    """Tells that a site lists a device, or lists it no more."""
    enrollment = await session.get(Enrollment, site.enrollment_id)
    if enrollment is None:
        return
    kind = _WIRE_KINDS.get(device.kind, device.kind)  # an earlier version may have stored any
    data: dict[str, object] = {"siteID": site.id, "deviceID": device.id, "kind": kind}
    if what == "discovered":
        health.write_event(session, enrollment, "device.discovered", data)
    else:
        health.write_event(session, enrollment, "device.gone", data)


def readings_updated(site: StoredSite, writes: Sequence[Write], dialect: str) -> list[Write]:
    """Makes the writes that tell of these rows: which site, which span; nothing unless a webhook asks for the type."""
    rows = [row for write in writes if isinstance(write, Upsert) and write.table == "interval" for row in write.records]
    if not rows:
        return []
    about = {"enrollment": site.enrollment_id, "type": READINGS_UPDATED}
    resolution, start, end = rows[0][1], min(row[2] for row in rows), max(row[3] for row in rows)
    data = {"siteID": site.id, "resolution": resolution, "start": utc_text(start), "end": utc_text(end)}
    values = {
        "id": next_id("evnt"),
        "account": site.account_id,
        "at": now(),
        "named": _NAMED,
        **about,
    }
    tell = _TELL.format(json="JSON" if dialect == "postgresql" else "TEXT")
    return [
        (_FORGET, {"before": now() - KEPT_S, **about}),
        (tell, {"data": msgspec.json.encode(data).decode(), **values}),
    ]
