"""Rotates the keys of a database again and again, each time killed at another line of ours, and looks what still opens.

Prints how many lines there were. Leaves with a traceback when something does not open.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sqlmodel import select

from joinder.runtime.hub import Hub, open_hub
from joinder.services.admin import keys
from joinder.services.join import vendor_credentials
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store import copies, key_file, vault
from joinder.store.tables import VendorCredentials
from joinder.vendors.registry import Registry
from reliability.forked import Place, in_a_process, place_of
from services.strict_vendor import StrictVendor

TRACED = {module.__file__ for module in (keys, key_file, copies, vault)}
CHANGING = {"rotate", "prepare", "_rewrap_some", "rewrap", "add_key", "_replace", "_write", "make_durable", "sync"}
SECRET = {"clientID": "an-id", "clientSecret": "a-secret"}


def main(url: str, path: str) -> None:
    settings = Settings(database_url=url, key_file=path, ballast_mib=0)
    keys.BATCH = 2
    in_a_process(lambda: _with_hub(settings, _fill))
    reader, writer = os.pipe()
    in_a_process(lambda: _with_hub(settings, lambda hub: _told(hub, writer)))
    os.close(writer)
    places = [place_of(line) for line in os.fdopen(reader).read().splitlines()]
    in_a_process(lambda: _with_hub(settings, _check_and_finish))
    for place in places:
        ended = in_a_process(lambda place=place: _with_hub(settings, lambda hub: _cut(hub, place)), may_die=True)
        assert ended == -signal.SIGKILL, place
        in_a_process(lambda: _with_hub(settings, _check_and_finish))
    print(len(places))


async def _with_hub(settings: Settings, work: Callable[[Hub], Awaitable[None]]) -> None:
    vendor, registry = StrictVendor(), Registry()
    registry.add(vendor.name, vendor)
    async with open_hub(settings, registry) as hub:
        await work(hub)


async def _fill(hub: Hub) -> None:
    for number in range(3):
        account = await accounts.create_account(hub, f"account {number}")
        given = {"vendor": hub.registry.vendors[0].name, "type": "app", **SECRET}
        await vendor_credentials.create(hub, account.id, "test", name=None, credentials=given)


async def _rotate(hub: Hub) -> None:
    async for _ in keys.rotate(hub, "test"):
        pass


async def _told(hub: Hub, writer: int) -> None:
    """Every line that a rotation runs through in what changes something, once."""
    seen: dict[Place, None] = {}
    _trace(lambda place: seen.setdefault(place))
    await _rotate(hub)
    sys.settrace(None)
    with os.fdopen(writer, "w") as file:
        file.writelines(f"{name} {number}\n" for name, number in seen)


async def _cut(hub: Hub, at: Place) -> None:
    _trace(lambda place: os.kill(os.getpid(), signal.SIGKILL) if place == at else None)
    await _rotate(hub)


def _trace(told: Callable[[Place], object]) -> None:
    def line(frame: types.FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in TRACED or frame.f_code.co_name not in CHANGING:
            return None
        if event == "line":
            told((frame.f_code.co_filename, frame.f_lineno))
        return line

    sys.settrace(line)


async def _check_and_finish(hub: Hub) -> None:
    """All opens after the cut, after the next run, and with the old keys gone."""
    await _all_opens(hub)
    await _rotate(hub)
    await _all_opens(hub)
    for use in await keys.uses(hub):
        if not use.first:
            await keys.retire(hub, "test", use.id)
    left = [path.name for path in Path(hub.settings.key_file).parent.glob("key*")]
    assert (len(await keys.uses(hub)), left) == (1, ["key"])


async def _all_opens(hub: Hub) -> None:
    hub.vault._keys.clear()
    async with hub.store.write("data_key") as session:
        await hub.vault.prepare(session)
        rows = list((await session.execute(select(VendorCredentials))).scalars())
    assert len(rows) == 3
    for row in rows:
        shown = await vendor_credentials.get(hub, row.account_id, row.id, "test", reveal=True)
        assert shown.secrets is not None
        assert SECRET.items() <= dict(shown.secrets).items()


main(*sys.argv[1:])
