"""S20 S23: who is slow, or many, keeps nobody else from an answer, and costs a bounded number of bytes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from litestar import Litestar

from api.conftest import NewBrowser
from api.fakes import Tenant
from joinder.api.intake import Intake
from joinder.turns import Crowded, Turns, on_behalf_of

FORM = {"content-type": "application/x-www-form-urlencoded"}
DATABASES = ("sqlite",)


class Slow:
    """A body of which the rest comes when it is let go."""

    def __init__(self, first: bytes = b"grant_type=") -> None:
        self.let_go, self.began = asyncio.Event(), asyncio.Event()
        self._first = first

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        self.began.set()
        await self.let_go.wait()
        yield b"x"


@pytest.fixture
def intake(app: Litestar, monkeypatch: pytest.MonkeyPatch) -> Intake:
    made = Intake(at_once=2, queue_most=1, waits_s=0.05)
    monkeypatch.setitem(app.state._state, "intake", made)
    return made


def sending(browser: httpx.AsyncClient, body: Slow, path: str = "/oauth2/token") -> asyncio.Task[httpx.Response]:
    return asyncio.create_task(browser.post(path, content=body, headers=FORM))


@pytest.mark.parametrize("path", ["/oauth2/token"])
async def test_a_body_that_never_ends_is_given_up(anonymous: httpx.AsyncClient, intake: Intake, path: str) -> None:
    """S23"""
    intake.body_s = 0.05
    answer = await sending(anonymous, Slow(), path)
    assert (answer.status_code, answer.json()["type"]) == (408, "urn:joinder:problem#too-slow")
    assert intake.body_bytes == 0


@pytest.mark.parametrize("headers", [{}, {b"idempotency-key": b"a"}])
async def test_a_body_that_is_cut_off_is_the_senders_fault(
    app: Litestar, tenant: Tenant, intake: Intake, headers: dict[bytes, bytes]
) -> None:
    """Whoever hangs up in the middle, or sends chunks that are none, is no trouble of this server's."""
    parts = [
        {"type": "http.request", "body": b'{"url": ', "more_body": True},
        {"type": "http.disconnect"},
    ]
    given = headers | {
        b"host": b"127.0.0.1",
        b"authorization": tenant.api.headers["authorization"].encode(),
        b"content-type": b"application/json",
        b"transfer-encoding": b"chunked",
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return parts.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/webhooks", "raw_path": b"/webhooks",
        "query_string": b"", "root_path": "", "scheme": "http", "headers": list(given.items()),
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)  # type: ignore[arg-type]
    assert (sent[0]["status"], dict(sent[0]["headers"])[b"connection"]) == (400, b"close")
    assert b"#bad-request" in sent[1]["body"]
    assert b"ended" in sent[1]["body"]
    assert intake.body_bytes == 0


async def test_slow_bodies_take_no_place(new_browser: NewBrowser, intake: Intake) -> None:
    """S20: more of them than there are places."""
    bodies = [Slow() for _ in range(6)]
    slow = [sending(await new_browser(), body) for body in bodies]
    for body in bodies:
        await body.began.wait()
    others = await new_browser()
    assert (await others.post("/oauth2/token", data={"grant_type": "password"})).status_code == 401
    assert (await others.get("/sites")).status_code == 401
    for body in bodies:
        body.let_go.set()
    assert {answer.status_code for answer in await asyncio.gather(*slow)} <= {401, 503}
    assert intake.body_bytes == 0


async def test_bodies_hold_so_many_bytes_and_no_more(new_browser: NewBrowser, intake: Intake) -> None:
    """S23"""
    intake.bodies_most_bytes = 1000
    first = Slow(b"a" * 900)
    slow = sending(await new_browser(), first)
    await first.began.wait()
    answer = await (await new_browser()).post("/oauth2/token", content=b"b" * 200, headers=FORM)
    assert answer.status_code == 503
    assert answer.headers["retry-after"]
    first.let_go.set()
    assert (await slow).status_code == 401
    assert (await (await new_browser()).post("/oauth2/token", content=b"b" * 200, headers=FORM)).status_code == 401


async def test_a_full_room_leaves_the_other_and_health_alone(anonymous: httpx.AsyncClient, intake: Intake) -> None:
    """S20: strangers at the owners' pages take no place of API clients."""
    for _ in range(2):
        await intake.strangers.enter()
    refused = await anonymous.get("/join/sunny/auth-granted")
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert (await anonymous.get("/sites")).status_code == 401
    for _ in range(2):
        await intake.callers.enter()
    assert (await anonymous.get("/sites")).status_code == 503
    assert (await anonymous.get("/health/live")).status_code == 200
    assert (await anonymous.get("/health/ready")).status_code == 200
    for room in (intake.strangers, intake.callers):
        room.leave()
    assert (await anonymous.get("/sites")).status_code == 401
    assert (await anonymous.get("/join/sunny/auth-granted")).status_code == 400


