from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import ACTOR, MOMENT
from joinder.commands.answering import print_json, print_list, say
from joinder.commands.running import json_option, on_hub

if TYPE_CHECKING:
    from joinder.commands.answers import Rechecked
    from joinder.services.recheck.counts import RecheckProgress

TELL_EVERY_S = 2.0


@click.group(name="readings")
def command() -> None:
    """Readings as they are stored. Example:  joinder readings recheck --dry-run"""


@command.command()
@click.option("--vendor", help="Only readings of this vendor.")
@click.option("--since", type=MOMENT, help="Only intervals from then on; without: all that is stored.")
@click.option("--fetch", "is_fetching", is_flag=True, help="Also start backfills over what lost a value.")
@click.option("--dry-run", is_flag=True, help="Only say what it would mark and drop.")
@json_option
def recheck(vendor: str | None, since: int | None, is_fetching: bool, dry_run: bool, as_json: bool) -> None:
    """Judge what earlier versions stored by the rules of this one. Example:  joinder readings recheck --dry-run

    What cannot be right becomes unknown, or goes, and counts as never asked: the next read of it, or a backfill,
    fetches it again within the vendor's quota. Servers and workers may run meanwhile. Ctrl-C loses nothing: the same
    command goes on where it was.
    """
    from joinder.services.recheck import recheck as service

    asked = service.RecheckRequest(vendor=vendor, since=since, is_dry=dry_run, is_fetching=is_fetching)
    answer = _answer(on_hub(lambda hub: service.run(hub, ACTOR, asked, _Teller())), is_dry=dry_run)
    if as_json:
        print_json(answer)
    else:
        _print(answer)


class _Teller:
    """Says at a terminal how far it is, now and then."""

    def __init__(self) -> None:
        self._said_at = time.monotonic()

    def __call__(self, progress: RecheckProgress) -> None:
        if sys.stderr.isatty() and time.monotonic() - self._said_at > TELL_EVERY_S:
            self._said_at = time.monotonic()
            counts = progress.vendors.values()
            rows = sum(one.rows for one in counts)
            changed = sum(rule.marked + rule.dropped for one in counts for rule in one.rules.values())
            say(f"{progress.done} of {progress.total} sites, {rows} rows, {changed} marked or dropped")


def _answer(progress: RecheckProgress, *, is_dry: bool) -> Rechecked:
    from joinder.commands.answers import Rechecked, RuleFound, VendorRechecked

    vendors = []
    for vendor, counts in sorted(progress.vendors.items()):
        rules = [
            RuleFound(rule=rule, marked=one.marked, dropped=one.dropped) for rule, one in sorted(counts.rules.items())
        ]
        vendors.append(
            VendorRechecked(
                vendor=vendor,
                sites=counts.sites,
                rows=counts.rows,
                marked=sum(one.marked for one in rules),
                dropped=sum(one.dropped for one in rules),
                spans_to_fetch=counts.spans,
                offset_zones=counts.offset_zones,
                rules=rules,
            )
        )
    return Rechecked(dry_run=is_dry, backfills_started=progress.backfills, vendors=vendors)


def _print(answer: Rechecked) -> None:
    """Prints a line for each vendor and rule."""
    lines = [(one, rule) for one in answer.vendors for rule in [None, *one.rules]]
    print_list(
        lines,
        {
            "vendor": lambda line: line[0].vendor,
            "rule": lambda line: line[1].rule if line[1] else "all",
            "sites": lambda line: "" if line[1] else line[0].sites,
            "rows": lambda line: "" if line[1] else line[0].rows,
            "marked": lambda line: (line[1] or line[0]).marked,
            "dropped": lambda line: (line[1] or line[0]).dropped,
            "spans to fetch": lambda line: "" if line[1] else line[0].spans_to_fetch,
        },
        False,
    )
    for one in answer.vendors:
        if one.offset_zones:
            say(
                f"{one.offset_zones} sites of {one.vendor} have a zone made of an offset and tell no coordinates: "
                "their days are an hour off in summer or winter until the vendor names the zone."
            )
    if answer.dry_run:
        say("Nothing was written.")
    elif any(one.spans_to_fetch for one in answer.vendors) and not answer.backfills_started:
        say("What lost a value is fetched when it is read; joinder backfills start fetches it now.")
