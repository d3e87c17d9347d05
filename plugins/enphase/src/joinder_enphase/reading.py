"""How a query is read through either of the maker's APIs: calls one after another, and what a failing one means."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, TypeVar

from joinder import physics
from joinder.energy import LOAD_BELOW_ZERO, Device, DeviceKind, Live, Reading, Readings, ReadingsQuery
from joinder.errors import NotSupported, VendorError
from joinder.grants import Context
from joinder.series import QUARTER, Days, Quarters, zone
from joinder_enphase import mapping, shapes, states
from joinder_enphase.api import NoData
from joinder_enphase.intervals import BATTERY, SETTLES_AFTER, Series, add_days, add_rows, ends_early, has_undated

T = TypeVar("T")
Telemetry = TypeVar("Telemetry", bound=shapes.Rows)


@dataclass(kw_only=True)
class Reader(ABC, Generic[Telemetry]):
    """One query of one site; what an API does in its own way is a method of its own reader."""

    ctx: Context
    query: ReadingsQuery
    answered: int = 0
    failures: list[tuple[str, VendorError]] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)  # sentences, each once
    storage: Telemetry | None = None  # the battery's answer holds the state of charge as well

    @abstractmethod
    async def get(self, rest: str, into: type[T], **params: str | int) -> T:
        """Reads what lies under the site's path."""

    @abstractmethod
    async def telemetry(self, series: Series, start: datetime, end: datetime) -> Telemetry:
        """Reads rows, and keeps in `storage` those of all batteries that tell the state of charge of now."""

    @abstractmethod
    def series(self) -> tuple[Series, ...]:
        """Chooses what the query is about; empty where the vendor has no such series."""

    @abstractmethod
    def loaded(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        """Adds the load of the site."""

    @abstractmethod
    def charged(self, now: Live) -> Live:
        """Adds the state of charge that `storage` tells."""

    @abstractmethod
    def devices(self, live: Live | None) -> tuple[Device, ...]:
        """Returns a single battery with its state of charge, which that of all is then; else nothing."""

    @abstractmethod
    def is_hopeless(self) -> bool:
        """Tells whether, after these failures, no more calls are to be made."""

    async def read(self) -> Readings:
        """Reads the query. Raises when nothing at all was read, NotSupported where the vendor has no such series."""
        query = self.query
        rows = await self.intervals() if query.start < query.end else ()
        live = await self.live() if query.live and query.device_id is None else None
        if self.failures and not self.answered:
            await self.give_up()
        warnings = (*(self.warning(title, error) for title, error in self.failures), *self.notes)
        return Readings(intervals=rows, live=live, devices=self.devices(live), warnings=warnings)

    async def give_up(self) -> None:
        """Raises the decisive failure where no call was answered."""
        raise self.failures[0][1]

    def warning(self, title: str, error: VendorError) -> str:
        return f"{title}: {error}"

    def only_battery(self) -> Device | None:
        batteries = [device for device in self.query.site.devices if device.kind is DeviceKind.BATTERY]
        return batteries[0] if len(batteries) == 1 else None

    async def intervals(self) -> tuple[Reading, ...]:
        """Reads the query's intervals, with the load of the site.

        Raises NotSupported where the vendor has no such series.
        """
        chosen = self.series()
        if self.query.device_id is not None and not chosen:
            raise NotSupported("Enphase has no intervals of this device alone")
        into = await (self._quarters if self.query.resolution == "15mins" else self._days)(chosen)
        rows = self.loaded(into.readings(self.query.device_id))
        self._note(physics.NO_LOAD if any(row.rule == LOAD_BELOW_ZERO for row in rows) else None)
        return rows

    async def live(self) -> Live | None:
        """Reads power now, with the state of charge; None when nothing tells it."""
        site = self.query.site
        has_battery = site.has(DeviceKind.BATTERY)
        now: Live | None = None
        latest: shapes.Latest | None = None
        if has_battery or site.has(DeviceKind.METER):
            latest = await self.attempt("Live power", partial(self.get, "/latest_telemetry", shapes.Latest))
            now = mapping.live(latest, site) if latest else None
            self._note(*mapping.doubts(latest, site) if latest else ())
        if (now is None or now.solar_w is None) and not (latest and mapping.sun_is_metered(latest)):
            summary = await self.attempt("Current production", partial(self.get, "/summary", shapes.Summary))
            now = mapping.solar_from_summary(summary, now) if summary else now
        if has_battery and self.storage is None:
            end = self.ctx.now()
            await self.attempt("State of charge", partial(self.telemetry, BATTERY, end - QUARTER, end))
        return self.charged(now) if now else None

    async def attempt(self, title: str, call: Callable[[], Awaitable[T]]) -> T | None:
        """Makes a call and returns its answer, or None with its failure noted."""
        if self.is_hopeless():
            return None
        try:
            answer = await call()
        except NoData:
            answer = None
        except VendorError as error:
            self.failed(title, error)
            return None
        self.answered += 1
        return answer

    def failed(self, title: str, error: VendorError) -> None:
        """Keeps a failure beside which the rest is read."""
        self.failures.append((title, error))

    async def _quarters(self, chosen: tuple[Series, ...]) -> Quarters:
        into, start, end = Quarters(self.query.start, self.query.end), self.query.start, self.query.end
        for series in chosen:
            telemetry = await self.attempt(series.title, partial(self.telemetry, series, start, end))
            if telemetry is not None:
                until = add_rows(into, series, telemetry, self.query.site)
                self._told(series.title, telemetry.meta, until, series.pause)
                self._note(
                    f"{series.title}: Enphase sent rows without a time, which are left out"
                    if has_undated(telemetry)
                    else None
                )
        return into

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
            read = partial(self.get, series.day_path or "", shapes.Lifetime, **span)
            lifetime = await self.attempt(series.title, read)
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
