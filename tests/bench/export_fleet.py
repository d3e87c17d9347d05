"""A fleet's year in a file: rows, seconds, peak memory of `joinder export`, ÷ a bare cursor that writes the same CSV.

    .venv/bin/python tests/bench/export_fleet.py [--sites 1000] [--days 365] [--level 15mins] [--format csv]

SQLite. Each is a process of its own and reads the same file, in turn, `--rounds` times; medians. The cursor writes what
the table holds: no zones, no kWh, no site's name.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from fleets import store_fleet

from joinder.runtime.hub import Hub, open_hub
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.key_file import create_key_file

SINCE, DAY_S = 1_735_689_600, 86_400  # 2025-01-01 UTC
YEAR = """
WITH RECURSIVE quarter(at) AS (SELECT ? UNION ALL SELECT at + 900 FROM quarter WHERE at + 900 < ?)
INSERT INTO interval
    (subject_id, resolution, start, "end", solar_wh, import_wh, export_wh, load_wh, quality, fetched_at)
SELECT ?, '15mins', at, at + 900, at % 977 * 1.0, at % 313 * 1.0, at % 611 * 1.0, at % 701 * 1.0, 'measured', at
FROM quarter
"""
CURSOR = """
import csv, sqlite3, sys
rows = sqlite3.connect(sys.argv[1]).execute("SELECT * FROM interval ORDER BY subject_id, resolution, start")
with open(sys.argv[2], "w", newline="") as file:
    csv.writer(file).writerows(rows)
"""


async def seed(hub: Hub, sites: int) -> list[str]:
    account = await accounts.create_account(hub, "bench")
    return sorted(row.id for row in await store_fleet(hub, account.id, sites))


def fill(path: Path, sites: Sequence[str], days: int) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    for site_id in sites:
        connection.execute(YEAR, (SINCE, SINCE + days * DAY_S, site_id))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def run(command: Sequence[str], environment: dict[str, str]) -> tuple[float, float, float]:
    """Returns seconds, seconds of CPU, and the peak of memory in MiB."""
    begun = time.perf_counter()
    process = os.posix_spawn(command[0], command, environment)
    _, status, used = os.wait4(process, 0)
    if status != 0:
        raise SystemExit(f"{command[:3]} ended with {status}")
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def rows_of(path: Path) -> int:
    if path.is_dir():
        from pyarrow import parquet

        return sum(parquet.read_metadata(part).num_rows for part in path.glob("*.parquet"))
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b"")) - (path.suffix == ".csv")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sites", type=int, default=1000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--level", default="15mins")
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        create_key_file(folder / "key")
        settings = Settings(database_url=f"sqlite:///{folder}/bench.sqlite3", key_file=str(folder / "key"))

        async def seeded() -> list[str]:
            async with open_hub(settings) as hub:
                return await seed(hub, asked.sites)

        fill(folder / "bench.sqlite3", asyncio.run(seeded()), asked.days)
        compare(folder, settings, asked)


def compare(folder: Path, settings: Settings, asked: argparse.Namespace) -> None:
    environment = {**os.environ, "JOINDER_DATABASE_URL": settings.database_url, "JOINDER_KEY_FILE": settings.key_file}
    joinder, end = str(Path(sys.executable).parent / "joinder"), SINCE + asked.days * DAY_S
    span = [
        f"{option}={time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(at))}"
        for option, at in (("--start", SINCE), ("--end", end))
    ]
    ours, theirs = [], []
    for number in range(asked.rounds):
        into, plain = folder / f"{number}.{asked.format}", folder / f"{number}.plain"
        ours.append(run([joinder, "export", str(into), *span, f"--level={asked.level}"], environment))
        theirs.append(run([sys.executable, "-c", CURSOR, str(folder / "bench.sqlite3"), str(plain)], environment))
        rows = rows_of(into)
        plain.unlink()
    for who, took in (("joinder export", ours), ("bare cursor", theirs)):
        seconds, cpu, peak = (statistics.median(one[at] for one in took) for at in range(3))
        print(f"{who:15} {rows:12,} rows {seconds:8.1f} s {cpu:8.1f} s of CPU {peak:6.0f} MiB at most")
    ratio = statistics.median(b[1] / a[1] for a, b in zip(ours, theirs, strict=True))
    rate = statistics.median(b[0] / a[0] for a, b in zip(ours, theirs, strict=True))
    print(f"its rate ÷ the cursor's: {rate:.2f}, by CPU {ratio:.2f}")


if __name__ == "__main__":
    main()
