from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from joinder.clean import clean_line
from joinder.cli import EXIT_FAILED, EXIT_NOT_FOUND
from joinder.commands.running import echo, fail, refusing

if TYPE_CHECKING:
    from joinder.demo.authoring import Desk

LOOK_S = 0.5


@click.command(name="dev")
@click.argument("vendor")
@click.option("--port", type=int, default=8765, show_default=True, help="Of the server; two more follow it.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".joinder-dev"),
    show_default=True,
    help="Where it keeps its own key, database and log.",
)
@click.option("--no-reload", is_flag=True, help="Do not start again when the plugin's files change.")
def command(vendor: str, port: int, folder: Path, no_reload: bool) -> None:
    """Run a vendor you write: its simulator, a server, and a link to open as an owner. Example:  joinder dev acme

    Starts again whenever a file of the plugin changes. Everything stays on 127.0.0.1.
    """
    import asyncio
    import contextlib

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError), refusing():
        if no_reload:
            asyncio.run(_run(vendor, folder, port))
        else:
            _reloading(vendor, folder, port)


async def _run(vendor: str, folder: Path, port: int) -> None:
    import asyncio
    import signal

    from joinder.demo.authoring import desk, tell_changes
    from joinder.demo.processes import StepFailed
    from joinder.errors import VendorError
    from joinder.observe import logs
    from joinder.runtime.listening import is_refusal
    from joinder.settings import plugins_from_env

    logs.configure("ERROR", "text")
    if (task := asyncio.current_task()) is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async with desk(vendor, folder, port, plugins=plugins_from_env()) as made:
            _introduce(made)
            await tell_changes(made, lambda line: echo(clean_line(line)))
    except LookupError as error:
        fail(str(error), EXIT_NOT_FOUND)
    except (VendorError, StepFailed) as error:
        fail(clean_line(str(error)), EXIT_FAILED)
    except OSError as error:
        if not is_refusal(error):
            raise
        fail(f"Cannot listen on ports {port} to {port + 2}: {error.strerror}; name others with --port", EXIT_FAILED)


def _introduce(made: Desk) -> None:
    if made.link is not None:
        echo(f"Open as an owner:  {made.link}")
    for name, value in made.simulator.owner_form.items():
        echo(clean_line(f"  enter {name}: {value}"))
    for name, owner in made.simulator.owners.items():
        entered = ", ".join(f"{field} {value}" for field, value in owner.answers.items())
        echo(clean_line(f"  there is the owner {name}: {entered}"))
    for note in made.simulator.notes:
        echo(clean_line(f"  {note}"))
    echo(f"The server is at {made.url}; its log is {made.log}. Ctrl-C ends it.")


def _reloading(vendor: str, folder: Path, port: int) -> None:
    """Runs itself as a process of its own, anew after each change; one that fails waits for the next change."""
    import signal
    import subprocess
    import time

    signal.signal(signal.SIGTERM, _end)  # the process below ends with this one
    source = _source_of(vendor)
    arguments = (sys.executable, "-m", "joinder", "dev", vendor, "--no-reload", "--folder", str(folder))
    while True:
        seen = _stamps(source)
        child = subprocess.Popen([*arguments, "--port", str(port)])  # noqa: S603 - ourselves
        try:
            while (changed := _changed(seen, _stamps(source))) is None:
                time.sleep(LOOK_S)
        finally:
            child.terminate()
            child.wait()
        echo(f"{changed} changed: starting again")


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def _source_of(vendor: str) -> Path:
    """Returns the folder of the plugin's package. Ends with exit code 3 where there is none."""
    from importlib.util import find_spec

    from joinder.plugins import found
    from joinder.settings import plugins_from_env
    from joinder.vendors.registry import ENTRY_POINT_GROUP

    one = next(iter(found(ENTRY_POINT_GROUP, plugins_from_env(), name=vendor)), None)
    if one is None:
        fail(f"no vendor {clean_line(vendor)} is installed; pip install -e its folder first", EXIT_NOT_FOUND)
    spec = find_spec(one.entry.value.partition(":")[0].partition(".")[0])
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else Path()


def _stamps(source: Path) -> dict[str, int]:
    return {str(file.relative_to(source)): file.stat().st_mtime_ns for file in source.rglob("*.py")}


def _changed(before: dict[str, int], after: dict[str, int]) -> str | None:
    return next((name for name in sorted({*before, *after}) if before.get(name) != after.get(name)), None)
