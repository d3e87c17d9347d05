"""Quarter hours out of polled lifetime counters, for vendors that keep no history (docs/decisions/0002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

from joinder import physics
from joinder.energy import ENERGY_METRICS, ROWS_MISSING, SPREAD, Quality, Reading
from joinder.services.readings.periods import QUARTER_S

MAX_GAP_S = 2 * 3600  # beyond, how the energy spread over the gap is not known
# A step steeper than this is judged by the steps around it; a production's also by the nameplate, where that is known.
STEEP_W = {"solar_wh": physics.SPIKE_FROM_W}
STEEP_OTHERS_W = 100_000.0  # a home's cars and heat pumps draw far less, and the grid may be a business's
MAX_POWER_W = 1_000_000.0  # steeper than this nothing vouches for it: a device that is polled hangs in one building


@dataclass(frozen=True)
class Sample:
    """Counter values (Wh) at one instant; None where the box says nothing. `source`: which registers they are."""

    at: int
    values: Mapping[str, float | None]
    source: str | None = None


Pair = tuple[Sample, Sample]
Steps = Mapping[str, Sequence[Pair]]  # metric → the pairs between which its register ran as it can


class Register(NamedTuple):
    """A step of one metric's register that cannot be, between two instants (epoch seconds)."""

    metric: str
    start: int
    end: int


def quarter_hours(samples: Sequence[Sample], *, nameplate_w: float | None = None) -> list[Reading]:
    """Returns every quarter hour the samples touch, as far as it is known.

    A counter between two samples is taken as running evenly. A quarter hour that lies wholly between samples at most 15
    minutes apart is `measured`; with a longer gap, or one across its edge that is longer than half of it, `estimated`;
    where a part of a counter is not known `partial`. A step beyond what the site can make (`nameplate_w`, else the
    steps around it) is not known.
    """
    if len(samples) < 2:
        return []
    steps = _steps(samples, nameplate_w)
    first, last = samples[0].at, samples[-1].at
    readings = []
    start = first - first % QUARTER_S
    while start < last:
        reading = _quarter(samples, steps, start)
        if reading is not None:
            readings.append(reading)
        start += QUARTER_S
    return readings


def jumps(samples: Sequence[Sample], *, nameplate_w: float | None = None) -> list[Register]:
    """Returns the steps that `quarter_hours` does not believe, for those who must know."""
    return [
        Register(name, a.at, b.at)
        for name in ENERGY_METRICS
        for a, b in _impossible(_running(samples, name), name, nameplate_w)
    ]


def _steps(samples: Sequence[Sample], nameplate_w: float | None) -> Steps:
    found: dict[str, Sequence[Pair]] = {}
    for name in ENERGY_METRICS:
        running = _running(samples, name)
        refused = _impossible(running, name, nameplate_w)
        found[name] = [pair for pair in running if pair not in refused] if refused else running
    return found


def _running(samples: Sequence[Sample], name: str) -> list[Pair]:
    """Returns the pairs of samples between which the register ran on: near enough, and of one and the same register.

    It neither went back (a reset) nor came back between them, nor rose to what it took back later.
    """
    found = []
    doubted = _returns(samples, name) | _taken_back(samples, name)
    for a, b in pairwise(samples):
        before, after = a.values.get(name), b.values.get(name)
        is_near = 0 < b.at - a.at <= MAX_GAP_S and a.source == b.source
        if is_near and before is not None and after is not None and after >= before and b.at not in doubted:
            found.append((a, b))
    return found


def _returns(samples: Sequence[Sample], name: str) -> set[int]:
    """Returns when the register came back to where it had been before it went back, in epoch seconds.

    That was no reset, and most of the step was counted before. What lies more than two hours apart is two registers'
    matter.
    """
    found = set()
    top: Sample | None = None  # the last sample before it went back
    for a, b in pairwise(sample for sample in samples if sample.values.get(name) is not None):
        if a.source != b.source or (top is not None and b.at - top.at > MAX_GAP_S):
            top = None
        if a.source == b.source and _watt_hours(b, name) < _watt_hours(a, name):
            top = top or a
        elif top is not None and _watt_hours(b, name) >= _watt_hours(top, name):
            found.add(b.at)
            top = None
    return found


def _taken_back(samples: Sequence[Sample], name: str) -> set[int]:
    """Returns the ends of the steps by which it rose to a height that it then left for one it had passed on the way.

    As much as that was not counted, and which of the steps is wrong nobody knows. A reset falls below all of them.
    """
    found: set[int] = set()
    known = [sample for sample in samples if sample.values.get(name) is not None]
    for index, (top, low) in enumerate(pairwise(known)):
        is_fall = top.source == low.source and _watt_hours(low, name) < _watt_hours(top, name)
        if is_fall and not _is_dip(known[index:], name):
            found |= _risen(known[: index + 1], low, name)
    return found


