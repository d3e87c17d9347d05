"""Which V2 calls a query needs. Each costs a credit of a small monthly budget, so only what the site has is asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from joinder import Device, DeviceKind, Live, MeterRole, Reading, Readings, ReadingsQuery, physics
from joinder.energy import LOAD_BELOW_ZERO
from joinder.errors import NotSupported
from joinder.grants import Context, Grant
from joinder.series import QUARTER, with_load, zone
from joinder_solaredge import api, mapping, sums
from joinder_solaredge.api import Inverters, Meters, Series, Storage
from joinder_solaredge.sums import Devices, Sum

T = TypeVar("T")
SPAN_MOST = timedelta(hours=12)  # of quarter hours in one call, as documented; longer ones were answered too
LATE_MOST = timedelta(hours=1)  # how long the newest row may be on its way
PARTLY = "SolarEdge told no rows for a part of the time that was asked for"
Spans = list[tuple[datetime, datetime]]
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
        self._stored: list[Devices] = []  # all that was read of the batteries: together it tells their scale

    async def readings(self) -> Readings:
        """Reads what the query asks for.

        Raises NotSupported when nothing of it is included, or no zone says when days begin.
        """
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
        """Reads live power, from the quarter hours that were read anyway where they cover the last hour."""
        now, query = self._ctx.now(), self._query
        covered = query.start <= now - mapping.LIVE_SPAN and now - query.end <= QUARTER
        if query.resolution != "15mins" or not covered:
            quarters = await self._quarters(now - mapping.LIVE_SPAN, now)
        return mapping.live(quarters, query.site, now)

    async def _quarters(self, start: datetime, end: datetime) -> tuple[Reading, ...]:
        """Reads whole quarter hours alone.

        What SolarEdge makes of a span that begins inside a bucket is not documented.
        """
        start, end = _quarter_before(start + QUARTER - timedelta(microseconds=1)), _quarter_before(end)
        told = await self._told("QUARTER_HOUR", list(_spans(start, end)))
        self._warn([mapping.TOO_LONG] if mapping.are_too_long(told.metrics) else [])
        of, now = self._query.device_id, self._ctx.now()
        rows = mapping.quarters(told.metrics, start, end, of, told.lacking, now=now, silent=told.silent)
        return self._with_load(rows)

    async def _days(self, where: ZoneInfo) -> tuple[Reading, ...]:
        start, end, device_id = self._query.start, self._query.end, self._query.device_id
        told = await self._told("DAY", [(start, end)])
        self._warn([mapping.OTHER_DAYS] if mapping.has_other_days(told.metrics, where) else [])
        rows = mapping.days(told.metrics, start, end, where, device_id, now=self._ctx.now(), lacking=told.lacking)
        return self._with_load(rows)

    async def _told(self, resolution: str, spans: Spans) -> Sum:
        """Reads values by bucket: of one device, or of the site."""
        hours = 0.25 if resolution == "QUARTER_HOUR" else None
        device_id = self._query.device_id
        told = await (
            self._site(resolution, spans, hours) if device_id is None else self._one(resolution, spans, hours)
        )
        self._warn(told.warnings)
        return told

    async def _one(self, resolution: str, spans: Spans, hours: float | None) -> Sum:
        device = self._device(self._query.device_id)
        if device.kind is DeviceKind.BATTERY:  # the others of the answer tell its scale too
            answers = await self._batteries(resolution, spans)
            told, warnings = sums.stores(answers, sums.capacities(self._query.site.devices), hours, self._stored)
            return Sum(told[device.vendor_id], (), warnings)
        answers = await self._telemetry(device.kind, resolution, spans)
        parts, wanted = sums.parts_of(device.vendor_id, answers), _wanted(device)
        return Sum(mapping.energies(parts, wanted, hours=hours), (), list(mapping.doubts(parts, wanted)))

    async def _site(self, resolution: str, spans: Spans, hours: float | None) -> Sum:
        """Reads the site's production, the sum of its batteries, and the meters at the grid and the load."""
        devices = self._query.site.devices
        kinds = {device.kind for device in devices}
        parts = [{"energy": answer} for answer in await self._production(resolution, spans)]
        solar = Sum(mapping.energies(parts, mapping.SOLAR), (), list(mapping.doubts(parts, mapping.SOLAR)))
        found = [solar]
        if DeviceKind.BATTERY in kinds:
            answers = await self._batteries(resolution, spans)
            found.append(sums.batteries(answers, devices, hours, self._stored))
        if DeviceKind.METER in kinds:
            answers = await self._telemetry(DeviceKind.METER, resolution, spans)
            found += [sums.meters(answers, devices, hours), sums.false_zeros(solar.metrics, answers, hours)]
        return _joined(found)

    async def _batteries(self, resolution: str, spans: Spans) -> list[Devices]:
        answers = await self._telemetry(DeviceKind.BATTERY, resolution, spans)
        self._stored += answers
        return answers

    async def _production(self, resolution: str, spans: Spans) -> list[Series]:
        answers = [(span, await self._ask("/energy", Series, resolution, span, unit="WH")) for span in spans]
        told = [(span, answer) for span, answer in answers if answer is not None]
        now = self._ctx.now()
        self._warn([PARTLY] if any(_is_cut(answer, span, resolution, now) for span, answer in told) else [])
        return [answer for _, answer in told]

    async def _telemetry(self, kind: DeviceKind, resolution: str, spans: Spans) -> list[Devices]:
        path, into = _SOURCES[kind]
        answers = [await self._ask(path, into, resolution, span) for span in spans]
        return [answer.devices for answer in answers if answer is not None]  # type: ignore[attr-defined]

    async def _ask(
        self, path: str, into: type[T], resolution: str, span: tuple[datetime, datetime], **more: str
    ) -> T | None:
        """Asks for telemetry; None, with a warning, for what this plan or consent does not include.

        The rest still counts.
        """
        params = {"from": _utc(span[0]), "to": _utc(span[1]), "resolution": resolution, **more}
        try:
            answer = await api.get(
                self._ctx, self._grant, api.site_path(self._query.site.vendor_id, path), into, **params
            )
        except NotSupported as error:
            self._refused.append(error)
            self._warn([f"{path.strip('/').capitalize()}: {error}"])
            return None
        self._answered += 1
        return answer

    def _warn(self, texts: Iterable[str]) -> None:
        """Adds warnings, each once."""
        self._warnings = list(dict.fromkeys([*self._warnings, *texts]))

    def _device(self, device_id: str | None) -> Device:
        found = self._query.site.device(device_id)
        if found is None:
            raise NotSupported("SolarEdge has no such device")
        return found

    def _with_load(self, rows: tuple[Reading, ...]) -> tuple[Reading, ...]:
        if self._query.device_id is not None:
            return rows
        battery = self._query.site.has(DeviceKind.BATTERY)
        found = tuple(with_load(row, battery=battery) for row in rows)
        self._warn([physics.NO_LOAD] if any(row.rule == LOAD_BELOW_ZERO for row in found) else [])
        return found


