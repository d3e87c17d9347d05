"""Many enrollments at once, and real `joinder worker` processes, for tests/bench/scale.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import joinder
from joinder import Grant, Secrets
from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.services.records.opened_grant import seal_grant
from joinder.services.work import leases
from joinder.settings import Settings
from joinder.store.types import Upsert

APPS, BATCH, YEAR_S = 4, 5_000, 365 * 86400
KINDS = ("refresh", "poll")
TICKS = os.sysconf("SC_CLK_TCK")
_COLUMNS = {
    "enrollment": ("account_id", "vendor", "credentials_id", "options", "status", "health", "health_since", "failures",
                   "created_at"),
    "grant": ("sealed", "version", "expires_at", "state", "obtained_by", "obtained_at", "refresh_count",
              "intent_count"),
    "site": ("account_id", "enrollment_id", "vendor", "vendor_id", "name", "timezone", "fetched_at"),
    "due": ("app", "due_at", "strikes"),
}  # fmt: skip
_KEYS = {"grant": ("enrollment_id",), "due": ("kind", "enrollment_id")}


async def seed(hub: Hub, count: int) -> list[str]:
    """Their ids: a grant and a site each, refresh and poll due in a year; spread over so many vendor apps."""
    account = await accounts.create_account(hub, "bench")
    app = {"vendor": "acme", "type": "oauth", "clientID": "id", "clientSecret": "secret"}
    made = [await vendor_credentials.create(hub, account.id, "bench", name=None, credentials=app) for _ in range(APPS)]
    ids = [new_id("enrl") for _ in range(count)]
    for first in range(0, count, BATCH):
        rows: dict[str, list[dict[str, Any]]] = {table: [] for table in _COLUMNS}
        async with hub.store.write(account.id) as session:
            await hub.vault.unlock(session, account.id)
            for number, enrollment_id in enumerate(ids[first : first + BATCH], first):
                _add(rows, hub, account.id, made[number % APPS].id, enrollment_id, number)
        await hub.store.apply(*(_upsert(table, columns, rows[table]) for table, columns in _COLUMNS.items()))
    return ids


def _upsert(table: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> Upsert:
    key = _KEYS.get(table, ("id",))
    return Upsert(table, key, columns, [tuple(row[name] for name in (*key, *columns)) for row in rows])


def _add(
    rows: dict[str, list[dict[str, Any]]], hub: Hub, account_id: str, app: str, enrollment_id: str, number: int
) -> None:
    moment, options = now(), "{}"
    expires_at = moment + 8 * 3600 + number % 3600
    grant = Grant(
        secrets=Secrets({"access_token": f"a-{number}", "refresh_token": f"r-{number}"}),
        expires_at=datetime.fromtimestamp(expires_at, UTC),
        site_ids=(str(number),),
    )
    owner = {"account_id": account_id, "vendor": "acme"}
    rows["enrollment"].append(
        {**owner, "id": enrollment_id, "credentials_id": app, "options": options, "status": "enrolled",
         "health": "ok", "health_since": moment, "failures": 0, "created_at": moment}
    )  # fmt: skip
    rows["grant"].append(
        {"enrollment_id": enrollment_id, "sealed": seal_grant(hub, account_id, enrollment_id, grant), "version": 1,
         "expires_at": expires_at, "state": "active", "obtained_by": "consent", "obtained_at": moment,
         "refresh_count": 0, "intent_count": 0}
    )  # fmt: skip
    rows["site"].append(
        {**owner, "id": new_id("site"), "enrollment_id": enrollment_id, "vendor_id": str(number), "name": "Bench",
         "timezone": "Europe/Berlin", "fetched_at": moment}
    )  # fmt: skip
    rows["due"] += [
        {"kind": kind, "enrollment_id": enrollment_id, "app": app, "due_at": moment + YEAR_S, "strikes": 0}
        for kind in (*KINDS, "expiry")
    ]


async def make_due(hub: Hub, kind: str, ids: list[str]) -> None:
    """These are due now, in an order; all others of the kind in a year. Nobody holds a lease."""
    async with hub.store.write() as session:
        connection = await session.connection()
        await connection.exec_driver_sql(
            f"UPDATE due SET due_at = {now() + YEAR_S}, lease = NULL WHERE kind = '{kind}' "  # noqa: S608
            f"AND (due_at < {now() + YEAR_S // 2} OR due_at >= {leases.NEVER})"
        )
        for first in range(0, len(ids), 500):
            listed = ", ".join(f"'{one}'" for one in ids[first : first + 500])
            await connection.exec_driver_sql(
                f"UPDATE due SET due_at = {now() - 60} WHERE kind = '{kind}' AND enrollment_id IN ({listed})"  # noqa: S608
            )


async def left(hub: Hub, kind: str) -> int:
    """How many are still due."""
    sql = "SELECT count(*) FROM due WHERE kind = :kind AND due_at <= :now"
    return int((await hub.store.rows(sql, {"kind": kind, "now": now()}))[0][0])


@contextmanager
def workers(count: int, settings: Settings, folder: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Real processes, which find the template vendor as an installed plugin."""
    plugin = folder / "plugin" / "joinder_acme-0.dist-info"
    plugin.mkdir(parents=True, exist_ok=True)
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: joinder-acme\nVersion: 0\n")
    (plugin / "entry_points.txt").write_text("[joinder.vendors]\nacme = joinder_acme\n")
    template = Path(joinder.__file__).parent / "templates/vendor/src"
    env = {
        **os.environ,
        "PYTHONPATH": f"{plugin.parent}:{template}",
        "JOINDER_DATABASE_URL": settings.database_url,
        "JOINDER_KEY_FILE": settings.key_file,
        "JOINDER_REROUTE": ",".join("=".join(pair) for pair in settings.reroute.items()),
        "JOINDER_REFRESHES_PER_SECOND": "100000",
        "JOINDER_PLUGINS": "joinder-acme",
        "JOINDER_LOG_LEVEL": "ERROR",
    }
    command = [str(Path(sys.executable).parent / "joinder"), "worker"]
    running = [subprocess.Popen(command, env=env) for _ in range(count)]
    try:
        yield running
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait(60)


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mb(process: subprocess.Popen[bytes]) -> float:
    line = next(line for line in Path(f"/proc/{process.pid}/status").read_text().splitlines() if "VmRSS" in line)
    return int(line.split()[1]) / 1024
