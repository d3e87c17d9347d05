"""Which V2 calls a query needs. Each costs a credit of a small monthly budget, so only what the site has is asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Readings, ReadingsQuery
from joinder.errors import NotSupported
from joinder.grants import Context, Grant
from joinder.series import QUARTER, with_load, zone
from joinder_solaredge import api, mapping
from joinder_solaredge.api import Inverters, Meters, Series, Storage

T = TypeVar("T")
SPAN_MOST = timedelta(hours=12)  # of quarter hours in one call, as documented; longer ones were answered too
Spans = list[tuple[datetime, datetime]]
Devices = Mapping[str, Mapping[str, Series]]
Metrics = dict[str, mapping.Rows]
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

    async def _live(self, quarters: tuple[Reading, ...]) -> Live | None:
        """Out of the quarter hours that were read anyway, where they cover the last hour."""
        now, query = self._ctx.now(), self._query
        covered = query.start <= now - mapping.LIVE_SPAN and now - query.end <= QUARTER
        if query.resolution != "15mins" or not covered:
            quarters = await self._quarters(now - mapping.LIVE_SPAN, now)
        return mapping.live(quarters, query.site, now)

    async def _quarters(self, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """Whole ones alone: what SolarEdge makes of a span that begins inside a bucket is not documented."""
        start, end = _quarter_before(start + QUARTER - timedelta(microseconds=1)), _quarter_before(end)
        metrics = await self._metrics("QUARTER_HOUR", list(_spans(start, end)))
        return self._with_load(mapping.quarters(metrics, start, end, self._query.device_id))

    async def _days(self, where: ZoneInfo) -> tuple[Reading, ...]:
        start, end = self._query.start, self._query.end
        metrics = await self._metrics("DAY", [(start, end)])
        return self._with_load(mapping.days(metrics, start, end, where, self._query.device_id))

    async def _metrics(self, resolution: str, spans: Spans) -> Metrics:
        """Values by bucket: of one device, or of the site."""
        hours = 0.25 if resolution == "QUARTER_HOUR" else None
        if self._query.device_id is not None:
            device = self._device(self._query.device_id)
            answers = await self._telemetry(device.kind, resolution, spans)
            return _of(device.vendor_id, answers, _wanted(device), hours)
        production = [await self._ask("/energy", Series, resolution, span, unit="WH") for span in spans]
        parts = [{"energy": answer} for answer in production if answer is not None]
        found = mapping.energies(parts, mapping.SOLAR)
        kinds = {device.kind for device in self._query.site.devices}
        if DeviceKind.BATTERY in kinds:
            answers = await self._telemetry(DeviceKind.BATTERY, resolution, spans)
            installed = {device.vendor_id for device in self._query.site.devices if device.kind is DeviceKind.BATTERY}
            told = {serial: _of(serial, answers, mapping.STORAGE, hours) for serial in installed | _serials(answers)}
            found |= mapping.over_all([rows for serial, rows in told.items() if serial in installed or _any(rows)])
        if DeviceKind.METER in kinds:
            answers = await self._telemetry(DeviceKind.METER, resolution, spans)
            for wanted in (mapping.GRID, mapping.LOAD):
                found |= _first_known([_of(serial, answers, wanted, hours) for serial in sorted(_serials(answers))])
        return found

    async def _telemetry(self, kind: DeviceKind, resolution: str, spans: Spans) -> list[Devices]:
        path, into = _SOURCES[kind]
        answers = [await self._ask(path, into, resolution, span) for span in spans]
        return [answer.devices for answer in answers if answer is not None]  # type: ignore[attr-defined]

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


def _serials(answers: list[Devices]) -> set[str]:
    return {serial for devices in answers for serial in devices}


def _of(serial: str, answers: list[Devices], wanted: mapping.Energies, hours: float | None) -> Metrics:
    parts = [devices.get(serial, {}) for devices in answers]
    found = mapping.energies(parts, wanted, hours=hours)
    return {**found, mapping.SOC: mapping.charge_states(parts)} if wanted is mapping.STORAGE else found


def _first_known(meters: list[Metrics]) -> Metrics:
    """One meter's values: two that measure the same would count twice."""
    return next((metrics for metrics in meters if _any(metrics)), {})


def _any(metrics: Metrics) -> bool:
    return any(metrics.values())


def _quarter_before(at: datetime) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // 900 * 900, UTC)


def _spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        until = min(start + SPAN_MOST, end)
        yield start, until
        start = until


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