def _wanted(device: Device) -> mapping.Energies:
    if device.kind is DeviceKind.INVERTER:
        return mapping.SOLAR
    roles = {MeterRole.PRODUCTION: mapping.PRODUCTION, MeterRole.LOAD: mapping.LOAD}
    return roles.get(device.role or MeterRole.GRID, mapping.GRID)


def _joined(sources: Iterable[Sum]) -> Sum:
    """Joins sums; a later source's word on a metric counts."""
    metrics: sums.Metrics = {}
    lacking: set[datetime] = set()
    warnings: list[str] = []
    silent: dict[datetime, frozenset[str]] = {}
    for source in sources:
        metrics |= source.metrics
        lacking |= set(source.lacking)
        warnings += source.warnings
        silent |= source.silent
    return Sum(metrics, lacking, warnings, silent)


def _is_cut(answer: Series, span: tuple[datetime, datetime], resolution: str, now: datetime) -> bool:
    """Tells whether rows at either end were not told at all; rows without a value were told."""
    stamps = sorted(row.timestamp for row in answer.values if row.timestamp.tzinfo is not None)
    bucket = QUARTER if resolution == "QUARTER_HOUR" else timedelta(hours=25)
    first, last = (stamps[0], stamps[-1]) if stamps else (span[1], span[0])
    due = min(span[1], now - LATE_MOST)
    return due > span[0] and (first >= span[0] + bucket or last + bucket < due)


def _quarter_before(at: datetime) -> datetime:
    return datetime.fromtimestamp(at.timestamp() // 900 * 900, UTC)


def _spans(start: datetime, end: datetime) -> Iterator[tuple[datetime, datetime]]:
    while start < end:
        until = min(start + SPAN_MOST, end)
        yield start, until
        start = until


def _utc(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
