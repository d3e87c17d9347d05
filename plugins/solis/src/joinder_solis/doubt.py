"""What SolisCloud's own answers put in doubt: values that contradict each other, inverters that are silent. Pure.

Each finding is one fixed sentence for the operator, given to `say`, so that core can count its repeats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from joinder import Device, DeviceKind, Site
from joinder.series import Span
from joinder_solis.api import Record

Say = Callable[[str], None]
OFFLINE, ALARM = 2, 3  # `state` of stations, inverters and export power managers
STALE_AFTER = timedelta(hours=1)
SITE_KNOWN_FOR = timedelta(days=1)  # how long what fetch_site saw is taken to last: core reads a site daily
APART_SHARE = 0.5  # two tellings of one value that differ by more than half of the larger one …
APART_W = 200.0  # … and by more than this: losses and rounding stay below
APART_WH = 1000.0

NO_CONTACT = (
    "SolisCloud has no contact with this plant, so its live power is unknown; a plant without a battery is usually "
    "offline at night"
)
NO_TIME = "SolisCloud does not say when the plant's live power was measured, so it is left out"
NOT_ALL_REPORT = "Not every inverter of this plant is in contact with SolisCloud: what lacks one is partial or unknown"
CONTRADICTION = "SolisCloud tells one value in two ways that contradict each other; it is left out"
STRANGE_UNIT = "SolisCloud tells a value without a unit that is known; it is left out"
LOADS_DIFFER = (
    "SolisCloud's own figure of the home's load and the sum of its meters differ widely; the load is left out"
)
GENERATOR = "A generator runs at this plant, and no meter of it is read: the load is unknown"
AC_COUPLED = "SolisCloud names more solar power coupled to this plant, but no total: solar power and load are unknown"
SILENT_BATTERY = "A battery of this plant does not answer: SolisCloud tells 0 % and 0 W, which stand for no answer"
UNTIMED_ROWS = "SolisCloud sent rows without a time that is known; they are left out"
PART_OF_THE_TIME = "SolisCloud told rows for a part of the time only that was asked for"
PLANT_ALARM = "SolisCloud counts an open alarm at this plant"
FEWER_LISTED = "SolisCloud lists fewer inverters than it counts at this plant"
SUMS_DIFFER = (
    "The plant's power (stationDetail) and the sum of its inverters (inverterList) differ widely at SolisCloud"
)


def unheard(_: str) -> None:
    """Says nothing, to nobody."""


def are_apart(first: float, second: float, least: float = APART_W) -> bool:
    """Tells whether two values told of one thing cannot both be right."""
    return abs(first - second) > max(least, APART_SHARE * max(abs(first), abs(second)))


def watts(record: Record, name: str, say: Say, *, bare: str = "", twin: str = "") -> float | None:
    """Returns a power in W; None where its unit is unknown or its `twin` contradicts it.

    `twin`: a raw number of W, where 0 tells nothing. `bare`: the unit of a member that names none of its own.
    """
    value = record.watts(name, bare)
    if value is None:
        if record.number(name) is not None:
            say(STRANGE_UNIT)
        return None
    raw = record.number(twin) if twin else None
    if raw and are_apart(abs(value), abs(raw)):  # unsigned: older firmware sends no sign
        say(CONTRADICTION)
        return None
    return value


def exported_w(record: Record, say: Say, *, bare: str = "") -> float | None:
    """Returns psum in W, unless its two unsigned halves in W (Zheng sold, Fu bought) tell another direction or size."""
    value = watts(record, "psum", say, bare=bare, twin="psumOrgin")
    sold, bought = record.watts("psumZheng", "W") or 0.0, record.watts("psumFu", "W") or 0.0
    if value is None or not (sold or bought) or not are_apart(value, abs(sold) - abs(bought)):
        return value
    say(CONTRADICTION)
    return None


@dataclass(frozen=True)
class Silence:
    """Inverters that do not report although others do. `serials` None: some, and nobody says which."""

    serials: frozenset[str] | None = frozenset()

    def __bool__(self) -> bool:
        return self.serials is None or bool(self.serials)

    def reaches(self, devices: tuple[Device, ...], kind: DeviceKind) -> bool:
        """Tells whether a device of this kind hangs on a silent inverter. Export power managers report on their own."""
        owners = [serial for device in devices if device.kind is kind and (serial := _owner(device))]
        return any(self.serials is None or serial in self.serials for serial in owners)


def _owner(device: Device) -> str | None:
    serial, _, part = device.vendor_id.partition(":")
    return serial if part else None


def silence(station: Record | None, of: Site) -> Silence:
    """Finds silent inverters by the station's count of those online, which counts now; else by what fetch_site saw.

    The count of a plant with one inverter is not believed: 0 was recorded beside state 1 and power.
    """
    inverters = [device for device in of.devices if device.kind is DeviceKind.INVERTER]
    seen = frozenset(device.vendor_id for device in inverters if device.stale)
    total, online = (station.number(f"inverter{name}Count") if station else None for name in ("", "Online"))
    if total is None or online is None:
        return Silence(seen if len(seen) < len(inverters) else frozenset())  # all are silent at night
    if total < 2 or online >= total:
        return Silence()
    return Silence(seen if len(seen) == total - online else None)


def lacking(station: Record | None, of: Site, measured_at: datetime | None) -> Span | None:
    """Returns the time in which the plant's sums lack an inverter, as far as anybody knows; None where they do not."""
    found = silence(station, of)
    if not found:
        return None
    since = [
        device.reported_at
        for device in of.devices
        if device.reported_at and device.kind is DeviceKind.INVERTER and device.vendor_id in (found.serials or ())
    ]
    if measured_at is None:
        return (min(since), min(since) + SITE_KNOWN_FOR) if since else None
    return (min(since) if since else measured_at - STALE_AFTER), measured_at + STALE_AFTER
