"""Compares what a plugin told with what the simulated site really did (`Simulator.home`). Raises Failed in one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby

from joinder.energy import ENERGY_METRICS, Counter, Device, DeviceKind, Live, Reading, ReadingsQuery
from joinder.simulate.home import SLOT_S, Energy, Power
from joinder.simulate.truth import Numbers, TrueDevice, TrueSite
from joinder.testing.forgotten import forgotten_of_live, forgotten_of_moment, forgotten_of_rows
from joinder.testing.subject import Failed
from joinder.vendor import Capability, Support, Vendor

WH, W, PERCENT, SHARE = 3.0, 5.0, 1.5, 0.01  # what vendors round away
METRICS = (*ENERGY_METRICS, "soc_percent")
POWERS = ("solar_w", "battery_w", "grid_w", "load_w", "soc_percent")
WORKING_W = 300.0  # what is told apart from noise
CHARGE_LATE_S = 900  # vendors tell the charge of their last quarter hour beside the power of now
LIFETIME_WH, LIFETIME_SHARE, MOVED_SHARE = 50.0, 0.01, 0.001
_PROMISED = {
    Capability.SOLAR_INTERVALS: (DeviceKind.INVERTER, ("solar_wh",)),
    Capability.BATTERY_INTERVALS: (DeviceKind.BATTERY, ("charge_wh", "discharge_wh")),
    Capability.METER_INTERVALS: (DeviceKind.METER, ("import_wh", "export_wh")),
    Capability.CHARGER_INTERVALS: (DeviceKind.CHARGER, ("charger_wh",)),
}
_LIVE = {
    DeviceKind.INVERTER: ("solar_w",),
    DeviceKind.BATTERY: ("battery_w", "soc_percent"),
    DeviceKind.METER: ("grid_w",),
}


_OF_KIND = {"soc_percent": DeviceKind.BATTERY, "charger_wh": DeviceKind.CHARGER, "charger_w": DeviceKind.CHARGER}


def promised(vendor: Vendor, truth: TrueSite) -> tuple[str, ...]:
    """Metrics the capabilities promise of a site with these devices."""
    return tuple(
        metric
        for capability, (kind, metrics) in _PROMISED.items()
        if vendor.support(capability) is Support.YES and truth.has(kind)
        for metric in metrics
    )


def energy(truth: TrueSite, start: datetime, end: datetime) -> Energy:
    return truth.energy(start.timestamp(), end.timestamp())


def numbers(of: Energy | Power) -> Numbers:
    return vars(of)


def expect_true_rows(
    rows: Sequence[Reading],
    query: ReadingsQuery,
    truth: TrueSite,
    *,
    device: TrueDevice | None = None,
    needed: tuple[str, ...] = (),
) -> None:
    """Every row is what the site, or its `device`, did; `needed` metrics are known wherever the vendor told them."""

    def tells(of: Energy) -> Numbers:
        return device.energy(of) if device else _of_site(truth, numbers(of))

    for part in _told_as_one(rows, truth, query):
        start, end = part[0].start, part[-1].end
        of = energy(truth, start, end)
        try:
            _expect_part(part, tells(of), _place(query, start), of, needed)
        except WrongNumber as wrong:
            forgotten = forgotten_of_rows(rows, start, wrong.metric, truth, tells) if query.resolution != "day" else ""
            raise Failed(f"{wrong}; {forgotten}" if forgotten else wrong.hinted) from None


def _of_site(truth: TrueSite, told: Numbers) -> Numbers:
    """Returns what can be told of the site: no charge where nothing stores, no car's energy without a charger."""
    nowhere = {name for name, kind in _OF_KIND.items() if not truth.has(kind)}
    return {name: number for name, number in told.items() if name not in nowhere}


