"""Power now, in kW."""

from __future__ import annotations

from joinder.services.readings.live import LivePower
from joinder.services.readings.provenance import Source
from joinder.wire.base import Moment, Wire, kilo, utc_text
from joinder.wire.provenance import Provenance


class Live(Wire, kw_only=True):
    """Power in kW, signs as in docs/api.md: into the home is positive; load = solar + battery + grid."""

    id: str
    solar_kw: float | None = None
    battery_kw: float | None = None
    grid_kw: float | None = None
    load_kw: float | None = None
    state_of_charge_percent: float | None = None
    measured_at: Moment
    fetched_at: Moment
    stale: bool
    provenance: Provenance | None = None

    @staticmethod
    def of(site_id: str, power: LivePower, source: Source | None = None) -> Live:
        return Live(
            id=site_id,
            solar_kw=kilo(power.solar_w),
            battery_kw=kilo(power.battery_w),
            grid_kw=kilo(power.grid_w),
            load_kw=kilo(power.load_w),
            state_of_charge_percent=power.soc_percent,
            measured_at=utc_text(power.measured_at),
            fetched_at=utc_text(power.fetched_at),
            stale=power.stale,
            provenance=Provenance.of(power.fetched_at, [source]) if source else None,
        )
