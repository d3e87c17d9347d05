"""Quarter hours out of polled lifetime counters, for vendors that keep no history (docs/decisions/0002)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from joinder.energy import ENERGY_METRICS, Quality, Reading
from joinder.services.periods import QUARTER_S

MAX_GAP_S = 2 * 3600  # beyond, how the energy spread over the gap is not known
MAX_POWER_W = 1_000_000.0  # a counter that runs faster than this was replaced, not used


@dataclass(frozen=True)
class Sample:
    """Counter values (Wh) at one instant; None where the box says nothing."""

    at: int
    values: Mapping[str, float | None]


Pair = tuple[Sample, Sample]


def quarter_hours(samples: Sequence[Sample]) -> list[Reading]:
    """Every quarter hour the samples touch, as far as it is known.

    A counter between two samples is taken as running evenly. A quarter hour that lies wholly between samples at most
    15 minutes apart is `measured`; with a longer gap `estimated`; where a part of a counter is not known `partial`.
    """
    if len(samples) < 2:
        return []
    first, last = samples[0].at, samples[-1].at
    readings = []
    start = first - first % QUARTER_S
    while start < last:
        reading = _quarter(samples, start)
        if reading is not None:
            readings.append(reading)
        start += QUARTER_S
    return readings


def _quarter(samples: Sequence[Sample], start: int) -> Reading | None:
    end = start + QUARTER_S
    pairs = [(a, b) for a, b in pairwise(samples) if a.at < end and b.at > start]
    usable = [(a, b) for a, b in pairs if 0 < b.at - a.at <= MAX_GAP_S]
    known = {name: _known(usable, name) for name in ENERGY_METRICS}
    if not any(known.values()):
        return None
    totals = {name: _energy(steps, name, start, end) for name, steps in known.items()}
    soc = [s.values["soc_percent"] for s in samples if start <= s.at < end and s.values.get("soc_percent") is not None]
    return Reading(
        start=datetime.fromtimestamp(start, UTC),
        end=datetime.fromtimestamp(end, UTC),
        soc_percent=sum(value for value in soc if value is not None) / len(soc) if soc else None,
        quality=_quality([steps for steps in known.values() if steps], start, end),
        solar_wh=totals["solar_wh"],
        charge_wh=totals["charge_wh"],
        discharge_wh=totals["discharge_wh"],
        import_wh=totals["import_wh"],
        export_wh=totals["export_wh"],
        load_wh=totals["load_wh"],
    )


def _known(pairs: Sequence[Pair], name: str) -> list[Pair]:
    """The pairs between which this counter ran. A step backwards is a reset: unknown, not zero."""
    known = []
    for a, b in pairs:
        before, after = a.values.get(name), b.values.get(name)
        if before is not None and after is not None and 0 <= after - before <= MAX_POWER_W * (b.at - a.at) / 3600:
            known.append((a, b))
    return known


def _energy(pairs: Sequence[Pair], name: str, start: int, end: int) -> float | None:
    """The share of each counter step that falls inside [start, end)."""
    shares = [
        ((b.values[name] or 0.0) - (a.values[name] or 0.0)) * _overlap(a, b, start, end) / (b.at - a.at)
        for a, b in pairs
    ]
    return sum(shares) if shares else None


def _quality(metrics: Sequence[Sequence[Pair]], start: int, end: int) -> Quality:
    if any(sum(_overlap(a, b, start, end) for a, b in pairs) < end - start for pairs in metrics):
        return "partial"
    return "measured" if all(b.at - a.at <= QUARTER_S for pairs in metrics for a, b in pairs) else "estimated"


def _overlap(a: Sample, b: Sample, start: int, end: int) -> int:
    return min(b.at, end) - max(a.at, start)
