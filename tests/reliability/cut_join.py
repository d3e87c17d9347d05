"""Lets owners join, each killed at another line of ours, and looks what is left after the next process has swept up.

Prints how many lines there were, and how many owners had joined all the same. Leaves with a traceback when a code was
exchanged twice, or what was on disk did not become a grant.
"""

from __future__ import annotations

import os
import signal
import sys
import types
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from joinder.clock import now
from joinder.errors import TransientError
from joinder.runtime.hub import Hub, open_hub
from joinder.services.join import (
    consents,
    enrollments,
    join_ends,
    join_sessions,
    kept_consents,
    late_consents,
)
from joinder.services.join.join_ends import JoinRefused
from joinder.services.records import accounts
from joinder.settings import Settings
from joinder.store.tables import JoinFlow
from joinder.vendors.registry import Registry
from reliability.forked import Place, in_a_process, place_of
from services.code_vendor import CodeVendor
from services.joining import APP, Way, change_session, come_back, enrollment_of, flow_with, leave, session_of

TRACED = {module.__file__ for module in (consents, enrollments, join_ends, join_sessions, kept_consents)}
CHANGING = {"_claim", "finish", "__call__", "put", "_placed", "_failed", "adopt"}
Work = Callable[[Hub, CodeVendor], Awaitable[Any]]


class Owners:
    """What outlives the killed processes: the vendor's memory of codes, and how each owner left."""

    def __init__(self, folder: Path, settings: Settings, is_away: bool) -> None:
        self._codes = folder / "codes"
        self._ways = folder / "ways"
        self._settings = settings
        self._is_away = is_away
        self._codes.touch()

    def spent(self) -> Counter[str]:
        return Counter(self._codes.read_text().split())

    async def with_hub(self, work: Work) -> Any:
        vendor, registry = _Remembering(codes=self._codes), Registry()
        registry.add(vendor.vendor.name, vendor)
        async with open_hub(self._settings, registry) as hub:
            return await work(hub, vendor)

    async def leave(self, hub: Hub, _: CodeVendor) -> None:
        async with hub.store.read() as session:
            (flow_id,) = [row[0] for row in await hub.store.rows("SELECT id FROM join_flow", {})]
            flow = await session.get(JoinFlow, flow_id)
        assert flow is not None
        way = await leave(hub, flow)
        self._ways.write_bytes(msgspec.json.encode([way.vendor, way.token, dict(way.cookies)]))

    def way(self) -> Way:
        return Way(*msgspec.json.decode(self._ways.read_bytes()))

    async def join(self, hub: Hub, vendor: CodeVendor, code: str, told: Callable[[Place], object]) -> None:
        vendor.listing = [TransientError("away")] if self._is_away else []
        _trace(told)
        await come_back(hub, self.way(), code=code)
        sys.settrace(None)

    async def recover(self, hub: Hub, vendor: CodeVendor, code: str) -> bool:
        """What the owner finds who loads the page again after a while. True: joined."""
        way, owner = self.way(), code.partition(":")[0]
        vendor.newest[owner] = f"access-canary-{code}"
        before = await session_of(hub, way)
        was_safe = before.kept_sealed is not None or before.enrollment_id is not None
        was_claimed = before.used_at is not None
        if was_claimed:
            await change_session(hub, way, used_at=now() - late_consents.HELD_MOST_S - 5)
        enrollment_id = await self._again(hub, way, code)
        if enrollment_id is None:
            assert not was_safe
            assert (await session_of(hub, way)).kept_sealed is None
            return False
        assert was_safe or not was_claimed
        await late_consents.work(hub, enrollment_id)
        enrollment, grant = await enrollment_of(hub, enrollment_id)
        after = await session_of(hub, way)
        assert enrollment is not None
        assert grant is not None
        assert (enrollment.vendor_account_id, after.end_code, after.kept_sealed) == (owner, "joined", None)
        return True

    async def _again(self, hub: Hub, way: Way, code: str) -> str | None:
        """None: the owner must start again."""
        try:
            return (await come_back(hub, way, code=code))["enrollmentID"]
        except JoinRefused as refusal:
            if refusal.code != "interrupted":
                raise
            return None


class _Remembering(CodeVendor):
    """Writes down each code before anything else, as the vendor itself would."""

    def __init__(self, codes: Path) -> None:
        super().__init__()
        self._file = codes
        self.spent = codes.read_text().split()

    def _tokens(self, owner: str, name: str) -> Any:
        with self._file.open("a") as file:
            file.write(name.removeprefix("canary-") + "\n")
        return super()._tokens(owner, name)


def main(url: str, key: str, folder: str, how: str) -> None:
    owners = Owners(Path(folder), Settings(database_url=url, key_file=key, ballast_mib=0), how == "away")
    in_a_process(lambda: owners.with_hub(_fill))
    in_a_process(lambda: owners.with_hub(owners.leave))
    reader, writer = os.pipe()
    in_a_process(lambda: owners.with_hub(lambda hub, vendor: _told(owners, hub, vendor, writer)))
    os.close(writer)
    places = [place_of(line) for line in os.fdopen(reader).read().splitlines()]
    joined = 0
    for number, place in enumerate(places):
        code = f"owner{number}:1"
        in_a_process(lambda: owners.with_hub(owners.leave))
        ended = in_a_process(
            lambda code=code, place=place: owners.with_hub(
                lambda hub, vendor: owners.join(hub, vendor, code, lambda at: _die() if at == place else None)
            ),
            may_die=True,
        )
        assert ended == -signal.SIGKILL, place
        result = in_a_process(
            lambda code=code: owners.with_hub(lambda hub, vendor: _recovered(owners, hub, vendor, code)), may_die=True
        )
        assert result in (0, JOINED), place
        joined += result == JOINED
    assert set(owners.spent().values()) == {1}
    print(len(places), joined)


JOINED = 7


async def _recovered(owners: Owners, hub: Hub, vendor: CodeVendor, code: str) -> int:
    return JOINED if await owners.recover(hub, vendor, code) else 0


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


async def _fill(hub: Hub, _: CodeVendor) -> None:
    account = await accounts.create_account(hub, "test")
    await flow_with(hub, account.id, "coded", APP)


async def _told(owners: Owners, hub: Hub, vendor: CodeVendor, writer: int) -> None:
    """Every line that a join runs through in what changes something, once."""
    seen: dict[Place, None] = {}
    await owners.join(hub, vendor, "first:1", lambda at: seen.setdefault(at))
    with os.fdopen(writer, "w") as file:
        file.writelines(f"{name} {number}\n" for name, number in seen)


def _trace(told: Callable[[Place], object]) -> None:
    def line(frame: types.FrameType, event: str, _: object) -> Any:
        if frame.f_code.co_filename not in TRACED or frame.f_code.co_name not in CHANGING:
            return None
        if event == "line":
            told((frame.f_code.co_filename, frame.f_lineno))
        return line

    sys.settrace(line)


main(*sys.argv[1:])
