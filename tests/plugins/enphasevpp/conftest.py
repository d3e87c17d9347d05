"""The simulated Grid Services with its plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from enphase_stands import GridServicesStand, grid_services_stand


@pytest.fixture
def open_stand() -> Callable[..., AbstractAsyncContextManager[GridServicesStand]]:
    return grid_services_stand


@pytest.fixture
async def stand() -> AsyncIterator[GridServicesStand]:
    async with grid_services_stand() as opened:
        yield opened
