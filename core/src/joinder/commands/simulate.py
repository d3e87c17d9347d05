from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.running import echo

if TYPE_CHECKING:
    from joinder.simulate import Simulator

PORT = 8701


@click.command(name="simulate")
@click.argument("vendor", nargs=-1)
@click.option(
    "--port",
    type=click.IntRange(1, 65000),
    help=f"Port of the first; the others follow.  [default: as configured, or {PORT}]",
)
@click.option("--env", "only_env", is_flag=True, help="Only print the settings, for a shell to read; run nothing.")
def command(vendor: tuple[str, ...], port: int | None, only_env: bool) -> None:
    """Run vendor simulators on 127.0.0.1 until stopped. Example:  joinder simulate

    A server is sent to them by `joinder init --simulators`, or in its own shell by  eval "$(joinder simulate --env)".
    Prints what an operator and an owner enter.
    """
    import asyncio
    import contextlib

    simulators, ports = _chosen(vendor, port)
    if only_env:
        _print_env(simulators, ports)
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_simulate(simulators, ports))


def _chosen(names: tuple[str, ...], port: int | None) -> tuple[list[Simulator], dict[str, int]]:
    """Returns the simulators, and where each runs: where the configuration sends calls, else one after the other.

    Where it sends calls to some and none is named, only those are meant.
    """
    from joinder.commands.running import fail
    from joinder.settings import settings_from_env
    from joinder.simulate import installed_simulators
    from joinder.simulate.run import ports_of

    settings = settings_from_env()
    try:
        simulators = installed_simulators(names, allow=settings.plugins)
    except LookupError as error:
        fail(str(error), 2)
    configured = ports_of(simulators, settings.reroute) if port is None else {}
    if configured and not names:
        simulators = [one for one in simulators if one.vendor in configured]
    taken = set(configured.values())
    others = (at for at in range(PORT if port is None else port, 65536) if at not in taken)
    return simulators, {one.vendor: configured.get(one.vendor) or next(others) for one in simulators}


def _print_env(simulators: list[Simulator], ports: dict[str, int]) -> None:
    import shlex

    from msgspec import structs

    from joinder.settings import Settings, shown_value
    from joinder.simulate.run import origins_at, settings_of

    found = settings_of(simulators, origins_at(simulators, ports))
    settings = structs.replace(Settings(), **found)
    for name in found:
        if value := shown_value(settings, name):
            echo(f"export JOINDER_{name.upper()}={shlex.quote(value)}")


async def _simulate(simulators: list[Simulator], ports: dict[str, int]) -> None:
    from joinder.commands.running import fail

    try:
        await _run(simulators, ports)
    except OSError as error:
        first = min(ports.values())
        fail(f"Cannot listen on ports from {first} on: {error.strerror}; name others with --port", EXIT_FAILED)


async def _run(simulators: list[Simulator], ports: dict[str, int]) -> None:
    import asyncio
    import json

    from joinder.simulate.run import running

    async with running(simulators, ports) as origins:
        for simulator in simulators:
            echo(f"{simulator.vendor} at {origins[simulator.vendor]}")
            if simulator.app_credentials:
                echo(f"  credentials: {json.dumps(dict(simulator.app_credentials))}")
            if simulator.owner_form:
                echo(f"  owner enters: {json.dumps(dict(simulator.owner_form))}")
            for name, owner in simulator.owners.items():
                if owner.answers:
                    echo(f"  owner {name}: {json.dumps(dict(owner.answers))}")
            for note in simulator.notes:
                echo(f"  {note}")
        echo('Running until Ctrl-C. A server comes here by joinder.toml, or by: eval "$(joinder simulate --env)"')
        await asyncio.Event().wait()
