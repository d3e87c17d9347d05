"""What tests of several folders share."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from joinder.grants import AppCredentials, Context
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.simulate import Simulator
from joinder.simulate.run import reroute_of, running
from joinder.vendor import Vendor, endpoint_hosts
from joinder.vendors.registry import Registry
from joinder.vendors.token_cache import TokenCache

SHARED = Path(__file__).parents[2] / "shared"


def shared(path: str) -> Path:
    """A file of the evidence folder beside the checkout; the test skips where it is absent."""
    found = SHARED / path
    if not found.exists():
        pytest.skip(f"{found} is not on this machine")
    return found


def days_ago(count: int) -> str:
    """A day as commands take it, which lies behind on whatever day the tests run."""
    return f"{datetime.now(UTC).date() - timedelta(days=count)}"


@contextmanager
def unloaded(package: str) -> Iterator[None]:
    """Within, the package is imported anew; after it, what was loaded before is there again."""
    kept = _modules_of(package)
    for name in kept:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in _modules_of(package):
            del sys.modules[name]
        sys.modules.update(kept)


def _modules_of(package: str) -> dict[str, ModuleType]:
    return {name: module for name, module in sys.modules.items() if name.partition(".")[0] == package}


def make_context(
    vendor: Vendor,
    factory: HttpFactory,
    *,
    app: Mapping[str, str] | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    options: Mapping[str, str] | None = None,
) -> Context:
    """A context as core makes it; `app` is a `credentials` object of the API (vendor, type and fields)."""
    fields = {name: value for name, value in (app or {}).items() if name not in ("vendor", "type")}
    credentials = AppCredentials(type=app["type"], secrets=Secrets(fields)) if app else None
    return Context(
        http=factory.vendor(vendor.hosts + endpoint_hosts(vendor, credentials)),
        device=factory.device,
        app=credentials,
        app_token=TokenCache().of(vendor.name, credentials),
        options=options or {},
        now=now,
        log=logging.getLogger("joinder.test"),
    )


@asynccontextmanager
async def simulated(plugin: object, simulator: Simulator) -> AsyncIterator[tuple[Registry, HttpFactory, str]]:
    """A registry of this one plugin, HTTP that reaches its running simulator, and the simulator's base URL."""
    registry = Registry()
    assert registry.add(simulator.vendor, plugin).problem is None
    async with running([simulator]) as origins:
        factory = HttpFactory(reroute=reroute_of([simulator], origins))
        yield registry, factory, origins[simulator.vendor]
        await factory.close()
