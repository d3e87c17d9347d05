"""Which V2 calls a query needs. Each costs a credit of a small monthly budget, so only what the site has is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Readings, ReadingsQuery
from joinder.errors import NotSupported
from joinder.grants import Context, Grant
from joinder.series import QUARTER, Days, Quarters, with_load, zone
from joinder_solaredge import api, mapping
from joinder_solaredge.api import Inverters, Meters, Series, Storage

T = TypeVar("T")
SPAN_MOST = timedelta(hours=12)  # of quarter hours in one call, as documented; longer ones were answered too
LIVE_SPAN = timedelta(hours=1)
Devices = Mapping[str, Mapping[str, Series]]
_SOURCES = {
    DeviceKind.INVERTER: ("/inverters/telemetry", Inverters),
    DeviceKind.BATTERY: ("/storage/telemetry", Storage),
    DeviceKind.METER: ("/meters/telemetry", Meters),
}


class Reader:
    """One query's."""

    def __init__(self, ctx: Context, grant: Grant, query: ReadingsQuery) -> None:
        self._ctx, self._grant, self._query = ctx, grant, query
        self._warnings: list[str] = []
        self._answered = 0
        self._refused: list[NotSupported] = []

    async def readings(self) -> Readings:
        query = self._query
        where = zone(query.site.timezone)
        rows: tuple[Reading, ...] = ()
        if query.start < query.end and query.resolution == "day":
            if where is None:
                raise NotSupported("The site's time zone is unknown")
            rows = await self._days(where)
        elif query.start < query.end:
            rows = await self._quarters(query.start, query.end)
        live = await self._live(rows) if query.live and query.device_id is None else None
        if self._refused and not self._answered:
            raise self._refused[0]
        return Readings(intervals=rows, live=live, warnings=tuple(self._warnings))

    async def _live(self, rows: tuple[Reading, ...]) -> Live | None:
        """Out of what was read anyway, if that reaches to now."""
        now = self._ctx.now()
        if not rows or now - self._query.end > QUARTER:
            end = datetime.fromtimestamp(now.timestamp() // 900 * 900, UTC)
            rows = await self._quarters(end - LIVE_SPAN, end)
        return mapping.live(rows, self._query.site, now)

    async def _quarters(self, start: datetime, end: datetime) -> tuple[Reading, ...]:
        found = Quarters(start, end)
        spans = list(_spans(start, end))
        for wanted, metrics in await self._metrics("QUARTER_HOUR", spans):
            mapping.add_quarters(found, metrics, wanted)
            mapping.add_soc(found, metrics.get("stateOfEnergy"))
        return self._with_load(found.readings(self._query.device_id))

    async def _days(self, where: ZoneInfo) -> tuple[Reading, ...]:
        found = Days(where, self._query.start, self._query.end)
        for wanted, metrics in await self._metrics("DAY", [(self._query.start, self._query.end)]):
            mapping.add_days(found, metrics, wanted, where)
        return self._with_load(found.readings(self._query.device_id))

    async def _metrics(
        self, resolution: str, spans: list[tuple[datetime, datetime]]
    ) -> list[tuple[mapping.Energies, Mapping[str, Series]]]:
        """Series to read, each with what is wanted of it: of one device, or of the site."""
        if self._query.device_id is not None:
            device = self._device(self._query.device_id)
            devices = await self._telemetry(device.kind, resolution, spans)
            return [(_wanted(device), devices.get(device.vendor_id, {}))]
        parts: list[tuple[mapping.Energies, Mapping[str, Series]]] = [
            (mapping.SOLAR, {"energy": await self._production(resolution, spans)})
        ]
        kinds = {device.kind for device in self._query.site.devices}
        if DeviceKind.BATTERY in kinds:
            devices = await self._telemetry(DeviceKind.BATTERY, resolution, spans)
            parts += [(mapping.STORAGE, metrics) for metrics in devices.values()]
        if DeviceKind.METER in kinds:
            devices = await self._telemetry(DeviceKind.METER, resolution, spans)
            parts += [(wanted, _first_with(devices, wanted)) for wanted in (mapping.GRID, mapping.LOAD)]
        return parts

    async def _production(self, resolution: str, spans: list[tuple[datetime, datetime]]) -> Series:
        answers = [await self._ask("/energy", Series, resolution, span, unit="WH") for span in spans]
        found = [answer for answer in answers if answer is not None]
        values = [value for answer in found for value in answer.values]
        return Series(unit=next((answer.unit for answer in found), None), values=values)

    async def _telemetry(self, kind: DeviceKind, resolution: str, spans: list[tuple[datetime, datetime]]) -> Devices:
        path, into = _SOURCES[kind]
        answers = [await self._ask(path, into, resolution, span) for span in spans]
        return mapping.joined(answer.devices for answer in answers if answer is not None)  # type: ignore[attr-defined]

    async def _ask(
        self, path: str, into: type[T], resolution: str, span: tuple[datetime, datetime], **more: str
    ) -> T | None:
        """None, with a warning, for what this plan or consent does not include: the rest still counts."""
        params = {"from": _utc(span[0]), "to": _utc(span[1]), "resolution": resolution, **more}
        try:
            answer = await api.get(
                self._ctx, self._grant, api.site_path(self._query.site.vendor_id, path), into, **params
            )
        except NotSupported as error:
            self._refused.append(error)
            warning = f"{path.strip('/').capitalize()}: {error}"
            self._warnings += [warning] if warning not in self._warnings else []
            return None
        self._answered += 1
        return answer

    def _device(self, device_id: str) -> Device:
        found = next((device for device in self._query.site.devices if device.vendor_id == device_id), None)
        if found is None:
            raise NotSupported("SolarEdge has no such device")
        return found

    def _with_load(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        if self._query.device_id is not None:
            return rows
        battery = any(device.kind is DeviceKind.BATTERY for device in self._query.site.devices)
        return tuple(with_load(row, battery=battery) for row in rows)


def _wanted(device: Device) -> mapping.Energies:
    if device.kind is DeviceKind.INVERTER:
        return mapping.SOLAR
    if device.kind is DeviceKind.BATTERY:
        return mapping.STORAGE
    roles = {MeterRole.PRODUCTION: mapping.PRODUCTION, MeterRole.LOAD: mapping.LOAD}
    return roles.get(device.role or MeterRole.GRID, mapping.GRID)


def _first_with(devices: Devices, wanted: mapping.Energies) -> Mapping[str, Series]:
    """One meter's series: two that measure the same would count twice."""
    names = {name for pair in wanted.values() for name in pair}
    return next((metrics for _, metrics in sorted(devices.items()) if names & metrics.keys()), {})


def _spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        until = min(start + SPAN_MOST, end)
        yield start, until
        start = until


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
