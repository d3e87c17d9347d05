"""A snapshot as site figures: live power and lifetime counters.

The wire's directions are ours already: production CT delivered = generated; net-consumption delivered = imported,
positive power = import; storage delivered = discharged (checked on recorded bytes of twelve systems).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from joinder import Counter, Device, DeviceKind, Live, Readings
from joinder_iq_gateway import api
from joinder_iq_gateway.api import Snapshot
from joinder_iq_gateway.devices import devices_of, inverter_counters, moment, total_or_none
from joinder_iq_gateway.payloads import CtReading, Meter, Segment

NIGHT_W = 50.0  # inverters draw up to this at night; beyond it a CT is reversed or something else hangs on the circuit
MAX_SKEW = timedelta(minutes=5)
MAX_AGE = timedelta(
    hours=1
)  # of power in /production.json: 8.2.4382 still showed an AC Battery's 260 W of 41 hours ago


def readings(snapshot: Snapshot, *, now: datetime, firmware: str, live: bool) -> Readings:
    """What one poll says. `now` is ours, and stands in where the box gives no time of its own."""
    site = Figures(snapshot, now)
    devices = devices_of(snapshot, at=site.at, firmware=firmware)
    return Readings(
        counters=(*site.counters(), *inverter_counters(snapshot)),
        live=site.live(devices) if live else None,
        devices=devices,
        warnings=(*(str(error) for error in snapshot.failed.values()), *site.warnings),
    )


class Figures:
    """The whole site's. Unknown is None; power and energy are known independently of each other."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.warnings: list[str] = []
        self._snapshot = snapshot
        self._now = now
        self._cts = _sound_cts(snapshot.meters, snapshot.ct_readings)
        self._no_battery = self._has_no_battery()
        self._segment = self._solar_segment()
        self.at = self._box_time()
        self.battery_w = self._battery_w()
        self.solar_w = self._solar_w()
        self.grid_w = self._grid_w()
        self.load_w = self._load_w()

    def live(self, devices: Sequence[Device]) -> Live | None:
        figures = (self.solar_w, self.battery_w, self.grid_w, self.load_w)
        soc_percent = self._soc(devices)
        if all(figure is None for figure in (*figures, soc_percent)):
            return None
        solar_w, battery_w, grid_w, load_w = figures
        return Live(
            measured_at=self.at,
            solar_w=solar_w,
            battery_w=battery_w,
            grid_w=grid_w,
            load_w=load_w,
            soc_percent=soc_percent,
        )

    def counters(self) -> Iterable[Counter]:
        """One, or none when no register was read: lifetime Wh since each meter was installed."""
        grid, storage = self._cts.get("net-consumption"), self._cts.get("storage")
        counter = Counter(
            at=self.at,
            solar_wh=self._solar_wh(),
            import_wh=_delivered(grid),
            export_wh=_received(grid),
            discharge_wh=_delivered(storage),
            charge_wh=_received(storage),
            load_wh=self._load_wh(),
        )
        if counter != Counter(at=self.at):
            yield counter

    def _box_time(self) -> datetime:
        """The newest measurement's, by the box's clock; sums over inverters are as old as their last reports."""
        stamps = [reading.timestamp for reading in self._cts.values()]
        if self._segment and self._snapshot.source == "eim":
            stamps.append(self._segment.reading_time)
        at = max((time for time in map(moment, stamps) if time), default=self._now)
        if abs(at - self._now) > MAX_SKEW:
            self.warnings.append(f"The gateway's clock or its meters' is {_minutes(at - self._now)} min off")
        return self._now if at > self._now + MAX_SKEW else at  # nothing was measured in the future

    def _solar_segment(self) -> Segment | None:
        """Of /production.json, where that is the source of the solar figures."""
        wanted = self._snapshot.source
        if wanted not in ("eim", "inverters") or self._snapshot.segments is None:
            return None
        of_type = [segment for segment in self._snapshot.segments.production if segment.type == wanted]
        return next((segment for segment in of_type if wanted == "inverters" or segment.active_count), None)

    def _solar_w(self) -> float | None:
        """Small negative values at night are the inverters' own use, which counts as load."""
        power_w = None
        if self._snapshot.source == "ct":
            power_w = _power(self._cts.get("production"))
        elif self._snapshot.source == "v1" and self._snapshot.production:
            power_w = self._snapshot.production.watts_now
        elif self._segment and not self._is_old(self._segment):
            power_w = self._segment.w_now
        if power_w is not None and power_w < -NIGHT_W:
            self.warnings.append(f"The production meter shows {power_w:.0f} W: its CT may be reversed")
            return None
        return None if power_w is None else max(power_w, 0.0)

    def _solar_wh(self) -> float | None:
        if self._snapshot.source == "ct":
            return _delivered(self._cts.get("production"))
        if self._snapshot.source == "v1" and self._snapshot.production:
            return self._snapshot.production.watt_hours_lifetime or None
        return (self._segment.wh_lifetime or None) if self._segment else None

    def _grid_w(self) -> float | None:
        """The net CT's, or total consumption less solar: the gateway makes its total from just these two."""
        net = self._cts.get("net-consumption")
        if net:
            return net.active_power
        segment = self._consumption("net-consumption")
        if segment:
            return segment.w_now
        total = self._consumption("total-consumption")
        total_w = _power(self._cts.get("total-consumption")) if total is None else total.w_now
        return total_w - self.solar_w if total_w is not None and self.solar_w is not None else None

    def _consumption(self, kind: str) -> Segment | None:
        """Of /production.json, where the box has no meters page."""
        segments = self._snapshot.segments if self._snapshot.source == "eim" else None
        found = (segment for segment in (segments.consumption if segments else ()) if segment.measurement_type == kind)
        return next((segment for segment in found if segment.active_count), None)

    def _battery_w(self) -> float | None:
        if self._has_enabled("storage"):
            return _power(self._cts.get("storage"))
        parts: list[float | None] = []
        if self._snapshot.iq_batteries:
            power = self._snapshot.battery_power
            units = [unit.real_power_mw for unit in power.devices] if power else []
            total_mw = total_or_none(units)
            parts.append(None if total_mw is None else total_mw / 1000)
        if self._snapshot.unmeasured_ac_batteries or self._snapshot.ac_batteries:
            parts.append(self._ac_battery_w())
        return total_or_none(parts)

    def _ac_battery_w(self) -> float | None:
        measured = [device.mean_w for device in self._snapshot.ac_batteries]
        if measured:
            return total_or_none(measured)
        storage = self._snapshot.segments.storage if self._snapshot.segments else []
        for segment in storage:
            told = segment.type == "acb" and segment.percent_full is not None and segment.reading_time
            if told and not self._is_old(segment):
                return segment.w_now
        return None

    def _is_old(self, segment: Segment) -> bool:
        """Reading time 0, as at night, is of now."""
        told_at = moment(segment.reading_time)
        return told_at is not None and self.at - told_at > MAX_AGE

    def _load_w(self) -> float | None:
        battery_w = 0.0 if self._no_battery else self.battery_w
        return total_or_none([self.solar_w, battery_w, self.grid_w])

    def _load_wh(self) -> float | None:
        """What came into the home less what left it. With a battery only its own CT can tell."""
        grid, storage, solar_wh = self._cts.get("net-consumption"), self._cts.get("storage"), self._solar_wh()
        stored_wh = 0.0 if self._no_battery else _balance(storage)
        grid_wh = _balance(grid)
        if grid_wh is not None and solar_wh is not None and stored_wh is not None:
            return solar_wh + grid_wh + stored_wh
        if grid or not self._no_battery:
            return None
        total = self._consumption("total-consumption")
        return _balance(self._cts.get("total-consumption")) if total is None else total.wh_lifetime or None

    def _has_no_battery(self) -> bool:
        """Certainly none: a failed list of batteries is no proof."""
        snapshot = self._snapshot
        unsure = {api.METERS, api.ENSEMBLE, api.INVERTERS} & snapshot.failed.keys()
        listed = snapshot.iq_batteries or snapshot.unmeasured_ac_batteries or snapshot.ac_batteries
        return not (unsure or listed or self._has_enabled("storage"))

    def _has_enabled(self, kind: str) -> bool:
        return any(meter.enabled and meter.measurement_type == kind for meter in self._snapshot.meters)

    def _soc(self, devices: Sequence[Device]) -> float | None:
        """Weighed by capacity. Where IQ and AC Batteries stand together only the box can weigh: AC ones name none."""
        if self._snapshot.ensemble_state is not None:
            return self._snapshot.ensemble_state.agg_soc
        batteries = [device for device in devices if device.kind is DeviceKind.BATTERY]
        unweighed = all(unit.nameplate_wh is None for unit in batteries)
        weights = [1.0 if unweighed else unit.nameplate_wh for unit in batteries]
        shares = [
            None if unit.soc_percent is None or weight is None else unit.soc_percent * weight
            for unit, weight in zip(batteries, weights, strict=True)
        ]
        weight, share = total_or_none(weights), total_or_none(shares)
        return share / weight if weight and share is not None else None


