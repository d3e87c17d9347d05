"""What a simulated site really is and did: the conformance kit compares every number of a plugin with it.

A simulator gives it as `Simulator.home`, by the vendor's id of the site. It is made of the same `Home` the simulator
answers from, never of its answers: a plugin that reads them wrongly is then seen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from joinder.energy import DeviceKind, MeterRole
from joinder.errors import VendorError
from joinder.simulate.home import SLOT_S, Energy, Home, Power

Numbers = Mapping[str, float]  # by the names of Reading, Live or Device: only those that are told of the subject
Slot = Callable[[float], bool]  # of the quarter hour that begins at an epoch second


def _never(_: float) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class TrueDevice:
    """One device the vendor lists. `share` is its part of the sun, the storage or the cars."""

    kind: DeviceKind
    serial: str | None = None  # None: the vendor tells none
    share: float = 1.0
    role: MeterRole | None = None
    nameplate_wh: float | None = None  # None: the vendor does not tell it
    silent: Slot = _never  # quarter hours in which it told the vendor nothing

    def energy(self, of: Energy) -> Numbers:
        """Returns what it moved of what the site moved, Wh, and its state of charge."""
        if self.kind is DeviceKind.INVERTER or self.role is MeterRole.PRODUCTION:
            return {"solar_wh": of.solar_wh * self.share}
        if self.kind is DeviceKind.BATTERY:
            flows = {"charge_wh": of.charge_wh * self.share, "discharge_wh": of.discharge_wh * self.share}
            return {**flows, "soc_percent": of.soc_percent}
        if self.kind is DeviceKind.CHARGER:
            return {"charger_wh": of.charger_wh * self.share}
        if self.role is MeterRole.LOAD:
            return {"load_wh": of.load_wh}
        return {"import_wh": of.import_wh, "export_wh": of.export_wh} if self.role is MeterRole.GRID else {}

    def power_w(self, of: Power) -> float | None:
        """Returns its part of the site's power, signed as Device.power_w; None where nobody can tell."""
        if self.kind is DeviceKind.INVERTER or self.role is MeterRole.PRODUCTION:
            return of.solar_w * self.share
        if self.kind is DeviceKind.BATTERY:
            return of.battery_w * self.share
        if self.kind is DeviceKind.CHARGER:
            return of.charger_w * self.share
        if self.role is MeterRole.LOAD:
            return of.load_w
        return of.grid_w if self.role is MeterRole.GRID else None


def alike(kind: DeviceKind, serials: Sequence[str], role: MeterRole | None = None) -> tuple[TrueDevice, ...]:
    """Devices that share the site's sun, storage or cars evenly."""
    return tuple(TrueDevice(kind=kind, serial=serial, role=role, share=1 / len(serials)) for serial in serials)


@dataclass(frozen=True, kw_only=True)
class TrueSite:
    """One site: its home, its devices, and how the vendor tells of them. Times in seconds."""

    home: Home
    devices: tuple[TrueDevice, ...]
    tells_zone: bool = True  # False: Site.timezone must stay None; core finds the zone by coordinates
    row_s: int = 900  # the vendor's own rows last no longer; beyond a quarter hour only their sums are compared
    net_s: int = 300  # what flows both ways within so long is told as its difference
    live_every_s: int = 1  # live power is of the last moment on this grid; 0: the vendor does not say of when it is
    live_mean_s: int = 0  # and the mean of so long before it
    live_tells: tuple[str, ...] | None = None  # members of Live; None: of every device it has
    missing: Slot = _never  # quarter hours of which the vendor keeps no row

    def energy(self, start: float, end: float) -> Energy:
        """Returns the energy of [start, end), as rows tell it whose flows are differences over `net_s`."""
        whole = self.home.energy(start, end)
        if self.net_s <= SLOT_S or end - start > self.net_s:
            return whole
        stored, drawn = whole.discharge_wh - whole.charge_wh, whole.import_wh - whole.export_wh
        return replace(
            whole,
            charge_wh=max(0.0, -stored),
            discharge_wh=max(0.0, stored),
            import_wh=max(0.0, drawn),
            export_wh=max(0.0, -drawn),
        )

    def live(self, at: float) -> Power:
        """Returns power as a vendor tells it that measures at epoch second `at`."""
        if not self.live_mean_s:
            return self.home.power(at)
        energy, hours = self.home.energy(at - self.live_mean_s, at), self.live_mean_s / 3600
        return Power(
            solar_w=energy.solar_wh / hours,
            battery_w=(energy.discharge_wh - energy.charge_wh) / hours,
            grid_w=(energy.import_wh - energy.export_wh) / hours,
            load_w=energy.load_wh / hours,
            soc_percent=energy.soc_percent,
            charger_w=energy.charger_wh / hours,
        )

    @property
    def has_gaps(self) -> bool:
        """Tells whether the vendor lacks a row of it, or one of its devices is silent at times."""
        return any(slot is not _never for slot in (self.missing, *(device.silent for device in self.devices)))

    def has(self, kind: DeviceKind) -> bool:
        return any(device.kind is kind for device in self.devices)


@dataclass(frozen=True, kw_only=True)
class Owner:
    """One scenario owner: what they choose on a consent page or type into a form, and the sites that opens."""

    answers: Mapping[str, str] = field(default_factory=dict)
    site_ids: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """One answer with which this vendor refuses, in its own words, and the class of joinder.errors that it means."""

    means: type[VendorError]
    body: str
    status: int = 200
