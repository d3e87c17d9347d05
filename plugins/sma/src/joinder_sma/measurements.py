"""Which measurement calls a query needs: the plant's energy balance where it offers one, else its devices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from joinder import Device, DeviceKind, Live, Reading, Readings, ReadingsQuery, physics
from joinder.energy import LOAD_BELOW_ZERO
from joinder.errors import NotSupported
from joinder.http import path
from joinder.series import Days, Quarters, days_between, with_load
from joinder_sma import mapping, rows
from joinder_sma.api import Client, Measurements
from joinder_sma.mapping import BALANCE, BATTERY, HYBRID_PV, PV, SET_OF, SUMS


class Source(NamedTuple):
    """The plant's balance, or a device's set."""

    kind: str
    of: str
    name: str
    part: str  # which part of a sum it tells: the device's id; "" where it tells the whole


class Reader:
    """One query's."""

    def __init__(self, client: Client, query: ReadingsQuery, where: ZoneInfo, now: datetime) -> None:
        self._client = client
        self._query = query
        self._where = where
        self._now = now
        self._warnings: list[str] = []

    async def readings(self) -> Readings:
        """Reads what the query asks for."""
        sources = await self._sources()
        intervals: tuple[Reading, ...] = ()
        if self._query.start < self._query.end:
            intervals = await (self._quarters(sources) if self._query.resolution == "15mins" else self._days(sources))
        live = await self._live(sources) if self._query.live and self._query.device_id is None else None
        return Readings(intervals=intervals, live=live, warnings=tuple(dict.fromkeys(self._warnings)))

    async def _sources(self) -> list[Source]:
        if self._query.device_id is not None:
            return [self._source(device) for device in self._devices() if device.vendor_id == self._query.device_id]
        plant_id = self._query.site.vendor_id
        if BALANCE in await self._client.sets("plants", plant_id):
            return [Source("plants", plant_id, BALANCE, "")]
        if not self._devices():
            self._warn("tells neither an energy balance nor devices of this plant")
        return [self._source(device) for device in self._devices()]

    def _devices(self) -> Sequence[Device]:
        return self._query.site.devices

    def _source(self, device: Device) -> Source:
        return Source("devices", device.vendor_id.removesuffix(HYBRID_PV), SET_OF[device.kind], device.vendor_id)

    async def _quarters(self, sources: Sequence[Source]) -> tuple[Reading, ...]:
        """Reads quarter hours: a balance as power, as its recorded sample is; devices answer energies when asked to."""
        found = Quarters(self._query.start, self._query.end)
        _expect(found, sources)
        batteries = {source.part: Quarters(self._query.start, self._query.end) for source in _batteries(sources)}
        silent = []
        for source in sources:
            answer = await self._rows(source)
            self._warn(
                mapping.add_rows(
                    found,
                    answer,
                    self._where,
                    energies=source.name != BALANCE,
                    nameplate=self._nameplate(source),
                    part=source.part,
                    soc=batteries.get(source.part),
                )
            )
            self._warn_of_holes(source, answer)
            silent += [] if answer.rows else [source]
        self._warn_of_silence(sources, silent)
        mapping.add_mean_soc(found, batteries, {device.vendor_id: device.nameplate_wh for device in self._devices()})
        return self._with_load(found.readings(self._query.device_id))

    async def _rows(self, source: Source) -> Measurements:
        energies = {"ReturnEnergyValues": "true"} if source.name != BALANCE else {}
        days = days_between(self._query.start, self._query.end, self._where)
        return mapping.merge_days([await self._ask(source, "Day", Date=day.isoformat(), **energies) for day in days])

    async def _days(self, sources: Sequence[Source]) -> tuple[Reading, ...]:
        found = Days(self._where, self._query.start, self._query.end)
        _expect(found, sources)
        today = self._now.astimezone(self._where).date()
        asked = list(days_between(self._query.start, self._query.end, self._where))
        silent = []
        for source in sources:
            told: set[date] = set()
            for month in sorted({day.strftime("%Y-%m") for day in asked}):
                answer = await self._ask(source, "Month", Date=month)
                nameplate = self._nameplate(source)
                self._warn(mapping.add_months(found, answer, month, nameplate=nameplate, part=source.part, today=today))
                told |= mapping.days_of(answer, month, today).keys()
            self._warn_of_part(source, any(day < today and day not in told for day in asked))
            silent += [] if told else [source]
        self._warn_of_silence(sources, silent)
        return self._with_load(found.readings(self._query.device_id))

    async def _live(self, sources: Sequence[Source]) -> Live | None:
        """Reads live power of a balance or of a single inverter.

        Only a balance tells a plant's power at one instant; devices report at different times.
        """
        for source in sources:
            if source.name == BALANCE:
                return self._with_live_load(await self._ask(source, "Recent"), self._nameplate(source))
        inverters = [self._source(device) for device in self._devices() if device.kind is DeviceKind.INVERTER]
        if len(inverters) != 1 or not sources:
            return None
        answer = await self._ask(inverters[0], "Recent")
        return self._newest_power(answer, self._nameplate(inverters[0]))

    def _newest_power(self, answer: Measurements, nameplate: float | None) -> Live | None:
        live = mapping.live(answer, self._where, nameplate=nameplate)
        return live and replace(live, measured_at=mapping.of_now(live.measured_at, self._where, self._now))

    def _with_live_load(self, answer: Measurements, nameplate: float | None) -> Live | None:
        live, newest = self._newest_power(answer, nameplate), mapping.newest(answer, self._where)
        if live is None or newest is None or live.load_w is not None or mapping.runs_generator(newest.row):
            return live
        load = mapping.live_load(live, battery=self._has_battery())
        if load.is_impossible:
            self._warnings.append(physics.NO_LOAD)
        return replace(live, load_w=load.watts)

    async def _ask(self, source: Source, period: str, **params: str) -> Measurements:
        place = path(source.kind, source.of, "measurements", "sets", source.name, period)
        try:
            return await self._client.get(place, Measurements, **params)
        except NotSupported:
            self._warn(f"has no {source.name} of this {source.kind.removesuffix('s')} any more")
            return Measurements(rows=[])

    def _nameplate(self, source: Source) -> float | None:
        own = [device for device in self._devices() if device.vendor_id == source.part]
        return physics.nameplate_w(own or self._devices())

    def _has_battery(self) -> bool:
        return any(device.kind is DeviceKind.BATTERY for device in self._devices())

    def _with_load(self, found: tuple[Reading, ...]) -> tuple[Reading, ...]:
        """Computes the load, only where every part is whole.

        A load is a difference, and a little missing of one part may turn its sign.
        """
        if self._query.device_id is not None:
            return found
        battery = self._has_battery()
        done = tuple(with_load(row, battery=battery) if row.rule is None else row for row in found)
        if any(row.rule == LOAD_BELOW_ZERO for row in done):
            self._warnings.append(physics.NO_LOAD)
        return done

    def _warn(self, problem: str | None) -> None:
        if problem:
            self._warnings.append(f"SMA {problem}")

    def _warn_of_holes(self, source: Source, answer: Measurements) -> None:
        until = min(self._query.end, self._now - rows.LATE)
        entries = rows.timed(answer, self._where)
        self._warn_of_part(source, rows.is_short(entries, self._query.start, until, by_sun=source.name == PV))

    def _warn_of_part(self, source: Source, short: bool) -> None:
        if short:
            kind = source.kind.removesuffix("s")
            self._warn(f"answered {source.name} of this {kind} for only a part of the time asked for")

    def _warn_of_silence(self, sources: Sequence[Source], silent: Sequence[Source]) -> None:
        """Warns of devices that told nothing while another one told something.

        A device is silent by night as well: only another one shows that it should have told something.
        """
        for name in SUMS:
            parts, missing = ([source for source in group if source.name == name] for group in (sources, silent))
            if missing and len(missing) < len(parts):
                self._warn(f"tells no {name} of a device that others tell; sums of the plant lack it")


def _expect(found: Quarters | Days, sources: Sequence[Source]) -> None:
    for name, metrics in SUMS.items():
        parts = [source.part for source in sources if source.name == name]
        for metric in metrics if parts else ():
            found.expect(metric, parts)


def _batteries(sources: Sequence[Source]) -> list[Source]:
    return [source for source in sources if source.name == BATTERY]