def _told_as_one(rows: Sequence[Reading], truth: TrueSite, query: ReadingsQuery) -> Iterator[list[Reading]]:
    """Rows whose sum the vendor told: one by one, or those of one of its longer rows where all of them are there."""
    if query.resolution == "day" or truth.row_s <= 900:
        yield from ([row] for row in rows)
        return
    for _, group in groupby(rows, key=lambda row: row.start.timestamp() // truth.row_s):
        part = list(group)
        if (part[-1].end - part[0].start).total_seconds() == truth.row_s:
            yield part


def _expect_part(part: list[Reading], true: Numbers, place: str, of: Energy, needed: tuple[str, ...]) -> None:
    is_partial = any(row.quality == "partial" for row in part)
    for metric in METRICS:
        told = [getattr(row, metric) for row in part]
        known = [value for value in told if value is not None]
        if len(known) < len(told) or metric not in true:
            if metric in needed and not is_partial:
                raise Failed(
                    f"{place}: {metric} is missing, although the vendor tells it; read the member that holds it"
                )
            if known and metric not in true:
                raise Failed(f"{place}: {metric} is {known[0]:g}, but nothing here has any; unknown is None, no 0")
            continue
        value = sum(known) / (len(known) if metric == "soc_percent" else 1)
        room = PERCENT if metric == "soc_percent" else WH * len(part)
        if is_partial and metric != "soc_percent" and value <= true[metric] + room:
            continue
        if not near(value, true[metric], room):
            raise WrongNumber(place, metric, value, true[metric], numbers(of))


def expect_gaps(rows: Iterable[Reading], truth: TrueSite, query: ReadingsQuery) -> None:
    """Expects no row where the vendor keeps none, no zero and no guess; a sum without a silent device is partial."""
    for row in rows:
        at = row.start.timestamp()
        known = [metric for metric in METRICS if getattr(row, metric) is not None]
        if truth.missing(at) and known:
            raise Failed(
                f"{_place(query, row.start)}: {known[0]} is {getattr(row, known[0]):g}, but the vendor has no row"
                " there; leave the quarter hour out instead of filling it"
            )
        silent = [device for device in truth.devices if device.silent(at)]
        metrics = {
            metric
            for device in silent
            for metric, value in device.energy(energy(truth, row.start, row.end)).items()
            if value > WH
        }
        if metrics & set(known) - {"soc_percent"} and row.quality != "partial":
            raise Failed(
                f"{_place(query, row.start)}: the {' '.join(_named(silent[0]))} was silent, but the sum is"
                f" {row.quality}; name the parts a sum has (Quarters.expect, lacks), so that it is partial"
            )


def expect_true_live(vendor: Vendor, live: Live | None, truth: TrueSite, now: datetime) -> None:
    """Power of the moment the vendor measured it, with the signs of Joinder, and that moment."""
    if live is None and not _told_live(truth):
        return
    if live is None:
        raise Failed(f"live power at {now:%H:%M}: none, although the vendor tells it; answer Readings.live")
    if truth.live_every_s:
        told_at = now.timestamp() - now.timestamp() % truth.live_every_s
        late_s = live.measured_at.timestamp() - told_at
        if abs(late_s) > 1:
            forgotten = forgotten_of_moment(live.measured_at, now)
            raise Failed(
                f"live power at {now:%H:%M}: measured_at is {late_s:+.0f} s off the vendor's own time of measurement;"
                f" {forgotten or 'take the time of its answer, in its zone, and not ours'}"
            )
    at = live.measured_at.timestamp() if truth.live_every_s else now.timestamp()
    true = _of_site(truth, numbers(truth.live(at)))
    place = f"live power at {now:%H:%M}"
    for metric in POWERS:
        value = getattr(live, metric)
        if value is not None and metric not in true:
            raise Failed(f"{place}: {metric} is {value:g}, but the site has no battery; unknown is None, no 0")
        is_near = _is_charge(value, truth, at) if metric == "soc_percent" else near(value or 0.0, true[metric], W)
        if value is not None and not is_near:
            number = WrongNumber(place, metric, value, true[metric], true)
            forgotten = forgotten_of_live(value, metric, truth, at)
            raise Failed(f"{number}; {forgotten}" if forgotten else number.hinted)
    lacking = [metric for metric in _told_live(truth) if getattr(live, metric) is None]
    if lacking:
        raise Failed(
            f"{place}: {lacking[0]} is missing, although the vendor tells it; read the member that holds it, or leave"
            " it out of TrueSite.live_tells where it does not"
        )


def _told_live(truth: TrueSite) -> tuple[str, ...]:
    if truth.live_tells is not None:
        return truth.live_tells
    return tuple(metric for kind, metrics in _LIVE.items() if truth.has(kind) for metric in metrics)


def expect_true_devices(told: Sequence[Device], truth: TrueSite, now: datetime, *, whole: bool) -> None:
    """Kinds, serials, roles, sizes, power and registers; `whole`: every device of the site is there, and no other."""
    left = list(truth.devices)
    for device in told:
        true = next((one for one in left if _is_same(device, one)), None)
        if true is None:
            raise Failed(
                f"device {device.vendor_id}: the site has no {' '.join(_named(device))} (again); compare kind, serial"
                " and role with the vendor's list, one device each"
            )
        left.remove(true)
        _expect_device(device, true, truth, now)
    if whole and left:
        raise Failed(f"{len(left)} devices of the vendor's list are missing, such as the {' '.join(_named(left[0]))}")


def _is_charge(told: float | None, truth: TrueSite, at: float) -> bool:
    """Tells whether it is what the battery held shortly before."""
    late_s = CHARGE_LATE_S + truth.live_every_s
    seen = [truth.home.power(at - before).soc_percent for before in range(0, late_s + SLOT_S, SLOT_S)]
    return told is not None and min(seen) - PERCENT <= told <= max(seen) + PERCENT


def _named(device: Device | TrueDevice) -> tuple[str, ...]:
    told = (device.kind, device.role, device.serial)
    return tuple(str(one) for one in told if one)


def _is_same(told: Device, true: TrueDevice) -> bool:
    is_role = true.role is None or told.role is None or told.role is true.role
    return told.kind is true.kind and told.serial == true.serial and is_role


def _expect_device(told: Device, true: TrueDevice, truth: TrueSite, now: datetime) -> None:
    place = f"device {told.vendor_id} at {now:%H:%M}"
    if true.nameplate_wh is not None and not (
        told.nameplate_wh is not None and near(told.nameplate_wh, true.nameplate_wh, 1.0)
    ):
        raise Failed(f"{place}: nameplate_wh is {told.nameplate_wh}, the battery holds {true.nameplate_wh:g} Wh")
    moments = [at.timestamp() for at in (told.reported_at, now) if at is not None]
    powers = [true.power_w(truth.live(at)) for at in moments]
    known = [power for power in powers if power is not None]
    if told.power_w is not None and known and not any(near(told.power_w, power, W, 2 * SHARE) for power in known):
        raise Failed(wrong(place, "power_w", told.power_w, known[0], numbers(truth.live(moments[0]))))
    if told.soc_percent is not None and not any(_is_charge(told.soc_percent, truth, at) for at in moments):
        raise Failed(wrong(place, "soc_percent", told.soc_percent, truth.live(moments[0]).soc_percent, {}))
    if told.lifetime_wh is not None and told.lifetime_since is None:
        registers = [true.energy(truth.home.lifetime(at)).get("solar_wh", 0.0) for at in moments]
        if not any(near(told.lifetime_wh, wh, LIFETIME_WH, LIFETIME_SHARE) for wh in registers):
            raise Failed(wrong(place, "lifetime_wh", told.lifetime_wh, registers[0], {}))


def expect_true_counters(before: Counter, after: Counter, truth: TrueSite) -> None:
    """Registers count what the site did since it was installed, and between two polls."""
    of = truth.home.lifetime(after.at.timestamp())
    moved = energy(truth, before.at, after.at)
    for metric in ENERGY_METRICS:
        first, last = getattr(before, metric), getattr(after, metric)
        if first is None or last is None:
            continue
        if not near(last, getattr(of, metric), LIFETIME_WH, LIFETIME_SHARE):
            raise Failed(wrong("counters", metric, last, getattr(of, metric), numbers(of)))
        if not near(last - first, getattr(moved, metric), WH, MOVED_SHARE):
            raise Failed(wrong("between two polls", metric, last - first, getattr(moved, metric), numbers(moved)))


def expect_parts_add_up(counters: Iterable[Counter], truth: TrueSite, at: datetime) -> None:
    """Inverters are told alone or not at all; together they generated what the site did."""
    told = [one.solar_wh for one in counters if one.solar_wh is not None]
    count = sum(device.kind is DeviceKind.INVERTER for device in truth.devices)
    true = truth.home.lifetime(at.timestamp()).solar_wh
    if len(told) == count and not near(sum(told), true, LIFETIME_WH, 2 * LIFETIME_SHARE):
        raise Failed(f"the inverters' registers add up to {sum(told):g} Wh, the home generated {true:g}; compare units")


def near(told: float, true: float, room: float, share: float = SHARE) -> bool:
    return abs(told - true) <= room + share * abs(true)


class WrongNumber(Exception):
    """A number that is not what it really was; `hinted` says also what it looks like."""

    def __init__(self, place: str, metric: str, told: float, true: float, others: Mapping[str, float]) -> None:
        super().__init__(f"{place}: {metric} is {told:g}, really it was {true:g}")
        self.metric = metric
        self.hinted = f"{self}; {_hint(metric, told, true, others)}"


def wrong(place: str, name: str, told: float, true: float, others: Mapping[str, float]) -> str:
    """One line: what is told, what it was, and what it looks like."""
    return WrongNumber(place, name, told, true, others).hinted


def _hint(name: str, told: float, true: float, others: Mapping[str, float]) -> str:
    unit = name.rpartition("_")[2]
    same = [
        other
        for other, value in others.items()
        if other != name and other.rpartition("_")[2] == unit and abs(value) > WH and near(told, value, W)
    ]
    if abs(true) > WH and near(-told, true, W):
        return "the sign is turned: power into the home is positive"
    if same:
        return f"that is {same[0]}: are two members swapped?"
    for factor, what in ((1000, "multiplied once too often"), (0.001, "kWh or kW taken for Wh or W")):
        if abs(true) > WH and near(told, true * factor, abs(true) * factor * 0.05):
            return f"a factor of {factor:g}: {what}"
    if unit == "percent" and near(told * 100, true, PERCENT):
        return "a fraction: soc_percent goes from 0 to 100"
    if told == 0:
        return "0 is not what the vendor told: unknown is None"
    return "compare member, unit, sign and time with the vendor's documentation"


def moments(truth: TrueSite, day_start: datetime) -> list[datetime]:
    """Instants of the day that begins then at which everything differs: a battery at work and idle, both ways of grid.

    In order, each in the middle of what the vendor measures at once; what the site cannot do is not there.
    """
    step = max(SLOT_S, truth.live_every_s)
    begins = [day_start + timedelta(seconds=step * index) for index in range(int(86400 // step))]
    states: dict[str, list[datetime]] = {}
    for at in begins:
        for state in _states(truth.live(at.timestamp())):
            states.setdefault(state, []).append(at)
    return sorted({found[len(found) // 2] + timedelta(seconds=step // 2) for found in states.values()})


def _states(power: Power) -> Iterator[str]:
    if power.battery_w == 0:
        yield "idle"
    if abs(power.battery_w) > WORKING_W:
        yield "charging" if power.battery_w < 0 else "discharging"
    if abs(power.grid_w) > WORKING_W:
        yield "exporting" if power.grid_w < 0 else "importing"


def _place(query: ReadingsQuery, start: datetime) -> str:
    of = f"{query.site.vendor_id}" + (f" {query.device_id}" if query.device_id else "")
    return f"{of}, {query.resolution} of {start:%d %b %H:%M}"
