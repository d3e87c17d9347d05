"""On which scale SolarEdge tells a state of charge. Pure.

The unit PERCENTAGE is documented with values from 0 to 100, and was seen with fractions of 1 (openhab-addons#21399).
One value cannot tell: 0.9 may be nearly empty or nearly full. The series decides, for all batteries of a query alike.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import NamedTuple

UNDECIDED = (
    "Whether SolarEdge tells the state of charge as a fraction or in percent cannot be known from its answer: "
    "it is left unknown"
)
_SIZES_WH = (500.0, 250_000.0)  # one battery's, where nobody tells it
_SIZE_TIMES = 3.0  # what is usable and what the nameplate says differ, by less than this


class Scale(enum.Enum):
    """`value` makes percent of what was told."""

    PERCENT = 1.0
    FRACTION = 100.0
    UNDECIDED = None


class Evidence(NamedTuple):
    """One battery's."""

    shares: Sequence[float]  # states of charge as told
    stored: Sequence[tuple[float, float]]  # a state of charge and the Wh that were stored at the same time
    capacity_wh: float | None = None


def scale(batteries: Iterable[Evidence]) -> Scale:
    """Returns the scale all the evidence agrees on; UNDECIDED where there is none, and where it contradicts itself."""
    votes = {vote for battery in batteries for vote in (_by_values(battery), _by_energy(battery)) if vote is not None}
    return votes.pop() if len(votes) == 1 else Scale.UNDECIDED


def _by_values(battery: Evidence) -> Scale | None:
    """Judges by the values: no fraction is above 1; what is above 100 is neither."""
    return Scale.PERCENT if any(1 < share <= 100 for share in battery.shares) else None


def _by_energy(battery: Evidence) -> Scale | None:
    """Judges by the stored energy: the one scale, if only one, that makes a battery of the right size of it."""
    shares, stored_wh = (sum(column) for column in zip(*battery.stored, strict=True)) if battery.stored else (0, 0)
    if not shares > 0 or not stored_wh > 0:
        return None
    least, most = _SIZES_WH
    if battery.capacity_wh:
        least, most = battery.capacity_wh / _SIZE_TIMES, battery.capacity_wh * _SIZE_TIMES
    full = {Scale.FRACTION: stored_wh / shares, Scale.PERCENT: stored_wh / shares * 100}
    fitting = [vote for vote, size_wh in full.items() if least <= size_wh <= most]
    return fitting[0] if len(fitting) == 1 else None