def _sound_cts(meters: Sequence[Meter], ct_readings: Sequence[CtReading]) -> dict[str, CtReading]:
    """Readings by what they measure. Readings without a meter (8.3 sends one) and glitches are left out."""
    by_eid = {reading.eid: reading for reading in ct_readings}
    sound = {}
    for meter in meters:
        reading = by_eid.get(meter.eid)
        if meter.enabled and reading and not _is_blank(reading) and not _lost_a_phase(meter, reading):
            sound[meter.measurement_type] = reading
    return sound


def _is_blank(reading: CtReading) -> bool:
    """All zero, as boxes answer shortly after they started."""
    return not (reading.act_energy_dlvd or reading.act_energy_rcvd or reading.active_power)


def _lost_a_phase(meter: Meter, reading: CtReading) -> bool:
    """8.3.6086: the storage CT's one phase is zero at times and the total is only the other's (pyenphase#478)."""
    if meter.measurement_type != "storage":
        return False
    wired = reading.channels[: meter.phase_count or 1]
    alive = [channel for channel in wired if channel.act_energy_dlvd or channel.act_energy_rcvd]
    if len(wired) < 2 or len(alive) != len(wired) - 1:
        return False
    return total_or_none([channel.act_energy_dlvd for channel in alive]) == reading.act_energy_dlvd


def _power(reading: CtReading | None) -> float | None:
    return reading.active_power if reading else None


def _delivered(reading: CtReading | None) -> float | None:
    return reading.act_energy_dlvd if reading and _counts(reading) else None


def _received(reading: CtReading | None) -> float | None:
    return reading.act_energy_rcvd if reading and _counts(reading) else None


def _counts(reading: CtReading) -> bool:
    """Both registers at zero is a box that lost them for a moment; one alone is a home that never exported."""
    return bool(reading.act_energy_dlvd or reading.act_energy_rcvd)


def _balance(reading: CtReading | None) -> float | None:
    delivered_wh, received_wh = _delivered(reading), _received(reading)
    return delivered_wh - received_wh if delivered_wh is not None and received_wh is not None else None


def _minutes(span: timedelta) -> int:
    return round(abs(span).total_seconds() / 60)
