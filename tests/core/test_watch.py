"""A plugin that blocks the loop is found while it does, and is not called again."""

from __future__ import annotations

import asyncio
from importlib.metadata import EntryPoint
from threading import Event

import pytest

from core.conftest import InstallPlugin
from joinder.errors import PluginBug
from joinder.grants import Grant
from joinder.http import HttpFactory
from joinder.redact import Secrets
from joinder.vendors.registry import Registry
from joinder.vendors.watch import watching
from support import make_context

BLOCKING = """
from threading import Event

@hookimpl
async def fetch_site(ctx, grant, site_id):
    Event().wait(1.2)
    return Site(vendor_id=site_id, name="slow")
"""


async def test_the_plugin_on_the_stack_is_disabled_and_no_other(install_plugin: InstallPlugin) -> None:
    entries: list[EntryPoint] = [install_plugin("blocker", more=BLOCKING), install_plugin("good")]
    registry = Registry.load(found=entries)
    ctx = make_context(registry.vendor("good"), HttpFactory())
    grant = Grant(secrets=Secrets({}))
    async with watching(registry.note_blocked, blocked_s=0.5):
        await asyncio.sleep(0.3)
        await registry.fetch_site("blocker", ctx, grant, "1")
        with pytest.raises(PluginBug, match="blocker blocked the whole server"):
            await registry.fetch_site("blocker", ctx, grant, "1")
        assert (await registry.fetch_site("good", ctx, grant, "1")).name == "good"


async def test_a_pause_of_our_own_blames_nobody(install_plugin: InstallPlugin) -> None:
    registry = Registry.load(found=[install_plugin("good")])
    seen: list[set[str]] = []

    def noted(packages: set[str], seconds: float) -> None:
        seen.append(packages)
        registry.note_blocked(packages, seconds)

    async with watching(noted, blocked_s=0.3):
        await asyncio.sleep(0.3)
        Event().wait(1.0)  # the loop is meant to stand still
        await asyncio.sleep(0.3)
    assert len(seen) == 1
    assert registry._blockers == {}