def _risen(before: Sequence[Sample], low: Sample, name: str) -> set[int]:
    """Returns the ends of the last steps of `before`, from where it was no higher than `low`.

    None of them where it never was.
    """
    ends: set[int] = set()
    for a, b in reversed(list(pairwise(before))):
        if a.source != low.source or low.at - b.at > MAX_GAP_S:
            break
        ends.add(b.at)
        if _watt_hours(a, name) <= _watt_hours(low, name):
            return ends
    return set()


def _is_dip(samples: Sequence[Sample], name: str) -> bool:
    """Tells whether it comes back to the first one by a leap, most of its fall at once, and stays.

    What went before holds then.
    """
    top, low = samples[:2]
    height = _watt_hours(top, name)
    for index, (a, b) in enumerate(pairwise(samples[1:]), 2):
        if b.source != top.source or b.at - top.at > MAX_GAP_S:
            return False
        if _watt_hours(b, name) >= height:
            is_leap = _watt_hours(b, name) - _watt_hours(a, name) >= (height - _watt_hours(low, name)) / 2
            return is_leap and all(_watt_hours(one, name) >= height for one in samples[index:])
    return False


def _watt_hours(sample: Sample, name: str) -> float:
    return sample.values[name] or 0.0


def _impossible(pairs: Sequence[Pair], name: str, nameplate_w: float | None) -> list[Pair]:
    steep_w = STEEP_W.get(name, STEEP_OTHERS_W)
    bound_w = nameplate_w if name == "solar_wh" else None
    if bound_w is not None:
        return [pair for pair in pairs if physics.is_beyond_nameplate(_watts(pair, name), bound_w)]
    return [pair for pair in pairs if (watts := _watts(pair, name)) > steep_w and _stands_out(pair, watts, pairs, name)]


def _stands_out(pair: Pair, watts: float, pairs: Sequence[Pair], name: str) -> bool:
    """Tells whether a step is steep, and no step of two hours around it comes near.

    Where there is none, nothing vouches for it.
    """
    within_s = physics.NEIGHBOURS_S
    around = [
        _watts(other, name)
        for other in pairs
        if other is not pair and other[0].at < pair[1].at + within_s and other[1].at > pair[0].at - within_s
    ]
    return not around or watts > min(MAX_POWER_W, physics.SPIKE_TIMES * median(around))


def _watts(pair: Pair, name: str) -> float:
    a, b = pair
    return ((b.values[name] or 0.0) - (a.values[name] or 0.0)) * 3600 / (b.at - a.at)


def _quarter(samples: Sequence[Sample], steps: Steps, start: int) -> Reading | None:
    end = start + QUARTER_S
    known = {name: [(a, b) for a, b in pairs if a.at < end and b.at > start] for name, pairs in steps.items()}
    if not any(known.values()):
        return None
    totals: dict[str, Any] = {name: _energy(steps, name, start, end) for name, steps in known.items()}
    quality = _quality({name: pairs for name, pairs in known.items() if pairs}, start, end)
    soc = [s.values["soc_percent"] for s in samples if start <= s.at < end and s.values.get("soc_percent") is not None]
    return Reading(
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
        soc_percent=sum(value for value in soc if value is not None) / len(soc) if soc else None,
        quality=quality,
        rule={"partial": ROWS_MISSING, "estimated": SPREAD}.get(quality),
        **totals,
    )


def _energy(pairs: Sequence[Pair], name: str, start: int, end: int) -> float | None:
    """Sums the share of each counter step that falls inside [start, end), in Wh; None without a step."""
    shares = [
        ((b.values[name] or 0.0) - (a.values[name] or 0.0)) * _overlap(a, b, start, end) / (b.at - a.at)
        for a, b in pairs
    ]
    return sum(shares) if shares else None


def _quality(metrics: Mapping[str, Sequence[Pair]], start: int, end: int) -> Quality:
    if any(sum(_overlap(a, b, start, end) for a, b in pairs) < end - start for pairs in metrics.values()):
        return "partial"
    are_exact = (_is_exact(pair, name, start, end) for name, pairs in metrics.items() for pair in pairs)
    return "measured" if all(are_exact) else "estimated"


def _is_exact(pair: Pair, name: str, start: int, end: int) -> bool:
    """Tells whether nothing of the step, or little, is shared out between this quarter hour and the next one."""
    a, b = pair
    if b.at - a.at <= physics.SHARED_S:
        return True
    is_inside = start <= a.at and b.at <= end
    return is_inside or (b.at - a.at <= QUARTER_S and a.values[name] == b.values[name])


def _overlap(a: Sample, b: Sample, start: int, end: int) -> int:
    return min(b.at, end) - max(a.at, start)
