"""Enphase answers as Joinder's sites and live power. Pure: no clock, no network.

Enphase counts battery power + while charging; here it is + while discharging. Unknown stays None.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec.structs import replace

from joinder import physics
from joinder.energy import Device, DeviceKind, Live, MeterRole, Site
from joinder.series import percent, zone
from joinder_enphase import states
from joinder_enphase.shapes import (
    DeviceEntry,
    DeviceLists,
    Latest,
    Percent,
    PowerRow,
    Row,
    Rows,
    Summary,
    System,
    Telemetry,
)

NO_SUN = "The production meter shows power far below zero: a sensor of it seems to be the wrong way round"
TOGETHER_S = 1800  # powers measured further apart than this are not added up
_CONSUMPTION_ROLES = {"net": MeterRole.GRID, "total": MeterRole.LOAD}
_LATEST_EPOCH = 2**33


def site(system: System, lists: DeviceLists, capacity_wh: float | None) -> Site:
    """Builds the site of a system.

    `capacity_wh` of all batteries is shared out when all are of one model: our arithmetic, not the vendor's.
    """
    listed = [*(lists.encharges or ()), *(lists.acbs or ())]
    batteries = list({entry.serial_number or entry.id: entry for entry in listed}.values())
    alike = len({entry.part_number for entry in batteries}) == 1
    each_wh = capacity_wh / len(batteries) if capacity_wh and capacity_wh > 0 and alike else None
    devices = [
        *(_device(entry, DeviceKind.INVERTER) for entry in lists.micros or ()),
        *(_meter(entry) for entry in lists.meters or () if not _is_disabled(entry)),
        *(_device(entry, DeviceKind.BATTERY, nameplate_wh=each_wh) for entry in batteries),
    ]
    return Site(
        vendor_id=str(system.system_id),
        name=system.name or f"Enphase system {system.system_id}",
        timezone=system.timezone if zone(system.timezone) else None,
        operational_since=instant(system.operational_at),
        devices=tuple({device.vendor_id: device for device in devices if device.vendor_id}.values()),
        warnings=_warnings(system, lists),
    )


def _warnings(system: System, lists: DeviceLists) -> tuple[str, ...]:
    said = states.warning(system.status)
    runs = states.runs(entry.status for entry in lists.generators or ())
    return tuple(filter(None, (said, states.GENERATOR if runs else None)))


def _is_disabled(entry: DeviceEntry) -> bool:
    """Tells whether no CT is connected there."""
    return "disabled" in (entry.state, entry.status)


def _device(entry: DeviceEntry, kind: DeviceKind, *, nameplate_wh: float | None = None) -> Device:
    return Device(
        vendor_id=entry.serial_number or str(entry.id or ""),
        kind=kind,
        serial=entry.serial_number or None,
        model=entry.product_name or entry.model or None,
        name=entry.name or None,
        nameplate_wh=nameplate_wh,
        reported_at=instant(entry.last_report_at),
        stale=states.is_silent(entry.status),
        faults=states.faults(entry.status),
    )


def _meter(entry: DeviceEntry) -> Device:
    """Maps a meter; a consumption meter set up as Net sits at the grid, one set up as Total sees the home's load."""
    if entry.name == "consumption":
        role = _CONSUMPTION_ROLES.get((entry.config_type or "").lower())
    else:
        role = {"production": MeterRole.PRODUCTION, "storage": MeterRole.STORAGE}.get(entry.name or "")
    return replace(_device(entry, DeviceKind.METER), role=role or MeterRole.OTHER)


def instant(epoch: float | None) -> datetime | None:
    return datetime.fromtimestamp(epoch, UTC) if epoch and 0 < epoch < _LATEST_EPOCH else None


def live(latest: Latest, of: Site) -> Live | None:
    """Returns power now, in W; None when no device that counts has reported in the last seven days."""
    return _judged(latest, of)[0]


def doubts(latest: Latest, of: Site) -> tuple[str, ...]:
    """Says in sentences for the operator which powers cannot be."""
    return _judged(latest, of)[1]


def _judged(latest: Latest, of: Site) -> tuple[Live | None, tuple[str, ...]]:
    meters, batteries = latest.devices.meters or [], latest.devices.encharges or []
    newest = max((row.last_report_at for row in [*meters, *batteries] if row.last_report_at), default=None)
    measured_at = instant(newest)
    if newest is None or measured_at is None:
        return None, ()
    roles = [device.role for device in of.devices]
    produced = _metered(meters, "production", newest, at_least=roles.count(MeterRole.PRODUCTION))
    used_by = roles.count(MeterRole.GRID) + roles.count(MeterRole.LOAD)
    used = _metered(meters, "consumption", newest, at_least=used_by)
    solar = physics.solar_power(produced, physics.nameplate_w(of.devices))
    known = sum(device.kind is DeviceKind.BATTERY for device in of.devices)
    battery = _battery_w(batteries, newest, at_least=known)
    beside = battery if known or batteries else 0.0  # what batteries add to the balance
    grid, load = _balance(roles, solar, beside, produced, used)
    reversed_sun = produced is not None and solar is None
    found = Live(measured_at=measured_at, solar_w=solar, battery_w=battery, grid_w=grid, load_w=load.watts)
    return found, (*((physics.NO_LOAD,) if load.is_impossible else ()), *((NO_SUN,) if reversed_sun else ()))


