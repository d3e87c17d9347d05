"""Scaffolding of the core tests: plugins as modules on disk, and small servers on loopback."""

from __future__ import annotations

import asyncio
import ssl
import textwrap
from collections.abc import AsyncIterator, Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from joinder.vendors.registry import ENTRY_POINT_GROUP
from misbehaving import Serve, Served

# The same examples in every run, and none fails for being slow on a busy machine.
settings.register_profile(
    "core", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("core")

PLUGIN_HEAD = """
from datetime import timedelta
from joinder import *
from joinder.errors import *

VENDOR = Vendor(
    name="{name}", label="{name}", docs_url="https://docs.example", flow=Flow.FORM,
    limits=Limits(poll_every=timedelta(hours=1)), capabilities={{}},
)

@hookimpl
def describe_vendor():
    return VENDOR

@hookimpl
async def handle_callback(ctx, callback):
    return Consent(grant=Grant(secrets=Secrets({{"who": "{name}"}}), site_ids=("{name}",)))

@hookimpl
async def fetch_site(ctx, grant, site_id):
    return Site(vendor_id=site_id, name="{name}")

@hookimpl
async def fetch_readings(ctx, grant, query):
    return Readings()
"""

InstallPlugin = Callable[..., EntryPoint]


class _Distribution:
    version = "1.2.3"

    def __init__(self, name: str, requires: Sequence[str] = ()) -> None:
        self.name = name
        self.requires = list(requires)


@pytest.fixture
def install_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InstallPlugin:
    """Writes a module on sys.path and answers its entry point. `source` None: a plugin that works, plus `more`."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(
        name: str, source: str | None = None, *, more: str = "", distribution: str = "", requires: Sequence[str] = ()
    ) -> EntryPoint:
        module = f"plugin_{name}_{abs(hash(str(tmp_path)))}_{len(list(tmp_path.iterdir()))}"
        text = PLUGIN_HEAD.format(name=name) if source is None else source
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(text) + textwrap.dedent(more))
        entry = EntryPoint(name, module, ENTRY_POINT_GROUP)
        vars(entry)["dist"] = _Distribution(distribution or f"joinder-{name}", requires)
        return entry

    return install


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    started: list[tuple[asyncio.Server, Served]] = []

    async def start(*script: bytes | str, tls: ssl.SSLContext | None = None) -> Served:
        served = Served(list(script))
        server = await asyncio.start_server(served.handle, "127.0.0.1", 0, ssl=tls)
        served.port = server.sockets[0].getsockname()[1]
        started.append((server, served))
        return served

    yield start
    for server, served in started:
        served.release.set()
        server.close()
        await server.wait_closed()
    await asyncio.sleep(0.01)  # lets handlers close their ends
