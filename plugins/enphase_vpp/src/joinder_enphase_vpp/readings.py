"""fetch_readings through Grid Services: its paths, and what stops the calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from msgspec.structs import replace

from joinder.energy import Device, Live, Reading
from joinder.errors import AppCredentialsRejected, RateLimited, VendorError
from joinder_enphase.intervals import BATTERY, Series
from joinder_enphase.reading import Reader
from joinder_enphase_vpp import api, intervals, mapping
from joinder_enphase_vpp.refusals import NotEnrolled

T = TypeVar("T")
_FOR_ALL = (AppCredentialsRejected, NotEnrolled)  # whatever is asked next, the answer will be the same


@dataclass(kw_only=True)
class GridServicesReader(Reader[api.Telemetry]):
    async def get(self, rest: str, into: type[T], **params: str | int) -> T:
        return await api.get(self.ctx, api.site_path(self.query.site.vendor_id, rest), into, **params)

    async def telemetry(self, series: Series, start: datetime, end: datetime) -> api.Telemetry:
        telemetry = await self.get(series.path, api.Telemetry, **intervals.parameters(series, start, end))
        if series is BATTERY:
            self.storage = telemetry
        return telemetry

    def series(self) -> tuple[Series, ...]:
        site, device_id = self.query.site, self.query.device_id
        return intervals.site_series(site) if device_id is None else intervals.device_series(site, device_id)

    def loaded(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        return intervals.loaded(rows, self.query.site, self.query.device_id)

    def charged(self, now: Live) -> Live:
        return mapping.with_charge(now, self.storage) if self.storage else now

    def devices(self, live: Live | None) -> tuple[Device, ...]:
        battery = self.only_battery()
        if battery is None or live is None or live.soc_percent is None:
            return ()
        return (replace(battery, soc_percent=live.soc_percent, reported_at=live.measured_at),)

    def is_hopeless(self) -> bool:
        """Tells it of a full quota."""
        return any(isinstance(error, RateLimited) for _, error in self.failures)

    def failed(self, title: str, error: VendorError) -> None:
        if isinstance(error, _FOR_ALL):
            raise error
        super().failed(title, error)
