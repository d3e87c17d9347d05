from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from joinder.cli import EXIT_FAILED, EXIT_USAGE
from joinder.commands.answering import print_json, say
from joinder.commands.asking import may_ask
from joinder.commands.running import echo, fail, json_option, refusing

if TYPE_CHECKING:
    from joinder.services.operations.setup import Made, Vendors

LOCAL, SQLITE, JOURNAL = "http://127.0.0.1:8080", "sqlite:///joinder.sqlite3", "journal"


@click.command(name="init")
@click.argument("folder", required=False, type=click.Path(file_okay=True, path_type=Path))
@click.option("--account", metavar="NAME", help="Who you are, as owners read it.")
@click.option("--public-url", metavar="URL", help=f"What owners' browsers see.  [default: {LOCAL}]")
@click.option("--database-url", metavar="URL", help=f"Without a password.  [default: {SQLITE}]")
@click.option("--database-url-file", type=click.Path(path_type=Path), help="A file that holds the URL, if it has one.")
@click.option("--client", default="backend", show_default=True, metavar="NAME", help="Of the first API client.")
@click.option("--simulators", is_flag=True, help="Simulated vendors instead of real ones, and a join flow to try.")
@click.option("--redirect-uri", metavar="URL", help="With --simulators: where owners come back to.")
@click.option("--simulator-port", type=click.IntRange(1, 65000), default=8701, show_default=True, help="From here on.")
@json_option
def command(
    folder: Path | None,
    account: str | None,
    public_url: str | None,
    database_url: str | None,
    database_url_file: Path | None,
    client: str,
    simulators: bool,
    redirect_uri: str | None,
    simulator_port: int,
    as_json: bool,
) -> None:
    """Set everything up in a folder: settings, key, database, account, client. Example:  joinder init --simulators

    Asks for what is not given; with --no-input the defaults hold, and --account must be there. When something stands
    against it, nothing is left behind.
    """
    asks = may_ask() and account is None
    folder = folder or (Path(_asked("Folder for settings, key and database", ".")) if asks else Path())
    account = account or (_asked("Your name, as owners read it", None) if asks else None)
    if account is None:
        fail("Say who you are, as owners will read it: --account NAME", EXIT_USAGE)
    public_url = public_url or (_asked("Address that owners' browsers see", LOCAL) if asks else LOCAL)
    if database_url is None and database_url_file is None:
        database_url = _asked("Database: here, or a postgresql:// URL", SQLITE) if asks else SQLITE
    simulators = simulators or (asks and click.confirm("Simulated vendors, to try it?", err=True, default=False))
    settings = {**_database(database_url, database_url_file, asked=asks), **_addresses(public_url)}
    vendors = None
    if redirect_uri is not None and not simulators:
        raise click.UsageError("--redirect-uri is of the flow that --simulators makes; give that too, or neither.")
    if simulators:
        found, vendors = _simulated(redirect_uri or f"{public_url.rstrip('/')}/", simulator_port)
        settings |= found
    made = _make(folder, settings, account, client, vendors)
    _tell(made, folder, simulators, as_json)


def _asked(question: str, default: str | None) -> str:
    return str(click.prompt(question, default=default, err=True)).strip()


def _database(url: str | None, file: Path | None, *, asked: bool) -> dict[str, Any]:
    from joinder.setting_values import holds_password

    if url is not None and file is not None:
        raise click.UsageError("--database-url and --database-url-file are both given; keep one of them.")
    if file is not None:
        return {"database_url_file": str(file.absolute()), "journal_folder": JOURNAL}
    if url is not None and holds_password(url) and not asked:
        raise click.UsageError("--database-url takes no password: write the URL into a file, for --database-url-file.")
    beside = url is None or url.startswith("sqlite:")  # its journal lies there by itself
    return {"database_url": url, **({} if beside else {"journal_folder": JOURNAL})}


def _addresses(public_url: str) -> dict[str, Any]:
    """Lets a server of this machine alone listen where its URL says; behind a proxy it listens at the default."""
    from urllib.parse import urlsplit

    try:
        port = urlsplit(public_url).port if public_url.startswith("http://") else None
    except ValueError:
        port = None  # the settings say what is wrong with it
    return {"public_url": public_url, "key_file": "joinder.key", **({"port": port} if port else {})}


def _make(folder: Path, settings: dict[str, Any], account: str, client: str, vendors: Vendors | None) -> Made:
    import asyncio

    from joinder.observe import logs
    from joinder.services.operations.setup import set_up

    logs.configure("WARNING", "text")
    with refusing():
        return asyncio.run(set_up(folder, settings, account=account, client=client, vendors=vendors))


def _simulated(redirect_uri: str, port: int) -> tuple[dict[str, Any], Vendors]:
    """Returns the settings that lead to simulators, and what their vendors are set up with."""
    from joinder.services.operations.setup import Vendors
    from joinder.simulate import installed_simulators
    from joinder.simulate.run import free_ports_from, origins_at, settings_of

    simulators = [one for one in installed_simulators() if one.in_demo]
    if not simulators:
        fail("No vendor plugin with a simulator is installed; joinder vendors says what is there.", EXIT_FAILED)
    ports = dict(zip([one.vendor for one in simulators], free_ports_from(port, len(simulators)), strict=True))
    return settings_of(simulators, origins_at(simulators, ports)), Vendors(
        credentials=[dict(one.app_credentials) for one in simulators if one.app_credentials],
        offered={one.vendor: dict(one.flow_options) for one in simulators},
        redirect_uri=redirect_uri,
    )


def _tell(made: Made, folder: Path, simulated: bool, as_json: bool) -> None:
    from joinder.commands.answers import SetUp

    answer = SetUp(
        config=str(made.config),
        account_id=made.account_id,
        client_id=made.client.client_id,
        client_secret=made.client.client_secret,
        flow_id=made.flow_id,
    )
    if as_json:
        print_json(answer)
    else:
        echo(f"settings       {answer.config}")
        echo(f"key            {made.config.parent / 'joinder.key'}: keep a copy apart from the database")
        echo(f"account        {answer.account_id}")
        echo(f"client id      {answer.client_id}")
        echo(f"client secret  {answer.client_secret}   shown this once")
    for line in _next(folder, simulated):
        say(line)


def _next(folder: Path, simulated: bool) -> list[str]:
    from joinder.settings import NO_SETTINGS

    there = [] if folder.resolve() == Path().resolve() else [f"  cd {folder}"]
    if simulated:
        steps = ["joinder simulate &", "joinder serve &", "joinder open      # as an owner, in your browser"]
    else:
        steps = [
            "joinder vendors               # what each asks of you, and the callback URL to register there",
            "joinder credentials create VENDOR TYPE --from app.json",
            "joinder flows create --vendor VENDOR:cred-… --redirect-uri URL",
            "joinder serve                 # then send owners to what `joinder open` shows",
        ]
    over = sorted(name for name in os.environ if name.startswith("JOINDER_") and name not in NO_SETTINGS)
    told = [f"{', '.join(over)} in your environment come over this file."] if over else []
    return [*told, "", "Next:", *there, *(f"  {step}" for step in steps), "  joinder doctor    # whenever in doubt"]
