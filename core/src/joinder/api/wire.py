"""From what is stored to the wire format: Wh to kWh, epoch seconds to ISO 8601."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from joinder.api import schemas
from joinder.clean import clean_line
from joinder.clock import FIRST, LAST
from joinder.energy import Device, DeviceKind
from joinder.services.calls.budgets import Quotas
from joinder.services.grants import expiry
from joinder.services.join import join_flows, vendor_credentials
from joinder.services.join.enrollments import Overview
from joinder.services.readings import silence
from joinder.services.readings.backfill import Progress
from joinder.services.readings.history import EVERYTHING
from joinder.services.readings.intervals import Page, Total
from joinder.services.readings.ledger import Entry, Series
from joinder.services.readings.live import LivePower
from joinder.services.readings.periods import zone_of
from joinder.services.readings.provenance import Source
from joinder.services.readings.sites import device_of
from joinder.services.records.health import NEXT_STEP
from joinder.services.records.notices import Notice
from joinder.store.sites import StoredDevice, StoredSite
from joinder.store.tables import GrantRow, GrantVersion, JoinFlow
from joinder.vendor import Field, OperatorAction

_SERIES_KINDS = {"inverter": "solar", "battery": "battery", "meter": "meter"}


class DevicePage(Struct, frozen=True):
    """One page of device ids, whatever their kind."""

    references: list[schemas.Reference]
    errors: dict[str, str]
    following: str | None


def references(ids: Sequence[str]) -> list[schemas.Reference]:
    return [schemas.Reference(id=row_id) for row_id in ids]


def page_token(key: str) -> str:
    """Makes a page's token, opaque to callers; deps.py reads it."""
    return base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")


def utc(at: int | None) -> str | None:
    """Formats epoch seconds in ISO 8601; None where unknown, or where no calendar has such a time."""
    return None if at is None or not FIRST <= at <= LAST else _utc(at)


