"""Energy of periods: kWh, times with the offset of the site."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, get_args

from msgspec import field

from joinder.energy import Quality
from joinder.services.readings import silence
from joinder.services.readings.intervals import Page
from joinder.services.readings.missing import Why
from joinder.services.readings.periods import SummaryLevel
from joinder.services.readings.totals import Total
from joinder.wire.base import Moment, Wire, kilo, local_times, one_of, page_token, utc
from joinder.wire.provenance import Provenance


class Missing(Wire, kw_only=True):
    """A span without an interval: not_read_yet, vendor_has_none, before_site, beyond_history, refused or future."""

    start: Moment
    end: Moment
    why: Annotated[str, one_of(get_args(Why))]


class SilentDevice(Wire, kw_only=True):
    """A device that partial intervals may lack, and since when; `name` is its own, with its serial number."""

    id: str
    name: str
    since: Moment


class SolarInterval(Wire, kw_only=True):
    kwh: float
    start: Moment
    end: Moment
    quality: Annotated[str, one_of(get_args(Quality))]
    provenance: Provenance | None = None


class BatteryInterval(Wire, kw_only=True):
    charge_kwh: float
    discharge_kwh: float
    start: Moment
    end: Moment
    state_of_charge_percent: float | None = None
    quality: Annotated[str, one_of(get_args(Quality))]
    provenance: Provenance | None = None


class MeterInterval(Wire, kw_only=True):
    import_kwh: float | None = None
    export_kwh: float | None = None
    consumption_kwh: float | None = None
    start: Moment
    end: Moment
    quality: Annotated[str, one_of(get_args(Quality))]
    provenance: Provenance | None = None


class IntervalPage(Wire, kw_only=True):
    """`stale`: the vendor did not answer for all of it, so this is what was stored; `as_of` is when the oldest part of
    it was fetched. `complete`: every period of this page is there, and none lacks a part; `missing` says what is not
    there, at most a hundred spans, `more_missing` how many more there are. `silent_devices`: which devices a partial
    interval may lack, where that is known."""

    id: str
    summary_level: Annotated[str, one_of(get_args(SummaryLevel))]
    complete: bool
    missing: list[Missing] = field(default_factory=list)
    more_missing: int = 0
    silent_devices: list[SilentDevice] = field(default_factory=list)
    stale: bool = False
    as_of: Moment | None = None
    next_page_token: str | None = None


class SolarIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[SolarInterval]] = SolarInterval
    intervals: list[SolarInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> SolarIntervals:
        when = local_times(page.zone)
        intervals = [
            SolarInterval(
                kwh=kilo(total.values["solar_wh"]) or 0.0,
                start=when(total.start),
                end=when(total.end),
                quality=total.quality,
                provenance=_origin(page, total) if total.origin else None,
            )
            for total in page.totals
        ]
        return SolarIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


class BatteryIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[BatteryInterval]] = BatteryInterval
    intervals: list[BatteryInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> BatteryIntervals:
        when = local_times(page.zone)
        intervals = [
            BatteryInterval(
                charge_kwh=kilo(total.values["charge_wh"]) or 0.0,
                discharge_kwh=kilo(total.values["discharge_wh"]) or 0.0,
                start=when(total.start),
                end=when(total.end),
                state_of_charge_percent=_percent(total.values["soc_percent"]),
                quality=total.quality,
                provenance=_origin(page, total) if total.origin else None,
            )
            for total in page.totals
        ]
        return BatteryIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


class MeterIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[MeterInterval]] = MeterInterval
    intervals: list[MeterInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> MeterIntervals:
        when = local_times(page.zone)
        intervals = [
            MeterInterval(
                import_kwh=kilo(total.values["import_wh"]),
                export_kwh=kilo(total.values["export_wh"]),
                consumption_kwh=kilo(total.values["load_wh"]),
                start=when(total.start),
                end=when(total.end),
                quality=total.quality,
                provenance=_origin(page, total) if total.origin else None,
            )
            for total in page.totals
        ]
        return MeterIntervals(id=owner_id, summary_level=level, intervals=intervals, **_page(page))


def _origin(page: Page, total: Total) -> Provenance | None:
    if total.origin is None:
        return None
    found = [page.sources[source] for source in total.origin.sources if source in page.sources]
    return Provenance.of(total.origin.fetched_at, found, total.origin.rule)


def _page(page: Page) -> dict[str, Any]:
    following = page_token(str(page.next_start)) if page.next_start is not None else None
    when = local_times(page.zone)
    return {
        "stale": page.as_of is not None,
        "as_of": utc(page.as_of),
        "next_page_token": following,
        "complete": page.is_complete,
        "missing": [Missing(start=when(one.start), end=when(one.end), why=one.why) for one in page.missing],
        "more_missing": page.more_missing,
        "silent_devices": [
            SilentDevice(id=one.device.id, name=silence.named(one.device), since=when(one.since)) for one in page.silent
        ],
    }


def _percent(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
