"""What tests of sites that come, go and have several owners share: a vendor that names no account, looks at rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlmodel import col, select

from joinder import Consent, Grant
from joinder.clock import now
from joinder.runtime.hub import Hub
from joinder.services.grants import standing
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.store.tables import DeviceRow, Enrollment, Event, Interval, SiteRow
from services.strict_vendor import StrictVendor


class Nameless(StrictVendor):
    """Does not say who consented. `sites` are what owners' grants list, by owner."""

    sites: dict[str, tuple[str, ...]]

    def grant(self, owner: str) -> Grant:
        made = super().grant(owner)
        return replace(made, site_ids=self.sites.get(owner, made.site_ids))

    def consent(self, owner: str) -> Consent:
        return replace(super().consent(owner), account_id=None)


@dataclass
class Owners:
    """Consents to one app of one account."""

    hub: Hub
    vendor: StrictVendor
    account_id: str
    credentials_id: str

    async def consents(self, owner: str, **options: Any) -> str:
        async with self.hub.store.write(self.account_id) as session:
            origin = Origin(vendor=self.vendor.name, credentials_id=self.credentials_id, flow_id="flow-of-this-test")
            consent = self.vendor.consent(owner)
            row = await stored_consents.store(self.hub, session, self.account_id, consent, origin, **options)
            return row.id

    async def must_act(self, enrollment_id: str, state: Any = "needs_consent") -> None:
        """As an earlier version left it: nobody took its sites over at that moment."""
        async with self.hub.store.write(enrollment_id) as session:
            row = await session.get(Enrollment, enrollment_id)
            assert row is not None
            await standing.settle(self.hub, session, row, state, reason="revoked")


async def site_of(hub: Hub, vendor_id: str) -> SiteRow:
    async with hub.store.read() as session:
        rows = await hub.store.rows("SELECT id FROM site WHERE vendor_id = :id", {"id": vendor_id})
        row = await session.get(SiteRow, rows[0][0])
    assert row is not None
    return row


async def readers(hub: Hub, *vendor_ids: str) -> list[str]:
    return [(await site_of(hub, vendor_id)).enrollment_id for vendor_id in vendor_ids]


async def health_of(hub: Hub, enrollment_id: str) -> str:
    return str((await hub.store.rows("SELECT health FROM enrollment WHERE id = :id", {"id": enrollment_id}))[0][0])


async def told(hub: Hub, *kinds: str) -> list[tuple[str, str, dict[str, Any]]]:
    """Type, enrollment and data of these events, the oldest first."""
    query = select(Event).where(col(Event.type).in_(kinds)).order_by(col(Event.at), col(Event.id))
    async with hub.store.read() as session:
        return [(row.type, row.enrollment_id, dict(row.data)) for row in (await session.execute(query)).scalars()]


async def with_history(hub: Hub, site: SiteRow) -> set[str]:
    """A device, and a row of the site and of the device. Answers the subjects."""
    device_id = site.id.replace("site", "solr")
    values = {"account_id": site.account_id, "site_id": site.id, "vendor": site.vendor, "kind": "inverter"}
    async with hub.store.write() as session:
        session.add(DeviceRow(id=device_id, vendor_id="d", state={}, fetched_at=now(), **values))
        for subject in (site.id, device_id):
            session.add(Interval(subject_id=subject, resolution="15mins", start=0, end=900, solar_wh=1.0, fetched_at=1))
    return {site.id, device_id}


async def history(hub: Hub) -> set[str]:
    return {row[0] for row in await hub.store.rows("SELECT DISTINCT subject_id FROM interval", {})}


async def due_at(hub: Hub, kind: str, enrollment_id: str) -> int:
    values = {"kind": kind, "id": enrollment_id}
    rows: Sequence[Sequence[Any]] = await hub.store.rows(
        "SELECT due_at FROM due WHERE kind = :kind AND enrollment_id = :id", values
    )
    return int(rows[0][0])
