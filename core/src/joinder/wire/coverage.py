"""What was asked of a site's history."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, get_args

from joinder.services.readings.ledger import Entry, LedgerSeries
from joinder.vendor import Resolution
from joinder.wire.base import Moment, Wire, one_of, utc, utc_text

_KINDS = {"inverter": "solar", "battery": "battery", "meter": "meter", "charger": "charger"}


class CoverageSpan(Wire, kw_only=True):
    """`state`: told; told_nothing, asked `tries` times; or not_asked, between spans that were."""

    start: Moment
    end: Moment
    state: Annotated[str, one_of(("told", "told_nothing", "not_asked"))]
    fetched_at: Moment | None = None
    tries: int | None = None

    @staticmethod
    def of(entry: Entry) -> CoverageSpan:
        return CoverageSpan(
            start=utc_text(entry.start),
            end=utc_text(entry.end),
            state=entry.state,
            fetched_at=utc(entry.fetched_at),
            tries=entry.tries,
        )


class CoverageSeries(Wire, kw_only=True):
    """What was asked of one series, the newest span first. `kind`: site, solar, battery, meter or charger; `id` is its
    id. `moreSpans`: how many older ones are left out."""

    id: str
    kind: Annotated[str, one_of(("site", *_KINDS.values()))]
    resolution: Annotated[str, one_of(get_args(Resolution))]
    spans: list[CoverageSpan]
    more_spans: int = 0


class Coverage(Wire, kw_only=True):
    """The ledger of a site: its own series at each resolution, and those of devices that were asked by themselves."""

    id: str
    series: list[CoverageSeries]

    @staticmethod
    def of(site_id: str, series: Sequence[LedgerSeries]) -> Coverage:
        return Coverage(
            id=site_id,
            series=[
                CoverageSeries(
                    id=one.subject_id,
                    kind=_KINDS[one.device.kind] if one.device is not None else "site",
                    resolution=one.resolution,
                    spans=[CoverageSpan.of(entry) for entry in one.entries],
                    more_spans=one.more,
                )
                for one in series
            ],
        )
