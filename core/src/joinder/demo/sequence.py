"""The demo's steps. Nothing here reaches into the server: it is a process of its own, spoken to over HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from msgspec import Struct, field, structs

from joinder.demo.owner import OwnerStuck, consent
from joinder.errors import VendorError
from joinder.http import silence_client_loggers
from joinder.services import accounts, poll
from joinder.services.hub import Hub, open_hub
from joinder.settings import Settings, call_limits_text
from joinder.simulate import Simulator, installed_simulators
from joinder.simulate.run import call_limits_of, reroute_of, running
from joinder.store.vault import create_key_file

REDIRECT_URI = "https://integrator.example/connected"
QUARTER_S, DAY_S = 900, 86400
APPROVAL_MOST_S = 60
BALANCE, NOISE_KW = 0.01, 0.1


class StepFailed(Exception):
    """`step` names what failed; the text says how."""

    def __init__(self, step: str, why: str) -> None:
        super().__init__(why)
        self.step = step


class Connected(Struct, rename="camel"):
    """What the demo saw of one vendor."""

    vendor: str
    enrollment_id: str = field(name="enrollmentID")
    was_pending: bool
    health: str
    site_id: str = field(name="siteID")
    site_name: str
    solar_inverters: int
    batteries: int
    meters: int
    quarter_hours: int
    day_kwh: float
    today_kwh: float
    live: dict[str, Any]
    curve: list[float] = []


class Running(Struct):
    """Where everything answers."""

    url: str
    token: str
    simulators: list[Simulator]
    origins: dict[str, str]
    folder: Path
    hub: Hub
    server: asyncio.subprocess.Process


Say = Callable[[str], None]


@asynccontextmanager
async def stack(folder: Path, say: Say) -> AsyncIterator[Running]:
    """Key, database, simulators, server with its worker, one account with a client and its access token."""
    silence_client_loggers()  # the owner's browser and the integrator here are httpx clients too
    say("Making a key and an empty database in " + str(folder))
    _empty(folder)
    simulators = [simulator for simulator in installed_simulators() if simulator.in_demo]
    async with AsyncExitStack() as exits:
        say(f"Starting {len(simulators)} simulators: {', '.join(simulator.vendor for simulator in simulators)}")
        origins = await exits.enter_async_context(running(simulators))
        settings = _settings(folder, simulators, origins)
        hub = await exits.enter_async_context(open_hub(settings))
        account = await accounts.create_account(hub, "Demo")
        client = await accounts.create_client(hub, account.id, "demo")
        _write_env(folder, settings, client)
        say(f"Starting the server and its worker on {settings.public_url}")
        server = await exits.enter_async_context(_server(folder, settings))
        token = await _token(settings, client, say)
        yield Running(settings.public_url, token, simulators, origins, folder, hub, server)


async def connect(demo: Running, simulator: Simulator, say: Say) -> Connected:
    """One vendor from credentials to live power."""
    async with httpx.AsyncClient(
        base_url=demo.url, headers={"authorization": f"Bearer {demo.token}"}, timeout=60, trust_env=False
    ) as api:
        if not simulator.has_history:
            simulator.clock.freeze(_day_end() - DAY_S)
        enrollment = await _enrollment(api, simulator, say)
        pending = enrollment["status"] == "pendingvendor"
        if pending:
            await _approved(api, simulator.vendor, enrollment["id"], say)
        site_id = enrollment["sites"][0]["id"]
        if not simulator.has_history:
            await _time_lapse(demo.hub, simulator, enrollment["id"], say)
        seen = await _read(api, simulator.vendor, enrollment["id"], site_id, say)
        return structs.replace(seen, was_pending=pending)


async def _enrollment(api: httpx.AsyncClient, simulator: Simulator, say: Say) -> dict[str, Any]:
    vendor = simulator.vendor
    offered: dict[str, Any] = {"vendor": vendor}
    if simulator.flow_options:
        offered["options"] = dict(simulator.flow_options)
    if simulator.app_credentials:
        body = {"name": f"my-{vendor}-app", "credentials": dict(simulator.app_credentials)}
        made = await _call(api, "POST", "/vendor-credentials", say, body=body)
        offered["credentialsID"] = made["id"]
    flow = await _call(api, "POST", "/join/flows", say, body={"vendors": [offered], "redirectURI": REDIRECT_URI})
    state = secrets.token_urlsafe(12)
    link = f"{api.base_url}/join/flows/{flow['id']}/authorize?vendor={vendor}&state={state}".replace("//join", "/join")
    say(f"The owner opens {link}")
    try:
        landed = await consent(link, until=REDIRECT_URI, entries={**simulator.owner_form, **simulator.owner_choice})
    except OwnerStuck as error:
        raise StepFailed(f"{vendor}: owner's consent", str(error)) from None
    result = {name: values[0] for name, values in parse_qs(urlsplit(landed).query).items()}
    if result.get("state") != state or "enrollmentID" not in result:
        raise StepFailed(f"{vendor}: owner's consent", json.dumps(result))
    say(f"… consents, and lands on {landed}")
    enrollment: dict[str, Any] = await _call(api, "GET", f"/enrollments/{result['enrollmentID']}", say)
    return enrollment


async def _approved(api: httpx.AsyncClient, vendor: str, enrollment_id: str, say: Say) -> None:
    """The vendor decides later: asked every second here, by the worker within minutes to hours otherwise."""
    say(f"{vendor} has not approved the enrollment yet: status pendingvendor")
    for _ in range(APPROVAL_MOST_S):
        enrollment = await _call(api, "POST", f"/enrollments/{enrollment_id}/refresh", lambda _: None)
        if enrollment["status"] == "enrolled":
            say(f"{vendor} approves: status enrolled")
            return
        await asyncio.sleep(1)
    raise StepFailed(f"{vendor}: approval", f"still {enrollment['status']} after {APPROVAL_MOST_S} s")


async def _time_lapse(hub: Hub, simulator: Simulator, enrollment_id: str, say: Say) -> None:
    """A device without history has a day only if somebody read it all day: its clock runs fast while Joinder polls."""
    say(
        f"{simulator.vendor} keeps no history: its simulated clock runs 24 h while Joinder polls every 15 minutes of it"
    )
    end = _day_end()
    for at in range(end - DAY_S, end + QUARTER_S, QUARTER_S):
        simulator.clock.freeze(at)
        try:
            await _poll(hub, enrollment_id)
        except VendorError as error:
            raise StepFailed(f"{simulator.vendor}: polling a day", str(error)) from None
        if (end - at) % (4 * 3600) == 0:
            say(f"  {DAY_S // 3600 - (end - at) // 3600:2d} of 24 h")
    simulator.clock.shift(0)


async def _poll(hub: Hub, enrollment_id: str) -> None:
    """Waits while the server's own worker reads it."""
    for _ in range(200):
        if await poll.poll(hub, enrollment_id):
            return
        await asyncio.sleep(0.05)


