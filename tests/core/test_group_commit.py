"""Small writes of one process that are committed together: who waits is told, and one that fails fails alone."""

from __future__ import annotations

import asyncio

import pytest

from joinder.runtime.hub import Hub, open_hub
from joinder.settings import Settings
from joinder.store.types import Write
from joinder.trouble import StoreTrouble
from joinder.vendors.registry import Registry

DATABASES = ("sqlite",)
PATIENCE_S = 20.0


def used(app: str, calls: int) -> Write:
    sql = 'INSERT INTO quota (app, span, "window", used) VALUES (:app, :span, 0, :used)'
    return sql, {"app": app, "span": "day", "used": calls}


async def apps(hub: Hub) -> set[str]:
    return {row[0] for row in await hub.store.rows("SELECT app FROM quota", {})}


@pytest.mark.parametrize(
    "impossible", [used("a", 2**70), used("\ud800", 1), ("INSERT INTO quota (app) VALUES (:b)", {})]
)
async def test_a_value_that_cannot_be_held_fails_alone(fresh_database: Settings, impossible: Write) -> None:
    async with open_hub(fresh_database, Registry()) as hub, asyncio.timeout(PATIENCE_S):
        writes = (hub.store.apply(used("before", 1)), hub.store.apply(impossible), hub.store.apply(used("after", 1)))
        outcomes = await asyncio.gather(*writes, return_exceptions=True)
        assert (outcomes[0], outcomes[2]) == ([1], [1])
        assert isinstance(outcomes[1], StoreTrouble)
        assert await apps(hub) == {"before", "after"}


async def test_after_the_end_a_write_is_refused_and_nobody_waits_for_ever(fresh_database: Settings) -> None:
    async with open_hub(fresh_database, Registry()) as hub:
        await hub.store.apply(used("before", 1))
        await hub.store.close()
        async with asyncio.timeout(PATIENCE_S):
            with pytest.raises(StoreTrouble):
                await hub.store.apply(used("late", 1))
