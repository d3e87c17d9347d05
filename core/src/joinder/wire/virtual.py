"""Virtual sites and devices: what is set of them, and how they are shown."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from msgspec import Meta

from joinder.energy import DeviceKind, Mode
from joinder.moments import Instant
from joinder.places import zone_at
from joinder.series import zone
from joinder.services.join import virtual_homes
from joinder.services.join.virtual_homes import ShownDevice
from joinder.services.refusals import Invalid
from joinder.store.sites import StoredDevice, StoredSite
from joinder.virtual.configuration import VirtualDevice, VirtualHome
from joinder.wire.base import Body, Given, ListPage, Moment, Reference, Wire, kilo, moment_text
from joinder.wire.devices import Battery, Production, SolarInverter
from joinder.wire.sites import Bess, Location, Site

Text = Annotated[str, Meta(min_length=1, max_length=100)]
Kwh = Annotated[float, Meta(ge=0, le=10_000_000)]
Percent = Annotated[float, Meta(ge=0, le=100)]


class NewLocation(Body, kw_only=True):
    """`timezone` counts; without it the zone the coordinates lie in; where they lie in none, at sea, the offset."""

    lat: Annotated[float, Meta(ge=-90, le=90)] | None = None
    lon: Annotated[float, Meta(ge=-180, le=180)] | None = None
    timezone: Text | None = None
    current_utc_offset: Annotated[float, Meta(ge=-12, le=14)] | None = None


class NewVirtualSite(Body, kw_only=True):
    """Everything may be left out."""

    name: Text | None = None
    location: NewLocation | None = None
    location_utc_offset: Annotated[float, Meta(ge=-12, le=14)] | None = None
    operational_since: Given | None = None

    def home(self) -> VirtualHome:
        """Raises Invalid naming the member that cannot be."""
        where = self.location or NewLocation()
        if where.timezone is not None and zone(where.timezone) is None:
            wanted = "must be an IANA name, such as Europe/Berlin"
            raise Invalid("There is no such time zone", errors={"/location/timezone": wanted})
        return virtual_homes.new_home(
            name=self.name,
            timezone=where.timezone or zone_at(where.lat, where.lon) or self._zone_of_offset(where),
            lat=where.lat,
            lon=where.lon,
            operational_since=_at(self.operational_since),
        )

    def _zone_of_offset(self, where: NewLocation) -> str | None:
        """Raises Invalid."""
        if where.current_utc_offset is not None:
            return _fixed(where.current_utc_offset, "/location/currentUTCOffset")
        return None if self.location_utc_offset is None else _fixed(self.location_utc_offset, "/locationUTCOffset")


class VirtualSite(Wire, kw_only=True):
    """As a site is shown, without `vendorID`."""

    id: str
    vendor: str
    name: str
    location_utc_offset: float
    location: Location | None = None
    operational_since: Moment | None = None
    solar_inverters: list[Reference]
    batteries: list[Reference]
    chargers: list[Reference]
    bess: Bess | None = None

    @staticmethod
    def of(row: StoredSite, rows: Sequence[StoredDevice]) -> VirtualSite:
        site = Site.of(row, rows)
        return VirtualSite(**{name: getattr(site, name) for name in VirtualSite.__struct_fields__})


class VirtualSitePage(ListPage, kw_only=True):
    virtual_sites: list[VirtualSite]


class NewProduction(Body, kw_only=True):
    kwh: Kwh
    start: Given


class NewVirtualSolarInverter(Body, kw_only=True):
    """What is set stays as it is set; the rest is simulated. Without `siteID` a site is made for it."""

    name: Text | None = None
    site_id: str | None = None
    reported_at: Given | None = None
    model: Text | None = None
    serial_number: Text | None = None
    recent_production: NewProduction | None = None
    lifetime_production: NewProduction | None = None

    def device(self) -> VirtualDevice:
        recent, lifetime = self.recent_production, self.lifetime_production
        return VirtualDevice(
            vendor_id=secrets.token_hex(12),
            kind=DeviceKind.INVERTER,
            name=self.name,
            model=self.model,
            serial=self.serial_number,
            reported_at=_at(self.reported_at),
            recent_wh=None if recent is None else recent.kwh * 1000,
            recent_since=None if recent is None else recent.start.at,
            lifetime_wh=None if lifetime is None else lifetime.kwh * 1000,
            lifetime_since=None if lifetime is None else lifetime.start.at,
        )


class VirtualSolarInverter(Wire, kw_only=True):
    """As a solar inverter is shown, without `vendorID`."""

    id: str
    vendor: str
    reported_at: Moment
    model: str
    serial_number: str
    site_id: str
    name: str | None = None
    recent_production: Production | None = None
    lifetime_production: Production | None = None

    @staticmethod
    def of(shown: ShownDevice) -> VirtualSolarInverter:
        whole, set_up = SolarInverter.of(shown.row), shown.set_up
        names = [name for name in VirtualSolarInverter.__struct_fields__ if name != "recent_production"]
        recent = None
        if set_up.recent_wh is not None:
            recent = Production(kwh=kilo(set_up.recent_wh) or 0.0, start=moment_text(set_up.recent_since))
        return VirtualSolarInverter(**{name: getattr(whole, name) for name in names}, recent_production=recent)


class VirtualSolarInverterPage(ListPage, kw_only=True):
    virtual_solar_inverters: list[VirtualSolarInverter]


class NewVirtualBattery(Body, kw_only=True):
    """What is set stays as it is set; the rest is simulated. Without `siteID` a site is made for it."""

    name: Text | None = None
    site_id: str | None = None
    reported_at: Given | None = None
    model: Text | None = None
    serial_number: Text | None = None
    nameplate_kwh: Annotated[float, Meta(gt=0, le=10_000)] | None = None
    mode: Mode | None = None
    state_of_charge_percent: Percent | None = None

    def device(self) -> VirtualDevice:
        return VirtualDevice(
            vendor_id=secrets.token_hex(12),
            kind=DeviceKind.BATTERY,
            name=self.name,
            model=self.model,
            serial=self.serial_number,
            reported_at=_at(self.reported_at),
            nameplate_wh=None if self.nameplate_kwh is None else self.nameplate_kwh * 1000,
            mode=self.mode,
            soc_percent=self.state_of_charge_percent,
        )


class VirtualBattery(Wire, kw_only=True):
    """As a battery is shown, without `vendorID`."""

    id: str
    vendor: str
    reported_at: Moment
    model: str
    serial_number: str
    site_id: str
    name: str | None = None
    nameplate_kwh: float | None = None
    mode: str | None = None
    state_of_charge_percent: float | None = None

    @staticmethod
    def of(shown: ShownDevice) -> VirtualBattery:
        whole = Battery.of(shown.row)
        return VirtualBattery(**{name: getattr(whole, name) for name in VirtualBattery.__struct_fields__})


class VirtualBatteryPage(ListPage, kw_only=True):
    virtual_batteries: list[VirtualBattery]


def _at(given: Instant | None) -> datetime | None:
    return None if given is None else given.at


def _fixed(offset: float, place: str) -> str:
    """Returns the zone of an offset that holds all year, whose name counts westwards. Raises Invalid."""
    if offset != int(offset):
        wanted = "is no whole number of hours; set location.timezone instead"
        raise Invalid("No zone has this offset all year", errors={place: wanted})
    return "Etc/UTC" if not offset else f"Etc/GMT{-int(offset):+d}"
