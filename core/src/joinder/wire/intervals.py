"""Energy of periods: kWh, times with the offset of the site."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, TypeVar, get_args

from msgspec import field

from joinder.energy import Quality
from joinder.services.readings import silence
from joinder.services.readings.intervals import Page
from joinder.services.readings.missing import Why
from joinder.services.readings.periods import SummaryLevel
from joinder.services.readings.totals import Total
from joinder.wire.base import Moment, Wire, kilo, one_of, page_token, utc
from joinder.wire.local_times import local_times
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


class ChargerInterval(Wire, kw_only=True):
    """What chargers drew: a part of the home's consumption."""

    kwh: float
    start: Moment
    end: Moment
    quality: Annotated[str, one_of(get_args(Quality))]
    provenance: Provenance | None = None


Metrics = Mapping[str, str]  # by member of an interval: what of a period it tells
Row = TypeVar("Row", SolarInterval, BatteryInterval, MeterInterval, ChargerInterval)


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
    metrics: ClassVar[Metrics] = {"kwh": "solar_wh"}
    intervals: list[SolarInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> SolarIntervals:
        rows = _rows(SolarInterval, SolarIntervals.metrics, page)
        return SolarIntervals(intervals=rows, **around(owner_id, level, page))


class BatteryIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[BatteryInterval]] = BatteryInterval
    metrics: ClassVar[Metrics] = {
        "charge_kwh": "charge_wh",
        "discharge_kwh": "discharge_wh",
        "state_of_charge_percent": "soc_percent",
    }
    intervals: list[BatteryInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> BatteryIntervals:
        rows = _rows(BatteryInterval, BatteryIntervals.metrics, page)
        return BatteryIntervals(intervals=rows, **around(owner_id, level, page))


class MeterIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[MeterInterval]] = MeterInterval
    metrics: ClassVar[Metrics] = {
        "import_kwh": "import_wh",
        "export_kwh": "export_wh",
        "consumption_kwh": "load_wh",
    }
    intervals: list[MeterInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> MeterIntervals:
        rows = _rows(MeterInterval, MeterIntervals.metrics, page)
        return MeterIntervals(intervals=rows, **around(owner_id, level, page))


class ChargerIntervals(IntervalPage, kw_only=True):
    row_type: ClassVar[type[ChargerInterval]] = ChargerInterval
    metrics: ClassVar[Metrics] = {"kwh": "charger_wh"}
    intervals: list[ChargerInterval]

    @staticmethod
    def of(owner_id: str, level: str, page: Page) -> ChargerIntervals:
        rows = _rows(ChargerInterval, ChargerIntervals.metrics, page)
        return ChargerIntervals(intervals=rows, **around(owner_id, level, page))


def shown(metric: str, column: Sequence[float | None]) -> list[float | None]:
    """Converts stored values to those of the wire: Wh to kWh, percent rounded."""
    if metric == "soc_percent":
        return [None if value is None else round(value, 3) for value in column]
    if None in column:
        return [None] * len(column) if column.count(None) == len(column) else [kilo(value) for value in column]
    return [round(value / 1000, 6) for value in column]  # type: ignore[operator]


def _rows(row_type: type[Row], metrics: Metrics, page: Page) -> list[Row]:
    when, totals = local_times(page.zone), page.totals
    columns: dict[str, Sequence[Any]] = {}
    if totals:
        columns = {name: shown(metric, totals.values[metric]) for name, metric in metrics.items()}
    return [
        row_type(
            **{name: column[index] for name, column in columns.items()},
            start=when(total.start),
            end=when(total.end),
            quality=total.quality,
            provenance=_origin(page, total),
        )
        for index, total in enumerate(totals)
    ]


def _origin(page: Page, total: Total) -> Provenance | None:
    if total.origin is None:
        return None
    found = [page.sources[source] for source in total.origin.sources if source in page.sources]
    return Provenance.of(total.origin.fetched_at, found, total.origin.rule)


def around(owner_id: str, level: str, page: Page) -> dict[str, Any]:
    """Returns what a page says beside its intervals."""
    following = page_token(str(page.next_start)) if page.next_start is not None else None
    when = local_times(page.zone)
    return {
        "id": owner_id,
        "summary_level": level,
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
