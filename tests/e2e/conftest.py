from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from joinder.grants import Callback
from joinder.redact import Secrets
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.vendor_context import open_app, vendor_context
from joinder.services.join import stored_consents, vendor_credentials
from joinder.services.join.stored_consents import Origin
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.simulate.run import reroute_of, running
from joinder.store.key_file import create_key_file
from joinder_enphase.simulator import Cloud, simulator


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@dataclass
class World:
    """One simulated vendor, an empty store, and an account with a client and vendor credentials."""

    settings: Settings
    hub: Hub
    cloud: Cloud
    vendor_url: str
    account_id: str
    credentials_id: str
    client: accounts.NewClient

    async def enroll(self, count: int) -> list[str]:
        """That many owners, each with a token family of its own at the vendor."""
        async with self.hub.store.read() as session:
            await self.hub.vault.unlock(session, self.account_id)
            row = await session.get(vendor_credentials.VendorCredentials, self.credentials_id)
        assert row is not None
        ctx = vendor_context(self.hub, "enphase", open_app(self.hub, row))
        ids = []
        for number in range(count):
            code = self.cloud.tokens.new_code(ctx.require_app()["clientID"], "grants", "https://here.example/cb")
            callback = Callback(values=Secrets({"code": code}), redirect_uri="https://here.example/cb")
            consent = await self.hub.registry.handle_callback("enphase", ctx, callback)
            grant = replace(consent.grant, site_ids=(f"{number}",))
            async with self.hub.store.write() as session:
                enrollment = await stored_consents.store(
                    self.hub,
                    session,
                    self.account_id,
                    replace(consent, grant=grant, account_id=f"owner-{number}"),
                    Origin(vendor="enphase", credentials_id=self.credentials_id),
                )
                ids.append(enrollment.id)
        return ids

    async def token(self, url: str) -> str:
        async with httpx.AsyncClient() as client:
            answer = await client.post(
                f"{url}/oauth2/token",
                data={"grant_type": "client_credentials"},
                auth=(self.client.client_id, self.client.client_secret),
            )
        token: str = answer.json()["access_token"]
        return token

    async def refresh_all(self, url: str, ids: list[str], at_once: int = 40) -> dict[str, int]:
        """Enrollment → HTTP status of one POST …/refresh; 0 when the server was gone."""
        slots = asyncio.Semaphore(at_once)
        outcome: dict[str, int] = {}
        headers = {"authorization": f"Bearer {await self.token(url)}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:

            async def one(enrollment_id: str) -> None:
                async with slots:
                    try:
                        outcome[enrollment_id] = (
                            await client.post(f"/enrollments/{enrollment_id}/refresh")
                        ).status_code
                    except httpx.TransportError:
                        outcome[enrollment_id] = 0

            await asyncio.gather(*(one(enrollment_id) for enrollment_id in ids))
        return outcome


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    create_key_file(tmp_path / "key")
    cloud = Cloud()
    simulated = simulator(cloud)
    async with running([simulated]) as origins:
        port = free_port()
        settings = Settings(
            database_url=f"sqlite:///{tmp_path}/joinder.sqlite3",
            key_file=str(tmp_path / "key"),
            public_url=f"http://127.0.0.1:{port}",
            port=port,
            reroute=reroute_of([simulated], origins),
            refresh_deadline_s=2.0,
        )
        async with open_hub(settings) as hub:
            account = await accounts.create_account(hub, "test")
            client = await accounts.create_client(hub, account.id, "test")
            assert simulated.app_credentials is not None
            credentials = await vendor_credentials.create(
                hub, account.id, "test", name=None, credentials=dict(simulated.app_credentials)
            )
            yield World(settings, hub, cloud, origins["enphase"], account.id, credentials.id, client)
