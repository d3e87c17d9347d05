"""The simulated SolisCloud and the plugin behind a real Registry, as fixtures."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

import solis_stand
from solis_stand import Open, Stand


@pytest.fixture
def open_stand() -> Open:
    return solis_stand.open_stand


@pytest.fixture
async def stand() -> AsyncIterator[Stand]:
    async with solis_stand.open_stand() as opened:
        yield opened
