"""A fleet's energy: each sum with the number of sites it stands for."""

from __future__ import annotations

from typing import Annotated, get_args

from joinder.services.readings.aggregates import Aggregate, Figure, Period
from joinder.services.readings.periods import SummaryLevel
from joinder.wire.base import Moment, Wire, kilo, one_of, page_token
from joinder.wire.local_times import spans


class AggregateFigure(Wire, kw_only=True):
    """`sites` are in the sum, `partial_sites` of them lack a part of the period; `silent_sites` are not in it, though
    they have such a device. `kwh` is absent where no site told."""

    kwh: float | None = None
    sites: int
    partial_sites: int = 0
    silent_sites: int = 0

    @staticmethod
    def of(figure: Figure | None) -> AggregateFigure | None:
        if figure is None:
            return None
        return AggregateFigure(
            kwh=kilo(figure.wh),
            sites=figure.sites,
            partial_sites=figure.partial_sites,
            silent_sites=figure.silent_sites,
        )


class AggregateInterval(Wire, kw_only=True):
    """A figure is absent where no site told of it or could have."""

    start: Moment
    end: Moment
    solar: AggregateFigure | None = None
    charge: AggregateFigure | None = None
    discharge: AggregateFigure | None = None
    import_: AggregateFigure | None = None
    export: AggregateFigure | None = None
    consumption: AggregateFigure | None = None
    charger: AggregateFigure | None = None

    @staticmethod
    def of(period: Period, start: str, end: str) -> AggregateInterval:
        solar, charge, discharge, imported, exported, load, charger = (
            AggregateFigure.of(period.figures.get(f"{name}_wh"))
            for name in ("solar", "charge", "discharge", "import", "export", "load", "charger")
        )
        return AggregateInterval(
            start=start,
            end=end,
            solar=solar,
            charge=charge,
            discharge=discharge,
            import_=imported,
            export=exported,
            consumption=load,
            charger=charger,
        )


class Aggregates(Wire, kw_only=True):
    """`sites`: of the fleet, whatever they have. `complete`: no sum lacks a part, or a site that could be in it."""

    level: Annotated[str, one_of(get_args(SummaryLevel))]
    timezone: str
    sites: int
    complete: bool
    intervals: list[AggregateInterval]
    next_page_token: str | None = None

    @staticmethod
    def of(level: str, found: Aggregate) -> Aggregates:
        periods = found.periods
        starts, ends = spans(level, found.zone, [one.start for one in periods], [one.end for one in periods])
        return Aggregates(
            level=level,
            timezone=found.zone.key,
            sites=found.sites,
            complete=found.is_complete,
            intervals=[AggregateInterval.of(*row) for row in zip(periods, starts, ends, strict=True)],
            next_page_token=page_token(str(found.next_start)) if found.next_start is not None else None,
        )
