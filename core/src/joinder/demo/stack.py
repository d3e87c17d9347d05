"""Everything the demo runs against: a key and a database of its own, simulators, and Joinder's own processes."""

from __future__ import annotations

import json
import shlex
import shutil
import sysconfig
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import Struct, structs

from joinder.demo.client import Api, Say, access_token, calling, variable
from joinder.demo.postgres import NoPostgres, local_postgres
from joinder.demo.processes import Process, StepFailed, environment, free_ports, running
from joinder.http import silence_client_loggers
from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import Simulator, installed_simulators
from joinder.simulate.run import running as simulating
from joinder.simulate.run import settings_of
from joinder.small_files import naming
from joinder.store.key_file import create_key_file

# A shell variable alone: `joinder` takes what is exported as JOINDER_… for its settings. It holds for an hour.
AUTHORISED = (
    'JOINDER_TOKEN=$(curl -s -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials "$JOINDER/oauth2/token" | '
    r"""sed 's/.*"access_token":"\([^"]*\)".*/\1/')"""
)
ALONE = {"server": ("serve",)}
CLUSTER = {
    "server-1": ("serve", "--no-worker"),
    "server-2": ("serve", "--no-worker"),
    "worker-1": ("worker",),
    "worker-2": ("worker",),
}


class Running(Struct):
    """Where everything answers. `url` is the public one, which the first server has as its own."""

    url: str
    token: str
    api: Api
    simulators: list[Simulator]
    origins: dict[str, str]
    folder: Path
    hub: Hub
    processes: list[Process]

    @property
    def servers(self) -> list[Process]:
        return [process for process in self.processes if process.serves]

    @property
    def workers(self) -> list[Process]:
        return [process for process in self.processes if not process.serves]


@asynccontextmanager
async def stack(
    folder: Path,
    say: Say,
    *,
    cluster: bool = False,
    silent: bool = False,
    plugins: tuple[str, ...] | None = None,
) -> AsyncIterator[Running]:
    """Starts everything, with one account, its client and an access token. Raises StepFailed.

    `plugins`: the only distributions to load. `silent`: only vendors of which a silent device is shown.
    """
    silence_client_loggers()  # the owner's browser and the integrator here are httpx clients too
    say(f"Making a key and an empty database in {folder}")
    _empty(folder)
    installed = installed_simulators(allow=plugins)
    simulators = [one for one in installed if one.in_demo and (one.silent_owner or not silent)]
    async with AsyncExitStack() as exits:
        database_url = _postgres(exits, say) if cluster else _sqlite(folder)
        say(f"Starting {len(simulators)} simulators: {', '.join(simulator.vendor for simulator in simulators)}")
        origins = await exits.enter_async_context(simulating(simulators))
        settings = structs.replace(_settings(folder, database_url, simulators, origins), plugins=plugins)
        hub = await exits.enter_async_context(open_hub(settings))
        account = await accounts.create_account(hub, "Demo")
        client = await accounts.create_client(hub, account.id, "demo")
        _write_env(folder, settings, client, simulators)
        processes = _processes(CLUSTER if cluster else ALONE, settings, folder)
        say(f"Starting {', '.join(process.name for process in processes)}; owners meet {settings.public_url}")
        await exits.enter_async_context(running(processes))
        token = await access_token(settings.public_url, client, say)
        servers = [process.url for process in processes if process.serves]
        api = await exits.enter_async_context(calling(servers, token, say))
        yield Running(settings.public_url, token, api, simulators, origins, folder, hub, processes)


def _sqlite(folder: Path) -> str:
    return f"sqlite:///{folder.absolute()}/joinder.sqlite3"


def _postgres(exits: AsyncExitStack, say: Say) -> str:
    say("Starting a PostgreSQL server of this machine's own binaries, on 127.0.0.1, with a folder of its own")
    try:
        return exits.enter_context(local_postgres()).url()
    except NoPostgres as error:
        raise StepFailed("postgresql", str(error)) from None


def _processes(commands: Mapping[str, Sequence[str]], settings: Settings, folder: Path) -> list[Process]:
    """Makes the processes, the first at the port of the public URL."""
    ports = free_ports(2 * len(commands))
    found = []
    for index, (name, arguments) in enumerate(commands.items()):
        port = settings.port if index == 0 else ports[2 * index]
        own = structs.replace(settings, port=port, metrics_port=ports[2 * index + 1])
        found.append(Process(name, arguments, own, folder))
    return found


def _empty(folder: Path) -> None:
    """Makes the folder anew. Raises StepFailed when it holds something that is not the demo's."""
    if folder.exists() and not (folder / "demo.env").exists() and any(folder.iterdir()):
        raise StepFailed("folder", f"{folder} holds something that is not the demo's; name another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "demo.env").touch(mode=0o600)
    create_key_file(folder / "joinder.key")


def _settings(folder: Path, database_url: str, simulators: list[Simulator], origins: dict[str, str]) -> Settings:
    (port,) = free_ports(1)
    return Settings(
        database_url=database_url,
        key_file=str((folder / "joinder.key").absolute()),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        journal_folder=str((folder / "journal").absolute()),
        **settings_of(simulators, origins),
    )


def _write_env(folder: Path, settings: Settings, client: accounts.NewClient, simulators: Sequence[Simulator]) -> None:
    """Writes demo.env for the curious who go on by hand: after `. demo.env` every printed line works when pasted."""
    told = {
        **environment(settings),
        "JOINDER": settings.public_url,
        "CLIENT_ID": client.client_id,
        "CLIENT_SECRET": client.client_secret,
    }
    for simulator in simulators:
        for name, value in (simulator.app_credentials or {}).items():
            if name not in ("vendor", "type"):
                told[variable(simulator.vendor, name)] = json.dumps(value)[1:-1]  # it is pasted into JSON
    lines = [f"export {name}={shlex.quote(value)}" for name, value in told.items()]
    lines += [f'export PATH={shlex.quote(sysconfig.get_path("scripts"))}:"$PATH"', AUTHORISED]
    with naming(folder / "demo.env"):
        (folder / "demo.env").write_text("".join(f"{line}\n" for line in lines))
