"""What the CTs measure, summed by kind, and which of them are not believed. Pure.

A sum with a meter or a phase missing is no sum; a CT that is reversed or not installed has neither power nor energy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from joinder.physics import STANDBY_W
from joinder_iq_gateway.devices import Inverters, total_or_none
from joinder_iq_gateway.payloads import CtReading, Meter, Segment

PRODUCTION, THIRD_PARTY = "production", "pv3p"
NET, TOTAL, STORAGE = "net-consumption", "total-consumption", "storage"
SOLAR = (PRODUCTION, THIRD_PARTY)
PARTS = (*SOLAR, NET, TOTAL, STORAGE)  # of the balance
INSIDE = ("backfeed", "load", "evse")  # flows inside the home, which the balance has already (pyenphase, CT model)
NEGATIVE_TOTAL = "negative-total-consumption"

STARTED = "The gateway shows zeros only, as in the minutes after it has started: nothing is known yet"
NOT_INSTALLED = (
    "The production meter is enabled but measures nothing, so it is probably not installed: "
    "the sum over the micro-inverters stands in where the gateway has one"
)
STOPPED = (
    "The production meter shows next to nothing while the micro-inverters report power: "
    "which of them is right is not known, so solar power and energy are unknown"
)
UNKNOWN_KIND = "A meter of a kind that is not known here is enabled: the load may lack a part, so it is unknown"

NOISE_H = 0.1  # a register below what the inverters' peak makes in six minutes has counted noise only
NOISE_OF_LIFETIME = 1e-4  # or below this share of what they have made since they were installed
DAY_H = 24.0
DAYLIGHT_SHARE, DAYLIGHT_W = 0.1, 100.0  # inverters at this share of their peak, and this much, do not stop in a moment
STOPPED_SHARE = 0.05
SAME_SUM_WH, SAME_SUM = 1.0, 1e-6


@dataclass(frozen=True, kw_only=True)
class Ct:
    """All meters of one kind together. None: unknown; power and registers are known independently of each other."""

    power_w: float | None = None
    delivered_wh: float | None = None
    received_wh: float | None = None
    timestamp: int | None = None

    @property
    def balance_wh(self) -> float | None:
        return total_or_none([self.delivered_wh, None if self.received_wh is None else -self.received_wh])


UNKNOWN = Ct()


class Cts:
    """The enabled meters of one poll, by kind."""

    def __init__(
        self, meters: Iterable[Meter], readings: Sequence[CtReading], *, standby_w: float, was_read: bool = True
    ) -> None:
        self.warnings: list[str] = []
        self._standby_w = standby_w
        self._meters = [meter for meter in meters if meter.enabled]
        self._readings = {reading.eid: reading for reading in readings}
        self._was_read = was_read  # a page that failed has its own warning
        told = [reading for kind in PARTS for _, reading in self._of(kind) if reading]
        self.has_started_only_now = bool(told) and all(reading.is_blank for reading in told)
        self._sums = {kind: self._sum(kind) for kind in PARTS if self._counts(kind)}

    @property
    def kinds(self) -> list[str]:
        """Returns the kinds of which the balance is made, whether or not they could be read this time."""
        return sorted(self._sums)

    @property
    def lacks_a_kind(self) -> bool:
        return any(meter.measurement_type not in (*PARTS, *INSIDE) for meter in self._meters)

    @property
    def shows_negative_total(self) -> bool:
        """Tells whether the gateway itself says that the home's total comes out below zero."""
        return any(NEGATIVE_TOTAL in meter.status_flags for meter in self._meters)

    def get(self, kind: str) -> Ct | None:
        """Returns the CT of a kind: None where no such meter is enabled; UNKNOWN where one is, but is not believed."""
        return self._sums.get(kind)

    def refuse(self, kind: str, why: str) -> None:
        self._sums[kind] = UNKNOWN
        self._warn(why)

    def _of(self, kind: str) -> Iterator[tuple[Meter, CtReading | None]]:
        for meter in self._meters:
            if meter.measurement_type == kind:
                yield meter, self._readings.get(meter.eid)

    def _counts(self, kind: str) -> bool:
        """Tells whether a meter of this kind counts.

        Combiners list a pv3p meter on homes that have none: it has never taken a reading (8.3.1598).
        """
        found = list(self._of(kind))
        if kind != THIRD_PARTY or self.has_started_only_now:
            return bool(found)
        return any(reading is None or reading.timestamp or not reading.is_blank for _, reading in found)

    def _sum(self, kind: str) -> Ct:
        found = list(self._of(kind))
        complaints = [text for text in (self._complaint(meter, reading) for meter, reading in found) if text]
        if complaints:
            self._warn(*complaints)
            return UNKNOWN
        known = [reading for _, reading in found if reading and not reading.is_blank]
        return _together(known) if len(known) == len(found) else UNKNOWN

    def _complaint(self, meter: Meter, reading: CtReading | None) -> str | None:
        """Says why this meter's figures do not count; None where they do, or where another warning says it already."""
        kind = meter.measurement_type
        if kind in SOLAR and runs_backwards(meter, reading, self._standby_w):
            return reversed_sentence(kind)
        if meter.metering_status == "check-wiring":
            return f"The gateway asks to check the wiring of the {kind} meter: its power and energy do not count"
        if meter.metering_status == "not-metering":
            return f"The gateway says that the {kind} meter does not measure: its power and energy do not count"
        if "power-on-unused-phase" in meter.status_flags or (reading and has_lost_a_phase(meter, reading)):
            return f"A phase is missing from the sum of the {kind} meter: its power and energy do not count"
        if self._was_read and not self.has_started_only_now and (reading is None or reading.is_blank):
            return f"The gateway tells no figures of the {kind} meter, which is enabled"
        return None

    def _warn(self, *sentences: str) -> None:
        self.warnings += [text for text in dict.fromkeys(sentences) if text not in self.warnings]


