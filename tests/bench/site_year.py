"""What a site's year of quarter hours weighs in the database.

    .venv/bin/python tests/bench/site_year.py [sqlite] [postgresql] [--sites 20]

Rows of all metrics, as of a site with solar, battery and grid: the growth of the file, of tables with indexes.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from bulk_upsert import by_upsert
from intervals import database_url, opened, series

YEAR = 365 * 96
WINDOW = 672  # rows of a backfill's week


async def bytes_of_a_year(kind: str, url: str, folder: Path, sites: int) -> float:
    async with opened(url) as store:
        before = await _size(store, kind, folder)
        write = by_upsert(store)
        for site in range(sites):
            for first in range(0, YEAR, WINDOW):
                await write(series(site, first, min(WINDOW, YEAR - first)))
        return (await _size(store, kind, folder) - before) / sites


async def _size(store, kind: str, folder: Path) -> int:  # type: ignore[no-untyped-def]
    if kind == "sqlite":
        await store.rows("PRAGMA wal_checkpoint(TRUNCATE)", {})
        return sum(path.stat().st_size for path in folder.glob("bench.sqlite3*") if path.suffix != ".ballast")
    return int((await store.rows("SELECT pg_database_size(current_database())", {}))[0][0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--sites", type=int, default=20)
    given = parser.parse_args()
    for kind in given.kinds:
        with tempfile.TemporaryDirectory() as name, database_url(kind, Path(name)) as url:
            size = asyncio.run(bytes_of_a_year(kind, url, Path(name), given.sites))
            print(f"{kind}: {size / 1e6:.1f} MB a site and year, {size / YEAR:.0f} B a row", flush=True)


if __name__ == "__main__":
    main()
