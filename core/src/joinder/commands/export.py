from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.commands.admin import MOMENT, account_ids, account_option
from joinder.commands.answering import say
from joinder.commands.running import on_hub
from joinder.plurals import counted

if TYPE_CHECKING:
    from joinder.commands.export_files import Sink
    from joinder.runtime.hub import Hub
    from joinder.services.readings.export import Question

SAY_EVERY_S = 2.0


@click.command(name="export")
@click.argument("into", type=click.Path(path_type=Path))
@click.option("--start", type=MOMENT, required=True, help="From when on, ISO 8601 with offset.")
@click.option("--end", type=MOMENT, required=True, help="Up to when.")
@click.option("--level", type=click.Choice(["15mins", "hour", "day", "month"]), default="hour", show_default=True)
@click.option("--vendor", help="Only sites of this vendor.")
@click.option("--reference", metavar="TEXT", help="Only sites of enrollments with this reference.")
@account_option
def command(
    into: Path, start: int, end: int, level: str, vendor: str | None, reference: str | None, account_id: str | None
) -> None:
    """Write a fleet's energy into a file. Example:  joinder export june.csv --start 2026-06-01 --end 2026-07-01

    As stored, no vendor is asked: `joinder backfills start` fetches history. The name tells the format: .csv, .jsonl,
    or .parquet, a folder of parts (needs the extra `joinder[parquet]`). A row is a site and a period. It can be cut at
    any time: the same command goes on where it stopped.
    """
    import msgspec

    from joinder.cli import EXIT_CONFLICT, EXIT_USAGE
    from joinder.commands.export_files import FOLDERS, LINES, TABLES, forget_progress, open_sink, progress_of
    from joinder.commands.running import fail
    from joinder.services.readings.export import Question

    if end <= start:
        fail("--end must lie after --start.", EXIT_USAGE)
    if into.suffix.lower() not in (known := (*TABLES, *LINES, *FOLDERS)):
        fail(f"{into}: the name tells the format; it ends with one of {', '.join(known)}.", EXIT_USAGE)
    question = msgspec.convert(
        {
            "start": start,
            "end": end,
            "level": level,
            "account_id": account_id,
            "vendor": vendor,
            "reference": reference,
        },
        Question,
    )
    progress = progress_of(into, msgspec.json.encode(question).decode())
    if progress is None:
        fail(f"{into} exists, and is not this export cut short; choose another name.", EXIT_CONFLICT)
    try:
        sink = open_sink(into, progress)
    except ModuleNotFoundError:
        fail("Parquet needs pyarrow: pip install 'joinder[parquet]'.", EXIT_USAGE)
    if progress.after:
        say(f"It goes on behind {counted(progress.sites, 'site')}.")
    on_hub(lambda hub: _write(hub, question, sink))
    forget_progress(into)
    say(f"{into}: {counted(sink.progress.rows, 'row')} of {counted(sink.progress.sites, 'site')}.")


async def _write(hub: Hub, question: Question, sink: Sink) -> None:
    from joinder.clock import monotonic
    from joinder.services.readings import export
    from joinder.wire.export import cells

    await account_ids(hub, question.account_id)
    many, said_at = await export.count(hub, question), monotonic()
    try:
        async for site in export.sites(hub, question, sink.progress.after):
            async for periods in export.energy(hub, site, question):
                if periods:
                    sink.add(cells(site, question.level, periods))
            sink.keep(site.id)
            if monotonic() - said_at > SAY_EVERY_S:
                said_at = monotonic()
                say(f"{sink.progress.sites:,} of {counted(many, 'site')}")
    finally:
        sink.close()
