"""R6: whoever stops waiting, and whenever: a rotation that has begun is saved.

An exchange is stepped through: at its first, second, … await its caller is cancelled, times out, or its hub closes.
Afterwards the token in the store is the one that works at the vendor, which forgives nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from e2e.conftest import World, world
from e2e.serving import serving
from joinder.errors import TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.grants import refresh
from joinder.services.records import opened_grant
from joinder.settings import Settings
from reliability.processes import template_registry
from reliability.rotations import make_due, seed
from reliability.vendor_process import VendorProcess, vendor_process

__all__ = ["world"]
AT_LEAST = 20
Caller = Callable[[Hub, str], Awaitable[None]]


class Steps:
    """Counts the awaits of one exchange, in its task and in the vendor call's, and acts at one of them."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.at, self.count, self._act = at, 0, act

    async def through(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return await self._stepped(coroutine)

    @types.coroutine
    def _stepped(self, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731
        while True:
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            self.count += 1
            if self.count == self.at:
                self._act()
            try:
                yield waits_for
                step = lambda: coroutine.send(None)  # noqa: E731
            except BaseException as error:
                step = lambda error=error: coroutine.throw(error)  # type: ignore[misc]  # noqa: E731

    def watch(self, monkeypatch: pytest.MonkeyPatch, hub: Hub) -> None:
        real, call = refresh._refresh, type(hub.registry).refresh
        monkeypatch.setattr(refresh, "_refresh", lambda *args: self.through(real(*args)))
        monkeypatch.setattr(
            hub.registry, "refresh", lambda *args: self.through(call(hub.registry, *args)), raising=False
        )


@pytest.fixture(scope="module")
def vendor() -> Iterator[VendorProcess]:
    with vendor_process() as made:
        yield made


@pytest.fixture
def settings(fresh_database: Settings, vendor: VendorProcess) -> Settings:
    vendor.rules(trickle_s=0.002, pieces=16)  # more to wait for
    return structs.replace(fresh_database, reroute=vendor.reroute, ballast_mib=0)


async def asked(hub: Hub, enrollment_id: str) -> None:
    await refresh.refresh(hub, enrollment_id)


async def by_a_worker(hub: Hub, enrollment_id: str) -> None:
    await make_due(hub, [enrollment_id])
    await refresh.refresh_due(hub, enrollment_id)


async def number_in_store(hub: Hub, enrollment_id: str) -> int:
    token = (await opened_grant.open_for_call(hub, enrollment_id)).grant.secrets["refresh_token"]
    return int(token.partition("#")[2])


async def cancelled_at(step: int, hub: Hub, caller: Caller, enrollment_id: str) -> Steps:
    task = asyncio.ensure_future(caller(hub, enrollment_id))
    steps = Steps(step, task.cancel)
    with pytest.MonkeyPatch.context() as patch:
        steps.watch(patch, hub)
        await asyncio.wait({task})
        await hub.drain()
    return steps


async def timed_out_at(step: int, hub: Hub, caller: Caller, enrollment_id: str) -> Steps:
    scope = asyncio.timeout(None)
    steps = Steps(step, lambda: scope.reschedule(0))
    with pytest.MonkeyPatch.context() as patch:
        steps.watch(patch, hub)
        with contextlib.suppress(TimeoutError):
            async with scope:
                await caller(hub, enrollment_id)
        await hub.drain()
    return steps


@pytest.mark.parametrize("caller", [asked, by_a_worker])
@pytest.mark.parametrize("stopped_at", [cancelled_at, timed_out_at])
async def test_a_caller_stops_at_every_await(
    settings: Settings,
    vendor: VendorProcess,
    caller: Caller,
    stopped_at: Callable[[int, Hub, Caller, str], Awaitable[Steps]],
) -> None:
    owner = f"{settings.database_url.partition(':')[0]} {caller.__name__} {stopped_at.__name__}"
    async with open_hub(settings, template_registry()) as hub:
        (enrollment_id,) = await seed(hub, [owner])
        step, reached = 1, True
        while reached:
            steps = await stopped_at(step, hub, caller, enrollment_id)
            reached, step = steps.count >= step, step + 1
            state = vendor.state()
            assert state["by_owner"][owner] == step - 1, "each exchange took place"
            assert await number_in_store(hub, enrollment_id) == step
    assert step > AT_LEAST
    assert (state["reuse_seen"], state["families_revoked"]) == (0, 0)


async def test_a_hub_closes_at_every_await(settings: Settings, vendor: VendorProcess) -> None:
    owner = f"{settings.database_url.partition(':')[0]} closing"
    registry = template_registry()
    async with open_hub(settings, registry) as hub:
        (enrollment_id,) = await seed(hub, [owner])
        for step in range(1, AT_LEAST + 1):
            async with open_hub(settings, registry) as closing:
                reached = asyncio.Event()
                steps = Steps(step, reached.set)
                with pytest.MonkeyPatch.context() as patch:
                    steps.watch(patch, closing)
                    task = asyncio.create_task(asked(closing, enrollment_id))
                    await reached.wait()
            assert await number_in_store(hub, enrollment_id) == step + 1
            with contextlib.suppress(TransientError):
                await task
    assert vendor.state()["by_owner"][owner] == AT_LEAST
    assert vendor.state()["reuse_seen"] == 0


@pytest.mark.timeout(180)
async def test_clients_hang_up(world: World, tmp_path: Path) -> None:
    """Each a little later than the one before, all through the exchange."""
    ids = await world.enroll(AT_LEAST)
    url = world.settings.public_url
    async with httpx.AsyncClient() as client:
        slow = {"fault": "slow", "path": "/oauth/token", "seconds": 0.3}
        (await client.post(f"{world.vendor_url}/_faults", json=slow)).raise_for_status()
    async with serving(world.settings, tmp_path) as server:
        headers = {"authorization": f"Bearer {await world.token(url)}"}

        async def hang_up(enrollment_id: str, after_s: float) -> None:
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=after_s) as client:
                with contextlib.suppress(httpx.TransportError):
                    await client.post(f"/enrollments/{enrollment_id}/refresh")

        await asyncio.gather(*(hang_up(one, 0.1 + 0.05 * number) for number, one in enumerate(ids)))
        assert set((await world.refresh_all(url, ids)).values()) == {200}
        assert await server.stop() == 0
    state = world.cloud.state()
    assert (state["reuse_seen"], state["families_revoked"]) == (0, 0)
    assert state["refreshes"] >= AT_LEAST
