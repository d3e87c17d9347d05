"""Refreshes and polled sites per second and their CPU, beside what a user would write.

    .venv/bin/python tests/bench/worker_rates.py [refresh|poll] [sqlite|postgresql]

Ours: the worker's own path (lease, intent, call, durable commit; a poll asks for a day and live power and stores both).
Beside it, against the same loopback stub in the same run: httpx alone with the same calls, the limit; and a script
(authlib, or httpx + json + sqlite3) with one commit each. 25 calls in flight, five rounds in turn, medians of ratios.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from sqlmodel import col, select
from stub import stub, template_vendor

from joinder import Consent, Grant, Secrets
from joinder.demo.postgres import local_postgres
from joinder.http import silence_client_loggers
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants.refresh import refresh
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.readings.sites import refresh_site
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.store.tables import SiteRow
from joinder.vendors.registry import Registry

COUNT, IN_FLIGHT, ROUNDS = 100, 25, 3
Rate = tuple[float, float]  # a second, and CPU milliseconds each


async def measured(count: int, one: Callable[[int], Awaitable[object]]) -> Rate:
    left = iter(range(count))

    async def run() -> None:
        for number in left:
            await one(number)

    begun, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(run() for _ in range(IN_FLIGHT)))
    took = time.perf_counter() - begun
    return count / took, (time.process_time() - cpu) / count * 1000


async def seeded(hub: Hub) -> list[str]:
    account = await accounts.create_account(hub, "bench")
    app = {"vendor": "acme", "type": "oauth", "clientID": "id", "clientSecret": "secret"}
    credentials = await vendor_credentials.create(hub, account.id, "bench", name=None, credentials=app)
    ids = []
    for number in range(COUNT):
        grant = Grant(
            secrets=Secrets({"access_token": f"a-{number}", "refresh_token": f"r-{number}"}),
            expires_at=datetime.now(UTC) + timedelta(hours=8),
            site_ids=(str(number),),
        )
        async with hub.store.write() as session:
            made = await stored_consents.store(
                hub,
                session,
                account.id,
                Consent(grant=grant, account_id=str(number)),
                Origin(vendor="acme", credentials_id=credentials.id),
            )
            ids.append(made.id)
    for enrollment_id in ids:
        async with hub.store.read() as session:
            query = select(SiteRow).where(col(SiteRow.enrollment_id) == enrollment_id)
            row = (await session.execute(query)).scalar_one()
        await refresh_site(hub, row)
    return ids


def clients() -> httpx.AsyncClient:
    return httpx.AsyncClient(limits=httpx.Limits(max_connections=IN_FLIGHT), timeout=30)


async def raw_refresh(origin: str) -> Rate:
    async with clients() as client:

        async def one(number: int) -> None:
            body = {"grant_type": "refresh_token", "refresh_token": f"r-{number}"}
            (await client.post(f"{origin}/token", data=body, auth=("id", "secret"))).json()

        return await measured(COUNT, one)


async def raw_poll(origin: str) -> Rate:
    async with clients() as client:

        async def one(number: int) -> None:
            await client.get(f"{origin}/v1/sites/{number}/energy?start=x&end=y", headers={"authorization": "Bearer a"})
            await client.get(f"{origin}/v1/sites/{number}/power", headers={"authorization": "Bearer a"})

        return await measured(COUNT, one)


async def script_refresh(origin: str) -> Rate:
    """A plain authlib script: one client for each owner, the token committed to SQLite."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client

    tls = httpx.create_ssl_context()  # shared: one a client, as documented, would cost 70 ms of CPU each
    with tempfile.TemporaryDirectory() as folder:
        database = durable(Path(folder))
        database.execute("CREATE TABLE token (id INTEGER PRIMARY KEY, value TEXT)")

        async def one(number: int) -> None:
            token = {"refresh_token": f"r-{number}"}
            async with AsyncOAuth2Client("id", "secret", token=token, verify=tls) as client:
                token = await client.refresh_token(f"{origin}/token", refresh_token=f"r-{number}")
            with database:
                database.execute("INSERT OR REPLACE INTO token VALUES (?, ?)", (number, json.dumps(token)))

        return await measured(COUNT, one)


