"""The state of charge as Grid Services tells it; all else is mapped as the Monitoring API is (joinder_enphase)."""

from __future__ import annotations

from datetime import datetime

from msgspec.structs import replace

from joinder.energy import Live
from joinder_enphase.mapping import TOGETHER_S, instant
from joinder_enphase_vpp.api import Telemetry


def with_charge(so_far: Live, battery: Telemetry) -> Live:
    """Returns `so_far` with the state of charge over all batteries, if it is of the same half hour."""
    at, percent = instant(battery.last_report_at), battery.soc
    fits = at is not None and percent is not None and 0 <= percent <= 100 and _together(at, so_far)
    return replace(so_far, soc_percent=percent) if fits else so_far


def _together(at: datetime, live: Live) -> bool:
    return abs((at - live.measured_at).total_seconds()) <= TOGETHER_S
