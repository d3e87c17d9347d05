from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands import series
from joinder.commands.admin import account_option, chosen_account, limit_option, new_account_option, over_accounts
from joinder.commands.answering import Columns, print_json, print_list, print_one, print_owned, say
from joinder.commands.running import json_option, on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.admin import Owner
    from joinder.runtime.hub import Hub
    from joinder.services.readings.intervals import Page
    from joinder.services.readings.periods import SummaryLevel
    from joinder.wire.aggregates import AggregateFigure, AggregateInterval
    from joinder.wire.coverage import Coverage, CoverageSeries, CoverageSpan
    from joinder.wire.live import Live
    from joinder.wire.sites import Site

COLUMNS: Columns[Site] = {
    "id": lambda site: site.id,
    "vendor": lambda site: site.vendor,
    "name": lambda site: site.name,
    "inverters": lambda site: len(site.solar_inverters),
    "batteries": lambda site: len(site.batteries),
    "meters": lambda site: len(site.meters),
    "chargers": lambda site: len(site.chargers),
}

_COVERAGE: Columns[tuple[CoverageSeries, CoverageSpan]] = {
    "of": lambda row: row[0].id,
    "kind": lambda row: row[0].kind,
    "resolution": lambda row: row[0].resolution,
    "start": lambda row: row[1].start,
    "end": lambda row: row[1].end,
    "state": lambda row: row[1].state.replace("_", " "),
    "asked": lambda row: row[1].fetched_at,
    "tries": lambda row: row[1].tries,
}


def _figure(figure: AggregateFigure | None) -> str | None:
    if figure is None:
        return None
    mark = "!" if figure.partial_sites or figure.silent_sites else ""
    return f"{figure.kwh if figure.sites else '?'} ({figure.sites}){mark}"


_TOTALS: Columns[AggregateInterval] = {
    "start": lambda one: one.start,
    "solar": lambda one: _figure(one.solar),
    "charge": lambda one: _figure(one.charge),
    "discharge": lambda one: _figure(one.discharge),
    "import": lambda one: _figure(one.import_),
    "export": lambda one: _figure(one.export),
    "consumption": lambda one: _figure(one.consumption),
    "chargers": lambda one: _figure(one.charger),
}


@click.group(name="sites")
def command() -> None:
    """Sites: homes and plants, as read from vendors. Example:  joinder sites list"""


@command.command(name="list")
@click.option("--vendor", help="Only of this vendor.")
@click.option("--vendor-id", metavar="ID", help="Only the one with this id at its vendor.")
@account_option
@limit_option
@click.option("--all", "is_all", is_flag=True, help="All of them, whatever --limit says.")
@json_option
def list_all(
    vendor: str | None, vendor_id: str | None, account_id: str | None, limit: int, is_all: bool, as_json: bool
) -> None:
    """List sites, as stored. Example:  joinder sites list --vendor enphase"""
    from joinder.services.readings import sites
    from joinder.wire.sites import Site

    async def look(hub: Hub) -> list[tuple[Owner, Site]]:
        async def page(one: str, after: str, size: int) -> list[Site]:
            ids = await sites.site_ids(hub, one, after=after, limit=size, vendor=vendor, vendor_id=vendor_id)
            return [Site.of(*row) for row in await sites.get_sites(hub, one, ids)]

        return await over_accounts(hub, account_id, page, lambda site: site.id, most=None if is_all else limit)

    print_owned(on_hub(look), COLUMNS, as_json)


@command.command()
@click.argument("site_id")
@json_option
def show(site_id: str, as_json: bool) -> None:
    """Show a site and the ids of its devices. Example:  joinder sites show site-…"""
    from joinder.services.readings import sites
    from joinder.wire.sites import Site

    async def look(hub: Hub) -> Site:
        return Site.of(*await sites.get_site(hub, await account_of_site(hub, site_id), site_id))

    print_one(on_hub(look), as_json)


@command.command()
@click.argument("site_id")
@json_option
def live(site_id: str, as_json: bool) -> None:
    """Show power now, asked of the vendor where what is stored is old. Example:  joinder sites live site-…"""
    from joinder.services.readings import live
    from joinder.wire.live import Live

    async def look(hub: Hub) -> Live:
        return Live.of(site_id, await live.get_live(hub, await account_of_site(hub, site_id), site_id))

    print_one(on_hub(look), as_json)


@command.command()
@click.argument("site_id")
@click.option("--kind", type=click.Choice(list(series.KINDS)), default="solar", show_default=True, help="Of what.")
@series.window_options
@json_option
def intervals(
    site_id: str, kind: str, level: SummaryLevel, start: int | None, end: int | None, provenance: bool, as_json: bool
) -> None:
    """List the energy of a site.
    Example:  joinder sites intervals site-… --level day --start 2026-06-01 --end 2026-07-01
    """
    from joinder.services.readings import intervals

    async def look(hub: Hub) -> Page:
        owner = await account_of_site(hub, site_id)
        return await series.read_all(
            lambda asked: intervals.of_site(hub, owner, site_id, series.kind_of(kind), asked),
            series.window(level, start, end, provenance),
        )

    series.print_intervals(site_id, kind, level, on_hub(look), provenance, as_json)


@command.command()
@click.argument("site_id")
@json_option
def coverage(site_id: str, as_json: bool) -> None:
    """List what was asked of a site's history, when, and what came of it. Example:  joinder sites coverage site-…"""
    from joinder.services.readings import ledger
    from joinder.wire.coverage import Coverage

    async def look(hub: Hub) -> Coverage:
        owner = await account_of_site(hub, site_id)
        return Coverage.of(site_id, await ledger.of_site(hub, owner, site_id))

    answer = on_hub(look)
    if as_json:
        print_json(answer)
        return
    print_list([(one, span) for one in answer.series for span in one.spans], _COVERAGE, False)
    for one in answer.series:
        if not one.spans:
            say(f"Nothing was asked of {one.id} at {one.resolution} yet.")
        if one.more_spans:
            say(f"{counted(one.more_spans, 'older span')} of {one.id} at {one.resolution} left out.")


@command.command()
@click.option("--vendor", help="Only sites of this vendor.")
@click.option("--reference", metavar="TEXT", help="Only sites of enrollments with this reference.")
@click.option("--timezone", default="UTC", show_default=True, help="Whose hours, days and months they are.")
@series.span_options
@new_account_option
@json_option
def totals(
    vendor: str | None,
    reference: str | None,
    timezone: str,
    level: SummaryLevel,
    start: int | None,
    end: int | None,
    account_id: str | None,
    as_json: bool,
) -> None:
    """Sum the energy of all sites, as stored, with how many sites each sum stands for.
    Example:  joinder sites totals --level day --timezone Europe/Berlin --start 2026-06-01
    """
    from joinder.services.readings.aggregates import Aggregate, Fleet
    from joinder.wire.aggregates import Aggregates

    async def look(hub: Hub) -> Aggregate:
        fleet = Fleet(account_id=await chosen_account(hub, account_id), vendor=vendor, reference=reference)
        return await series.sum_all(hub, fleet, series.window(level, start, end, False), timezone)

    answer = Aggregates.of(level, on_hub(look))
    if as_json:
        print_json(answer)
        return
    print_list(answer.intervals, _TOTALS, False)
    left_out = "" if answer.complete else " Not complete: ! marks a sum that lacks a part, or a site."
    say(f"kWh (sites) of {counted(answer.sites, 'site')}.{left_out}")


async def account_of_site(hub: Hub, site_id: str) -> str:
    from joinder.runtime.hub import account_of
    from joinder.store.tables import SiteRow

    return await account_of(hub, SiteRow, site_id)
