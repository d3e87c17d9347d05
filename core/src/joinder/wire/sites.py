"""Sites."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, get_args
from zoneinfo import ZoneInfo

from joinder import energy
from joinder.clock import utc_now
from joinder.energy import DeviceKind
from joinder.services.readings.periods import zone_of
from joinder.services.readings.sites import device_of
from joinder.store.sites import StoredDevice, StoredSite
from joinder.wire.base import ListPage, Moment, Reference, Wire, kilo, one_of, references, utc


class Location(Wire, kw_only=True):
    lat: float | None = None
    lon: float | None = None
    timezone: str | None = None
    current_utc_offset: float


class Bess(Wire, kw_only=True):
    nameplate_kwh: float | None = None
    mode: Annotated[str, one_of(get_args(energy.Mode))] | None = None
    state_of_charge_percent: float | None = None

    @staticmethod
    def of(batteries: Sequence[energy.Device]) -> Bess | None:
        """Describes all batteries as one: capacities added, charge weighed by capacity where all are known.

        None where nothing of them is known.
        """
        if not batteries:
            return None
        sizes = [battery.nameplate_wh for battery in batteries if battery.nameplate_wh]
        charged = [battery for battery in batteries if battery.soc_percent is not None]
        weights = [battery.nameplate_wh or 0.0 for battery in charged]
        if not all(weights):
            weights = [1.0] * len(charged)
        soc = sum((b.soc_percent or 0) * weight for b, weight in zip(charged, weights, strict=True))
        bess = Bess(
            nameplate_kwh=kilo(sum(sizes)) if len(sizes) == len(batteries) else None,
            mode=next((battery.mode for battery in batteries if battery.mode), None),
            state_of_charge_percent=round(soc / sum(weights), 1) if charged else None,
        )
        return bess if bess != Bess() else None


class Site(Wire, kw_only=True):
    """`enrollmentID`: the enrollment that reads it, or read it last; others may open it too."""

    id: str
    enrollment_id: str
    vendor: str
    vendor_id: str
    name: str
    location_utc_offset: float
    location: Location | None = None
    timezone_by: Annotated[str, one_of(("vendor", "coordinates", "unknown"))]
    operational_since: Moment | None = None
    gone_since: Moment | None = None
    solar_inverters: list[Reference]
    batteries: list[Reference]
    meters: list[Reference]
    chargers: list[Reference]
    bess: Bess | None = None

    @staticmethod
    def of(row: StoredSite, rows: Sequence[StoredDevice]) -> Site:
        zone = zone_of(row.timezone)
        offset = _offset_hours(zone)
        known = row.timezone is not None or row.lat is not None
        return Site(
            id=row.id,
            enrollment_id=row.enrollment_id,
            vendor=row.vendor,
            vendor_id=row.vendor_id,
            name=row.name,
            location_utc_offset=offset,
            location=Location(lat=row.lat, lon=row.lon, timezone=row.timezone, current_utc_offset=offset)
            if known
            else None,
            timezone_by=row.timezone_by or ("vendor" if row.timezone else "unknown"),
            operational_since=utc(row.operational_since),
            gone_since=utc(row.gone_at),
            solar_inverters=_of_kind(rows, DeviceKind.INVERTER),
            batteries=_of_kind(rows, DeviceKind.BATTERY),
            meters=_of_kind(rows, DeviceKind.METER),
            chargers=_of_kind(rows, DeviceKind.CHARGER),
            bess=Bess.of([device_of(entry) for entry in rows if entry.kind == DeviceKind.BATTERY]),
        )


class SitePage(ListPage, kw_only=True):
    """`errors` names vendors some of whose enrollments have a problem."""

    sites: list[Reference]
    errors: dict[str, str]


class ExpandedSitePage(ListPage, kw_only=True):
    """With `expand=true`: whole sites, as stored."""

    sites: list[Site]
    errors: dict[str, str]


def _of_kind(rows: Sequence[StoredDevice], kind: DeviceKind) -> list[Reference]:
    return references([row.id for row in rows if row.kind == kind])


def _offset_hours(zone: ZoneInfo) -> float:
    offset = utc_now().astimezone(zone).utcoffset()
    return offset.total_seconds() / 3600 if offset else 0.0
