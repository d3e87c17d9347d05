"""The simulated Monitoring API with its plugin."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from enphase_stands import MonitoringStand, monitoring_stand


@pytest.fixture
def open_stand() -> Callable[..., AbstractAsyncContextManager[MonitoringStand]]:
    return monitoring_stand


@pytest.fixture
async def stand() -> AsyncIterator[MonitoringStand]:
    async with monitoring_stand() as opened:
        yield opened
