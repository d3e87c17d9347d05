"""Enphase answers as Joinder's sites and live power. Pure: no clock, no network.

Enphase counts battery power + while charging; here it is + while discharging. Unknown stays None.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from msgspec.structs import replace

from joinder.energy import Device, DeviceKind, Live, MeterRole, Site
from joinder.series import zone
from joinder_enphase.api import DeviceEntry, DeviceLists, Latest, PowerRow, Row, Summary, System, Telemetry

TOGETHER_S = 1800  # powers measured further apart than this are not added up
_CONSUMPTION_ROLES = {"net": MeterRole.GRID, "total": MeterRole.LOAD}
_LATEST_EPOCH = 2**33


def site(system: System, lists: DeviceLists, capacity_wh: float | None) -> Site:
    """`capacity_wh` of all batteries is shared out when all are of one model: our arithmetic, not the vendor's."""
    listed = [*(lists.encharges or ()), *(lists.acbs or ())]
    batteries = list({entry.serial_number or entry.id: entry for entry in listed}.values())
    alike = len({entry.part_number for entry in batteries}) == 1
    each_wh = capacity_wh / len(batteries) if capacity_wh and capacity_wh > 0 and alike else None
    devices = [
        *(_device(entry, DeviceKind.INVERTER) for entry in lists.micros or ()),
        *(_meter(entry) for entry in lists.meters or () if entry.state != "disabled"),  # no CT is connected there
        *(_device(entry, DeviceKind.BATTERY, nameplate_wh=each_wh) for entry in batteries),
    ]
    return Site(
        vendor_id=str(system.system_id),
        name=system.name or f"Enphase system {system.system_id}",
        timezone=system.timezone if zone(system.timezone) else None,
        operational_since=instant(system.operational_at),
        devices=tuple({device.vendor_id: device for device in devices if device.vendor_id}.values()),
    )


def _device(entry: DeviceEntry, kind: DeviceKind, *, nameplate_wh: float | None = None) -> Device:
    return Device(
        vendor_id=entry.serial_number or str(entry.id or ""),
        kind=kind,
        serial=entry.serial_number or None,
        model=entry.product_name or entry.model or None,
        name=entry.name or None,
        nameplate_wh=nameplate_wh,
        reported_at=instant(entry.last_report_at),
    )


def _meter(entry: DeviceEntry) -> Device:
    """A consumption meter set up as Net sits at the grid connection, one set up as Total sees the home's load."""
    if entry.name == "consumption":
        role = _CONSUMPTION_ROLES.get((entry.config_type or "").lower())
    else:
        role = {"production": MeterRole.PRODUCTION, "storage": MeterRole.STORAGE}.get(entry.name or "")
    return replace(_device(entry, DeviceKind.METER), role=role or MeterRole.OTHER)


def instant(epoch: float | None) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if epoch and 0 < epoch < _LATEST_EPOCH else None


def live(latest: Latest, of: Site) -> Live | None:
    """Power now. None when no device that counts has reported in the last seven days.

    Grid and load follow from the consumption meter: a Net one shows production + grid, a Total one the load. What
    inverters draw at night (negative production) belongs to the load.
    """
    rows = [*(latest.devices.meters or ()), *(latest.devices.encharges or ())]
    newest = max((row.last_report_at for row in rows if row.last_report_at), default=None)
    measured_at = instant(newest)
    if newest is None or measured_at is None:
        return None
    produced = _total(_named(latest, "production"), newest)
    solar = None if produced is None else max(0.0, produced)
    drawn = -min(0.0, produced or 0.0)
    used = _total(_named(latest, "consumption"), newest)
    batteries = sum(device.kind is DeviceKind.BATTERY for device in of.devices)
    has_battery = bool(batteries or latest.devices.encharges)
    battery = _battery_w(latest.devices.encharges or [], newest, at_least=batteries)
    beside = battery if has_battery else 0.0  # what the battery adds to the balance
    grid = load = None
    if has(of, role=MeterRole.GRID):
        grid, load = _sum(used, produced, sign=-1), _sum(_sum(used, beside), drawn)
    elif has(of, role=MeterRole.LOAD):
        grid, load = _sum(_sum(used, solar, sign=-1), beside, sign=-1), used
    return Live(measured_at=measured_at, solar_w=solar, battery_w=battery, grid_w=grid, load_w=load)


def _named(latest: Latest, name: str) -> list[PowerRow]:
    return [row for row in latest.devices.meters or () if row.name == name and row.power is not None]  # unused phases


def _total(rows: list[PowerRow], newest: float) -> float | None:
    """Of rows that belong together; None when there are none or one is older than the others."""
    if not rows or any(newest - (row.last_report_at or 0) > TOGETHER_S for row in rows):
        return None
    return sum(row.power or 0.0 for row in rows)


def _battery_w(rows: list[PowerRow], newest: float, *, at_least: int) -> float | None:
    """+ discharging. A battery that is silent (null) or not listed makes the sum unknown."""
    if len(rows) < at_least or any(row.power is None for row in rows) or _total(rows, newest) is None:
        return None
    return sum(_discharging_w(row.operational_mode, row.power or 0.0) for row in rows)


def _discharging_w(mode: str | None, power: float) -> float:
    """The mode decides where it can: sources disagree on the sign, most say + while charging."""
    if mode == "Charging":
        return -abs(power)
    return abs(power) if mode == "Discharging" else 0.0 - power


def _sum(a: float | None, b: float | None, *, sign: int = 1) -> float | None:
    return None if a is None or b is None else a + sign * b


def solar_from_summary(summary: Summary, so_far: Live | None) -> Live | None:
    """`so_far` with the summary's production where no meter told it, if both are of the same half hour."""
    at = instant(summary.last_interval_end_at)
    if at is None or summary.current_power is None or summary.current_power < 0:
        return so_far
    if so_far is None:
        return Live(measured_at=at, solar_w=summary.current_power)
    apart = abs((at - so_far.measured_at).total_seconds())
    return replace(so_far, solar_w=summary.current_power) if apart <= TOGETHER_S else so_far


def state_of_charge(telemetry: Telemetry) -> float | None:
    """Percent over all batteries: the aggregate ("97%"), else the newest row that has one."""
    try:
        stated = float((telemetry.last_reported_aggregate_soc or "").strip().rstrip("%"))
    except ValueError:
        rows = [row for row in flat(telemetry.intervals) if row.soc and row.soc.percent is not None and row.end_at]
        newest = max(rows, key=lambda row: row.end_at or 0, default=None)
        stated = newest.soc.percent if newest and newest.soc and newest.soc.percent is not None else -1.0
    return stated if 0 <= stated <= 100 else None


def flat(rows: Iterable[Row | list[Row]]) -> Iterator[Row]:
    for row in rows:
        if isinstance(row, Row):
            yield row
        else:
            yield from row


def has(of: Site, *, role: MeterRole | None = None, kind: DeviceKind | None = None) -> bool:
    return any(device.role is role if role else device.kind is kind for device in of.devices)
