"""What the answers of a hook must be, wherever they came from: the simulator or a cassette."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import datetime, timedelta

from joinder.energy import ENERGY_METRICS, Device, DeviceKind, Live, Reading, Readings, ReadingsQuery, Site
from joinder.grants import Consent, Grant
from joinder.series import zone
from joinder.testing.subject import Failed
from joinder.vendor import Capability, Refresh, Support, Vendor

KIND_OF = {
    Capability.SOLAR_INVERTERS: DeviceKind.INVERTER,
    Capability.BATTERIES: DeviceKind.BATTERY,
    Capability.METERS: DeviceKind.METER,
    Capability.CHARGERS: DeviceKind.CHARGER,
}
_METRICS_OF = {
    Capability.SOLAR_INTERVALS: ("solar_wh",),
    Capability.BATTERY_INTERVALS: ("charge_wh", "discharge_wh"),
    Capability.METER_INTERVALS: ("import_wh", "export_wh"),
    Capability.CHARGER_INTERVALS: ("charger_wh",),
}
BALANCE = 0.01
NOISE_W = 100.0


def expect_consent(vendor: Vendor, consent: Consent, now: datetime) -> None:
    """A grant with the owner's secrets, unique site ids and aware times in the future.

    Secrets are not asked of a vendor whose app or device reads alone: no OAuth endpoints of its own, nothing secret
    that an owner enters.
    """
    grant = consent.grant
    if not grant.secrets and (vendor.oauth2 is not None or any(entry.secret for entry in vendor.consent_fields)):
        raise Failed("the grant holds no secret")
    if not grant.site_ids or len(set(grant.site_ids)) != len(grant.site_ids):
        raise Failed(f"site ids must be there and unique, got {len(grant.site_ids)}")
    if not all(site_id and isinstance(site_id, str) for site_id in grant.site_ids):
        raise Failed("a site id is empty or no text")
    _expect_times(grant, now)


def expect_refreshed(vendor: Vendor, before: Grant, after: Grant, now: datetime) -> None:
    """A new access token; the refresh token kept or rotated as declared; sites and facts kept."""
    _expect_times(after, now)
    if before.expires_at is not None and after.expires_at is None:
        raise Failed("refresh lost expires_at: core renews by it, take it from every token answer")
    if after.site_ids != before.site_ids:
        raise Failed("refresh changed the site ids")
    if not set(before.facts) <= set(after.facts):
        raise Failed("refresh lost facts of the grant")
    rotated = before.secrets.get("refresh_token") != after.secrets.get("refresh_token")
    if vendor.refresh is Refresh.ROTATING and not rotated:
        raise Failed("declared ROTATING, but the refresh token is still the one that was used")
    if vendor.refresh is Refresh.REUSABLE and rotated:
        raise Failed("declared REUSABLE, but the refresh token changed")


def _expect_times(grant: Grant, now: datetime) -> None:
    for name, at in (("expires_at", grant.expires_at), ("refresh_expires_at", grant.refresh_expires_at)):
        if at is not None and (at.tzinfo is None or at <= now):
            raise Failed(f"{name} must be aware and lie in the future")


def expect_site(site: Site, site_id: str) -> None:
    """The site asked for, with an IANA time zone and devices of unique ids."""
    if site.vendor_id != site_id:
        raise Failed(f"asked for site {site_id}, answered {site.vendor_id}")
    if not site.name.strip():
        raise Failed("the site has no name")
    if site.timezone is not None and zone(site.timezone) is None:
        raise Failed(f"time zone {site.timezone} is no IANA name")
    ids = [device.vendor_id for device in site.devices]
    if not ids or len(set(ids)) != len(ids):
        raise Failed("devices must be there, each with an id of its own")
    for device in site.devices:
        _expect_device(device)


def expect_promised_kinds(vendor: Vendor, sites: Iterable[Site]) -> None:
    """Devices of each promised kind, at one of the sites at least: not every home has a battery."""
    kinds = {device.kind for site in sites for device in site.devices}
    missing = [str(kind) for promised, kind in KIND_OF.items() if _has(vendor, promised) and kind not in kinds]
    if missing:
        raise Failed(f"capabilities promise {', '.join(missing)}; the simulator's default owner has none")


def _expect_device(device: Device) -> None:
    if device.kind is DeviceKind.METER and device.role is None:
        raise Failed(f"meter {device.vendor_id} has no role")
    numbers = (device.power_w, device.max_power_w, device.lifetime_wh, device.nameplate_wh, device.soc_percent)
    if not all(math.isfinite(number) for number in numbers if number is not None):
        raise Failed(f"device {device.vendor_id} has a number that is not finite")
    if device.soc_percent is not None and not 0 <= device.soc_percent <= 100:
        raise Failed(f"state of charge of {device.vendor_id} is {device.soc_percent}")
    moments = (device.reported_at, device.lifetime_since)
    if any(at is not None and at.tzinfo is None for at in moments):
        raise Failed(f"device {device.vendor_id} has a time without offset")


def expect_rows(rows: Iterable[Reading], query: ReadingsQuery) -> None:
    """Inside [start, end), sorted, unique, aware, finite, unsigned, each of one interval's length."""
    before: datetime | None = None
    for row in rows:
        at = row.start
        if at.tzinfo is None or row.end.tzinfo is None:
            raise Failed("a reading has a time without offset")
        if at < query.start or row.end > query.end:
            raise Failed(
                f"a reading from {at:%d %H:%M} lies outside the {query.start:%d %H:%M} to {query.end:%d %H:%M}"
            )
        if before is not None and at <= before:
            raise Failed(f"readings are not sorted, or twice there, at {at:%d %H:%M}")
        before = at
        _expect_row(row, query)


