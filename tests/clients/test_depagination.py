"""10 000 sites walked page by page while 1 000 come and go: those that stay are told once, and none is told twice.

By Derapi's own client, a generated one, and, where no toolbox is, plain HTTP.
"""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.fakes import Tenant
from clients.conftest import generated
from joinder.clock import now
from joinder.ids import new_id
from joinder.runtime.hub import Hub
from joinder.store.tables import Enrollment
from joinder.store.types import Upsert
from served import output_of, served
from toolboxes import DERAPI, GENERATOR, python_with

SITES, CHANGES, PAGE = 10_000, 1_000, 50
JOB = Path(__file__).with_name("pages_job.py")
COLUMNS = ("account_id", "enrollment_id", "vendor", "vendor_id", "name", "fetched_at")
Walk = Callable[[str, str], Awaitable[list[str]]]
pytestmark = [pytest.mark.proof, pytest.mark.timeout(600)]


class Fleet:
    """Sites that come and go at each question for a page.

    `ever`: all that there were; `stayed`: those that were there from beginning to end.
    """

    def __init__(self, hub: Hub, account_id: str) -> None:
        self._hub, self._account_id, self._enrollment_id = hub, account_id, new_id("enrl")
        self._dice = random.Random(18)  # noqa: S311 - the same at every run
        self.ever, self.stayed, self.changes = set[str](), set[str](), 0

    async def fill(self) -> None:
        async with self._hub.store.write() as session:
            session.add(
                Enrollment(
                    id=self._enrollment_id,
                    account_id=self._account_id,
                    vendor="sunny",
                    health="ok",
                    health_since=now(),
                    created_at=now(),
                )
            )
        await self._hub.store.apply(self._arrival(SITES))
        self.stayed |= self.ever

    async def change(self) -> None:
        """Lets some go, by either way, and as many come."""
        left = min(CHANGES - self.changes, CHANGES * PAGE // SITES + 1)
        going = self._dice.sample(sorted(self.stayed), left // 2)
        ways = ("UPDATE site SET gone_at = 1 WHERE id = :id", "DELETE FROM site WHERE id = :id")
        writes = [(ways[index % 2], {"id": site_id}) for index, site_id in enumerate(going)]
        await self._hub.store.apply(self._arrival(left - len(going)), *writes)
        self.stayed -= set(going)
        self.changes += left

    def _arrival(self, count: int) -> Upsert:
        ids = [new_id("site") for _ in range(count)]
        self.ever |= set(ids)
        rows = [(one, self._account_id, self._enrollment_id, "sunny", one, "Home", now()) for one in ids]
        return Upsert("site", ("id",), COLUMNS, rows)


def changing(app: Litestar, fleet: Fleet) -> Any:
    """The application; before it answers a page of sites, sites come and go."""

    async def asked(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/sites" and fleet.changes < CHANGES:
            await fleet.change()
        await app(scope, receive, send)

    return asked


async def by_http(origin: str, token: str) -> list[str]:
    ids, query = list[str](), dict[str, Any](pageSize=PAGE)
    async with httpx.AsyncClient(base_url=origin, headers={"authorization": f"Bearer {token}"}) as client:
        while "pageToken" not in query or query["pageToken"] is not None:
            page = (await client.get("/sites", params=query)).json()
            ids += [site["id"] for site in page["sites"]]
            query["pageToken"] = page.get("nextPageToken")
    return ids


def by_derapi(_: Path, __: Path) -> Walk:
    python = python_with(DERAPI)

    async def walk(origin: str, token: str) -> list[str]:
        found: list[str] = json.loads(await output_of(python, JOB, "derapi", origin, token))
        return found

    return walk


def by_generated(document: Path, folder: Path) -> Walk:
    python = python_with(GENERATOR)

    async def walk(origin: str, token: str) -> list[str]:
        path = await generated(python, document, folder)
        found: list[str] = json.loads(await output_of(python, JOB, "joinder_generated", origin, token, env=path))
        return found

    return walk


@pytest.mark.parametrize("client", [lambda *_: by_http, by_derapi, by_generated], ids=["http", "derapi", "generated"])
async def test_what_stays_is_told_once_and_nothing_twice(
    hub: Hub, app: Litestar, tenant: Tenant, document: Path, tmp_path: Path, client: Callable[[Path, Path], Walk]
) -> None:
    walk = client(document, tmp_path)
    fleet = Fleet(hub, tenant.account_id)
    await fleet.fill()
    token = tenant.api.headers["authorization"].removeprefix("Bearer ")
    async with served(changing(app, fleet)) as origin:
        told = await walk(origin, token)
    assert fleet.changes == CHANGES
    assert len(told) == len(set(told))
    assert set(told) <= fleet.ever
    assert fleet.stayed - set(told) == set()
    assert len(fleet.stayed) == SITES - CHANGES // 2
