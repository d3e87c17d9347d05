"""Whether the database takes a write: one question at a time, and everybody who waits hears the answer to theirs."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from joinder.store import readiness
from joinder.store.readiness import Readiness
from joinder.store.types import Store


async def test_whoever_asks_anew_takes_nobodys_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine a second passes between an answer and the moment those who wait for it are woken."""
    passed = 0.0
    gates = [asyncio.Event() for _ in range(3)]
    begun: list[asyncio.Event] = []

    async def apply(_: object) -> None:
        begun.append(gates[len(begun)])
        await begun[-1].wait()

    monkeypatch.setattr(readiness, "monotonic", lambda: passed)
    store: Any = SimpleNamespace(apply=apply, pulse=SimpleNamespace(trouble=None), outage=None)
    ready = Readiness(cast("Store", store))
    first = asyncio.create_task(ready.proved())
    while not begun:
        await asyncio.sleep(0)
    wait = asyncio.wait

    async def slowly(*args: Any, **options: Any) -> Any:
        """Wakes late, when somebody else has asked anew."""
        nonlocal passed
        found = await wait(*args, **options)
        if len(begun) == 1:
            passed = readiness.EVERY_S
            monkeypatch.setattr(asyncio, "wait", wait)
            second.append(asyncio.create_task(ready.proved()))
            while len(begun) < 2:
                await asyncio.sleep(0)
        return found

    second: list[asyncio.Task[float]] = []
    monkeypatch.setattr(asyncio, "wait", slowly)
    late = asyncio.create_task(ready.proved())
    await asyncio.sleep(0)
    gates[0].set()
    assert await first == 0.0
    assert await late == 0.0
    gates[1].set()
    assert await second[0] == readiness.EVERY_S