def _balance(
    roles: list[MeterRole | None], solar: float | None, beside: float | None, produced: float | None, used: float | None
) -> tuple[float | None, physics.Load]:
    """Computes grid (W) and load. A Net consumption meter shows production + grid, a Total one the load.

    What inverters draw at night (negative production) belongs to the load.
    """
    if MeterRole.GRID in roles:
        grid = _difference(used, produced)
        return grid, physics.home_load((solar, beside, grid))
    if MeterRole.LOAD not in roles:
        return None, physics.Load(None)
    grid = _difference(used, solar, beside)
    load = physics.home_load((used,) if grid is None else (solar, beside, grid))
    return None if load.is_impossible else grid, load  # grid was reckoned from that load


def sun_is_metered(latest: Latest) -> bool:
    """Tells whether a production meter has told its power, though perhaps not all have.

    Nothing else tells a better one.
    """
    return any(row.name == "production" and row.power is not None for row in latest.devices.meters or ())


def _metered(rows: list[PowerRow], name: str, newest: float, *, at_least: int) -> float | None:
    """Sums all channels of all meters of a name, in W; None when a part is silent or older than the others.

    Phases without a CT have neither power nor a time of report.
    """
    named = [row for row in rows if row.name == name]
    told = [row for row in named if row.power is not None]
    heard = {index if row.id is None else row.id for index, row in enumerate(told)}
    is_silent = any(row.power is None and row.last_report_at for row in named)
    return None if is_silent or len(heard) < at_least else _total(told, newest)


def _total(rows: list[PowerRow], newest: float) -> float | None:
    """Sums rows that belong together; None when there are none or one is older than the others."""
    if not rows or any(newest - (row.last_report_at or 0) > TOGETHER_S for row in rows):
        return None
    return sum(row.power or 0.0 for row in rows)


def _battery_w(rows: list[PowerRow], newest: float, *, at_least: int) -> float | None:
    """Sums the batteries' power in W, + discharging; None when one is silent (null) or not listed."""
    if len(rows) < at_least or any(row.power is None for row in rows) or _total(rows, newest) is None:
        return None
    return sum(_discharging_w(row.operational_mode, row.power or 0.0) for row in rows)


def _discharging_w(mode: str | None, power: float) -> float:
    """Signs a battery's power by its mode where it can: sources disagree on the sign, most say + while charging."""
    if mode == "Charging":
        return -abs(power)
    return abs(power) if mode == "Discharging" else 0.0 - power


def _difference(whole: float | None, *parts: float | None) -> float | None:
    known = [part for part in (whole, *parts) if part is not None]
    return known[0] - sum(known[1:]) if len(known) == 1 + len(parts) else None


def solar_from_summary(summary: Summary, so_far: Live | None) -> Live | None:
    """Returns `so_far` with the summary's production where no meter told it, if both are of the same half hour."""
    at = instant(summary.last_interval_end_at)
    if at is None or summary.current_power is None or summary.current_power < 0:
        return so_far
    if so_far is None:
        return Live(measured_at=at, solar_w=summary.current_power)
    apart = abs((at - so_far.measured_at).total_seconds())
    return replace(so_far, solar_w=summary.current_power) if apart <= TOGETHER_S else so_far


def state_of_charge(telemetry: Telemetry) -> float | None:
    """Returns percent over all batteries, or None: the aggregate ("97%"), else the newest row that has one of all."""
    try:
        stated = float((telemetry.last_reported_aggregate_soc or "").strip().rstrip("%"))
    except ValueError:
        stated = _newest_percent(telemetry)
    return percent(stated)


def _newest_percent(telemetry: Telemetry) -> float:
    """Returns the newest row's percent; -1 when it is unknown, also where the newest row lacks a battery."""
    told = {row.end_at: row.soc for rows in row_lists(telemetry) for row in rows if row.end_at}
    known = {end_at: soc for end_at, soc in told.items() if soc and soc.percent is not None}
    newest = known[max(known)] if known else Percent()
    is_whole = newest.devices_reporting is None or newest.devices_reporting >= (telemetry.total_devices or 1)
    return newest.percent if newest.percent is not None and is_whole else -1.0


def row_lists(telemetry: Rows) -> list[list[Row]]:
    """Returns rows told flat as one list.

    Of nested lists each is one meter's, unless they follow each other in time.
    """
    flat = [row for row in telemetry.intervals if isinstance(row, Row)]
    nested = [rows for rows in telemetry.intervals if not isinstance(rows, Row)]
    stamps = [row.end_at for rows in nested for row in {row.end_at: row for row in rows}.values()]
    if len(stamps) == len(set(stamps)):
        nested = [[row for rows in nested for row in rows]]
    return [rows for rows in (flat, *nested) if rows]
