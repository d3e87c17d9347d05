"""fetch_readings through the Monitoring API: its paths, its plans, and when the vendor is away."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from joinder.energy import Device, Live, Reading
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    VendorError,
)
from joinder.grants import Grant
from joinder_enphase import api, intervals, mapping, shapes
from joinder_enphase.intervals import Series
from joinder_enphase.reading import Reader

T = TypeVar("T")
_DECISIVE = (AppCredentialsRejected, RateLimited, AuthorizationLost)
_AWAY_AFTER = 2  # calls cut off or failed with 5xx, and none answered: the vendor is away, and a plan counts every call


@dataclass(kw_only=True)
class MonitoringReader(Reader[shapes.Telemetry]):
    grant: Grant

    async def get(self, rest: str, into: type[T], **params: str | int) -> T:
        path = api.system_path(self.query.site.vendor_id, rest)
        return await api.get(self.ctx, self.grant, path, into, **params)

    async def telemetry(self, series: Series, start: datetime, end: datetime) -> shapes.Telemetry:
        span = end - start
        granularity = "15mins" if span <= timedelta(minutes=15) else "day" if span <= timedelta(days=1) else "week"
        start_at = int(start.timestamp())
        telemetry = await self.get(series.path, shapes.Telemetry, start_at=start_at, granularity=granularity)
        unread_s = (self.ctx.now() - end).total_seconds()
        if series is intervals.BATTERY and unread_s <= mapping.TOGETHER_S:  # of long ago it is no state of now
            self.storage = telemetry
        return telemetry

    def series(self) -> tuple[Series, ...]:
        site, device_id = self.query.site, self.query.device_id
        if device_id is None:
            return intervals.site_series(site)
        device = site.device(device_id)
        return intervals.device_series(site, device) if device else ()

    def loaded(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        return intervals.loaded(rows, self.query.site, self.query.device_id)

    def charged(self, now: Live) -> Live:
        return replace(now, soc_percent=self._soc_percent())

    def devices(self, live: Live | None) -> tuple[Device, ...]:
        battery, soc_percent = self.only_battery(), self._soc_percent()
        return (replace(battery, soc_percent=soc_percent),) if battery and soc_percent is not None else ()

    def is_hopeless(self) -> bool:
        """Tells it of a refused app, a full quota, and no answer at all."""
        errors = [error for _, error in self.failures]
        away = not self.answered and sum(isinstance(error, TransientError) for error in errors) >= _AWAY_AFTER
        return away or any(isinstance(error, AppCredentialsRejected | RateLimited) for error in errors)

    async def give_up(self) -> None:
        """Raises the decisive failure.

        401 also stands for a missing access control; only a call that every app may make tells them apart.
        """
        errors = [error for _, error in self.failures]
        decisive = next((error for kind in _DECISIVE for error in errors if isinstance(error, kind)), errors[0])
        if isinstance(decisive, AuthorizationLost):
            await self.get("", shapes.System)
            raise NotSupported("The app's Enphase plan does not include this data")
        raise decisive

    def warning(self, title: str, error: VendorError) -> str:
        if isinstance(error, AuthorizationLost):
            return f"{title}: the app's Enphase plan does not include it"
        return super().warning(title, error)

    def _soc_percent(self) -> float | None:
        return mapping.state_of_charge(self.storage) if self.storage else None
