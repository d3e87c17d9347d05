"""What a home can do and what it cannot, the same for live power, registers, quarter hours and days. Pure.

Core judges by these rules whatever a plugin answers; a plugin that computes a value uses them too, so that both mean
the same by "unknown". Powers are W with Joinder's signs: into the home is positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import NamedTuple

from joinder.energy import Device, DeviceKind

STANDBY_W = 50.0  # what inverters draw at night; further below zero a sensor is reversed
STANDBY_SHARE = 0.01  # or this much of the nameplate, where that is more
NAMEPLATE_TIMES = 1.3  # cold clear air and generous makers: more than this of the nameplate is no sun
SPIKE_FROM_W = 20_000.0  # with a nameplate untold, a row above this
SPIKE_TIMES = 20.0  # and above this many times its neighbours is none either
NEIGHBOURS_S = 2 * 3600  # how far neighbours lie at most
NOISE_SHARE = 0.02  # of the largest part: a load this little below zero is measuring noise
CHARGER_MOST_W = 500_000.0  # the fastest chargers of cars that stand anywhere; for one that does not tell its own
MOST_W = 100_000_000.0  # no site behind one consent is larger than 100 MW
SHARED_S = 450  # half a quarter hour: what lasts longer and lies across the edge of one is shared out by an estimate
DAYS_AGREE_WITHIN = 0.02  # a day's own total and the sum of its quarter hours

NO_LOAD = "The meters together show a load below zero: something generates or stores energy that no meter sees"


class Load(NamedTuple):
    """`watts` (or Wh) is None where a part is unknown, and where the parts contradict each other."""

    watts: float | None
    is_impossible: bool = False


def home_load(parts: Iterable[float | None]) -> Load:
    """Returns what the home uses: the sum of signed parts (solar, battery discharging, grid importing; W or Wh alike).

    A sum below zero by at most 2 % of its largest part is noise, and 0; one further below cannot be. An unknown part
    makes the sum unknown.
    """
    known = list(parts)
    total = 0.0
    for part in known:
        if part is None:
            return Load(None)
        total += part
    if total >= 0:
        return Load(total)
    largest = max(abs(part or 0.0) for part in known)
    return Load(0.0) if -total <= largest * NOISE_SHARE else Load(None, is_impossible=True)


def solar_power(watts: float | None, nameplate_w: float | None = None) -> float | None:
    """Returns generated power in W: a standby draw counts as 0, what lies further below zero is unknown (None)."""
    if watts is None or not watts < 0:  # nothing to judge, also where it is no number
        return watts
    return 0.0 if -watts <= max(STANDBY_W, STANDBY_SHARE * (nameplate_w or 0.0)) else None


def nameplate_w(devices: Iterable[Device]) -> float | None:
    """Returns the nameplate of all inverters together; None when there is none or one does not tell."""
    powers = [own_nameplate_w(device) for device in devices if device.kind is DeviceKind.INVERTER]
    return sum(power or 0.0 for power in powers) if powers and all(powers) else None


def own_nameplate_w(device: Device) -> float | None:
    """Returns what one inverter can take; None where it tells only the most it was seen at."""
    return None if device.is_peak else device.max_power_w or None


def is_beyond_nameplate(watts: float, nameplate: float | None) -> bool:
    """Tells whether it is more sun than the inverters can take, both in W; False where their nameplate is unknown."""
    return nameplate is not None and watts > nameplate * NAMEPLATE_TIMES


def is_spike(watts: float, neighbours_w: Sequence[float], *, from_w: float = SPIKE_FROM_W) -> bool:
    """Tells whether it is far above what the rows of two hours around it tell, for where no nameplate judges.

    False without neighbours.
    """
    return watts > from_w and bool(neighbours_w) and watts > SPIKE_TIMES * median(neighbours_w)
