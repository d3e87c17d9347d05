"""What several devices of one kind tell, as one: all batteries of a site, and the meters at its grid. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import NamedTuple

from joinder import Device, DeviceKind, MeterRole
from joinder_solaredge import charge, mapping
from joinder_solaredge.api import Series

Devices = Mapping[str, Mapping[str, Series]]  # one answer's, by serial number
Metrics = dict[str, mapping.Rows]
_BESIDE = {MeterRole.PRODUCTION, MeterRole.STORAGE}
_NOISE_WH = 50.0
_AGREE_WITHIN = 0.02  # two meters that measure the same thing
METERS_DIFFER = (
    "Several of the site's meters tell the same energies and differ; whether they are parts or the same is not known, "
    "so these energies are unknown"
)
NO_SUN_BUT_METERED = (
    "SolarEdge tells a production of 0 for the site while its production meter tells more: the site's is left out"
)


class Sum(NamedTuple):
    metrics: Metrics
    lacking: Collection[datetime] = ()  # rows in which some of the devices were silent
    warnings: Sequence[str] = ()
    silent: Mapping[datetime, frozenset[str]] = MappingProxyType({})  # which, by their serial numbers


def batteries(
    answers: Sequence[Devices], installed: Iterable[Device], hours: float | None, known: Sequence[Devices] = ()
) -> Sum:
    """Sums all batteries that are installed, and those that are not but tell something all the same."""
    sizes = capacities(installed)
    told, warnings = stores(answers, sizes, hours, known)
    all_of_them = {serial: one for serial, one in told.items() if serial in sizes or _any(one)}
    if not all_of_them:
        return Sum({}, (), warnings)
    each = list(all_of_them.values())
    total = mapping.over_all(each, [sizes.get(serial) for serial in all_of_them])
    return Sum(total, mapping.silences(each), warnings, mapping.silent_of(all_of_them))


def capacities(installed: Iterable[Device]) -> dict[str, float | None]:
    return {device.vendor_id: device.nameplate_wh for device in installed if device.kind is DeviceKind.BATTERY}


def stores(
    answers: Sequence[Devices],
    sizes: Mapping[str, float | None],
    hours: float | None,
    known: Sequence[Devices] = (),
) -> tuple[dict[str, Metrics], list[str]]:
    """Returns each battery's energies (Wh) and state of charge (%), and warnings.

    All are on one scale: that of all answers that are `known`.
    """
    parts = {serial: parts_of(serial, answers) for serial in sorted(sizes.keys() | serials(answers))}
    evidence = known or answers
    scale = mapping.charge_scale((parts_of(serial, evidence), sizes.get(serial)) for serial in serials(evidence))
    found = {
        serial: {
            **mapping.energies(told, mapping.STORAGE, hours=hours),
            mapping.SOC: mapping.charge_states(told, scale),
        }
        for serial, told in parts.items()
    }
    warnings = [text for told in parts.values() for text in mapping.doubts(told, mapping.STORAGE)]
    unsure = scale is charge.Scale.UNDECIDED and any(mapping.tells_charge(told) for told in parts.values())
    return found, [*warnings, charge.UNDECIDED] if unsure and hours is not None else warnings


def meters(answers: Sequence[Devices], installed: Iterable[Device], hours: float | None) -> Sum:
    """Returns import and export of the meters at the grid, and consumption of those of the load, in Wh.

    Where no meter is said to be there, those that tell it count; what an inverter draws at night is no import.
    """
    roles = {device.vendor_id: device.role for device in installed if device.kind is DeviceKind.METER}
    found: Metrics = {}
    warnings: list[str] = []
    for wanted, role in ((mapping.GRID, MeterRole.GRID), (mapping.LOAD, MeterRole.LOAD)):
        telling = dict(_telling(answers, wanted, hours))
        places = {role} if role in roles.values() else set(MeterRole) - _BESIDE
        agreed = _agreed([one for serial, one in telling.items() if roles.get(serial, role) in places])
        found |= agreed or {}
        warnings += [METERS_DIFFER] if agreed is None else []
        warnings += [text for serial in telling for text in mapping.doubts(parts_of(serial, answers), wanted)]
    return Sum(found, (), warnings)


def _telling(
    answers: Sequence[Devices], wanted: mapping.Energies, hours: float | None
) -> Iterator[tuple[str, Metrics]]:
    for serial in sorted(serials(answers)):
        metrics = mapping.energies(parts_of(serial, answers), wanted, hours=hours)
        if _any(metrics):
            yield serial, metrics


def _agreed(each: Sequence[Metrics]) -> Metrics | None:
    """Returns the first one's where all the others say the same, else None: added up they might count twice."""
    return ({} if not each else each[0]) if all(_same(each[0], other) for other in each[1:]) else None


def _same(one: Metrics, other: Metrics) -> bool:
    return all(_is_near(_wh(one[metric]), _wh(other[metric])) for metric in one)


def _is_near(one: float, other: float) -> bool:
    return abs(one - other) <= max(one, other) * _AGREE_WITHIN


def _wh(rows: mapping.Rows) -> float:
    return sum(value or 0.0 for value in rows.values())


def false_zeros(solar: Metrics, answers: Sequence[Devices], hours: float | None) -> Sum:
    """Returns the site's production as unknown, where all of it is 0 and a production meter tells otherwise."""
    metered = [rows for _, one in _telling(answers, mapping.PRODUCTION, hours) for rows in one.values()]
    if any(_wh(rows) for rows in solar.values()) or not any(_wh(rows) > _NOISE_WH for rows in metered):
        return Sum({})
    return Sum({metric: dict.fromkeys(rows) for metric, rows in solar.items()}, (), [NO_SUN_BUT_METERED])


def serials(answers: Iterable[Devices]) -> set[str]:
    return {serial for devices in answers for serial in devices}


def parts_of(serial: str, answers: Iterable[Devices]) -> list[Mapping[str, Series]]:
    return [devices.get(serial, {}) for devices in answers]


def _any(metrics: Metrics) -> bool:
    return any(value is not None for rows in metrics.values() for value in rows.values())
