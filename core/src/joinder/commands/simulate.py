from __future__ import annotations

from typing import TYPE_CHECKING

import rich_click as click

from joinder.cli import EXIT_FAILED
from joinder.commands.running import echo

if TYPE_CHECKING:
    from joinder.demo.fleet import Round
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
@click.option(
    "--fleet",
    "homes",
    type=click.IntRange(1, 1_000_000),
    metavar="HOMES",
    help="Virtual homes instead, each read twice.",
)
def command(vendor: tuple[str, ...], port: int | None, only_env: bool, homes: int | None) -> None:
    """Run vendor simulators on 127.0.0.1 until stopped. Example:  joinder simulate

    A server is sent to them by `joinder init --simulators`, or in its own shell by  eval "$(joinder simulate --env)".
    Prints what an operator and an owner enter.

    With --fleet it puts that many virtual homes into the configured store, reads each twice, first with the day before,
    and says what that cost; `joinder tui` shows them, `joinder serve` goes on reading them.
    """
    import asyncio
    import contextlib

    if homes is not None:
        if vendor or port is not None or only_env:
            raise click.UsageError("--fleet stands alone: its homes are virtual, and no simulator runs.")
        _fleet(homes)
        return
    simulators, ports = _chosen(vendor, port)
    if only_env:
        _print_env(simulators, ports)
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_simulate(simulators, ports))


def _fleet(homes: int) -> None:
    from joinder.commands.running import on_hub
    from joinder.demo import fleet

    seen = on_hub(lambda hub: fleet.run(hub, homes, lambda text: echo(text, err=True)))
    each_kb = seen.stored_bytes / homes / 1000
    for line in (
        f"{homes} homes made in {seen.made_s:.0f} s, in {seen.account_id}.",
        f"First read, with the day before: {_costs(seen.first, homes)}, {each_kb:.0f} kB stored each.",
        f"Read again, as every 15 minutes: {_costs(seen.again, homes)}.",
        f"So they keep {seen.cores(homes):.2f} cores busy, and 100000 of them {seen.cores(100_000):.1f}.",
        "Now try: joinder tui, joinder status; joinder serve goes on reading them.",
        f"To be rid of them: joinder accounts delete {seen.account_id}",
    ):
        echo(line)


def _costs(one: Round, homes: int) -> str:
    return f"{one.took_s:.0f} s, {homes / one.took_s:.0f} a second, {one.cpu_s / homes * 1000:.1f} ms of CPU each"


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
    from joinder.runtime.listening import is_refusal

    try:
        await _run(simulators, ports)
    except OSError as error:
        if not is_refusal(error):
            raise
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
