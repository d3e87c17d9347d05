"""What others named, in every command that lists or shows: no order reaches the terminal, no line is forged, and
--json tells the name as it is.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import joinder.commands
from cli.test_json import GIVEN, RUNS
from cli.world import World
from effort import some
from hostile import HOSTILE, fill, unseen
from joinder.commands import answering, running
from joinder.errors import TransientError
from joinder.services.records import accounts

DATABASES = ("sqlite",)
READING = ("list", "show", "tokens", "events", "sites", "attempts", "quota", "actions", "live", "intervals", "link")
MORE: dict[str, tuple[str, ...]] = {
    "accounts list": (),
    "accounts show": ("{account}",),
    "clients list": (),
    "webhooks deliveries": ("{webhook}",),
    "enrollments reconnect": ("{enrollment}", "--qr"),
    "enrollments owner-link": ("{enrollment}", "--qr"),
    "credentials reveal": ("{credentials}", "--reason", "a move"),
    "status": (),
    "doctor": (),
    "reconcile": (),
}
TRIED: dict[str, tuple[str, ...]] = {
    "accounts delete": ("{account}",),
    "clients revoke": ("{client}",),
    "enrollments revoke": ("{enrollment}",),
    "flows delete": ("{flow}",),
    "credentials delete": ("{spare}",),
    "webhooks delete": ("{webhook}",),
}
LISTED = {path: given for path, given in RUNS.items() if path.split()[-1] in READING} | MORE
LISTED |= {"enrollments list": (), "devices list": ("{site}",)}
# What vendors name is cleaned where it comes in, and where an older version's is read back.
TELLING = ("credentials list", "clients list", "accounts list", "audit list")


@pytest.fixture(params=some(HOSTILE))
def named(request: pytest.FixtureRequest, world: World) -> tuple[World, str]:
    name = HOSTILE[request.param]

    async def work() -> None:
        async with world.open() as hub:
            world.ids["client"] = (await accounts.create_client(hub, world.ids["account"], "c")).client_id
            await fill(hub, name)

    asyncio.run(work())
    return world, name


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for entry in value:
            yield from strings(entry)
    elif isinstance(value, str):
        yield value


def check_text(text: str) -> None:
    assert unseen(text) == set()
    assert not [line for line in text.splitlines() if line.startswith("FAKE")]


def test_text_shows_no_order_and_no_forged_line(named: tuple[World, str]) -> None:
    world, _ = named
    for path, given in LISTED.items():
        code = 1 if path == "doctor" else 0
        done = world(*path.split(), *given, given=GIVEN.get(path), code=code)
        check_text(done.stdout + done.stderr)
        assert done.stdout, path
    for path, given in TRIED.items():
        done = world(*path.split(), *given, "--dry-run")
        check_text(done.stdout + done.stderr)


def test_a_table_stays_as_wide_as_a_screen_or_two(named: tuple[World, str]) -> None:
    world, _ = named
    for path in ("sites list", "accounts list", "clients list", "credentials list", "audit list", "webhooks list"):
        for line in world(*path.split()).stdout.splitlines():
            assert len(line) < 8 * running.WIDEST


def test_json_tells_the_name_as_it_is_and_in_letters_that_do_nothing(named: tuple[World, str]) -> None:
    world, name = named
    for path, given in LISTED.items():
        code = 1 if path == "doctor" else 0
        done = world(*path.split(), *given, "--json", given=GIVEN.get(path), code=code)
        assert unseen(done.stdout) == set(), path
        found = list(strings(json.loads(done.stdout)))
        assert path not in TELLING or name in found, path
    told = list(strings(world.json("events", "list")))
    assert name + "\ud800x" in told


def test_what_a_vendor_says_of_a_failure_is_one_line(world: World) -> None:
    for name in HOSTILE.values():
        world.vendors.sunny.failures["fetch_readings"] = TransientError(f"it said {name}")
        done = world("enrollments", "poll", "{enrollment}", code=6)
        check_text(done.stdout + done.stderr)
        assert len(done.stderr.splitlines()) <= 3


def test_encoded_json_is_as_msgspec_writes_it_where_nothing_is_hostile() -> None:
    value = {"a": [1, "é 🏠", None], "b": {"c": True}}
    written = msgspec.json.encode(value)
    assert answering.encoded(value) == written.decode()
    assert answering.encoded(value, indent=2) == msgspec.json.format(written, indent=2).decode()


def test_nothing_but_one_function_writes_to_the_terminal() -> None:
    folder = Path(next(iter(joinder.commands.__path__)))
    writing = {
        path.name
        for path in folder.glob("*.py")
        if re.search(r"click\.s?echo|\bprint\(|\.(stdout|stderr)\.write|console", path.read_text())
    }
    assert writing == {"running.py"}
