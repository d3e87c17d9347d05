"""Plugins come, go and follow one another: whole servers and the real command line, on a store with an owner's grant.

Claimed by another distribution, adopted by it, migrated to a newer version, uninstalled, downgraded: one test each.

What each needs is said, nothing of the owner's consent is spent meanwhile, and it goes on where it was.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from e2e.conftest import free_port
from e2e.serving import serving
from joinder.demo.processes import environment
from joinder.grants import Callback
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate import Simulator
from joinder.simulate.run import reroute_of, running
from joinder.store.key_file import create_key_file
from joinder.templates import render
from support import days_ago, unloaded

REDIRECT = "https://here.example/join/acme/auth-granted"
DAY = {"start": f"{days_ago(3)}T00:00:00Z", "end": f"{days_ago(2)}T00:00:00Z", "summaryLevel": "15mins"}
SECOND = "    grant_version=2,\n    migrate=migrated,\n    contract="
MOVES = """
def migrated(secrets, facts, before):
    return secrets, {**facts, "first_stored_as": str(before)}


VENDOR ="""
FAILS = """
def migrated(secrets, facts, before):
    raise KeyError(secrets["refresh_token"])


VENDOR ="""
OWN, OTHER = "joinder-acme", "aaa-acme"  # the other's name comes first in any order
pytestmark = pytest.mark.timeout(600)


@dataclass
class Installed:
    """A folder that a process finds distributions in, and what lies there."""

    folder: Path

    def put(self, version: str, grant_version: int = 1, *, distribution: str = OWN, migration: str = MOVES) -> None:
        """Installs that version of a distribution that brings acme, in place of another version of it."""
        self.take_away(distribution)
        package = distribution.replace("-", "_")
        rendered = self.folder.parent / "rendered"
        if not rendered.exists():
            render("acme", "Acme", rendered)
        shutil.copytree(rendered / "src/joinder_acme", self.folder / package)
        for path in (self.folder / package).glob("*.py"):
            path.write_text(path.read_text().replace("joinder_acme", package))
        if grant_version == 2:
            described = self.folder / package / "__init__.py"
            text = described.read_text().replace("    contract=", SECOND, 1).replace("\nVENDOR =", migration, 1)
            described.write_text(text)
        about = self.folder / f"{package}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (about / "entry_points.txt").write_text(f"[joinder.vendors]\nacme = {package}\n")

    def take_away(self, distribution: str = OWN) -> None:
        package = distribution.replace("-", "_")
        for name in (package, f"{package}.dist-info"):
            shutil.rmtree(self.folder / name, ignore_errors=True)


@dataclass(frozen=True)
class Asked:
    """What a server answered: status and body."""

    renewed: int
    renewal: dict[str, Any]
    read: int
    rows: dict[str, Any]

    @property
    def refresh_count(self) -> int:
        found: int = self.renewal["health"]["lineage"]["refreshCount"]
        return found


@dataclass
class World:
    """A simulated vendor, a store with one owner's grant, and a client of the REST API."""

    settings: Settings
    simulator: Simulator
    plugin: Installed
    client: accounts.NewClient
    enrollment_id: str
    log: Path

    @property
    def counts(self) -> dict[str, int]:
        counts: dict[str, int] = self.simulator.app.state.cloud.tokens.counts()  # type: ignore[attr-defined]
        return counts

    async def asked(self) -> Asked:
        """Starts a server, asks it for a renewal and for a day of the site, and ends it."""
        async with self._served() as client:
            renewed = await client.post(f"/enrollments/{self.enrollment_id}/refresh")
            path = f"/sites/{(await self._enrollment(client))['sites'][0]['id']}/solar-intervals"
            rows = await client.get(path, params=DAY, timeout=60)
        return Asked(renewed.status_code, renewed.json(), rows.status_code, rows.json())

    async def well(self) -> None:
        """Starts a server, and ends it when the enrollment is well."""
        async with self._served() as client:
            while (await self._enrollment(client))["health"]["state"] != "ok":
                await asyncio.sleep(0.1)

    @asynccontextmanager
    async def _served(self) -> AsyncIterator[httpx.AsyncClient]:
        async with serving(self.settings, self.log), httpx.AsyncClient(base_url=self.settings.public_url) as client:
            grant = {"grant_type": "client_credentials"}
            told = await client.post(
                "/oauth2/token", data=grant, auth=(self.client.client_id, self.client.client_secret)
            )
            client.headers["authorization"] = f"Bearer {told.json()['access_token']}"
            yield client

    async def _enrollment(self, client: httpx.AsyncClient) -> dict[str, Any]:
        told: dict[str, Any] = (await client.get(f"/enrollments/{self.enrollment_id}")).json()
        return told

    def command(self, *arguments: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("JOINDER_")}
        done = subprocess.run(
            [sys.executable, "-m", "joinder", *arguments],
            env={**kept, **environment(self.settings)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout + done.stderr


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installed]:
    """Found by this process and by those it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))
    with unloaded("joinder_acme"):
        yield Installed(folder)


@pytest.fixture
async def world(plugin: Installed, tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """An owner joined while the version was installed that the test names."""
    plugin.put(*request.param)
    importlib.invalidate_caches()
    simulator: Simulator = importlib.import_module("joinder_acme.simulator").simulator()
    create_key_file(tmp_path / "key")
    async with running([simulator]) as origins:
        port = free_port()
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/joinder.sqlite3",
            key_file=str(tmp_path / "key"),
            public_url=f"http://127.0.0.1:{port}",
            port=port,
            reroute=reroute_of([simulator], origins),
        )
        async with open_hub(settings) as hub:
            client, enrollment_id = await joined(hub, simulator)
        yield World(settings, simulator, plugin, client, enrollment_id, tmp_path)


async def joined(hub: Hub, simulator: Simulator) -> tuple[accounts.NewClient, str]:
    account = await accounts.create_account(hub, "test")
    client = await accounts.create_client(hub, account.id, "test")
    app = await vendor_credentials.create(
        hub, account.id, "test", name=None, credentials=dict(simulator.app_credentials or {})
    )
    async with hub.store.read() as session:
        await hub.vault.unlock(session, account.id)
        row = await session.get(vendor_credentials.VendorCredentials, app.id)
    assert row is not None
    ctx = vendor_context(hub, "acme", open_app(hub, row))
    tokens: Any = simulator.app.state.cloud.tokens  # type: ignore[attr-defined]
    code = tokens.new_code(ctx.require_app()["clientID"], "grants", REDIRECT)
    callback = Callback(values=Secrets({"code": code}), redirect_uri=REDIRECT)
    consent = await hub.registry.handle_callback("acme", ctx, callback)
    consent = replace(consent, grant=replace(consent.grant, site_ids=("site-1",)))
    async with hub.store.write() as session:
        enrollment = await stored_consents.store(
            hub, session, account.id, consent, Origin(vendor="acme", credentials_id=app.id)
        )
        return client, enrollment.id


@pytest.mark.parametrize("world", [("0.1.0",)], indirect=True)
async def test_uninstalled_it_is_named_and_installed_again_it_goes_on(world: World) -> None:
    before = await world.asked()
    assert (before.renewed, before.read) == (200, 200)
    world.plugin.take_away()
    spent, without = world.counts, await world.asked()
    assert (without.renewed, without.renewal["actor"]) == (502, "operator")
    assert without.renewal["type"].endswith("vendor-not-installed")
    assert (without.read, without.rows["stale"], without.rows["intervals"]) == (200, True, before.rows["intervals"])
    assert "gone: pip install joinder-acme" in world.command("vendors")
    assert "install the plugin of acme" in world.command("doctor")
    assert world.counts == spent
    world.plugin.put("0.1.0")
    again = await world.asked()
    assert (again.renewed, again.refresh_count) == (200, 2)
    assert (again.rows["intervals"], "stale" in again.rows) == (before.rows["intervals"], False)


@pytest.mark.parametrize("world", [("0.2.0", 2)], indirect=True)
async def test_an_older_version_waits_for_the_newer_one_that_stored_the_grant(world: World) -> None:
    before = await world.asked()
    assert (before.renewed, before.read) == (200, 200)
    world.plugin.put("0.1.0")
    spent, older = world.counts, await world.asked()
    assert (older.renewed, older.renewal["actor"]) == (502, "operator")
    assert "stored by a newer version of the plugin for acme" in older.renewal["detail"]
    assert (older.read, older.rows["intervals"]) == (200, before.rows["intervals"])
    assert world.counts == spent
    world.plugin.put("0.2.0", 2)
    newer = await world.asked()
    assert (newer.renewed, newer.refresh_count) == (200, 2)
    await world.well()


@pytest.mark.parametrize("world", [("0.1.0",)], indirect=True)
async def test_another_distribution_under_the_name_is_handed_nothing(world: World) -> None:
    world.plugin.put("0.1.0", distribution=OTHER)
    both = await world.asked()
    assert (both.renewed, both.read, both.refresh_count) == (200, 200, 1)
    told = world.command("vendors", "list", "--json")
    assert f"acme belongs to {OWN}" in told
    assert f"joinder vendors adopt acme {OTHER}" in told
    world.plugin.take_away()
    spent, alone = world.counts, await world.asked()
    assert (alone.renewed, alone.renewal["actor"]) == (502, "operator")
    assert (alone.read, alone.rows["stale"], alone.rows["intervals"]) == (200, True, both.rows["intervals"])
    assert world.counts == spent


@pytest.mark.parametrize("world", [("0.1.0",)], indirect=True)
async def test_who_adopts_the_vendor_goes_on_with_its_grants_and_the_former_one_no_longer(world: World) -> None:
    world.plugin.take_away()
    world.plugin.put("0.1.0", distribution=OTHER)
    assert f"acme belongs to {OTHER} now, before it to {OWN}" in world.command("vendors", "adopt", "acme", OTHER)
    adopted = await world.asked()
    assert (adopted.renewed, adopted.read, adopted.refresh_count) == (200, 200, 1)
    assert adopted.rows["intervals"]
    world.plugin.put("0.1.0")
    assert f"acme belongs to {OTHER}" in world.command("vendors", "list", "--json")
    both = await world.asked()
    assert (both.renewed, both.refresh_count, both.rows["intervals"]) == (200, 2, adopted.rows["intervals"])


@pytest.mark.parametrize("world", [("0.1.0",)], indirect=True)
async def test_a_newer_version_moves_the_grant_it_finds_and_one_that_cannot_loses_nothing(world: World) -> None:
    world.plugin.put("0.2.0", 2, migration=FAILS)
    spent, failing = world.counts, await world.asked()
    assert (failing.renewed, failing.renewal["type"].rpartition("#")[2]) == (500, "plugin-bug")
    assert "failed to migrate a grant of version 1" in failing.renewal["detail"]
    assert world.counts == spent
    world.plugin.put("0.2.1", 2)
    moved = await world.asked()
    assert (moved.renewed, moved.read, moved.refresh_count) == (200, 200, 1)
    world.plugin.put("0.1.0")  # what is stored now is the newer version's
    assert "stored by a newer version" in (await world.asked()).renewal["detail"]
