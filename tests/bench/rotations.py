"""100 000 rotations at a vendor that revokes a grant when a token is used twice, on each database (reliability R1).

    .venv/bin/python tests/bench/rotations.py [COUNT] [sqlite|postgresql]

The code is that of tests/reliability/test_r01_zero_lost_grants.py; what is printed must say: nothing lost, no reuse
seen, and as many exchanges as expiries.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from joinder.demo.postgres import local_postgres
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from reliability.processes import nursery
from reliability.rotations import GRANTS, PROCESSES, SLOW, Figures, hurried, rotations
from reliability.vendor_process import vendor_process


@contextmanager
def database(kind: str, folder: Path) -> Iterator[Settings]:
    create_key_file(folder / "key")
    if kind == "sqlite":
        yield Settings(database_url=f"sqlite:///{folder}/joinder.sqlite3", key_file=f"{folder}/key")
        return
    with local_postgres() as server:
        yield Settings(database_url=server.url(), key_file=f"{folder}/key")


def run(kind: str, count: int) -> Figures:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with database(kind, folder) as empty, vendor_process() as vendor, nursery(folder / "processes") as nurse:
            vendor.rules(**SLOW)
            settings = hurried(empty, vendor)
            return asyncio.run(rotations(settings, vendor, nurse, at_least=count, grants=GRANTS, processes=PROCESSES))


def main() -> None:
    count = next((int(word) for word in sys.argv[1:] if word.isdigit()), 100_000)
    kinds = [word for word in sys.argv[1:] if word in ("sqlite", "postgresql")] or ["sqlite", "postgresql"]
    for kind in kinds:
        print(f"{kind:10} {run(kind, count)}", flush=True)


if __name__ == "__main__":
    main()
