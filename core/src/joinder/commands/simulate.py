from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.running import echo

if TYPE_CHECKING:
    from joinder.simulate import Simulator


@click.command(name="simulate")
@click.argument("vendor", nargs=-1)
@click.option("--port", type=int, default=8701, show_default=True, help="Port of the first; the others follow.")
def command(vendor: tuple[str, ...], port: int) -> None:
    """Run vendor simulators on 127.0.0.1 until stopped. Example:  joinder simulate

    Prints the JOINDER_ settings that send a server to them, and what an operator and an owner enter.
    """
    import asyncio
    import contextlib

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_simulate(vendor, port))


async def _simulate(names: tuple[str, ...], port: int) -> None:
    from joinder.commands.running import fail
    from joinder.settings import plugins_from_env
    from joinder.simulate import installed_simulators

    try:
        simulators = installed_simulators(names, allow=plugins_from_env())
    except LookupError as error:
        fail(str(error), 2)
    ports = {simulator.vendor: port + index for index, simulator in enumerate(simulators)}
    try:
        await _run(simulators, ports)
    except OSError as error:
        fail(f"Cannot listen on ports from {port} on: {error.strerror}; name others with --port", EXIT_FAILED)


async def _run(simulators: list[Simulator], ports: dict[str, int]) -> None:
    import asyncio
    import json

    from joinder.settings import call_limits_text
    from joinder.simulate.run import call_limits_of, networks_of, reroute_of, running

    async with running(simulators, ports) as origins:
        reroute = reroute_of(simulators, origins)
        devices = ",".join(networks_of(simulators))
        echo("export JOINDER_REROUTE=" + ",".join(f"{host}={origin}" for host, origin in reroute.items()))
        if devices:
            echo(f"export JOINDER_ALLOWED_NETWORKS={devices}")
        if limits := call_limits_of(simulators):
            echo(f"export JOINDER_CALL_LIMITS={call_limits_text(limits)}")
        for simulator in simulators:
            echo(f"\n{simulator.vendor} at {origins[simulator.vendor]}")
            if simulator.app_credentials:
                echo(f"  credentials: {json.dumps(dict(simulator.app_credentials))}")
            if simulator.owner_form:
                echo(f"  owner enters: {json.dumps(dict(simulator.owner_form))}")
            for note in simulator.notes:
                echo(f"  {note}")
        await asyncio.Event().wait()