async def _read(api: httpx.AsyncClient, vendor: str, enrollment_id: str, site_id: str, say: Say) -> Connected:
    site = await _call(api, "GET", f"/sites/{site_id}", say)
    end = _day_end()
    span = f"start={_iso(end - DAY_S)}&end={_iso(end)}&summaryLevel=15mins&pageSize=200"
    day = (await _call(api, "GET", f"/sites/{site_id}/solar-intervals?{span}", say))["intervals"]
    midnight = f"start={_iso(end - QUARTER_S)}&end={_iso(end)}&summaryLevel=day"
    today = (await _call(api, "GET", f"/sites/{site_id}/solar-intervals?{midnight}", say))["intervals"]
    live = await _call(api, "GET", f"/sites/{site_id}/live", say)
    enrollment = await _call(api, "GET", f"/enrollments/{enrollment_id}", say)
    return Connected(
        vendor=vendor,
        enrollment_id=enrollment_id,
        was_pending=False,
        health=enrollment["health"]["state"],
        site_id=site_id,
        site_name=site["name"],
        solar_inverters=len(site["solarInverters"]),
        batteries=len(site["batteries"]),
        meters=len(site["meters"]),
        quarter_hours=len(day),
        day_kwh=round(sum(row["kwh"] for row in day), 3),
        today_kwh=round(sum(row["kwh"] for row in today), 3),
        live=live,
        curve=[row["kwh"] for row in day],
    )


def check(seen: Connected) -> None:
    """What the demo promises of every vendor. Raises StepFailed."""
    wrong = [
        name
        for name, holds in {
            "health ok": seen.health == "ok",
            "inverters": seen.solar_inverters > 0,
            "96 quarter hours": seen.quarter_hours == 96,
            "energy": seen.day_kwh > 0,
            "live power": "solarKw" in seen.live and not seen.live["stale"],
            "load = solar + battery + grid": _balances(seen.live),
        }.items()
        if not holds
    ]
    if wrong:
        raise StepFailed(f"{seen.vendor}: {', '.join(wrong)}", json.dumps(structs.asdict(seen), default=str))


