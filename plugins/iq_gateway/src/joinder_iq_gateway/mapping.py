"""A snapshot as site figures: live power and lifetime counters.

The wire's directions are ours already: production CT delivered = generated; net-consumption delivered = imported,
positive power = import; storage delivered = discharged (checked on recorded bytes of twelve systems).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from joinder import Counter, Device, DeviceKind, Live, Readings
from joinder.physics import NO_LOAD, STANDBY_W, home_load, solar_power
from joinder_iq_gateway import api, cts
from joinder_iq_gateway.api import Snapshot
from joinder_iq_gateway.cts import NET, PRODUCTION, STORAGE, THIRD_PARTY, TOTAL, UNKNOWN, Ct, Cts
from joinder_iq_gateway.devices import (
    MAX_SKEW,
    box_time,
    devices_of,
    inverter_counters,
    inverters_of,
    moment,
    total_or_none,
)
from joinder_iq_gateway.payloads import Segment

MAX_AGE = timedelta(
    hours=1
)  # of power in /production.json: 8.2.4382 still showed an AC Battery's 260 W of 41 hours ago
MINUTE = timedelta(minutes=1)
CLOCK_STEPS = (MAX_SKEW, timedelta(hours=1), timedelta(days=1))  # a warning says no figure that moves with each poll
FACTOR, FACTOR_FROM_W = 2.0, 500.0  # two pages this far apart contradict each other
OPPOSED_W = 200.0  # a storage CT and the batteries that flow against each other by more than this
TINY_SHARE, TINY_FROM_WH = 1e-3, 100_000.0  # a grid that has moved less of what was generated is not measured

SOURCES = {
    "ct": "the production meter",
    "eim": "the production meter",
    "v1": "/api/v1/production",
    "inverters": "/production.json",
}
SOME_SILENT = "Some micro-inverters have stopped reporting: solar power counts what they last said"
MOST_SILENT = "Most micro-inverters have stopped reporting: solar power is unknown"
BATTERY_SILENT = "A battery does not talk to the gateway: what is summed over the batteries is unknown"
STORAGE_AGAINST = (
    "The storage meter and the batteries' own reports contradict each other, "
    "so its CT may be reversed or not installed: battery power and energy are unknown"
)
STORAGE_APART = (
    "The storage meter and the batteries' own reports differ by more than a factor of two: the meter's figure is told"
)
NET_NOT_INSTALLED = (
    "The net-consumption meter is enabled but measures nothing, so it is probably not installed: "
    "grid and load are unknown"
)
OFF_GRID = "The gateway says that the home is off the grid"
OFF_GRID_CONTRADICTED = (
    "The gateway says that the home is off the grid, but its grid meter shows power: both are unknown"
)
GENERATOR_RUNS = "A generator is running that no meter sees: the load is unknown"


def readings(snapshot: Snapshot, *, now: datetime, firmware: str, live: bool) -> Readings:
    """Returns what one poll says. `now` is ours, and stands in where the box gives no time of its own."""
    site = Figures(snapshot, now, firmware)
    return Readings(
        counters=(*site.counters(), *inverter_counters(snapshot)),
        live=site.live() if live else None,
        devices=site.devices,
        warnings=(*(str(error) for error in snapshot.failed.values()), *dict.fromkeys(site.warnings)),
    )


class Figures:
    """The whole site's. Unknown is None; power and energy are known independently of each other."""

    def __init__(self, snapshot: Snapshot, now: datetime, firmware: str) -> None:
        self.warnings: list[str] = []
        self._snapshot = snapshot
        self._segment = self._solar_segment()
        self.at = self._box_time(now)
        self.devices = devices_of(snapshot, at=self.at, firmware=firmware)
        self._inverters = inverters_of(self.devices, at=self.at)
        self._cts = Cts(
            snapshot.meters,
            snapshot.ct_readings,
            standby_w=self._inverters.standby_w,
            was_read=api.READINGS not in snapshot.failed,
        )
        self._no_battery = self._has_no_battery()
        self._has_silent_battery = any(unit.stale for unit in self._batteries)
        self._is_off_grid = any(device.is_off_grid for device in snapshot.controllers)
        self._production = self._believed_production()
        self._units_w = self._battery_units_w()
        self._judge_storage()
        self.solar_w, self.solar_wh = self._solar_w(), self._solar_wh()
        self._judge_net()
        self.battery_w = self._battery_w()
        self.grid_w = self._grid_w()
        self._hides_a_part = self._load_lacks_a_part()
        self.load_w, self.load_wh = self._load_w(), self._load_wh()
        self._say_what_state_it_is_in()

    def live(self) -> Live | None:
        """Returns power now, in W, at the box's time; None when nothing is known."""
        figures = (self.solar_w, self.battery_w, self.grid_w, self.load_w)
        soc_percent = self._soc()
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
        """Yields one counter, or none when no register was read: lifetime Wh since each meter was installed."""
        grid, storage = self._cts.get(NET) or UNKNOWN, self._cts.get(STORAGE) or UNKNOWN
        counter = Counter(
            at=self.at,
            source=self._source(),
            solar_wh=self.solar_wh,
            import_wh=grid.delivered_wh,
            export_wh=grid.received_wh,
            discharge_wh=storage.delivered_wh,
            charge_wh=storage.received_wh,
            load_wh=self.load_wh,
        )
        if counter != Counter(at=self.at, source=counter.source):
            yield counter

    def _source(self) -> str:
        """Names the registers that are read and summed: none is ever subtracted from another's (pyenphase#471)."""
        others = [kind for kind in self._cts.kinds if kind != PRODUCTION]
        return " ".join([self._snapshot.source or "no solar", *others])

    def _box_time(self, now: datetime) -> datetime:
        """Returns the newest measurement's time by the box's clock.

        Sums over inverters are as old as their last reports.
        """
        enabled = {meter.eid for meter in self._snapshot.meters if meter.enabled}
        stamps = [reading.timestamp for reading in self._snapshot.ct_readings if reading.eid in enabled]
        if self._segment and self._snapshot.source == "eim":
            stamps.append(self._segment.reading_time)
        told = max((time for time in map(moment, stamps) if time), default=now)
        if abs(told - now) > MAX_SKEW:
            least = max(step for step in CLOCK_STEPS if step <= abs(told - now))
            self.warnings.append(f"The gateway's clock or its meters' is more than {least // MINUTE} min off")
        return box_time(stamps, now)  # nothing was measured in the future

    def _solar_segment(self) -> Segment | None:
        """Returns the segment of /production.json, where that is the source of the solar figures."""
        wanted = self._snapshot.source
        if wanted not in ("eim", "inverters") or self._snapshot.segments is None:
            return None
        of_type = [segment for segment in self._snapshot.segments.production if segment.type == wanted]
        return next((segment for segment in of_type if segment.says_something), None)

    def _believed_production(self) -> Ct:
        """Returns Enphase's own solar figures, from whichever source serves; UNKNOWN when it is not to be believed."""
        told = self._told_production()
        self._compare_with_inverters(told)
        is_negative = cts.is_negative(told.power_w, self._inverters.standby_w)
        if is_negative or cts.has_counted_backwards(told, self._inverters):
            return self._refused(cts.reversed_sentence(PRODUCTION))
        is_metered = self._snapshot.source in ("ct", "eim")
        return self._refused(cts.STOPPED) if is_metered and cts.has_stopped(told, self._inverters) else told

    def _told_production(self) -> Ct:
        snapshot = self._snapshot
        if snapshot.source == "ct":
            return self._cts.get(PRODUCTION) or UNKNOWN
        if snapshot.source == "v1" and snapshot.production:
            return Ct(
                power_w=snapshot.production.watts_now,
                delivered_wh=snapshot.production.watt_hours_lifetime or None,
            )
        if self._segment is None:
            return UNKNOWN
        told = cts.of_segment(self._segment)
        return told if not self._is_old(self._segment) else Ct(delivered_wh=told.delivered_wh)

    def _refused(self, why: str) -> Ct:
        self.warnings.append(why)
        return UNKNOWN

    def _compare_with_inverters(self, told: Ct) -> None:
        """Says so where both show power that differs by a factor; a passing cloud does that too, so none is refused."""
        own_w = self._inverters.power_w
        if self._inverters.reporting and own_w and _differ(told.power_w, own_w):
            source = SOURCES.get(self._snapshot.source or "", "")
            self.warnings.append(
                f"Solar power by {source} and by the micro-inverters' own reports differ by more than a factor "
                f"of two: the figure of {source} is told"
            )

    def _solar_w(self) -> float | None:
        """Computes solar power in W; small negative values at night are the inverters' own use, counted as load."""
        nameplate_w = self._inverters.peak_w
        parts = [solar_power(self._production.power_w, nameplate_w)]
        if self._snapshot.source in ("v1", "inverters") and self._lacks_inverters():
            parts = [None]
        third_party = self._cts.get(THIRD_PARTY)
        if third_party:
            parts.append(solar_power(third_party.power_w, nameplate_w))
        return total_or_none(parts)

    def _solar_wh(self) -> float | None:
        third_party = self._cts.get(THIRD_PARTY)
        own_wh = self._production.delivered_wh
        return own_wh if third_party is None else total_or_none([own_wh, third_party.delivered_wh])

    def _lacks_inverters(self) -> bool:
        """Tells whether a sum over inverters is without most of them, in daylight; at dusk they stop one by one."""
        own = self._inverters
        if not own.silent or own.power_w < max(cts.DAYLIGHT_W, cts.DAYLIGHT_SHARE * own.peak_w):
            return False
        lacks_most = own.silent >= own.reporting
        self.warnings.append(MOST_SILENT if lacks_most else SOME_SILENT)
        return lacks_most

    def _judge_net(self) -> None:
        """Refuses a net CT that is not installed: it has moved next to nothing in all the years of a producing home."""
        net, solar_wh = self._cts.get(NET), self.solar_wh or 0.0
        if net is None or self._is_off_grid or solar_wh < TINY_FROM_WH or net.power_w is None:
            return
        moved_wh = (net.delivered_wh or 0.0) + (net.received_wh or 0.0)
        if abs(net.power_w) <= STANDBY_W and moved_wh < TINY_SHARE * solar_wh:
            self._cts.refuse(NET, NET_NOT_INSTALLED)

    def _grid_w(self) -> float | None:
        """Returns the grid's power in W: the net CT's, or total consumption less solar.

        The gateway makes its total from just these two.
        """
        measured_w = self._measured_grid_w()
        if not self._is_off_grid:
            return measured_w
        contradicted = measured_w is not None and abs(measured_w) > STANDBY_W
        self.warnings.append(OFF_GRID_CONTRADICTED if contradicted else OFF_GRID)
        return None if contradicted else 0.0

    def _measured_grid_w(self) -> float | None:
        net = self._cts.get(NET)
        if net:
            return net.power_w
        segment = self._consumption(NET)
        if segment:
            return segment.w_now
        if self._is_off_grid:
            return None  # total consumption less solar is the battery's then
        total = self._consumption(TOTAL)
        total_w = (self._cts.get(TOTAL) or UNKNOWN).power_w if total is None else total.w_now
        if cts.is_negative(total_w):
            self.warnings.append(NO_LOAD)
            return None
        return total_w - self.solar_w if total_w is not None and self.solar_w is not None else None

    def _consumption(self, kind: str) -> Segment | None:
        """Returns the consumption of /production.json, where the box has no meters page."""
        segments = self._snapshot.segments if self._snapshot.source == "eim" else None
        found = (segment for segment in (segments.consumption if segments else ()) if segment.measurement_type == kind)
        return next((segment for segment in found if segment.active_count), None)

    def _battery_w(self) -> float | None:
        storage = self._cts.get(STORAGE)
        return storage.power_w if storage else self._units_w

    def _battery_units_w(self) -> float | None:
        """Sums the batteries' power in W as they tell it themselves."""
        parts: list[float | None] = []
        if self._snapshot.iq_batteries:
            parts.append(self._iq_batteries_w())
        if self._snapshot.unmeasured_ac_batteries or self._snapshot.ac_batteries:
            parts.append(self._ac_battery_w())
        if self._has_silent_battery:
            self.warnings.append(BATTERY_SILENT)
            return None
        return total_or_none(parts)

    def _iq_batteries_w(self) -> float | None:
        """Sums power in W of every battery listed anywhere: one that tells no power leaves the sum unknown."""
        power = self._snapshot.battery_power
        told_mw = {unit.serial_num: unit.real_power_mw for unit in (power.devices if power else ())}
        serials = dict.fromkeys([*(unit.serial_num for unit in self._snapshot.iq_batteries), *told_mw])
        total_mw = total_or_none([told_mw.get(serial) for serial in serials])
        return None if total_mw is None else total_mw / 1000

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

    def _judge_storage(self) -> None:
        """Refuses a storage CT that contradicts the batteries' own power.

        With AC Batteries about, it need not see them all.
        """
        storage, units_w = self._cts.get(STORAGE), self._units_w
        is_mixed = self._snapshot.unmeasured_ac_batteries or self._snapshot.ac_batteries
        if storage is None or storage.power_w is None or units_w is None or is_mixed:
            return
        against = storage.power_w * units_w < 0 and min(abs(storage.power_w), abs(units_w)) > OPPOSED_W
        if against or (abs(storage.power_w) <= STANDBY_W and abs(units_w) >= FACTOR_FROM_W):
            self._cts.refuse(STORAGE, STORAGE_AGAINST)
        elif _differ(storage.power_w, units_w):
            self.warnings.append(STORAGE_APART)

    def _is_old(self, segment: Segment) -> bool:
        """Tells whether a segment is old; reading time 0, as at night, is of now."""
        told_at = moment(segment.reading_time)
        return told_at is not None and self.at - told_at > MAX_AGE

    def _load_lacks_a_part(self) -> bool:
        """Tells whether something flows that no figure here has."""
        if self._cts.lacks_a_kind:
            self.warnings.append(cts.UNKNOWN_KIND)
        runs = self._snapshot.generator is not None and self._snapshot.generator.is_running
        if runs:
            self.warnings.append(GENERATOR_RUNS)
        if self._cts.shows_negative_total:
            self.warnings.append(NO_LOAD)
        return runs or self._cts.lacks_a_kind or self._cts.shows_negative_total

    def _load_w(self) -> float | None:
        battery_w = 0.0 if self._no_battery else self.battery_w
        return self._load([self.solar_w, battery_w, self.grid_w])

    def _load_wh(self) -> float | None:
        """Computes what came into the home less what left it, in Wh. With a battery only its own CT can tell."""
        grid, storage = self._cts.get(NET), self._cts.get(STORAGE)
        stored_wh = 0.0 if self._no_battery else (storage or UNKNOWN).balance_wh
        if grid or not self._no_battery:
            return self._load([self.solar_wh, (grid or UNKNOWN).balance_wh, stored_wh])
        total = self._consumption(TOTAL)
        if total is None:
            return self._load([(self._cts.get(TOTAL) or UNKNOWN).balance_wh])
        is_made_of_known = self.solar_wh is not None  # the box makes its total from production and net
        return self._load([total.wh_lifetime or None if is_made_of_known else None])

    def _load(self, parts: Sequence[float | None]) -> float | None:
        load = home_load(parts)
        if load.is_impossible:
            self.warnings.append(NO_LOAD)
        return None if self._hides_a_part else load.watts

    def _has_no_battery(self) -> bool:
        """Tells whether there is certainly no battery: a failed list of batteries is no proof."""
        snapshot = self._snapshot
        unsure = {api.METERS, api.ENSEMBLE, api.INVERTERS} & snapshot.failed.keys()
        listed = snapshot.iq_batteries or snapshot.unmeasured_ac_batteries or snapshot.ac_batteries
        return not (unsure or listed or self._cts.get(STORAGE))

    def _say_what_state_it_is_in(self) -> None:
        snapshot = self._snapshot
        zeros = snapshot.source == "inverters" and snapshot.segments and not self._segment
        told = bool(snapshot.segments and any(part.type == "inverters" for part in snapshot.segments.production))
        if self._cts.has_started_only_now or (zeros and told):
            self.warnings.append(cts.STARTED)
        if snapshot.has_phantom_ct:
            self.warnings.append(cts.NOT_INSTALLED)
        self.warnings += self._cts.warnings

    @property
    def _batteries(self) -> list[Device]:
        return [device for device in self.devices if device.kind is DeviceKind.BATTERY]

    def _soc(self) -> float | None:
        """Computes the state of charge, weighted by capacity.

        Where IQ and AC Batteries stand together only the box can weigh: AC ones name no capacity.
        """
        if self._has_silent_battery:
            return None
        if self._snapshot.ensemble_state is not None:
            return self._snapshot.ensemble_state.agg_soc
        unweighed = all(unit.nameplate_wh is None for unit in self._batteries)
        weights = [1.0 if unweighed else unit.nameplate_wh for unit in self._batteries]
        shares = [
            None if weight is None or not 0 <= percent <= 100 else percent * weight
            for percent, weight in zip(map(_percent, self._batteries), weights, strict=True)
        ]
        weight, share = total_or_none(weights), total_or_none(shares)
        return share / weight if weight and share is not None else None


def _percent(battery: Device) -> float:
    """Returns the state of charge; -1 where it is unknown, as some batteries say themselves."""
    return -1.0 if battery.soc_percent is None else battery.soc_percent


def _differ(one_w: float | None, other_w: float) -> bool:
    """Tells whether two differ by more than a factor of two, where at least one of them is a real power."""
    if one_w is None:
        return False
    small, large = sorted((abs(one_w), abs(other_w)))
    return large >= FACTOR_FROM_W and large > FACTOR * small
