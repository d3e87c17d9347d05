"""fetch_readings: which calls a query needs, made one after another, and what a failing one means for the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from joinder import physics
from joinder.energy import LOAD_BELOW_ZERO, Device, DeviceKind, Live, Reading, Readings, ReadingsQuery
from joinder.errors import AppCredentialsRejected, NotSupported, RateLimited, VendorError
from joinder.grants import Context
from joinder.series import QUARTER, Days, Quarters, zone
from joinder_enphase import mapping as enphase
from joinder_enphase import shapes, states
from joinder_enphase.intervals import BATTERY, SETTLES_AFTER, Series, add_days, add_rows, ends_early, has_undated
from joinder_enphase_vpp import api, intervals, mapping
from joinder_enphase_vpp.refusals import NoData, NotEnrolled

T = TypeVar("T")
_FOR_ALL = (AppCredentialsRejected, NotEnrolled)  # whatever is asked next, the answer will be the same


async def fetch(ctx: Context, query: ReadingsQuery) -> Readings:
    """Reads one query. Raises when nothing at all was read, NotSupported where the vendor has no such series."""
    poll = _Poll(ctx, query)
    rows = await poll.intervals() if query.start < query.end else ()
    live = await poll.live() if query.live and query.device_id is None else None
    if poll.failures and not poll.answered:
        raise poll.failures[0][1]
    warnings = (*(f"{title}: {error}" for title, error in poll.failures), *poll.notes)
    return Readings(intervals=rows, live=live, devices=poll.devices(live), warnings=warnings)


@dataclass
class _Poll:
    ctx: Context
    query: ReadingsQuery
    answered: int = 0
    failures: list[tuple[str, VendorError]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # sentences, each once
    storage: api.Telemetry | None = None  # the battery's answer holds the state of charge as well

    async def intervals(self) -> tuple[Reading, ...]:
        """Reads the query's intervals, with the load of the site.

        Raises NotSupported where the vendor has no such series.
        """
        site, device_id = self.query.site, self.query.device_id
        series = intervals.site_series(site) if device_id is None else intervals.device_series(site, device_id)
        if device_id is not None and not series:
            raise NotSupported("Enphase has no intervals of this device alone")
        into = await (self._quarters if self.query.resolution == "15mins" else self._days)(series)
        rows = intervals.loaded(into.readings(device_id), site, device_id)
        self._note(physics.NO_LOAD if any(row.rule == LOAD_BELOW_ZERO for row in rows) else None)
        return rows

    async def live(self) -> Live | None:
        """Reads power now, with the state of charge; None when nothing tells it."""
        kinds = {device.kind for device in self.query.site.devices}
        now: Live | None = None
        latest: shapes.Latest | None = None
        if kinds & {DeviceKind.BATTERY, DeviceKind.METER}:
            latest = await self._attempt("Live power", self._get("/latest_telemetry", shapes.Latest))
            now = enphase.live(latest, self.query.site) if latest else None
            self._note(*enphase.doubts(latest, self.query.site) if latest else ())
        if (now is None or now.solar_w is None) and not (latest and enphase.sun_is_metered(latest)):
            summary = await self._attempt("Current production", self._get("/summary", shapes.Summary))
            now = enphase.solar_from_summary(summary, now) if summary else now
        if DeviceKind.BATTERY in kinds and self.storage is None:
            end = self.ctx.now()
            read = self._telemetry(BATTERY, end - QUARTER, end)
            self.storage = await self._attempt("State of charge", read)
        return mapping.with_charge(now, self.storage) if now and self.storage else now

    def devices(self, live: Live | None) -> tuple[Device, ...]:
        """Returns a single battery with its state of charge, which that of all is then; else nothing."""
        batteries = [device for device in self.query.site.devices if device.kind is DeviceKind.BATTERY]
        if len(batteries) != 1 or live is None or live.soc_percent is None:
            return ()
        return (replace(batteries[0], soc_percent=live.soc_percent, reported_at=live.measured_at),)

    async def _quarters(self, chosen: tuple[Series, ...]) -> Quarters:
        into = Quarters(self.query.start, self.query.end)
        for series in chosen:
            read = self._telemetry(series, self.query.start, self.query.end)
            telemetry = await self._attempt(series.title, read)
            if telemetry is not None:
                until = add_rows(into, series, telemetry, self.query.site)
                self._told(series.title, telemetry.meta, until, series.pause)
                self._note(
                    f"{series.title}: Enphase sent rows without a time, which are left out"
                    if has_undated(telemetry)
                    else None
                )
            if series is BATTERY:
                self.storage = telemetry
        return into

    def _telemetry(self, series: Series, start: datetime, end: datetime) -> Callable[[], Awaitable[api.Telemetry]]:
        return self._get(series.path, api.Telemetry, **intervals.parameters(series, start, end))

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
            lifetime = await self._attempt(series.title, self._get(series.day_path or "", shapes.Lifetime, **span))
            if lifetime is not None:
                until = add_days(into, series, lifetime, where)
                self._told(series.title, lifetime.meta, until, timedelta(days=1))
        return into

    def _told(self, title: str, meta: shapes.Meta | None, until: datetime | None, pause: timedelta) -> None:
        """Notes what an answer says about the system and, where rows no longer come in late, that it ends early."""
        settled = min(self.query.end, self.ctx.now() - SETTLES_AFTER)
        if ends_early(until, self.query.start, settled, self.query.site, pause):
            self._note(f"{title}: Enphase's answer ends before the time asked for")
        self._note(states.warning(meta.status) if meta else None)

    def _note(self, *sentences: str | None) -> None:
        self.notes |= dict.fromkeys(filter(None, sentences))

    def _get(self, rest: str, into: type[T], **params: str | int) -> Callable[[], Awaitable[T]]:
        path = api.site_path(self.query.site.vendor_id, rest)
        return lambda: api.get(self.ctx, path, into, **params)

    async def _attempt(self, title: str, read: Callable[[], Awaitable[T]]) -> T | None:
        """Reads an answer, or None with its failure noted. After a full quota no more calls are made."""
        if any(isinstance(error, RateLimited) for _, error in self.failures):
            return None
        try:
            answer = await read()
        except _FOR_ALL:
            raise
        except NoData:
            answer = None
        except VendorError as error:
            self.failures.append((title, error))
            return None
        self.answered += 1
        return answer
