"""The report of one enrollment: what is read, the life of its token, days, and what they lack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from joinder.clock import now
from joinder.energy import DeviceKind
from joinder.reports import svg
from joinder.reports.page import moment, render
from joinder.runtime.hub import Hub
from joinder.services.admin import detail
from joinder.services.admin.detail import Chart, Detail
from joinder.services.readings.missing import SAID
from joinder.services.readings.silence import named
from joinder.store.sites import StoredDevice, StoredSite
from joinder.wire.enrollments import Enrollment

KINDS = {
    DeviceKind.INVERTER: "solar",
    DeviceKind.BATTERY: "battery",
    DeviceKind.METER: "grid",
    DeviceKind.CHARGER: "charger",
}
EVENTS_MOST = 20


async def report(hub: Hub, enrollment_id: str) -> str:
    """Returns the report as HTML. No vendor is asked. Raises NotFound."""
    found = await detail.load(hub, enrollment_id)
    sites = [await _site(hub, site, devices) for site, devices in found.sites]
    return render(
        "enrollment.html",
        enrollment=Enrollment.of(found.overview, found.notices),
        account_id=found.account_id,
        token=_token(found),
        versions=[(one.obtained_by, moment(one.obtained_at), moment(one.expires_at)) for one in found.lineage],
        sites=sites,
        events=[(moment(one.row.at), one.row.type) for one in found.events[:EVENTS_MOST]],
    )


def _token(found: Detail) -> dict[str, Any] | None:
    """Returns the bar of the present token's life; None where nothing of it ends."""
    if not found.lineage:
        return None
    newest = max(found.lineage, key=lambda one: one.version)
    ends = [
        (name, at)
        for name, at in (("access", newest.expires_at), ("renewable", newest.refresh_expires_at))
        if at is not None
    ]
    return {
        "obtained": moment(newest.obtained_at),
        "ends": [(name, moment(at)) for name, at in ends],
        "bar": svg.token_life(newest.obtained_at, ends, now()) if ends else None,
    }


async def _site(hub: Hub, site: StoredSite, devices: Sequence[StoredDevice]) -> dict[str, Any]:
    yesterday, today, month = (
        await detail.day(hub, site, days_ago=1),
        await detail.day(hub, site),
        await detail.month(hub, site),
    )
    return {
        "name": site.name or site.vendor_id,
        "zone": site.timezone,
        "read_at": moment(site.fetched_at),
        "devices": [(one.kind, named(one), moment(one.silent_since)) for one in devices if one.gone_at is None],
        "charts": [
            _picture("Today", today, is_day=True),
            _picture("Yesterday", yesterday, is_day=True),
            _picture("30 days", month, is_day=False),
        ],
    }


def _picture(title: str, chart: Chart, *, is_day: bool) -> dict[str, Any]:
    step = 900 if is_day else 86400
    end = chart.start + 86400 if is_day else max([chart.start + 31 * 86400, *(at + step for at in chart.starts)])
    unit = "kW" if is_day else "kWh"
    frame = svg.Frame(zone=chart.zone, start=chart.start, end=end, step=step, unit=unit, is_day=is_day)
    return {
        "title": title,
        "svg": svg.stacked(frame, chart.starts, chart.values) if chart.starts else None,
        "totals": _totals(chart, 4000.0 if is_day else 1000.0),
        "lacks": _lacks(chart),
    }


def _totals(chart: Chart, per_kwh: float) -> list[tuple[str, str, str]]:
    """Sums what is known, by metric: its class, its words, its energy."""
    named_metrics = {**svg.SOURCES, **svg.USES, "charger_wh": "of that into cars"}
    return [
        (name, text, f"{sum(value or 0 for value in chart.values[name]) / per_kwh:.1f} kWh")
        for name, text in named_metrics.items()
        if name in chart.values
    ]


def _lacks(chart: Chart) -> list[str]:
    """Says what the picture does not tell, and why, but for what is still to come. What all lack alike is one line."""
    spans: dict[tuple[int, int, str], list[str]] = {}
    for kind, missing in chart.missing.items():
        for one in missing:
            if one.why != "future":
                spans.setdefault((one.start, one.end, SAID[one.why]), []).append(KINDS[kind])
    for part in chart.partial:
        spans.setdefault((part.start, part.end, "partial"), []).append(KINDS[part.kind])
    silent = [f"{named(one.device)} tells nothing since {moment(one.since, chart.zone)}" for one in chart.silent]
    return silent + [
        f"{', '.join(kinds)}, {moment(start, chart.zone)} to {moment(end, chart.zone)}: {why}"
        for (start, end, why), kinds in sorted(spans.items())
    ]