def _utc(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _kilo(value: float | None) -> float | None:
    return None if value is None else round(value / 1000, 6)


def quotas(left: Quotas) -> schemas.Quotas:
    return schemas.Quotas(
        quotas=[
            schemas.Quota(span=one.span, limit=one.limit, used=one.used, resets_at=_utc(one.resets_at))
            for one in left.quotas
        ],
        blocked_until=utc(left.blocked_until),
    )


def credentials(shown: vendor_credentials.Shown) -> schemas.Credentials:
    return schemas.Credentials(
        id=shown.id,
        name=shown.name or "",
        credentials={"vendor": shown.vendor, "type": shown.type, **(shown.secrets or {})},
    )


def flow(row: JoinFlow) -> schemas.JoinFlow:
    vendors = [
        schemas.FlowVendor(
            vendor=entry.vendor, credentials_id=entry.credentials_id, options=dict(entry.options) or None
        )
        for entry in join_flows.entries(row)
    ]
    return schemas.JoinFlow(
        id=row.id,
        vendors=vendors,
        redirect_uri=row.redirect_uri,
        skip_intro=row.skip_intro,
        skip_landing=row.skip_landing,
    )


def action(action: OperatorAction) -> schemas.ActionInfo:
    fields = [field_info(entry) for entry in action.fields]
    return schemas.ActionInfo(name=action.name, label=action.label, help=action.help, fields=fields)


def field_info(entry: Field) -> schemas.FieldInfo:
    return schemas.FieldInfo(
        name=entry.name, label=entry.label, secret=entry.secret, required=entry.required, help=entry.help
    )


def enrollment(overview: Overview, warnings: Sequence[Notice] | None = None) -> schemas.Enrollment:
    row, grant = overview.row, overview.grant
    shown = expiry.shown(row, grant) if grant else None
    return schemas.Enrollment(
        id=row.id,
        vendor=row.vendor,
        flow_id=row.flow_id,
        program_id=row.program_id,
        status=row.status,
        sites=references(overview.site_ids),
        sites_read=overview.sites_read,
        health=schemas.Health(
            state=row.health,
            since=_utc(row.health_since),
            reason=shown.reason if shown else row.health_reason,
            actor=shown.actor if shown else row.health_actor,
            next_step=shown.next_step if shown else NEXT_STEP.get(row.health),
            reconnect_url=overview.reconnect_url,
            last_success_at=utc(row.last_success_at),
            last_attempt_at=utc(row.last_attempt_at),
            expires_at=utc(grant.expires_at) if grant else None,
            paused_since=utc(row.paused_at),
            lineage=_lineage(grant) if grant else None,
        ),
        created_at=_utc(row.created_at),
        warnings=None if warnings is None else [_warning(one) for one in warnings],
    )


def _warning(notice: Notice) -> schemas.EnrollmentWarning:
    return schemas.EnrollmentWarning(
        text=clean_line(notice.text),
        rule=notice.rule,
        site_id=notice.site_id,
        count=notice.count,
        since=_utc(notice.since),
        last_at=_utc(notice.last_at),
    )


def _lineage(grant: GrantRow) -> schemas.Lineage:
    return schemas.Lineage(
        obtained_by=grant.obtained_by, obtained_at=_utc(grant.obtained_at), refresh_count=grant.refresh_count
    )


def backfill(progress: Progress) -> schemas.Backfill:
    job = progress.job
    return schemas.Backfill(
        id=job.id,
        enrollment_id=job.enrollment_id,
        status=job.status,
        start=_utc(job.start) if job.start != EVERYTHING else None,
        end=_utc(job.end),
        windows_total=job.windows_total,
        windows_done=job.windows_done,
        percent=progress.percent,
        reason=job.reason,
        oldest_day=_utc(progress.reached)[:10] if progress.reached is not None else None,
        created_at=_utc(job.created_at),
        updated_at=_utc(job.updated_at),
    )


def tokens(rows: Sequence[GrantVersion]) -> schemas.TokenList:
    return schemas.TokenList(
        tokens=[
            schemas.TokenInfo(
                version=row.version,
                obtained_by=row.obtained_by,
                obtained_at=_utc(row.obtained_at),
                expires_at=utc(row.expires_at),
                refresh_expires_at=utc(row.refresh_expires_at),
            )
            for row in rows
        ]
    )


def site(row: StoredSite, rows: Sequence[StoredDevice]) -> schemas.Site:
    zone = zone_of(row.timezone)
    offset = _offset_hours(zone)
    known = row.timezone is not None or row.lat is not None
    return schemas.Site(
        id=row.id,
        vendor=row.vendor,
        vendor_id=row.vendor_id,
        name=row.name,
        location_utc_offset=offset,
        location=schemas.Location(lat=row.lat, lon=row.lon, timezone=row.timezone, current_utc_offset=offset)
        if known
        else None,
        timezone_by=row.timezone_by or ("vendor" if row.timezone else "unknown"),
        operational_since=utc(row.operational_since),
        gone_since=utc(row.gone_at),
        solar_inverters=_of_kind(rows, DeviceKind.INVERTER),
        batteries=_of_kind(rows, DeviceKind.BATTERY),
        meters=_of_kind(rows, DeviceKind.METER),
        chargers=[],
        bess=_bess([device_of(entry) for entry in rows if entry.kind == DeviceKind.BATTERY]),
    )


def _of_kind(rows: Sequence[StoredDevice], kind: DeviceKind) -> list[schemas.Reference]:
    return references([row.id for row in rows if row.kind == kind])


def _bess(batteries: Sequence[Device]) -> schemas.Bess | None:
    """Describes all batteries as one: capacities added, charge weighed by capacity where every capacity is known."""
    if not batteries:
        return None
    sizes = [battery.nameplate_wh for battery in batteries if battery.nameplate_wh]
    charged = [battery for battery in batteries if battery.soc_percent is not None]
    weights = [battery.nameplate_wh or 0.0 for battery in charged]
    if not all(weights):
        weights = [1.0] * len(charged)
    soc = sum((b.soc_percent or 0) * weight for b, weight in zip(charged, weights, strict=True))
    return schemas.Bess(
        nameplate_kwh=_kilo(sum(sizes)) if len(sizes) == len(batteries) else None,
        mode=next((battery.mode for battery in batteries if battery.mode), None),
        state_of_charge_percent=round(soc / sum(weights), 1) if charged else None,
    )


def solar_inverter(
    row: StoredDevice, source: Source | None = None, silent_since: int | None = None
) -> schemas.SolarInverter:
    device = device_of(row)
    lifetime = device.lifetime_wh is not None and schemas.Production(
        kwh=_kilo(device.lifetime_wh) or 0.0, start=_moment(device.lifetime_since)
    )
    return schemas.SolarInverter(**_common(row, device, source, silent_since), lifetime_production=lifetime or None)


def battery(row: StoredDevice, source: Source | None = None, silent_since: int | None = None) -> schemas.Battery:
    device = device_of(row)
    return schemas.Battery(
        **_common(row, device, source, silent_since),
        nameplate_kwh=_kilo(device.nameplate_wh),
        mode=device.mode,
        state_of_charge_percent=device.soc_percent,
    )


def meter(row: StoredDevice, source: Source | None = None, silent_since: int | None = None) -> schemas.Meter:
    device = device_of(row)
    common = _common(row, device, source, silent_since)
    return schemas.Meter(**common, role=str(device.role) if device.role else None)


def _common(row: StoredDevice, device: Device, source: Source | None, silent_since: int | None) -> dict[str, Any]:
    reported_at = _moment(device.reported_at) or _utc(row.fetched_at)
    faults = [{"error": fault} for fault in device.faults]
    return {
        "id": row.id,
        "vendor": row.vendor,
        "vendor_id": row.vendor_id,
        "reported_at": reported_at,
        "silent_since": utc(silent_since),
        "model": device.model or "unknown",
        "serial_number": device.serial or row.vendor_id,
        "site_id": row.site_id,
        "name": device.name,
        "recent_errors": [*faults, {"start": reported_at}] if faults else None,
        "provenance": provenance(row.fetched_at, [source]) if source else None,
    }


def provenance(fetched_at: int, found: Sequence[Source], rule: str | None = None) -> schemas.Provenance:
    """Tells where a value comes from, maybe by several calls: all their endpoints, and the plugin of the first.

    `fetched_at`: epoch seconds.
    """
    return schemas.Provenance(
        endpoints=sorted({endpoint for source in found for endpoint in source.endpoints if endpoint}),
        plugin=found[0].plugin if found else None,
        version=found[0].version if found else None,
        fetched_at=_utc(fetched_at),
        rule=rule,
    )


def _origin(page: Page, total: Total) -> schemas.Provenance | None:
    if total.origin is None:
        return None
    found = [page.sources[source] for source in total.origin.sources if source in page.sources]
    return provenance(total.origin.fetched_at, found, total.origin.rule)


def _moment(moment: datetime | None) -> str | None:
    return utc(int(moment.timestamp())) if moment else None


def solar_intervals(owner_id: str, level: str, page: Page) -> schemas.SolarIntervals:
    when = _local_times(page)
    intervals = [
        schemas.SolarInterval(
            kwh=_kilo(total.values["solar_wh"]) or 0.0,
            start=when(total.start),
            end=when(total.end),
            quality=total.quality,
            provenance=_origin(page, total) if total.origin else None,
        )
        for total in page.totals
    ]
    return schemas.SolarIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


def battery_intervals(owner_id: str, level: str, page: Page) -> schemas.BatteryIntervals:
    when = _local_times(page)
    intervals = [
        schemas.BatteryInterval(
            charge_kwh=_kilo(total.values["charge_wh"]) or 0.0,
            discharge_kwh=_kilo(total.values["discharge_wh"]) or 0.0,
            start=when(total.start),
            end=when(total.end),
            state_of_charge_percent=total.values["soc_percent"],
            quality=total.quality,
            provenance=_origin(page, total) if total.origin else None,
        )
        for total in page.totals
    ]
    return schemas.BatteryIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


def meter_intervals(owner_id: str, level: str, page: Page) -> schemas.MeterIntervals:
    when = _local_times(page)
    intervals = [
        schemas.MeterInterval(
            import_kwh=_kilo(total.values["import_wh"]),
            export_kwh=_kilo(total.values["export_wh"]),
            consumption_kwh=_kilo(total.values["load_wh"]),
            start=when(total.start),
            end=when(total.end),
            quality=total.quality,
            provenance=_origin(page, total) if total.origin else None,
        )
        for total in page.totals
    ]
    return schemas.MeterIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


def _local_times(page: Page) -> Callable[[int], str]:
    """Returns a formatter to ISO 8601 with the zone's numeric offset.

    An interval's end is the next one's start: each is written once.
    """
    zone = page.zone

    @cache
    def when(at: int) -> str:
        return datetime.fromtimestamp(at, zone).isoformat()

    return when


def _page(page: Page) -> dict[str, Any]:
    following = page_token(str(page.next_start)) if page.next_start is not None else None
    when = _local_times(page)
    return {
        "stale": page.as_of is not None,
        "as_of": utc(page.as_of),
        "next_page_token": following,
        "complete": page.is_complete,
        "missing": [schemas.Missing(start=when(one.start), end=when(one.end), why=one.why) for one in page.missing],
        "more_missing": page.more_missing,
        "silent_devices": [
            schemas.SilentDevice(id=one.device.id, name=silence.named(one.device), since=when(one.since))
            for one in page.silent
        ],
    }


def coverage(site_id: str, series: Sequence[Series]) -> schemas.Coverage:
    return schemas.Coverage(
        id=site_id,
        series=[
            schemas.CoverageSeries(
                id=one.subject_id,
                kind=_SERIES_KINDS[one.device.kind] if one.device is not None else "site",
                resolution=one.resolution,
                spans=[_coverage_span(entry) for entry in one.entries],
                more_spans=one.more,
            )
            for one in series
        ],
    )


def _coverage_span(entry: Entry) -> schemas.CoverageSpan:
    return schemas.CoverageSpan(
        start=_utc(entry.start),
        end=_utc(entry.end),
        state=entry.state,
        fetched_at=utc(entry.fetched_at),
        tries=entry.tries,
    )


def live(site_id: str, power: LivePower, source: Source | None = None) -> schemas.Live:
    return schemas.Live(
        id=site_id,
        solar_kw=_kilo(power.solar_w),
        battery_kw=_kilo(power.battery_w),
        grid_kw=_kilo(power.grid_w),
        load_kw=_kilo(power.load_w),
        state_of_charge_percent=power.soc_percent,
        measured_at=_utc(power.measured_at),
        fetched_at=_utc(power.fetched_at),
        stale=power.stale,
        provenance=provenance(power.fetched_at, [source]) if source else None,
    )


def _offset_hours(zone: ZoneInfo) -> float:
    offset = datetime.now(zone).utcoffset()
    return offset.total_seconds() / 3600 if offset else 0.0