def reversed_sentence(kind: str) -> str:
    return f"The {kind} meter runs backwards, so its CT may be reversed: its power and energy do not count"


def raw_production(meters: Iterable[Meter], readings: Iterable[CtReading], *, standby_w: float) -> Ct | None:
    """Returns what the production meters show, zeros and all; None unless each of them is read and not reversed."""
    by_eid = {reading.eid: reading for reading in readings}
    of_kind = [meter for meter in meters if meter.enabled and meter.measurement_type == PRODUCTION]
    found = [(meter, by_eid.get(meter.eid)) for meter in of_kind]
    known = [reading for meter, reading in found if reading and not runs_backwards(meter, reading, standby_w)]
    return _together(known, zeros=True) if known and len(known) == len(found) else None


def of_segment(segment: Segment) -> Ct:
    """Returns a CT as /production.json tells it: without its second register."""
    return Ct(power_w=segment.w_now, delivered_wh=segment.wh_lifetime or None, timestamp=segment.reading_time)


def runs_backwards(meter: Meter, reading: CtReading | None, standby_w: float) -> bool:
    """Tells whether a solar meter is below zero by more than inverters draw at night (home-assistant/core#101354)."""
    if "negative-production" in meter.status_flags:
        return True
    return reading is not None and is_negative(reading.active_power, standby_w)


def is_negative(power_w: float | None, standby_w: float = STANDBY_W) -> bool:
    return power_w is not None and power_w < -standby_w


def has_counted_backwards(ct: Ct, inverters: Inverters) -> bool:
    """Tells whether more is received than was ever delivered, by more than a CT that hangs free picks up.

    That is a day at the inverters' peak.
    """
    received_wh, delivered_wh = ct.received_wh or 0.0, ct.delivered_wh or 0.0
    return received_wh > delivered_wh and received_wh > DAY_H * inverters.peak_w


def measures_nothing(ct: Ct, inverters: Inverters) -> bool:
    """Tells whether an enabled CT is not installed.

    Its register holds noise only, and its power is not the inverters' either. home-assistant/core#127593: 0.012 Wh of a
    lifetime, beside twelve inverters.
    """
    if has_counted_backwards(ct, inverters):
        return False
    if inverters.power_w and (ct.power_w or 0.0) >= inverters.power_w / 2:
        return False
    noise_wh = max(NOISE_H * inverters.peak_w, NOISE_OF_LIFETIME * inverters.lifetime_wh)
    return (ct.delivered_wh or 0.0) < noise_wh


def has_stopped(ct: Ct, inverters: Inverters) -> bool:
    """Tells whether a CT shows next to nothing while the inverters report power in daylight.

    Reports are up to 15 minutes old.
    """
    if ct.power_w is None or inverters.power_w < max(DAYLIGHT_W, DAYLIGHT_SHARE * inverters.peak_w):
        return False
    return abs(ct.power_w) <= min(STANDBY_W, STOPPED_SHARE * inverters.power_w)


def has_lost_a_phase(meter: Meter, reading: CtReading) -> bool:
    """Tells whether the total is the sum of fewer phases than are wired (8.3.6086: pyenphase#478)."""
    count = meter.phase_count or 1
    wired = reading.channels[:count]
    alive = [channel for channel in wired if channel.act_energy_dlvd or channel.act_energy_rcvd]
    if not alive or len(alive) == count:
        return False
    return all(
        _is_same(total_or_none([getattr(channel, name) for channel in alive]), getattr(reading, name))
        for name in ("act_energy_dlvd", "act_energy_rcvd")
    )


def _is_same(summed: float | None, told: float | None) -> bool:
    if summed is None or told is None:
        return True
    return abs(summed - told) <= max(SAME_SUM_WH, SAME_SUM * abs(told))


def _together(readings: Sequence[CtReading], *, zeros: bool = False) -> Ct:
    stamps = [reading.timestamp for reading in readings if reading.timestamp]
    summed = Ct(
        power_w=total_or_none([reading.active_power for reading in readings]),
        delivered_wh=total_or_none([reading.act_energy_dlvd for reading in readings]),
        received_wh=total_or_none([reading.act_energy_rcvd for reading in readings]),
        timestamp=max(stamps, default=None),
    )
    if zeros or all(map(_counts, readings)):
        return summed
    return replace(summed, delivered_wh=None, received_wh=None)


def _counts(reading: CtReading) -> bool:
    """Tells whether a CT's registers count.

    Both at zero is a box that lost them for a moment; one alone is a home that never exported.
    """
    return bool(reading.act_energy_dlvd or reading.act_energy_rcvd)