async def _call(
    api: httpx.AsyncClient, method: str, path: str, say: Say, *, body: Mapping[str, Any] | None = None
) -> Any:
    """One call as an integrator makes it, shown as the equivalent curl with secrets left out."""
    base = str(api.base_url).rstrip("/")
    sent = f" -H 'Content-Type: application/json' -d '{json.dumps(_masked(body), ensure_ascii=False)}'" if body else ""
    verb = "" if method == "GET" else f" -X {method}"
    say(f"curl{verb} -H \"Authorization: Bearer $JOINDER_TOKEN\" '{base}{path}'{sent}")
    answer = await api.request(method, path, json=body)
    if not answer.is_success:
        raise StepFailed(f"{method} {path.split('?')[0]}", f"{answer.status_code} {answer.text[:500]}")
    return answer.json()


def _masked(body: Mapping[str, Any] | None) -> Any:
    if not body or "credentials" not in body:
        return body
    shown = ("vendor", "type")
    credentials = {name: value if name in shown else "…" for name, value in body["credentials"].items()}
    return {**body, "credentials": credentials}


def _empty(folder: Path) -> None:
    """Only a folder the demo made itself is emptied."""
    if folder.exists() and not (folder / "demo.env").exists() and any(folder.iterdir()):
        raise StepFailed("folder", f"{folder} holds something that is not the demo's; name another with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    (folder / "demo.env").touch(mode=0o600)
    create_key_file(folder / "joinder.key")


def _settings(folder: Path, simulators: list[Simulator], origins: dict[str, str]) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    devices = [host for simulator in simulators if simulator.tls for host in simulator.stands_in_for]
    return Settings(
        database_url=f"sqlite:///{folder.absolute()}/joinder.sqlite3",
        key_file=str((folder / "joinder.key").absolute()),
        public_url=f"http://127.0.0.1:{port}",
        port=port,
        allowed_networks=tuple(f"{address}/32" for address in devices),
        reroute=reroute_of(simulators, origins),
        call_limits=call_limits_of(simulators),
    )


def _write_env(folder: Path, settings: Settings, client: accounts.NewClient) -> None:
    """For the curious who go on by hand: `. demo.env`."""
    lines = [f"{name}={value}" for name, value in environment(settings).items()]
    lines += [f"CLIENT_ID={client.client_id}", f"CLIENT_SECRET={client.client_secret}"]
    (folder / "demo.env").write_text("".join(f"export {line}\n" for line in lines))


def environment(settings: Settings) -> dict[str, str]:
    return {
        "JOINDER_DATABASE_URL": settings.database_url,
        "JOINDER_KEY_FILE": settings.key_file,
        "JOINDER_PUBLIC_URL": settings.public_url,
        "JOINDER_PORT": str(settings.port),
        "JOINDER_ALLOWED_NETWORKS": ",".join(settings.allowed_networks),
        "JOINDER_REROUTE": ",".join(f"{host}={origin}" for host, origin in settings.reroute.items()),
        "JOINDER_CALL_LIMITS": call_limits_text(settings.call_limits),
    }


@asynccontextmanager
async def _server(folder: Path, settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("JOINDER_") or name == "JOINDER_LOG_LEVEL"
    }
    log = (folder / "server.log").open("wb")
    command = (sys.executable, "-m", "joinder", "serve")
    process = await asyncio.create_subprocess_exec(
        *command, env={**kept, **environment(settings)}, stdout=log, stderr=log
    )
    try:
        await _ready(settings.public_url, process, folder)
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
        log.close()


async def _ready(url: str, process: asyncio.subprocess.Process, folder: Path) -> None:
    give_up = time.monotonic() + 30
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        while time.monotonic() < give_up and process.returncode is None:
            try:
                if (await client.get("/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
    raise StepFailed("server", f"it did not start; see {folder / 'server.log'}")


async def _token(settings: Settings, client: accounts.NewClient, say: Say) -> str:
    url = f"{settings.public_url}/oauth2/token"
    say(f'curl -u "$CLIENT_ID:$CLIENT_SECRET" -d grant_type=client_credentials {url}')
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            url, data={"grant_type": "client_credentials"}, auth=(client.client_id, client.client_secret)
        )
    if answer.status_code != 200:
        raise StepFailed("POST /oauth2/token", f"{answer.status_code} {answer.text}")
    token: str = answer.json()["access_token"]
    return token


def _balances(live: Mapping[str, Any]) -> bool:
    """Within 1 %, where all four are told."""
    parts = [live.get(name) for name in ("solarKw", "batteryKw", "gridKw", "loadKw")]
    if any(part is None for part in parts):
        return True
    solar, battery, grid, load = (float(part or 0) for part in parts)
    return abs(load - solar - battery - grid) <= BALANCE * max(abs(load), solar, NOISE_KW)


def _day_end() -> int:
    """The last full quarter hour's end."""
    return int(time.time()) // QUARTER_S * QUARTER_S


def _iso(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))
