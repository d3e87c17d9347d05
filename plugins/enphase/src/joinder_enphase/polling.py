"""fetch_readings: which calls a query needs, made one after another, and what a failing one means for the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from joinder import physics
from joinder.energy import LOAD_BELOW_ZERO, Device, DeviceKind, Live, Reading, Readings, ReadingsQuery
from joinder.errors import (
    AppCredentialsRejected,
    AuthorizationLost,
    NotSupported,
    RateLimited,
    TransientError,
    VendorError,
)
from joinder.grants import Context, Grant
from joinder.series import QUARTER, Days, Quarters, zone
from joinder_enphase import api, intervals, mapping, shapes, states
from joinder_enphase.intervals import Series

T = TypeVar("T")
_DECISIVE = (AppCredentialsRejected, RateLimited, AuthorizationLost)
_AWAY_AFTER = 2  # calls cut off or failed with 5xx, and none answered: the vendor is away, and a plan counts every call


async def fetch(ctx: Context, grant: Grant, query: ReadingsQuery) -> Readings:
    """Reads one query. Raises when nothing at all was read, NotSupported where the vendor has no such series."""
    poll = _Poll(ctx, grant, query)
    rows = await poll.intervals() if query.start < query.end else ()
    live = await poll.live() if query.live and query.device_id is None else None
    await poll.raise_if_all_failed()
    return Readings(intervals=rows, live=live, devices=poll.devices(), warnings=poll.warnings())


@dataclass
class _Poll:
    ctx: Context
    grant: Grant
    query: ReadingsQuery
    answered: int = 0
    failures: list[tuple[str, VendorError]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # sentences, each once
    storage: shapes.Telemetry | None = None  # the battery's answer holds the state of charge as well

    async def intervals(self) -> tuple[Reading, ...]:
        """Reads the query's intervals, with the load of the site.

        Raises NotSupported where the vendor has no such series.
        """
        site, device_id = self.query.site, self.query.device_id
        read = self._quarters if self.query.resolution == "15mins" else self._days
        into = await read(self._series())
        rows = intervals.loaded(into.readings(device_id), site, device_id)
        self._note(physics.NO_LOAD if any(row.rule == LOAD_BELOW_ZERO for row in rows) else None)
        return rows

    async def live(self) -> Live | None:
        """Reads power now, with the state of charge; None when nothing tells it."""
        site = self.query.site
        has_battery = site.has(DeviceKind.BATTERY)
        now: Live | None = None
        latest: shapes.Latest | None = None
        if has_battery or site.has(DeviceKind.METER):
            latest = await self.attempt("Live power", self._get, "/latest_telemetry", shapes.Latest)
            now = mapping.live(latest, site) if latest else None
            self._note(*mapping.doubts(latest, site) if latest else ())
        if (now is None or now.solar_w is None) and not (latest and mapping.sun_is_metered(latest)):
            summary = await self.attempt("Current production", self._get, "/summary", shapes.Summary)
            now = mapping.solar_from_summary(summary, now) if summary else now
        if has_battery and self.storage is None:
            await self.attempt("State of charge", self._state_of_charge)
        return replace(now, soc_percent=self._soc_percent()) if now else None

    async def attempt(self, title: str, call: Callable[..., Awaitable[T]], *arguments: object) -> T | None:
        """Makes a call and returns its answer, or None with its failure noted.

        After a refused app, a full quota or no answer at all, no more calls are made.
        """
        if self._is_hopeless():
            return None
        try:
            answer = await call(*arguments)
        except api.NoData:
            self.answered += 1
            return None
        except VendorError as error:
            self.failures.append((title, error))
            return None
        self.answered += 1
        return answer

    def _is_hopeless(self) -> bool:
        errors = [error for _, error in self.failures]
        away = not self.answered and sum(isinstance(error, TransientError) for error in errors) >= _AWAY_AFTER
        return away or any(isinstance(error, AppCredentialsRejected | RateLimited) for error in errors)

    async def raise_if_all_failed(self) -> None:
        """Raises the decisive failure where no call was answered.

        401 also stands for a missing access control; only a call that every app may make tells them apart.
        """
        if self.answered or not self.failures:
            return
        errors = [error for _, error in self.failures]
        decisive = next((error for kind in _DECISIVE for error in errors if isinstance(error, kind)), errors[0])
        if isinstance(decisive, AuthorizationLost):
            await self._get("", shapes.System)
            raise NotSupported("The app's Enphase plan does not include this data")
        raise decisive

    def warnings(self) -> tuple[str, ...]:
        failed = (
            f"{title}: the app's Enphase plan does not include it"
            if isinstance(error, AuthorizationLost)
            else f"{title}: {error}"
            for title, error in self.failures
        )
        return (*failed, *self.notes)

    def _note(self, *sentences: str | None) -> None:
        self.notes |= dict.fromkeys(filter(None, sentences))

    def devices(self) -> tuple[Device, ...]:
        """Returns a single battery with its state of charge, which the aggregate is then; else nothing."""
        batteries = [device for device in self.query.site.devices if device.kind is DeviceKind.BATTERY]
        soc_percent = self._soc_percent()
        if len(batteries) != 1 or soc_percent is None:
            return ()
        return (replace(batteries[0], soc_percent=soc_percent),)

    def _series(self) -> tuple[Series, ...]:
        site, device_id = self.query.site, self.query.device_id
        if device_id is None:
            return intervals.site_series(site)
        device = site.device(device_id)
        series = intervals.device_series(site, device) if device else ()
        if not series:
            raise NotSupported("Enphase has no intervals of this device alone")
        return series

    async def _quarters(self, chosen: tuple[Series, ...]) -> Quarters:
        into, start, end = Quarters(self.query.start, self.query.end), self.query.start, self.query.end
        for series in chosen:
            telemetry = await self.attempt(series.title, self._telemetry, series, int(start.timestamp()), end - start)
            if telemetry is not None:
                until = intervals.add_rows(into, series, telemetry, self.query.site)
                self._told(series.title, telemetry.meta, until, series.pause)
                self._note(
                    f"{series.title}: Enphase sent rows without a time, which are left out"
                    if intervals.has_undated(telemetry)
                    else None
                )
        return into

    async def _telemetry(self, series: Series, start_at: int, span: timedelta) -> shapes.Telemetry:
        granularity = "15mins" if span <= timedelta(minutes=15) else "day" if span <= timedelta(days=1) else "week"
        telemetry = await self._get(series.path, shapes.Telemetry, start_at=start_at, granularity=granularity)
        unread_s = self.ctx.now().timestamp() - start_at - span.total_seconds()
        if series is intervals.BATTERY and unread_s <= mapping.TOGETHER_S:  # of long ago it is no state of now
            self.storage = telemetry
        return telemetry

    async def _state_of_charge(self) -> None:
        await self._telemetry(intervals.BATTERY, int((self.ctx.now() - QUARTER).timestamp()), QUARTER)

    async def _days(self, chosen: tuple[Series, ...]) -> Days:
        where = zone(self.query.site.timezone)
        if where is None or any(series.day_path is None for series in chosen):
            raise NotSupported("Enphase has no daily values of it" if where else "The site's time zone is unknown")
        into = Days(where, self.query.start, self.query.end)
        last = min(self.query.end, self.ctx.now()) - timedelta(seconds=1)
        span = {
            "start_date": self.query.start.astimezone(where).date().isoformat(),
            "end_date": last.astimezone(where).date().isoformat(),
        }
        for series in chosen:
            lifetime = await self.attempt(series.title, self._lifetime, series.day_path, span)
            if lifetime is not None:
                until = intervals.add_days(into, series, lifetime, where)
                self._told(series.title, lifetime.meta, until, timedelta(days=1))
        return into

    async def _lifetime(self, path: str, span: Mapping[str, str]) -> shapes.Lifetime:
        return await self._get(path, shapes.Lifetime, **span)

    def _told(self, title: str, meta: shapes.Meta | None, until: datetime | None, pause: timedelta) -> None:
        """Notes what an answer says about the system and, where rows no longer come in late, that it ends early."""
        settled = min(self.query.end, self.ctx.now() - intervals.SETTLES_AFTER)
        if intervals.ends_early(until, self.query.start, settled, self.query.site, pause):
            self._note(f"{title}: Enphase's answer ends before the time asked for")
        self._note(states.warning(meta.status) if meta else None)

    async def _get(self, path: str, into: type[T], **params: str | int) -> T:
        path = api.system_path(self.query.site.vendor_id, path)
        return await api.get(self.ctx, self.grant, path, into, **params)

    def _soc_percent(self) -> float | None:
        return mapping.state_of_charge(self.storage) if self.storage else None
