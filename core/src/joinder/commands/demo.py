from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from joinder.demo.sequence import Connected, Running


@click.command(name="demo")
@click.option("--once", is_flag=True, help="Stop after the last step instead of staying up.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON summary instead of the steps.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".joinder-demo"),
    show_default=True,
    help="Where the demo keeps its own key, database and log.",
)
def command(once: bool, as_json: bool, folder: Path) -> None:
    """Run the whole path once against simulators: consent, tokens, sites, a day of readings, live power.

    Example:  joinder demo
    """
    import asyncio
    import contextlib

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(_demo(once, as_json, folder))


async def _demo(once: bool, as_json: bool, folder: Path) -> None:
    import asyncio
    import json
    import signal
    import sys
    import time

    from joinder import logs
    from joinder.cli import EXIT_FAILED
    from joinder.demo import sequence

    logs.configure("ERROR", "text")  # a device whose clock runs a day in seconds is warned about at every poll
    task = asyncio.current_task()
    if task is not None:  # SIGTERM, as SIGINT, stops the server too
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    begun = time.monotonic()

    def say(text: str) -> None:
        click.echo(f"[{time.monotonic() - begun:5.1f} s] {text}", err=as_json)

    try:
        async with sequence.stack(folder, say) as demo:
            seen = []
            for simulator in demo.simulators:
                say(f"── {simulator.vendor} ──")
                seen.append(await sequence.connect(demo, simulator, say))
                sequence.check(seen[-1])
            _show(seen, time.monotonic() - begun, as_json)
            if not once:
                await _stay_up(demo, as_json)
    except sequence.StepFailed as failed:
        if as_json:
            click.echo(json.dumps({"ok": False, "failedStep": failed.step, "detail": str(failed)}, indent=2))
        click.echo(f"Failed at: {failed.step}\n{failed}", err=True)
        sys.exit(EXIT_FAILED)


def _show(seen: list[Connected], seconds: float, as_json: bool) -> None:
    import json

    import msgspec

    from joinder.demo import report

    if as_json:
        summary = {"ok": True, "seconds": round(seconds, 1), "vendors": msgspec.to_builtins(seen)}
        click.echo(json.dumps(summary, indent=2))
    else:
        click.echo("\n" + report.table(seen) + "\n\n" + "\n".join(report.chart(one) for one in seen) + "\n")


async def _stay_up(demo: Running, as_json: bool) -> None:
    """Until the server ends, or somebody ends the demo."""
    from joinder.demo.sequence import StepFailed

    click.echo(f"API {demo.url}   OpenAPI {demo.url}/openapi.json   credentials: . {demo.folder}/demo.env", err=as_json)
    for name, origin in demo.origins.items():
        click.echo(f"simulator of {name}: {origin}", err=as_json)
    click.echo("Ctrl-C stops everything.", err=as_json)
    await demo.server.wait()
    raise StepFailed("server", f"it ended; see {demo.folder}/server.log")
