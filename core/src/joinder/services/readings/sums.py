"""A site's rows out of those of its devices, where the vendor tells the devices alone. Pure.

What is summed here came with the site's own answer; what somebody asked of a single device never changes its site.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from msgspec import structs

from joinder.energy import ENERGY_METRICS, PARTS_MISSING, Device, DeviceKind, MeterRole, Quality, Reading

Span = tuple[datetime, datetime]
_RANK: Mapping[Quality, int] = {"measured": 0, "estimated": 1, "partial": 2}
_OF_KIND = {
    DeviceKind.INVERTER: ("solar_wh",),
    DeviceKind.BATTERY: ("charge_wh", "discharge_wh"),
    DeviceKind.CHARGER: ("charger_wh",),
}
_GRID = ("import_wh", "export_wh")
_LESS_SHARE, _LESS_WH = 0.001, 1.0  # by which a sum may fall short of one over the same devices


class Former(NamedTuple):
    """What is stored of a sum that a device was a part of which the site no longer lists."""

    wh: float | None  # the sum
    is_whole: bool
    is_told: bool  # the device's own part is stored

    def instead_of(self, wh: float) -> float | None:
        """Returns the stored Wh where they are more, else None."""
        if self.wh is None or wh >= self.wh - max(_LESS_WH, self.wh * _LESS_SHARE):
            return None
        return self.wh


NO_FORMER = Former(None, is_whole=False, is_told=False)
Formers = Mapping[Span, Mapping[str, Former]]


def site_rows(
    own: Sequence[Reading],
    parts: Sequence[Reading],
    devices: Iterable[Device],
    *,
    is_told_by_others: Callable[[Span], bool] = lambda span: False,
    former: Formers | None = None,
) -> list[Reading]:
    """Returns the site's rows in order, each metric it lacks filled with the sum over the devices that measure it.

    A sum that lacks one of them is partial, and so is one of a time that devices tell of which the site no longer lists
    (`is_told_by_others`): they were parts of it then. Where the vendor dropped such a device with its rows, the sum
    that is stored with it (`former`) stays: less is not all of it. A device under another name changes no sum.
    """
    by_span: dict[Span, dict[str, Reading]] = {}
    for row in parts:
        by_span.setdefault((row.start, row.end), {})[row.device_id or ""] = row
    known = {(row.start, row.end): row for row in own}
    members = measured_by(list(devices))
    filled = {
        span: _filled(
            known.get(span) or Reading(start=span[0], end=span[1]),
            rows,
            members,
            has_others=is_told_by_others(span),
            former=(former or {}).get(span, {}),
        )
        for span, rows in by_span.items()
    }
    merged = known | {span: row for span, row in filled.items() if row is not None}
    return [merged[span] for span in sorted(merged)]


def measured_by(devices: Sequence[Device]) -> dict[str, list[str]]:
    """Returns metric → the ids of the devices whose values together are the site's."""
    found: dict[str, list[str]] = {}
    roles = {device.role for device in devices if device.kind is DeviceKind.METER}
    for device in devices:
        metrics = _OF_KIND.get(device.kind, ())
        if device.kind is DeviceKind.METER:
            metrics = _meter_metrics(device.role, roles)
        for metric in metrics:
            found.setdefault(metric, []).append(device.vendor_id)
    return found


def _meter_metrics(role: MeterRole | None, roles: Collection[MeterRole | None]) -> tuple[str, ...]:
    """Returns what a meter measures of the site. `roles`: of all meters of the site.

    A meter without a role sits at the grid, as most do, and what it says of the load counts too; but not beside one
    that is said to measure the same, or it would count twice.
    """
    if role is MeterRole.LOAD:
        return ("load_wh",)
    if role is MeterRole.GRID:
        return _GRID
    if role is not None:
        return ()
    return (*(() if MeterRole.GRID in roles else _GRID), *(() if MeterRole.LOAD in roles else ("load_wh",)))


def _filled(
    row: Reading,
    parts: Mapping[str, Reading],
    measured_by: Mapping[str, Sequence[str]],
    *,
    has_others: bool,
    former: Mapping[str, Former],
) -> Reading | None:
    """Fills the row from its devices.

    None where they tell nothing the site's own row lacks, and nothing but less than what is stored.
    """
    values: dict[str, float] = {}
    used: list[Reading] = []
    lacks: set[str] = set()
    kept: dict[str, float] = {}
    is_short = has_others
    for metric, members in measured_by.items():
        told = {one: value for one in members if one in parts and (value := getattr(parts[one], metric)) is not None}
        if told and getattr(row, metric) is None:
            values[metric], before = sum(told.values()), former.get(metric, NO_FORMER)
            if (more := before.instead_of(values[metric])) is not None:
                kept[metric], is_short = more, is_short or not before.is_whole
                continue
            is_short = is_short or (before.is_told and not before.is_whole)
            used += [parts[one] for one in told]
            lacks.update(member for member in members if member not in told)
    if not values or (values.keys() == kept.keys() and not _tells(row)):
        return None
    values |= kept
    worst = max((row, *used), key=lambda one: _RANK[one.quality])
    if lacks or is_short:
        return structs.replace(row, quality="partial", rule=PARTS_MISSING, lacks=tuple(sorted(lacks)), **values)
    return structs.replace(row, quality=worst.quality, rule=row.rule or worst.rule, **values)


def _tells(row: Reading) -> bool:
    return any(getattr(row, metric) is not None for metric in ENERGY_METRICS)