def _expect_row(row: Reading, query: ReadingsQuery) -> None:
    lengths = (
        (timedelta(minutes=15),) if query.resolution == "15mins" else tuple(timedelta(hours=h) for h in (23, 24, 25))
    )
    if row.end - row.start not in lengths:
        raise Failed(f"a reading of {query.resolution} is {row.end - row.start} long")
    values = [getattr(row, metric) for metric in ENERGY_METRICS]
    known = [value for value in values if value is not None]
    if not known and row.soc_percent is None:
        raise Failed("a reading without any value: leave it out")
    if any(not math.isfinite(value) or value < 0 for value in known):
        raise Failed(f"a reading at {row.start:%d %H:%M} has an energy that is negative or not finite")
    if row.soc_percent is not None and not 0 <= row.soc_percent <= 100:
        raise Failed(f"state of charge {row.soc_percent}")
    if row.device_id != query.device_id:
        raise Failed(f"asked for device {query.device_id}, a reading is of {row.device_id}")


def expect_intervals(vendor: Vendor, readings: Readings, query: ReadingsQuery, *, count: int) -> None:
    """All rows of the span are there, with the metrics the capabilities promise."""
    expect_rows(readings.intervals, query)
    if readings.warnings:
        raise Failed(f"warnings: {'; '.join(readings.warnings)}")
    if len(readings.intervals) != count:
        raise Failed(f"{len(readings.intervals)} rows of {count}")
    for capability, metrics in _METRICS_OF.items():
        for metric in metrics if _has(vendor, capability) else ():
            if not any(getattr(row, metric) for row in readings.intervals):
                raise Failed(f"{capability} is promised, but no row has {metric}")


def expect_live(vendor: Vendor, live: Live | None, now: datetime) -> None:
    """Live power where it is promised, of about now, and in balance."""
    if not _has(vendor, Capability.LIVE):
        return
    if live is None:
        raise Failed("live power is promised and was asked for, but there is none")
    if live.measured_at.tzinfo is None or abs((now - live.measured_at).total_seconds()) > 7200:
        raise Failed("live power is not of about now")
    parts = (live.solar_w, live.battery_w, live.grid_w, live.load_w)
    if any(part is not None and not math.isfinite(part) for part in parts):
        raise Failed("live power is not finite")
    if live.solar_w is not None and live.solar_w < 0:
        raise Failed("solar power below 0")
    if any(part is None for part in parts):
        return
    solar, battery, grid, load = (part or 0.0 for part in parts)
    if abs(load - solar - battery - grid) > BALANCE * max(abs(load), solar, NOISE_W):
        raise Failed(f"load {load:.0f} W is not solar {solar:.0f} + battery {battery:.0f} + grid {grid:.0f}")


def _has(vendor: Vendor, capability: Capability) -> bool:
    return vendor.support(capability) is Support.YES