async def script_poll(origin: str) -> Rate:
    with tempfile.TemporaryDirectory() as folder:
        database = durable(Path(folder))
        database.execute(
            "CREATE TABLE interval (site INTEGER, start TEXT, solar REAL, charged REAL, discharged REAL, "
            "imported REAL, exported REAL, soc REAL, PRIMARY KEY (site, start)) WITHOUT ROWID"
        )
        database.execute("CREATE TABLE live (site INTEGER PRIMARY KEY, value TEXT)")
        async with clients() as client:

            async def one(number: int) -> None:
                headers = {"authorization": "Bearer a"}
                energy = await client.get(f"{origin}/v1/sites/{number}/energy?start=x&end=y", headers=headers)
                power = await client.get(f"{origin}/v1/sites/{number}/power", headers=headers)
                rows = [(number, *(row[name] for name in NAMES)) for row in energy.json()["rows"]]
                with database:
                    database.executemany("INSERT OR REPLACE INTO interval VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
                    database.execute("INSERT OR REPLACE INTO live VALUES (?, ?)", (number, json.dumps(power.json())))

            return await measured(COUNT, one)


NAMES = ("start", "solar", "charged", "discharged", "imported", "exported", "soc")


def durable(folder: Path) -> sqlite3.Connection:
    database = sqlite3.connect(folder / "script.sqlite3")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    return database


@contextmanager
def database_url(kind: str, folder: Path) -> Iterator[str]:
    if kind == "sqlite":
        yield f"sqlite:///{folder}/bench.sqlite3"
        return
    with local_postgres() as server:
        yield server.url()


async def run(what: str, kind: str) -> None:
    silence_client_loggers()
    registry = Registry()
    assert registry.add("acme", template_vendor()).problem is None
    with tempfile.TemporaryDirectory() as folder, stub() as origin, database_url(kind, Path(folder)) as url:
        create_key_file(Path(folder) / "key")
        settings = Settings(
            database_url=url,
            key_file=f"{folder}/key",
            reroute={"auth.acme.example": origin, "api.acme.example": origin},
        )
        async with open_hub(settings, registry) as hub:
            hub.strict_refreshes = asyncio.Semaphore(IN_FLIGHT)  # as for a vendor with a grace
            ids = await seeded(hub)
            joined = {"refresh": refresh, "poll": poll.poll}[what]
            contenders: dict[str, Callable[[], Awaitable[Rate]]] = {
                "ours": lambda: measured(COUNT, lambda number: joined(hub, ids[number])),
                "httpx alone": lambda: {"refresh": raw_refresh, "poll": raw_poll}[what](origin),
                "script": lambda: {"refresh": script_refresh, "poll": script_poll}[what](origin),
            }
            rates: dict[str, list[Rate]] = {name: [] for name in contenders}
            for _ in range(ROUNDS):
                for name, contender in contenders.items():
                    rates[name].append(await contender())
    report(what, kind, rates)


def report(what: str, kind: str, rates: dict[str, list[Rate]]) -> None:
    for name, rounds in rates.items():
        each = statistics.median(rate for rate, _ in rounds)
        print(f"{what:8} {kind:10} {name:12} {each:7.0f}/s  {statistics.median(cpu for _, cpu in rounds):6.2f} ms CPU")
    for name in ("httpx alone", "script"):
        pairs = list(zip(rates["ours"], rates[name], strict=True))
        ratio = statistics.median(ours[0] / theirs[0] for ours, theirs in pairs)
        print(f"{what:8} {kind:10} ours ÷ {name}: {ratio:.2f} (of {ROUNDS} rounds)")
    print(f"{'':8} {'':10} peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


def main() -> None:
    warnings.simplefilter("ignore")
    whats = [word for word in sys.argv[1:] if word in ("refresh", "poll")] or ["refresh", "poll"]
    kinds = [word for word in sys.argv[1:] if word in ("sqlite", "postgresql")] or ["sqlite", "postgresql"]
    for what in whats:
        for kind in kinds:
            asyncio.run(run(what, kind))


if __name__ == "__main__":
    main()