async def test_a_queue_is_in_order_and_has_an_end() -> None:
    room, order = Turns(1, queue_most=2), []

    async def come(name: str) -> None:
        await room.enter()
        order.append(name)

    await room.enter()
    waiting = [asyncio.create_task(come(name)) for name in "ab"]
    await asyncio.sleep(0)
    with pytest.raises(Crowded):
        await room.enter()
    room.leave()
    await waiting[0]
    room.leave()
    await asyncio.gather(*waiting)
    assert order == ["a", "b"]


async def test_who_leaves_the_queue_takes_no_place() -> None:
    room = Turns(1)
    await room.enter()
    waiting = asyncio.create_task(room.enter())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    room.leave()
    await room.enter()


async def order_of(callers: list[str]) -> list[str]:
    """In which order those come in who wait for one place."""
    room, order = Turns(1), []

    async def come(who: str) -> None:
        await room.enter(lambda: who)
        order.append(who)
        room.leave()

    await room.enter()
    async with asyncio.TaskGroup() as group:
        for who in callers:
            group.create_task(come(who))
        await asyncio.sleep(0)
        room.leave()
    return order


async def test_who_sends_many_waits_for_them_and_nobody_else_does() -> None:
    order = await order_of([*["flood"] * 9, "owner", "other", "owner"])
    assert order[:6] == ["flood", "owner", "flood", "other", "owner", "flood"]
    assert order.count("flood") == 9


async def test_who_asks_one_thing_after_the_other_passes_by_whatever_others_have_piled_up() -> None:
    """A turn of theirs between two of its own, however many they are; and they are not forgotten."""
    room, order = Turns(1), []

    async def come(who: str) -> None:
        with on_behalf_of(who):
            async with room.place():
                order.append(who)
                await asyncio.sleep(0)

    async def owner() -> None:
        for _ in range(10):
            await come("owner")

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(come(f"flood {number % 20}"))
        while len(order) < 60:  # all of them have had a turn, and wait for more
            await asyncio.sleep(0)
        began = len(order)
        group.create_task(owner())
    turns = [place for place, who in enumerate(order[began:]) if who == "owner"]
    assert len(order) == 210
    assert max(after - before for before, after in zip([-1, *turns], turns, strict=False)) <= 3


async def test_many_who_come_once_leave_those_who_wait_a_turn_of_their_own() -> None:
    order = await order_of(["many"] * 5 + [f"once {number}" for number in range(40)])
    many = [place for place, who in enumerate(order) if who == "many"]
    assert many[0] == 0
    assert 15 <= many[1] <= 41  # as late as its share is, and no later


async def test_who_has_a_place_or_asks_for_nobody_walks_in() -> None:
    room = Turns(1)
    with on_behalf_of("guest"):
        async with room.place(), room.place():
            with on_behalf_of(None):
                async with room.place():
                    assert room._free == 0
    assert room._free == 1


async def test_places_that_are_given_up_in_any_moment_are_not_lost() -> None:
    """Cancelled while they wait, and in the moment they are given a place; the room is as large afterwards."""
    dice, room = random.Random(20), Turns(3)  # noqa: S311 - the same each time

    async def visit(who: str) -> None:
        await room.enter(lambda: who)
        try:
            await asyncio.sleep(0)
        finally:
            room.leave()

    for _ in range(200):
        visits = [asyncio.create_task(visit(str(number % 4))) for number in range(20)]
        for _ in range(dice.randrange(8)):
            await asyncio.sleep(0)
            dice.choice(visits).cancel()
        await asyncio.gather(*visits, return_exceptions=True)
    for _ in range(3):
        await room.enter()
    assert (room._free, room._waiting, room._new, room._old) == (0, 0, {}, {})


async def test_who_waits_too_long_gives_its_turn_to_others() -> None:
    room = Turns(1, waits_s=0.02)
    await room.enter()
    with pytest.raises(Crowded):
        await room.enter()
    room.leave()
    await room.enter()


async def test_a_stranger_s_turn_is_its_address_s_and_a_client_s_its_token_s(
    app: Litestar, anonymous: httpx.AsyncClient, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def enter(self: Turns, who: Callable[[], str] = str) -> None:
        asked.append(who())

    monkeypatch.setattr(Turns, "enter", enter)
    monkeypatch.setattr(Turns, "leave", lambda self: None)
    await anonymous.get("/join/sunny/auth-granted")
    await tenant.api.get("/vendors")
    assert asked[0] == "127.0.0.1"
    assert asked[-1] == tenant.api.headers["authorization"]
