"""Solar inverters, batteries, meters and chargers."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from joinder import energy
from joinder.services.readings.provenance import Source
from joinder.services.readings.recent import Recent
from joinder.services.readings.sites import device_of
from joinder.store.sites import StoredDevice
from joinder.wire.base import ListPage, Moment, Reference, Wire, kilo, moment_text, one_of, utc, utc_text
from joinder.wire.provenance import Provenance


class Production(Wire, kw_only=True):
    kwh: float
    start: Moment | None


class Device(Wire, kw_only=True):
    """`silentSince`: it tells nothing since then, though its site is read and others of its kind tell."""

    id: str
    vendor: str
    vendor_id: str
    reported_at: Moment
    silent_since: Moment | None = None
    model: str
    serial_number: str
    site_id: str
    name: str | None = None
    recent_errors: list[dict[str, str]] | None = None
    provenance: Provenance | None = None


class SolarInverter(Device, kw_only=True):
    """`recentProduction`: what is stored of today, in the site's time zone."""

    recent_production: Production | None = None
    lifetime_production: Production | None = None

    @staticmethod
    def of(
        row: StoredDevice, source: Source | None = None, silent_since: int | None = None, today: Recent | None = None
    ) -> SolarInverter:
        device = device_of(row)
        lifetime = device.lifetime_wh is not None and Production(
            kwh=kilo(device.lifetime_wh) or 0.0, start=moment_text(device.lifetime_since)
        )
        return SolarInverter(
            **_common(row, device, source, silent_since),
            recent_production=Production(kwh=kilo(today.wh) or 0.0, start=utc(today.start)) if today else None,
            lifetime_production=lifetime or None,
        )


class Battery(Device, kw_only=True):
    nameplate_kwh: float | None = None
    mode: Annotated[str, one_of(get_args(energy.Mode))] | None = None
    state_of_charge_percent: float | None = None

    @staticmethod
    def of(row: StoredDevice, source: Source | None = None, silent_since: int | None = None) -> Battery:
        device = device_of(row)
        return Battery(
            **_common(row, device, source, silent_since),
            nameplate_kwh=kilo(device.nameplate_wh),
            mode=device.mode,
            state_of_charge_percent=device.soc_percent,
        )


class Meter(Device, kw_only=True):
    role: Annotated[str, one_of(energy.MeterRole)] | None = None

    @staticmethod
    def of(row: StoredDevice, source: Source | None = None, silent_since: int | None = None) -> Meter:
        device = device_of(row)
        common = _common(row, device, source, silent_since)
        return Meter(**common, role=str(device.role) if device.role else None)


class Charger(Device, kw_only=True):
    """A charger of cars. `maxKw`: the most it can draw."""

    max_kw: float | None = None

    @staticmethod
    def of(row: StoredDevice, source: Source | None = None, silent_since: int | None = None) -> Charger:
        device = device_of(row)
        most_w = None if device.is_peak else device.max_power_w
        return Charger(**_common(row, device, source, silent_since), max_kw=kilo(most_w))


class SolarInverterPage(ListPage, kw_only=True):
    solar_inverters: list[Reference]
    errors: dict[str, str]


class BatteryPage(ListPage, kw_only=True):
    batteries: list[Reference]
    errors: dict[str, str]


class MeterPage(ListPage, kw_only=True):
    meters: list[Reference]
    errors: dict[str, str]


class ChargerPage(ListPage, kw_only=True):
    chargers: list[Reference]
    errors: dict[str, str]


def _common(
    row: StoredDevice, device: energy.Device, source: Source | None, silent_since: int | None
) -> dict[str, Any]:
    reported_at = moment_text(device.reported_at) or utc_text(row.fetched_at)
    faults = [{"error": fault} for fault in device.faults]
    return {
        "id": row.id,
        "vendor": row.vendor,
        "vendor_id": row.vendor_id,
        "reported_at": reported_at,
        "silent_since": utc(silent_since),
        "model": device.model or "unknown",
        "serial_number": device.serial or row.vendor_id,
        "site_id": row.site_id,
        "name": device.name,
        "recent_errors": [*faults, {"start": reported_at}] if faults else None,
        "provenance": Provenance.of(row.fetched_at, [source]) if source else None,
    }
