"""What the gate costs: its CPU ÷ that of a whole poll, and a day's GET ÷ the same before there was a gate.

    .venv/bin/python tests/bench/gate_cost.py [poll|day] [--before COMMIT]

`poll`: the plugin's answer lies ready in memory, so a poll is the least it can be: lease, vendor call without a call,
gate, one commit on SQLite. Beside it the template vendor over loopback HTTP, whose answers are read as well. The gate
alone is then asked about the very same answers. Three rounds, medians.

`day`: GET of 96 quarter hours through the whole application, without a socket, at this commit and at the one before the
gate (in a worktree of its own, under a temporary folder); a process each, in turn, five rounds, medians of CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin

BEFORE = "b1a6fda"  # the last commit without a gate
HERE = Path(__file__).resolve()
ROUNDS, POLLS, READS = 3, 60, 400
QUARTER = timedelta(minutes=15)


# A poll


def answers(query: Any) -> Any:
    """As a plugin has them in the end: rows of whole quarter hours, power, devices read on the way."""
    from joinder.energy import Live, Reading, Readings

    first = int(query.start.timestamp()) // 900 * 900
    starts = [datetime.fromtimestamp(at, UTC) for at in range(first, int(query.end.timestamp()) // 900 * 900, 900)]
    values = {"solar_wh": 100.5, "charge_wh": 0.0, "discharge_wh": 12.25, "import_wh": 30.0, "export_wh": 1.5}
    rows = [Reading(start=at, end=at + QUARTER, **values, load_wh=141.25, soc_percent=55.5) for at in starts]
    power = Live(measured_at=starts[-1], solar_w=1200.0, battery_w=-300.0, grid_w=200.0, load_w=1100.0)
    return Readings(intervals=tuple(rows), live=power)


@asynccontextmanager
async def opened(plugin: object, name: str, **more: Any) -> AsyncIterator[Any]:
    from joinder.runtime.hub import open_hub
    from joinder.settings import Settings
    from joinder.store.key_file import create_key_file
    from joinder.vendors.registry import Registry

    with tempfile.TemporaryDirectory() as folder:
        create_key_file(Path(folder) / "key")
        registry = Registry()
        assert registry.add(name, plugin).problem is None
        made = Settings(database_url=f"sqlite:///{folder}/bench.sqlite3", key_file=f"{folder}/key", **more)
        async with open_hub(made, registry) as hub:
            yield hub


async def enrolled(hub: Any, vendor: str, credentials_id: str | None, account_id: str) -> str:
    from joinder import Consent, Grant, Secrets

    grant = Grant(
        secrets=Secrets({"access_token": "a", "refresh_token": "r"}),
        expires_at=datetime.now(UTC) + timedelta(days=30),
        site_ids=("site-1",),
    )
    consent = Consent(grant=grant, account_id="owner")
    async with hub.store.write() as session:
        made = await stored_consents.store(
            hub, session, account_id, consent, Origin(vendor=vendor, credentials_id=credentials_id)
        )
        return str(made.id)


class Ready:
    """Keeps what the gate was asked last, and answers at once."""

    def __init__(self) -> None:
        self.asked: Any = None

    def readings(self, query: Any) -> Any:
        if self.asked is None or (self.asked[1].start, self.asked[1].end) != (query.start, query.end):
            self.asked = answers(query), query
        return self.asked[0]


async def in_memory() -> None:
    sys.path.insert(0, str(HERE.parents[1]))
    from msgspec.structs import replace

    from api.fakes import CLOUDY, HOME, FakeVendor
    from joinder.services.readings import poll, readings
    from joinder.services.readings.sites import get_site
    from joinder.services.records import accounts
    from joinder.store.sites import read_sites_of
    from joinder.vendor import History, Limits

    history = History(resolution="15mins", window=timedelta(days=7))
    vendor = replace(CLOUDY, limits=Limits(poll_every=timedelta(minutes=15), history=(history,)))
    ready = Ready()
    plugin = FakeVendor(vendor, readings=ready.readings, homes={"site-1": HOME})
    async with opened(plugin, "cloudy") as hub:
        account = await accounts.create_account(hub, "bench")
        enrollment_id = await enrolled(hub, "cloudy", None, account.id)
        await poll.poll(hub, enrollment_id)

        async def one_poll() -> None:
            await poll.poll(hub, enrollment_id)

        await compared("a poll, answer in memory", one_poll, ready)
        (row,) = await read_sites_of(hub.store, enrollment_id)
        site, devices = await get_site(hub, account.id, row.id)
        end = int(time.time()) // 900 * 900

        async def window() -> None:
            await readings.fetch(hub, site, devices, start=end - 7 * 86400, end=end, live=True)

        await compared("a week, answer in memory", window, ready)


async def over_http() -> None:
    from stub import stub, template_vendor

    from joinder.http import silence_client_loggers
    from joinder.services.join import vendor_credentials
    from joinder.services.readings import poll, readings
    from joinder.services.readings.sites import get_site
    from joinder.services.records import accounts
    from joinder.store.sites import read_sites_of
    from joinder.vendors import registry

    silence_client_loggers()
    asked = Ready()
    checked = registry.checked_readings

    def noted(answer: Any, query: Any, **options: Any) -> Any:
        asked.asked = answer, query
        return checked(answer, query, **options)

    with stub() as origin:
        reroute = {"auth.acme.example": origin, "api.acme.example": origin}
        async with opened(template_vendor(), "acme", reroute=reroute) as hub:
            account = await accounts.create_account(hub, "bench")
            app = {"vendor": "acme", "type": "oauth", "clientID": "id", "clientSecret": "secret"}
            made = await vendor_credentials.create(hub, account.id, "bench", name=None, credentials=app)
            enrollment_id = await enrolled(hub, "acme", made.id, account.id)

            async def one_poll() -> None:
                await poll.poll(hub, enrollment_id)

            async def compare(what: str, work: Callable[[], Awaitable[None]]) -> None:
                registry.checked_readings = noted  # type: ignore[assignment]
                await work()
                registry.checked_readings = checked
                await compared(what, work, asked)

            await one_poll()
            await compare("a poll over HTTP", one_poll)
            (row,) = await read_sites_of(hub.store, enrollment_id)
            site, devices = await get_site(hub, account.id, row.id)
            end = int(time.time()) // 900 * 900

            async def window() -> None:
                await readings.fetch(hub, site, devices, start=end - 7 * 86400, end=end, live=True)

            await compare("a week over HTTP", window)


async def compared(what: str, work: Callable[[], Awaitable[None]], ready: Ready) -> None:
    from joinder.vendors.gate import checked_readings

    wholes, gates = [], []
    await work()
    for _ in range(ROUNDS):
        wholes.append(await cpu_ms(POLLS, work))
        answer, query = ready.asked

        async def gate(answer: Any = answer, query: Any = query) -> None:
            checked_readings(answer, query, now=datetime.now(UTC))

        gates.append(await cpu_ms(POLLS * 5, gate))
    rows = len(ready.asked[0].intervals)
    ratio = statistics.median(gate / whole for gate, whole in zip(gates, wholes, strict=True))
    whole, gate_ms = statistics.median(wholes), statistics.median(gates)
    print(
        f"{what:26} {rows:4} rows   whole {whole:6.2f} ms CPU   gate {gate_ms:6.3f} ms   ÷ whole {ratio:.3f}",
        flush=True,
    )


async def cpu_ms(count: int, work: Callable[[], Awaitable[None]]) -> float:
    begun = time.process_time()
    for _ in range(count):
        await work()
    return (time.process_time() - begun) / count * 1000


# A day


async def day() -> float:
    """Microseconds of CPU of one GET; runs at either commit."""
    from joinder.api.app import create_app
    from joinder.energy import Reading
    from joinder.services.records import accounts
    from joinder.services.records.access_tokens import Tokens
    from joinder.store.readings import CoveredSpan, coverage, intervals
    from joinder.store.tables import SiteRow

    sys.path.insert(0, str(HERE.parents[1]))
    from api.fakes import CLOUDY, FakeVendor

    async with opened(FakeVendor(CLOUDY), "cloudy") as hub:
        account = await accounts.create_account(hub, "bench")
        client = await accounts.create_client(hub, account.id, "bench")
        token = (await Tokens(hub).issue(client.client_id, client.client_secret, None)).access_token
        await enrolled(hub, "cloudy", None, account.id)
        moment = int(time.time())
        start = moment // 86400 * 86400 - 7 * 86400
        async with hub.store.write() as session:
            from sqlmodel import select

            site = (await session.execute(select(SiteRow))).scalar_one()
            site.fetched_at, site.timezone, site.name = moment, "Europe/Berlin", "Bench home"
            site_id = site.id
        starts = [datetime.fromtimestamp(at, UTC) for at in range(start, start + 86400, 900)]
        rows = [(site_id, Reading(start=at, end=at + QUARTER, solar_wh=100.5, load_wh=50.0)) for at in starts]
        ledger = coverage(site_id, "15mins", [], [CoveredSpan(start - 86400, start + 2 * 86400, moment)])
        await hub.store.apply(intervals("15mins", rows, moment), *ledger)
        span = f"start={_day(start)}&end={_day(start + 86400)}&summaryLevel=15mins&pageSize=100"
        get = asgi(create_app(hub), f"/sites/{site_id}/solar-intervals", span, token)
        assert (await get()).count(b'"kwh"') == 96
        for _ in range(50):
            await get()
        begun = time.process_time()
        for _ in range(READS):
            await get()
        return (time.process_time() - begun) / READS * 1e6


def _day(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def asgi(app: Any, path: str, query: str, token: str) -> Callable[[], Awaitable[bytes]]:
    """One request without a socket."""
    headers = [(b"host", b"127.0.0.1"), (b"authorization", f"Bearer {token}".encode())]
    scope = {"type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode()}
    scope |= {"headers": headers, "http_version": "1.1", "scheme": "http", "root_path": "", "asgi": {"version": "3.0"}}
    scope |= {"client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80)}

    async def get() -> bytes:
        body = b""

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            nonlocal body
            body += message.get("body", b"")

        await app({**scope, "state": {}}, receive, send)
        return body

    return get


def days_compared(before: str) -> None:
    root = HERE.parents[2]
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "before"
        subprocess.run(["git", "-C", root, "worktree", "add", "--quiet", "--detach", old, before], check=True)
        try:
            took: dict[str, list[float]] = {"before": [], "now": []}
            for _ in range(ROUNDS + 2):
                took["before"].append(measured(old / "core/src"))
                took["now"].append(measured(root / "core/src"))
        finally:
            subprocess.run(["git", "-C", root, "worktree", "remove", "--force", old], check=True)
    middle = {name: statistics.median(rounds) for name, rounds in took.items()}
    ratio = statistics.median(old / new for old, new in zip(took["before"], took["now"], strict=True))
    print(
        f"GET of a day, µs CPU: before {middle['before']:.0f}, now {middle['now']:.0f}   now ÷ before, rate {ratio:.2f}"
    )


def measured(source: Path) -> float:
    env = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, HERE, "one-day"], env=env, check=True, capture_output=True, text=True)
    return float(done.stdout.split()[-1])


def main() -> None:
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["poll", "day"])
    parser.add_argument("--before", default=BEFORE)
    asked = parser.parse_args()
    if "one-day" in asked.what:
        print(asyncio.run(day()))
    if "poll" in asked.what:
        asyncio.run(in_memory())
        asyncio.run(over_http())
    if "day" in asked.what:
        days_compared(asked.before)


if __name__ == "__main__":
    main()
