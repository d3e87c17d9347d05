"""S26: whatever a command changes of what people decide is in the audit, by the command line, and the chain holds."""

from __future__ import annotations

import asyncio
import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from cli.test_json import GIVEN, RUNS, world
from cli.world import World
from joinder.services.admin import audit_proof, data_keys, peppers
from joinder.store import vault
from joinder.store.engine import parsed_url
from joinder.store.sqlite import sqlite_path

__all__ = ["world"]
DATABASES = ("sqlite",)
DECIDED = (
    *("account", "account_brand", "api_client", "vendor_credentials", "join_flow", "program", "enrollment", "grant"),
    *("enrollment_application", "webhook_endpoint", "delivery", "backfill", "signing_key", "data_key", "store_state"),
)
# No REST operation does the same: `test_json.RUNS` has none of them.
OTHERS: dict[str, tuple[str, ...]] = {
    "accounts create": ("Other",),
    "accounts rename": ("{account}", "Another"),
    "accounts brand": ("{account}", "--colour", "#0b5c3b"),
    "accounts delete": ("{account}", "--confirm", "Acme"),
    "clients create": ("backend", "--account", "{account}"),
    "clients rotate": ("{client}",),
    "clients revoke": ("{client}", "--yes"),
    "keys rotate": (),
    "keys rotate --signing": (),
    "keys rotate --data-keys": (),
    "keys rotate --pepper": (),
    "vendors adopt": ("sunny", "{distribution}"),
    "backup": ("{folder}/copy",),
}
SEEN = ("health", "failures", "last_")  # columns of `enrollment` that any question to a vendor moves
TOLD = {"backup"}  # changes nothing, and is told all the same
OF_THE_SYSTEM = {
    "audit export": {"signing_key"},
    "readings recheck": {"store_state"},
}  # made when first needed; its place
ALL = {**RUNS, **OTHERS}


def held(world: World) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Hashes of what people decided, by table; and the audit's acts with who did them."""
    with closing(sqlite3.connect(sqlite_path(parsed_url(world.settings.database_url)))) as connection:
        rows = {table: hashlib.sha256(repr(_decided(connection, table)).encode()).hexdigest() for table in DECIDED}
        return rows, list(connection.execute("SELECT action, actor FROM audit ORDER BY rowid"))


def _decided(connection: sqlite3.Connection, table: str) -> list[dict[str, object]]:
    found = connection.execute(f'SELECT * FROM "{table}"')  # noqa: S608
    names = [column[0] for column in found.description]
    kept = [name for name in names if table != "enrollment" or not name.startswith(SEEN)]
    return [{name: row[names.index(name)] for name in kept} for row in found]


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new data key or pepper is in use at once."""
    for module in (vault, data_keys, peppers):
        monkeypatch.setattr(module, "KNOWN_AFTER_S", -2)


@pytest.mark.parametrize("path", ALL)
def test_what_a_command_changes_is_in_the_audit(world: World, tmp_path: Path, path: str) -> None:
    world.ids["folder"] = str(tmp_path)
    world.ids["distribution"] = world.vendors.registry().brought["sunny"]
    if "{client}" in ALL[path]:
        world.ids["client"] = world.json("clients", "create", "one", "--account", world.ids["account"])[0]["clientID"]
    before, known = held(world)
    world(*path.split(), *ALL[path], given=GIVEN.get(path))
    after, noted = held(world)
    new = noted[len(known) :]
    changed = {table for table in after if after[table] != before[table]} - OF_THE_SYSTEM.get(path, set())
    if changed or path in TOLD:
        assert "command line" in {actor for _, actor in new}, (changed, new)

    async def proof() -> audit_proof.Proof:
        async with world.open() as hub:
            return await audit_proof.verify(hub)

    assert asyncio.run(proof()).findings == []
