"""Sites and devices: whole or not at all where their identity is concerned, each member alone otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, TypeVar, cast, get_args

import msgspec
from msgspec import structs

from joinder import physics
from joinder.clean import clean_line
from joinder.energy import Device, DeviceKind, MeterRole, Mode, Site
from joinder.errors import UnexpectedPayload
from joinder.series import zone
from joinder.vendors.gate import values
from joinder.vendors.gate.rules import Refusals, Rule, checked_warnings

DEVICES_MOST = 2500  # the largest roof of micro-inverters has fewer
FAULTS_MOST = 20
WH_MOST = 1e13  # ten thousand gigawatt hours: no register of a site runs so far
_LIMITS = (
    ("power_w", -physics.MOST_W, physics.MOST_W),
    ("max_power_w", 0.0, physics.MOST_W),
    ("lifetime_wh", 0.0, WH_MOST),
    ("nameplate_wh", 0.0, WH_MOST),
    ("soc_percent", 0.0, 100.0),
)
_MODES = get_args(Mode)
_TEXTS = ("serial", "model", "name")
_TIMES = ("lifetime_since", "reported_at")


def checked_site(site: Site, site_id: str, *, now: datetime) -> Site:
    """Returns the site as it may be stored. Raises UnexpectedPayload when it is another one, or no site at all."""
    if site.vendor_id != site_id:
        raise UnexpectedPayload("The plugin answered another site than it was asked for")
    refusals = Refusals()
    lat = values.number(site.lat, "lat", refusals, low=-90, high=90)
    lon = values.number(site.lon, "lon", refusals, low=-180, high=180)
    name = values.text(site.name, "name", refusals)
    if name is None:
        refusals.note(Rule.TEXT, "name")
    located = lat is not None and lon is not None
    checked = Site(
        vendor_id=site_id,
        name=name or site_id,
        timezone=_zone_name(site.timezone, refusals),
        lat=lat if located else None,
        lon=lon if located else None,
        operational_since=values.instant(site.operational_since, "operational_since", refusals, now=now),
        devices=checked_devices(site.devices, refusals, now=now),
        warnings=checked_warnings(site.warnings, refusals),
    )
    return structs.replace(checked, refused=refusals.listed())


def _zone_name(name: object, refusals: Refusals) -> str | None:
    if name is None or name == "":
        return None
    if isinstance(name, str) and len(name) <= 64 and zone(name) is not None:
        return name
    refusals.note(Rule.ZONE)
    return None


def checked_devices(devices: object, refusals: Refusals, *, now: datetime) -> tuple[Device, ...]:
    """Returns the devices with a known kind and an id of their own in it.

    Raises UnexpectedPayload for no list, or an endless one.
    """
    if not isinstance(devices, tuple | list):
        raise UnexpectedPayload("The plugin answered no list of devices")
    if len(devices) > DEVICES_MOST:
        raise UnexpectedPayload(f"The plugin answered {len(devices)} devices; a site has at most {DEVICES_MOST}")
    found: dict[tuple[DeviceKind, str], Device] = {}
    for device in devices:
        checked = _device(device, refusals, now)
        if checked is None or (checked.kind, checked.vendor_id) in found:
            refusals.note(Rule.DEVICE)
        else:
            found[checked.kind, checked.vendor_id] = checked
    return tuple(found.values())


def _device(device: object, refusals: Refusals, now: datetime) -> Device | None:
    if not isinstance(device, Device):
        return None
    vendor_id, kind = values.identifier(device.vendor_id), _member(DeviceKind, device.kind)
    if vendor_id is None or kind is None:
        return None
    limit = physics.MOST_W
    most_w = values.number(device.max_power_w, "max_power_w", refusals, low=0, high=limit) or None
    return Device(
        vendor_id=vendor_id,
        kind=kind,
        role=_known(_member(MeterRole, device.role), device.role, "role", refusals),
        power_w=_power(device, kind, None if device.is_peak else most_w, refusals),
        max_power_w=most_w,
        is_peak=device.is_peak is True,
        lifetime_wh=values.number(device.lifetime_wh, "lifetime_wh", refusals, low=0, high=WH_MOST),
        lifetime_since=values.instant(device.lifetime_since, "lifetime_since", refusals, now=now),
        nameplate_wh=values.number(device.nameplate_wh, "nameplate_wh", refusals, low=0, high=WH_MOST) or None,
        soc_percent=values.number(device.soc_percent, "soc_percent", refusals, low=0, high=100, rule=Rule.CHARGE),
        mode=_known(_mode(device.mode), device.mode, "mode", refusals),
        reported_at=values.instant(device.reported_at, "reported_at", refusals, now=now),
        stale=device.stale is True,
        faults=_faults(device.faults, refusals),
        **{name: values.text(getattr(device, name), name, refusals) for name in _TEXTS},
    )


def stored_device(state: object, kind: DeviceKind, vendor_id: str, now: Callable[[], datetime]) -> Device:
    """Reads a device as it was written down, maybe by a version that checked less: what does not hold is unknown."""
    told = {**(state if isinstance(state, Mapping) else {}), "kind": kind, "vendor_id": vendor_id}
    try:
        device = msgspec.convert(told, Device)
    except msgspec.ValidationError:
        device = Device(**{name: _decoded(name, told.get(name)) for name in Device.__struct_fields__ if name in told})
    else:
        if _is_sound(device):
            return device
    return _device(device, Refusals(), now()) or Device(vendor_id=vendor_id, kind=kind)


def _decoded(name: str, value: object) -> Any:
    if name not in _TIMES:
        return value
    try:
        return msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        return None


def _is_sound(device: Device) -> bool:
    """Tells whether the device holds, as nearly every one does that was written down after it was checked."""
    texts = [text for text in (device.serial, device.model, device.name, *device.faults) if text is not None]
    times = [at for at in (device.lifetime_since, device.reported_at) if at is not None]
    return (
        all(_is_within(getattr(device, name), low, high) for name, low, high in _LIMITS)
        and all(len(text) <= values.NAME_MOST and clean_line(text) is text for text in texts)
        and all(values.utc(at) is not None and at.year >= values.EARLIEST_YEAR for at in times)
        and len(device.faults) <= FAULTS_MOST
    )


def _is_within(value: float | None, low: float, high: float) -> bool:
    return value is None or low <= value <= high


def _power(device: Device, kind: DeviceKind, most_w: float | None, refusals: Refusals) -> float | None:
    watts = values.number(device.power_w, "power_w", refusals, low=-physics.MOST_W, high=physics.MOST_W)
    if watts is None or kind is not DeviceKind.INVERTER:
        return watts
    if physics.is_beyond_nameplate(watts, most_w):
        refusals.note(Rule.NAMEPLATE, "power_w")
        return None
    return physics.solar_power(watts, most_w)


T = TypeVar("T")
E = TypeVar("E", DeviceKind, MeterRole)


def _mode(value: object) -> Mode | None:
    return cast("Mode", str.__str__(value)) if isinstance(value, str) and value in _MODES else None


def _known(found: T | None, told: object, what: str, refusals: Refusals) -> T | None:
    if found is None and told is not None:
        refusals.note(Rule.SHAPE, what)
    return found


def _member(kind: type[E], value: object) -> E | None:
    """Returns a member of the enumeration, also by its value; None for anything else."""
    try:
        return kind(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _faults(faults: object, refusals: Refusals) -> tuple[str, ...]:
    if not isinstance(faults, tuple | list):
        refusals.note(Rule.SHAPE, "faults")
        return ()
    if len(faults) > FAULTS_MOST:
        refusals.note(Rule.TOO_MANY, "faults")
    return tuple(_texts(faults[:FAULTS_MOST], refusals))


def _texts(told: Iterable[object], refusals: Refusals) -> Iterable[str]:
    for entry in told:
        if (text := values.text(entry, "faults", refusals)) is not None:
            yield text
