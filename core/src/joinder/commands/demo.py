from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import rich_click as click

from joinder.commands.running import echo, refusing

if TYPE_CHECKING:
    from joinder.demo.client import Say
    from joinder.demo.cluster import Summary
    from joinder.demo.sequence import Connected
    from joinder.demo.silence import SilentHome
    from joinder.demo.stack import Running
    from joinder.demo.steps import Steps

MONTH = 31  # days


@click.command(name="demo")
@click.option("--once", is_flag=True, help="Stop after the last step instead of staying up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON summary instead of the steps.")
@click.option("--cluster", is_flag=True, help="PostgreSQL, two servers and two workers; one worker is killed.")
@click.option("--silent-inverter", "silent", is_flag=True, help="Only a home where one of two inverters fell silent.")
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    help="Days of readings, fetched within the vendors' call limits: a month takes minutes.  "
    f"[default: {MONTH}, fetched meanwhile; with --once 1]",
)
@click.option("--verbose", "-v", is_flag=True, help="Each step, with the curl that does the same.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".joinder-demo"),
    show_default=True,
    help="Where the demo keeps its own key, database and log.",
)
def command(
    once: bool, as_json: bool, cluster: bool, silent: bool, days: int | None, verbose: bool, folder: Path
) -> None:
    """Run the whole path once against simulators: consent, tokens, sites, days of readings, live power.
    Example:  joinder demo --cluster

    Every step, as the curl that does the same, goes to steps.sh in the folder.
    """
    import asyncio
    import contextlib

    if cluster and silent:
        raise click.UsageError("--cluster and --silent-inverter show different things; choose one.")
    asked = _Asked(once, as_json, cluster, silent, days or (1 if once else MONTH), verbose, folder)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError), refusing():
        asyncio.run(_demo(asked))


class _Asked(NamedTuple):
    """What the command line says."""

    once: bool
    as_json: bool
    cluster: bool
    silent: bool
    days: int
    verbose: bool
    folder: Path


async def _demo(asked: _Asked) -> None:
    import asyncio
    import json
    import signal
    import sys

    from joinder.cli import EXIT_FAILED
    from joinder.demo.processes import StepFailed
    from joinder.demo.stack import stack
    from joinder.demo.steps import Steps
    from joinder.observe import logs
    from joinder.settings import plugins_from_env

    logs.configure("ERROR", "text")  # a device whose clock runs a day in seconds is warned about at every poll
    task = asyncio.current_task()
    if task is not None:  # SIGTERM, as SIGINT, stops every process too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    steps = Steps((lambda text: echo(text, err=asked.as_json)) if asked.verbose else None)
    echo(
        "Joinder, its simulators and an owner of each vendor start on this machine; that takes half a minute.", err=True
    )
    kinds = {"cluster": asked.cluster, "silent": asked.silent}
    try:
        async with stack(asked.folder, steps.say, **kinds, plugins=plugins_from_env()) as demo:
            await _told(demo, steps, asked)
    except StepFailed as failed:
        if asked.as_json:
            echo(json.dumps({"ok": False, "failedStep": failed.step, "detail": str(failed)}, indent=2))
        echo(f"Failed at: {failed.step}\n{failed}", err=True)
        sys.exit(EXIT_FAILED)


async def _told(demo: Running, steps: Steps, asked: _Asked) -> None:
    """Goes through the steps, tells the outcome, and stays up where that is asked for. Raises StepFailed."""
    written = steps.into(demo.folder)
    if asked.silent:
        _show_silent(await _silent_homes(demo, steps.say), steps.seconds, asked.as_json)
    else:
        seen, shared = await _steps(demo, steps.say, asked)
        await _history(demo, seen, steps.say, asked)
        _show(seen, shared, steps.seconds, asked.as_json)
    if not asked.once:
        await _stay_up(demo, written, asked)


async def _steps(demo: Running, say: Say, asked: _Asked) -> tuple[list[Connected], Summary | None]:
    from joinder.demo import cluster, report, sequence

    seen = []
    connect = cluster.connect if asked.cluster else sequence.connect
    echo(report.head(), err=asked.as_json)
    for simulator in demo.simulators:
        say(f"── {simulator.vendor} ──")
        seen.append(await connect(demo, simulator, say, days=asked.days))
        sequence.check(seen[-1])
        echo(report.row(seen[-1]), err=asked.as_json)
    return seen, await cluster.show(demo, say) if asked.cluster else None


async def _history(demo: Running, seen: list[Connected], say: Say, asked: _Asked) -> None:
    """Starts what fetches the days before the last, and waits for it where the demo is to end."""
    from joinder.demo import history

    if asked.days > 1:
        jobs = await history.begin(demo, seen, asked.days)
        if asked.once:
            await history.finish(demo.api, jobs, say)


async def _silent_homes(demo: Running, say: Say) -> list[SilentHome]:
    from joinder.demo import silence

    homes = []
    for simulator in demo.simulators:
        say(f"── {simulator.vendor} ──")
        homes.append(await silence.show(demo, simulator, say))
        silence.check(homes[-1])
    return homes


def _show_silent(homes: list[SilentHome], seconds: float, as_json: bool) -> None:
    import json

    import msgspec

    from joinder.demo import silence

    if as_json:
        summary = {"ok": True, "seconds": round(seconds, 1), "silent": msgspec.to_builtins(homes)}
        echo(json.dumps(summary, indent=2))
    else:
        echo("\n" + "\n".join(map(silence.told, homes)) + "\n")


def _show(seen: list[Connected], shared: Summary | None, seconds: float, as_json: bool) -> None:
    import json

    import msgspec

    from joinder.demo import report

    if as_json:
        summary = {"ok": True, "seconds": round(seconds, 1), "vendors": msgspec.to_builtins(seen)}
        if shared is not None:
            summary["cluster"] = msgspec.to_builtins(shared)
        echo(json.dumps(summary, indent=2))
    elif shared is not None:
        echo("\n" + report.cluster(shared) + "\n")


async def _stay_up(demo: Running, steps: Path, asked: _Asked) -> None:
    """Waits until one of the processes ends, or somebody ends the demo. Raises StepFailed."""
    import asyncio
    import shlex

    from joinder.demo.processes import StepFailed

    for line in (
        "",
        f"It stays up at {demo.url}. Every step, as curl: {steps}",
        *_meanwhile(asked),
        "Now try, in another shell:",
        f"  . {shlex.quote(f'{demo.folder}/demo.env')}",
        "  joinder tui            # the admin's terminal",
        "  joinder open           # what an owner sees, in your browser",
        '  curl -H "Authorization: Bearer $JOINDER_TOKEN" "$JOINDER/sites"',
        "Ctrl-C stops everything.",
    ):
        echo(line, err=asked.as_json)
    running = [process for process in demo.processes if process.runs]
    ends = [asyncio.create_task(process.ended()) for process in running]
    try:
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for end in ends:
            end.cancel()
    gone = next(process for process in running if not process.runs)
    raise StepFailed(gone.name, f"it ended; see {gone.log}")


def _meanwhile(asked: _Asked) -> list[str]:
    if asked.silent or asked.days == 1:
        return []
    return [
        f"{asked.days} days of readings come in meanwhile, within each vendor's call limits (joinder backfills list)."
    ]
