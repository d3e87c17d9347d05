"""What `joinder dev` runs for an author: one simulator, a hub with its worker, and a link to open as an owner."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
from msgspec import structs

from joinder.demo.client import Say
from joinder.demo.processes import Process, running
from joinder.http import silence_client_loggers
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import join_flows, join_sessions, vendor_credentials
from joinder.services.join.join_flows import FlowVendor
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import Simulator, installed_simulators
from joinder.simulate.run import running as simulating
from joinder.simulate.run import settings_of
from joinder.store.key_file import create_key_file
from joinder.vendor import Flow

ACTOR = "author"
LOOK_S = 1.0
READ_MOST = 256 * 1024  # of the end of the log, bytes
_STANDING = (
    "SELECT e.id, e.health, e.health_reason, (SELECT count(*) FROM site s WHERE s.enrollment_id = e.id), "
    "(SELECT count(*) FROM interval i JOIN site s ON s.id = i.subject_id WHERE s.enrollment_id = e.id) "
    "FROM enrollment e ORDER BY e.id"
)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """What the author opens: `link` is None where the operator's credentials open the sites by themselves."""

    hub: Hub
    simulator: Simulator
    link: str | None
    url: str
    log: Path


@asynccontextmanager
async def desk(name: str, folder: Path, port: int, *, plugins: tuple[str, ...] | None) -> AsyncIterator[Desk]:
    """Runs it all; the database of `folder` stays. Raises LookupError, StepFailed, OSError for a port that is taken."""
    silence_client_loggers()
    (simulator,) = installed_simulators((name,), allow=plugins)
    async with simulating([simulator], {name: port + 1}) as origins:
        settings = structs.replace(_settings(folder, port, settings_of([simulator], origins)), plugins=plugins)
        async with open_hub(settings) as hub:
            hub.registry.vendor(name)  # says why it does not work
            flow_id = await _flow(hub, simulator)
            server = Process("server", ("serve",), settings, folder)
            async with running([server]):
                link = await _link(hub, name, flow_id) if flow_id else None
                yield Desk(hub=hub, simulator=simulator, link=link, url=settings.public_url, log=server.log)


def _settings(folder: Path, port: int, simulated: Mapping[str, object]) -> Settings:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / ".gitignore").write_text("*\n")  # it holds a key: into no commit, and into no sdist
    key = folder / "joinder.key"
    if not key.exists():
        create_key_file(key)
    return Settings(
        database_url=f"sqlite:///{folder.absolute()}/joinder.sqlite3",
        key_file=str(key.absolute()),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        metrics_port=port + 2,
        journal_folder=str((folder / "journal").absolute()),
        **simulated,  # type: ignore[arg-type]
    )


async def _flow(hub: Hub, simulator: Simulator) -> str | None:
    """Returns the join flow, made where there is none; None where no owner is asked."""
    name = simulator.vendor
    found = await accounts.list_accounts(hub)
    account_id = found[0].id if found else (await accounts.create_account(hub, "Author")).id
    credentials_id = await _credentials(hub, account_id, simulator)
    kind = hub.registry.vendor(name).app_credential(str((simulator.app_credentials or {}).get("type")))
    if kind is not None and kind.flow is Flow.OPERATOR:
        return None
    flows = await join_flows.list_page(hub, account_id, after="", limit=1)
    if flows:
        return flows[0].id
    entry = FlowVendor(vendor=name, credentials_id=credentials_id, options=dict(simulator.flow_options))
    back = f"{hub.settings.public_url}/health/live"  # an integrator's page would be there
    return (await join_flows.create(hub, account_id, ACTOR, vendors=[entry], redirect_uri=back)).id


async def _credentials(hub: Hub, account_id: str, simulator: Simulator) -> str | None:
    if simulator.app_credentials is None:
        return None
    known = await vendor_credentials.list_page(hub, account_id, vendor=simulator.vendor, name=None, after="", limit=1)
    if known:
        return known[0].id
    given = dict(simulator.app_credentials)
    return (await vendor_credentials.create(hub, account_id, ACTOR, name=None, credentials=given)).id


async def _link(hub: Hub, name: str, flow_id: str) -> str:
    (account, *_) = await accounts.list_accounts(hub)
    return await join_sessions.link(hub, account.id, flow_id, name)


async def tell_changes(made: Desk, say: Say) -> None:
    """Says what becomes of each enrollment, and why the first one was not read, until it is cancelled."""
    told: dict[str, str] = {}
    while True:
        for line_of, line in (await _standing(made.hub, made.log)).items():
            if told.get(line_of) != line:
                told[line_of] = line
                say(line)
        await asyncio.sleep(LOOK_S)


async def _standing(hub: Hub, log: Path) -> dict[str, str]:
    """Returns a line of each enrollment by its id, and one of what went wrong with the first."""
    lines = {}
    for enrollment_id, health, reason, sites, rows in await hub.store.rows(_STANDING, {}):
        lines[enrollment_id] = f"{enrollment_id}: {health}{f', {reason}' if reason else ''}; {sites} sites, {rows} rows"
    first = next(iter(lines), None)
    if first is not None and (error := last_poll_error(log, first)) is not None:
        lines[f"poll of {first}"] = f"{first}: its last poll that failed: {error}"
    return lines


def last_poll_error(log: Path, enrollment_id: str) -> str | None:
    """Finds it in the server's log, whose lines are JSON and hold no secret; None where no poll failed."""
    begins = re.compile(rf"poll of {re.escape(enrollment_id)}(?: failed)?: ")
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - READ_MOST))
        lines = file.read().splitlines()
    for line in reversed(lines):
        event = _event(line)
        if found := begins.match(event):
            return event[found.end() :]
    return None


def _event(line: bytes) -> str:
    """Returns what the line says; nothing where it is no whole line of ours."""
    try:
        return str(msgspec.json.decode(line, type=dict[str, object]).get("event", ""))
    except msgspec.DecodeError:
        return ""
