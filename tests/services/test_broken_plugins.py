"""A plugin broken in each of ten ways: the other vendor is served as ever, and health says what is wrong."""

from __future__ import annotations

import textwrap
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from joinder import Callback, Secrets
from joinder.errors import VendorError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.calls.vendor_context import vendor_context
from joinder.services.join import stored_consents
from joinder.services.join.stored_consents import Origin
from joinder.services.readings import poll
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.key_file import create_key_file
from joinder.store.tables import Enrollment
from joinder.vendors import hook_answers
from joinder.vendors.registry import ENTRY_POINT_GROUP, Registry
from joinder.vendors.watch import watching

SECRET = "canary-of-the-owner-5521"
GOOD = """
import asyncio, threading
from datetime import timedelta
from joinder import *

VENDOR = Vendor(
    name="NAME", label="NAME", docs_url="https://docs.example", flow=Flow.FORM, hosts=("api.vendor.example",),
    limits=Limits(poll_every=timedelta(hours=1)), capabilities={},
)

@hookimpl
def describe_vendor():
    return VENDOR

@hookimpl
async def handle_callback(ctx, callback):
    return Consent(grant=Grant(secrets=Secrets(dict(callback.values)), facts={"a": "b"}, site_ids=("NAME-site",)))

@hookimpl
async def fetch_site(ctx, grant, site_id):
    return Site(vendor_id=site_id, name="Home of NAME")

@hookimpl
async def fetch_readings(ctx, grant, query):
    return Readings()
"""
READS = "@hookimpl\nasync def fetch_readings(ctx, grant, query):\n    "
BROKEN = {  # way → (what is appended to the good plugin, what health says)
    "import error": ("import no_such_module_anywhere", "import failed"),
    "wrong name": (
        'VENDOR = VENDOR.__class__(**{**{f: getattr(VENDOR, f) for f in VENDOR.__struct_fields__}, "name": "other"})',
        "calls itself other",
    ),
    "raises": (READS + "raise KeyError('x')", "failed in fetch_readings"),
    "returns None": (READS + "return None", "NoneType"),
    "returns the wrong type": (READS + "return {'intervals': []}", "answered dict"),
    "hangs": (READS + "await asyncio.sleep(3600)", "did not finish fetch_readings"),
    "leaks a secret": (READS + "raise ValueError(grant.secrets['token'])", "failed in fetch_readings"),
    "calls an undeclared host": (READS + "await ctx.http.request('GET', 'https://elsewhere.example/')", "refused"),
    "blocks the loop": (READS + "threading.Event().wait(1.5)\n    return Readings()", "blocked the whole server"),
    "mutates its grant": (READS + "grant.facts['a'] = 'c'\n    return Readings()", "failed in fetch_readings"),
}


def written(folder: Path, name: str, more: str = "") -> EntryPoint:
    module = f"plugin_{name}_{abs(hash(str(folder)))}"
    (folder / f"{module}.py").write_text(GOOD.replace("NAME", name) + textwrap.dedent(more) + "\n")
    return EntryPoint(name, module, ENTRY_POINT_GROUP)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(hook_answers, "HOOK_DEADLINE", 0.3)
    create_key_file(tmp_path / "key")
    return tmp_path


def settings(folder: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{folder}/joinder.sqlite3", key_file=str(folder / "key"))


async def enrolled(hub: Hub, vendor: str, account_id: str) -> str:
    callback = Callback(values=Secrets({"token": SECRET}))
    consent = await hub.registry.handle_callback(vendor, vendor_context(hub, vendor, None), callback)
    async with hub.store.write() as session:
        return (await stored_consents.store(hub, session, account_id, consent, Origin(vendor=vendor))).id


async def health_after_polls(hub: Hub, enrollment_id: str) -> tuple[str, str]:
    """Four times: trouble that passes is not told, and the first time of blocking is an answer."""
    told = ""
    for _ in range(4):
        try:
            await poll.poll(hub, enrollment_id)
        except VendorError as error:
            told += f"{error!r}{error}{error.detail}"
    assert SECRET not in told
    async with hub.store.read() as session:
        row = await session.get(Enrollment, enrollment_id)
        assert row is not None
        return row.health, row.health_reason or ""


@pytest.mark.parametrize("way", BROKEN)
async def test_the_others_are_served_and_health_says_what_is_wrong(
    way: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    more, reason = BROKEN[way]
    good, sound = written(folder, "good"), written(folder, "broken")
    async with open_hub(settings(folder), Registry.load(found=[good, sound])) as hub:
        account_id = (await accounts.create_account(hub, "test")).id
        mine, other = await enrolled(hub, "broken", account_id), await enrolled(hub, "good", account_id)
    (folder / "later").mkdir()
    broken = written(folder / "later", "broken", more)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder / "later")
        registry = Registry.load(found=[good, broken])
        async with open_hub(settings(folder), registry) as hub, watching(registry.note_blocked, blocked_s=0.7):
            assert await health_after_polls(hub, other) == ("ok", "")
            state, said = await health_after_polls(hub, mine)
            assert await health_after_polls(hub, other) == ("ok", "")
    assert state == "degraded"
    assert reason in said
    assert SECRET not in caplog.text + said
