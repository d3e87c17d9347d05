"""Intervals of a site or a device, all pages as one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from joinder.clock import now
from joinder.commands.admin import MOMENT, PAGE
from joinder.commands.answering import Columns, plain, print_json, print_list, say
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.energy import DeviceKind
    from joinder.runtime.hub import Hub
    from joinder.services.readings.aggregates import Aggregate, Fleet
    from joinder.services.readings.intervals import Page, Window
    from joinder.services.readings.periods import SummaryLevel

F = TypeVar("F", bound=Callable[..., Any])
Read = Callable[["Window"], Awaitable["Page"]]
KINDS = {"solar": "inverter", "battery": "battery", "meter": "meter", "charger": "charger"}
_MEMBERS = {
    "solar": ("kwh",),
    "battery": ("charge_kwh", "discharge_kwh", "state_of_charge_percent"),
    "meter": ("import_kwh", "export_kwh", "consumption_kwh"),
    "charger": ("kwh",),
}


def window_options(command: F) -> F:
    """Adds --level, --start, --end and --provenance, as `level`, `start`, `end` and `provenance`."""
    told = "Also where each came from, and the rule that made it partial or estimated."
    return span_options(click.option("--provenance", is_flag=True, help=told)(command))


def span_options(command: F) -> F:
    """Adds --level, --start and --end, as `level`, `start` and `end`."""
    levels = click.Choice(["15mins", "hour", "day", "month"])
    command = click.option("--end", type=MOMENT, help="Up to when; without: up to now.")(command)
    command = click.option("--start", type=MOMENT, help="From when on; without: the day before --end.")(command)
    return click.option("--level", type=levels, default="hour", show_default=True, help="How long each is.")(command)


def window(level: SummaryLevel, start: int | None, end: int | None, provenance: bool) -> Window:
    """Returns the span to read, in epoch seconds: the last day when left out, as over REST."""
    from joinder.services.readings.intervals import Window

    until = now() if end is None else end
    return Window(level, until - 86400 if start is None else start, until, PAGE, provenance)


async def read_all(read: Read, asked: Window) -> Page:
    """Reads every page as one; `as_of` is that of the oldest."""
    from msgspec.structs import replace

    from joinder.services.readings.missing import joined

    page = await read(asked)
    while page.next_start is not None:
        more = await read(replace(asked, start=page.next_start))
        stale = [at for at in (page.as_of, more.as_of) if at is not None]
        page = replace(
            more,
            totals=page.totals + more.totals,
            as_of=min(stale, default=None),
            missing=joined([*page.missing, *more.missing]),
            more_missing=page.more_missing + more.more_missing,
            sources=page.sources | more.sources,
            silent=list({one.device.id: one for one in (*page.silent, *more.silent)}.values()),
        )
    return page


async def sum_all(hub: Hub, fleet: Fleet, asked: Window, timezone: str) -> Aggregate:
    """Reads every page of a fleet's sums as one. Raises Invalid for a time zone that nobody knows."""
    from msgspec.structs import replace

    from joinder.series import zone
    from joinder.services.readings.aggregates import of_fleet
    from joinder.services.refusals import Invalid

    found = zone(timezone)
    if found is None:
        raise Invalid(f"{timezone} is no time zone; give an IANA name such as Europe/Berlin.")
    page = await of_fleet(hub, fleet, asked, found)
    while page.next_start is not None:
        more = await of_fleet(hub, fleet, replace(asked, start=page.next_start), found)
        page = replace(more, periods=[*page.periods, *more.periods])
    return page


def kind_of(name: str) -> DeviceKind:
    from joinder.energy import DeviceKind

    return DeviceKind(KINDS[name])


def print_intervals(owner_id: str, kind: str, level: str, page: Page, provenance: bool, as_json: bool) -> None:
    from joinder.services.readings.missing import SAID
    from joinder.wire.intervals import BatteryIntervals, ChargerIntervals, MeterIntervals, SolarIntervals

    answers: dict[str, Callable[[str, str, Page], Any]]
    answers = {
        "solar": SolarIntervals.of,
        "battery": BatteryIntervals.of,
        "meter": MeterIntervals.of,
        "charger": ChargerIntervals.of,
    }
    answer = answers[kind](owner_id, level, page)
    if as_json:
        print_json(answer)
    else:
        print_list(answer.intervals, {**_columns(kind), **(_ORIGIN if provenance else {})}, False)
        partial = sum(one.quality == "partial" for one in answer.intervals)
        say("Complete." if answer.complete else f"Not complete: {counted(partial, 'interval')} partial.")
        for one in answer.silent_devices:
            say(f"Silent since {one.since}: {plain(one.name)}, {one.id}.")
        for one in answer.missing:
            say(f"Missing from {one.start} to {one.end}: {SAID[one.why]}.")
        if answer.more_missing:
            say(f"{counted(answer.more_missing, 'more span')} missing.")
    if answer.stale:
        say(f"The vendor did not answer for all of it; this was stored, the oldest at {answer.as_of}.")


_ORIGIN: Columns[Any] = {
    "rule": lambda one: one.provenance and one.provenance.rule,
    "fetched": lambda one: one.provenance and one.provenance.fetched_at,
    "plugin": lambda one: one.provenance and f"{one.provenance.plugin or '?'} {one.provenance.version or ''}".strip(),
    "endpoints": lambda one: one.provenance and ", ".join(one.provenance.endpoints),
}


def _columns(kind: str) -> Columns[Any]:
    values = {name.replace("_", " "): lambda one, name=name: getattr(one, name) for name in _MEMBERS[kind]}
    return {"start": lambda one: one.start, **values, "quality": lambda one: one.quality}
