"""How a virtual home is set up, as the facts of its grant keep it: the home in one fact, each device in another."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec
from msgspec import Struct, structs

from joinder.energy import Device, DeviceKind, MeterRole, Mode

HOME, DEVICE = "home", "device:"  # names of facts; a device's goes on with its number
DEVICES_MOST = 50  # of a home
NOMINAL_W, CAPACITY_WH = 5000.0, 10_000.0  # of a virtual inverter, and of a battery that names no size
SINCE = datetime(2023, 1, 1, 23, 59, tzinfo=UTC)


class VirtualDevice(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was set of an inverter or a battery. What was not is simulated, or made up from its id."""

    vendor_id: str
    kind: DeviceKind
    name: str | None = None
    model: str | None = None
    serial: str | None = None
    reported_at: datetime | None = None
    nameplate_wh: float | None = None
    mode: Mode | None = None
    soc_percent: float | None = None
    lifetime_wh: float | None = None
    lifetime_since: datetime | None = None
    recent_wh: float | None = None
    recent_since: datetime | None = None

    @property
    def capacity_wh(self) -> float:
        """Returns what a battery holds; 0 of anything else."""
        if self.kind is not DeviceKind.BATTERY:
            return 0.0
        return CAPACITY_WH if self.nameplate_wh is None else self.nameplate_wh

    @property
    def is_backup(self) -> bool:
        """Tells whether it is a battery that stays full until the grid fails, which it never does here."""
        return self.mode == "Backup"


class VirtualHome(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One home. `vendor_id` is also the seed of its weather and its habits."""

    vendor_id: str
    name: str
    timezone: str
    lat: float | None = None
    lon: float | None = None
    operational_since: datetime = SINCE
    devices: tuple[VirtualDevice, ...] = ()

    def of_kind(self, kind: DeviceKind) -> tuple[VirtualDevice, ...]:
        return tuple(device for device in self.devices if device.kind is kind)

    def device(self, vendor_id: str) -> VirtualDevice | None:
        return next((device for device in self.devices if device.vendor_id == vendor_id), None)


def facts_of(home: VirtualHome) -> dict[str, str]:
    """Writes a home down as facts of a grant."""
    alone = structs.replace(home, devices=())
    devices = {f"{DEVICE}{index}": _text(device) for index, device in enumerate(home.devices)}
    return {HOME: _text(alone), **devices}


def home_of(facts: Mapping[str, str]) -> VirtualHome:
    """Reads it back. Raises ValueError for facts that describe no home."""
    try:
        home = msgspec.json.decode(facts[HOME], type=VirtualHome)
        names = sorted((name for name in facts if name.startswith(DEVICE)), key=lambda name: int(name[len(DEVICE) :]))
        devices = tuple(msgspec.json.decode(facts[name], type=VirtualDevice) for name in names)
    except (KeyError, msgspec.MsgspecError) as error:
        raise ValueError("these facts describe no virtual home") from error
    return structs.replace(home, devices=devices)


def new_device(vendor_id: str, kind: DeviceKind) -> VirtualDevice:
    """Makes a device of which nothing was set."""
    return VirtualDevice(vendor_id=vendor_id, kind=kind)


def as_device(device: VirtualDevice, home: VirtualHome) -> Device:
    """Describes a device as any vendor's is; what is simulated of it comes later."""
    is_battery = device.kind is DeviceKind.BATTERY
    kinds = [one.vendor_id for one in home.of_kind(device.kind)]
    label = "Battery" if is_battery else "Solar Inverter"
    return Device(
        vendor_id=device.vendor_id,
        kind=device.kind,
        name=device.name or f"{label} {kinds.index(device.vendor_id) + 1}",
        model=device.model or f"Virtual {label}",
        serial=device.serial or device.vendor_id.upper(),
        reported_at=device.reported_at,
        max_power_w=None if is_battery else NOMINAL_W,
        nameplate_wh=device.capacity_wh or None,
        mode=device.mode or ("Self Consumption" if is_battery else None),
    )


def meter_of(home: VirtualHome) -> Device:
    """Describes the meter at the grid that every virtual home has."""
    name, serial = "Grid Meter", f"M{home.vendor_id[:12].upper()}"
    return Device(
        vendor_id=f"{home.vendor_id[:12]}-meter",
        kind=DeviceKind.METER,
        role=MeterRole.GRID,
        name=name,
        model="Virtual Meter",
        serial=serial,
    )


def _text(value: Struct) -> str:
    return msgspec.json.encode(value).decode()
