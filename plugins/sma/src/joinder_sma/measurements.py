"""Which measurement calls a query needs: the plant's energy balance where it offers one, else its devices."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, Reading, Readings, ReadingsQuery
from joinder.errors import NotSupported
from joinder.series import Days, Quarters, days_between, with_load
from joinder_sma import mapping
from joinder_sma.api import Client, Measurements, path
from joinder_sma.mapping import BALANCE, SET_OF


class Reader:
    """One query's. A source is the plant's balance or a device's set: (kind, id, set)."""

    def __init__(self, client: Client, query: ReadingsQuery, where: ZoneInfo) -> None:
        self._client = client
        self._query = query
        self._where = where
        self._warnings: list[str] = []

    async def readings(self) -> Readings:
        sources = await self._sources()
        intervals: tuple[Reading, ...] = ()
        if self._query.start < self._query.end:
            intervals = await (self._quarters(sources) if self._query.resolution == "15mins" else self._days(sources))
        live = await self._live(sources) if self._query.live and self._query.device_id is None else None
        return Readings(intervals=intervals, live=live, warnings=tuple(self._warnings))

    async def _sources(self) -> list[tuple[str, str, str]]:
        if self._query.device_id is not None:
            return [self._source(device) for device in self._devices() if device.vendor_id == self._query.device_id]
        plant_id = self._query.site.vendor_id
        if BALANCE in await self._client.sets("plants", plant_id):
            return [("plants", plant_id, BALANCE)]
        return [self._source(device) for device in self._devices()]

    def _devices(self) -> Sequence[Device]:
        return self._query.site.devices

    def _source(self, device: Device) -> tuple[str, str, str]:
        return "devices", device.vendor_id, SET_OF[device.kind]

    async def _quarters(self, sources: Sequence[tuple[str, str, str]]) -> tuple[Reading, ...]:
        """Devices answer energies when asked to; a balance is read as power, as its recorded sample is."""
        found = Quarters(self._query.start, self._query.end)
        for source in sources:
            energies = source[2] != BALANCE
            parts = []
            for day in days_between(self._query.start, self._query.end, self._where):
                asked = {"Date": day.isoformat(), **({"ReturnEnergyValues": "true"} if energies else {})}
                parts.append(await self._ask(source, "Day", **asked))
            answer = mapping.merge_days(parts)
            problem = mapping.add_rows(
                found, answer, self._where, energies=energies, nameplate=self._nameplate(source[1])
            )
            if problem and answer.rows:
                self._warnings.append(f"SMA: {problem}")
        return self._with_load(found.readings(self._query.device_id))

    async def _days(self, sources: Sequence[tuple[str, str, str]]) -> tuple[Reading, ...]:
        found = Days(self._where, self._query.start, self._query.end)
        days = days_between(self._query.start, self._query.end, self._where)
        months = sorted({day.strftime("%Y-%m") for day in days})
        for source in sources:
            for month in months:
                mapping.add_months(found, await self._ask(source, "Month", Date=month), month)
        return self._with_load(found.readings(self._query.device_id))

    async def _live(self, sources: Sequence[tuple[str, str, str]]) -> Live | None:
        """Only a balance tells a plant's power at one instant; devices report at different times."""
        for source in sources:
            if source[2] == BALANCE:
                return mapping.live(await self._ask(source, "Recent"), self._where)
        inverters = [device for device in self._devices() if device.kind is DeviceKind.INVERTER]
        if len(inverters) != 1 or not sources:
            return None
        return mapping.live(await self._ask(self._source(inverters[0]), "Recent"), self._where)

    async def _ask(self, source: tuple[str, str, str], period: str, **params: str) -> Measurements:
        kind, of, name = source
        place = path(kind, of, "measurements", "sets", name, period)
        try:
            return await self._client.get(place, Measurements, **params)
        except NotSupported:
            self._warnings.append(f"SMA has no {name} of this {kind.removesuffix('s')} any more")
            return Measurements(rows=[])

    def _nameplate(self, of: str) -> float | None:
        own = [device for device in self._devices() if device.vendor_id == of]
        return mapping.nameplate_w(own or self._devices())

    def _with_load(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        if self._query.device_id is not None:
            return rows
        battery = any(device.kind is DeviceKind.BATTERY for device in self._devices())
        return tuple(with_load(row, battery=battery) for row in rows)
