"""Each fault of the dial, as a client that knows nothing of it sees it: raw bytes of one connection."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec
import pytest

from joinder.simulate import Simulator
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.faults import FaultDial
from joinder.simulate.run import reroute_of, running

BODY = b'{"answer": "0123456789"}'


class Vendor:
    """The app behind the dial: counts what reaches it."""

    def __init__(self) -> None:
        self.paths: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY[:10], "more_body": True})
        await send({"type": "http.response.body", "body": BODY[10:]})


@dataclass
class Rig:
    port: int
    vendor: Vendor
    clock: SimulatedClock

    async def call(self, path: str = "/data", *, method: str = "GET", body: bytes = b"") -> bytes:
        """Everything the server sends until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer

    async def dial(self, fault: str, **more: object) -> bytes:
        return await self.call("/_faults", method="POST", body=msgspec.json.encode({"fault": fault, **more}))


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    vendor, clock = Vendor(), SimulatedClock()
    simulator = Simulator(vendor="v", stands_in_for=("api.v.example",), app=vendor, clock=clock)
    async with running([simulator]) as origins:
        assert reroute_of([simulator], origins) == {"api.v.example": origins["v"]}
        yield Rig(int(origins["v"].rpartition(":")[2]), vendor, clock)


def status(answer: bytes) -> int:
    return int(answer.split()[1])


def header(answer: bytes, name: str) -> list[str]:
    head = answer.partition(b"\r\n\r\n")[0].decode()
    return re.findall(rf"(?im)^{name}: (.*?)\r?$", head)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


async def test_without_a_fault_the_answer_is_whole(rig):
    answer = await rig.call()
    assert (status(answer), body_of(answer)) == (200, BODY)


async def test_429_answers_before_the_vendor_acts(rig):
    await rig.dial("429", retry_after=7)
    answer = await rig.call()
    assert (status(answer), header(answer, "retry-after")) == (429, ["7"])
    assert rig.vendor.paths == []


async def test_429_without_a_wait_names_none(rig):
    await rig.dial("429")
    assert header(await rig.call(), "retry-after") == []


async def test_5xx_answers_before_the_vendor_acts(rig):
    await rig.dial("5xx")
    assert status(await rig.call()) == 503
    assert rig.vendor.paths == []


async def test_html_is_a_page_with_status_200(rig):
    await rig.dial("html")
    answer = await rig.call()
    assert (status(answer), header(answer, "content-type")) == (200, ["text/html"])
    assert body_of(answer).startswith(b"<!DOCTYPE html>")


async def test_cut_acts_and_sends_half_of_what_it_announced(rig):
    await rig.dial("cut")
    answer = await rig.call()
    assert header(answer, "content-length") == [str(len(BODY))]
    assert body_of(answer) == BODY[: len(BODY) // 2]
    assert rig.vendor.paths == ["/data"]


async def test_lost_acts_and_sends_nothing_of_the_body(rig):
    await rig.dial("lost")
    answer = await rig.call()
    assert header(answer, "content-length") == [str(len(BODY))]
    assert body_of(answer) == b""
    assert rig.vendor.paths == ["/data"]


async def test_slow_waits_and_then_answers_whole(rig, monkeypatch):
    waited = []
    sleep = asyncio.sleep

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await sleep(0)

    await rig.dial("slow", seconds=321.5)
    monkeypatch.setattr(asyncio, "sleep", note)
    answer = await rig.call()
    monkeypatch.undo()
    assert body_of(answer) == BODY
    assert 321.5 in waited


async def test_skew_moves_the_date_header_and_only_that(rig):
    await rig.call("/_clock", method="POST", body=b'{"at": 1790000000}')
    await rig.dial("skew", seconds=-3600)
    answer = await rig.call()
    [date] = header(answer, "date")
    assert parsedate_to_datetime(date).timestamp() == 1790000000 - 3600
    assert body_of(answer) == BODY


async def test_every_answer_carries_one_date(rig):
    assert len(header(await rig.call(), "date")) == 1
    await rig.dial("429")
    assert len(header(await rig.call(), "date")) == 1


async def test_a_fault_of_three_times_ends_after_three(rig):
    await rig.dial("5xx", times=3)
    assert [status(await rig.call()) for _ in range(5)] == [503, 503, 503, 200, 200]


async def test_a_fault_of_a_path_leaves_the_others(rig):
    await rig.dial("5xx", path="/oauth")
    assert [status(await rig.call(path)) for path in ("/data", "/oauth/token", "/oauth", "/")] == [200, 503, 503, 200]


async def test_faults_queue_up_in_order(rig):
    await rig.dial("5xx", times=1)
    await rig.dial("429", times=1)
    assert [status(await rig.call()) for _ in range(3)] == [503, 429, 200]


async def test_faults_are_cleared_at_once(rig):
    await rig.dial("5xx")
    cleared = await rig.call("/_faults", method="DELETE")
    assert msgspec.json.decode(body_of(cleared))["faults"] == []
    assert status(await rig.call()) == 200


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"{}", b'{"fault": "fire"}', b'{"fault": "slow", "minutes": 1}', b'{"fault": 429}']
)
async def test_an_unknown_fault_is_refused_and_changes_nothing(rig, body):
    assert status(await rig.call("/_faults", method="POST", body=body)) == 400
    assert status(await rig.call()) == 200


async def test_the_clock_is_frozen_shifted_and_reset(rig):
    for body, at in ((b'{"at": 1790000000}', 1790000000), (b'{"at": 5.5}', 5.5)):
        answer = await rig.call("/_clock", method="POST", body=body)
        assert msgspec.json.decode(body_of(answer))["time"] == at
        assert rig.clock.time() == at
    await rig.call("/_clock", method="POST", body=b'{"shift": -3600}')
    behind = rig.clock.time()
    await rig.call("/_clock", method="POST", body=b"{}")
    assert 3500 < rig.clock.time() - behind < 3700


async def test_other_protocols_pass_the_dial():
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await FaultDial(app, SimulatedClock())({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


async def test_a_simulator_listens_on_loopback_and_stops_with_its_block():
    simulator = Simulator(vendor="v", stands_in_for=(), app=Vendor(), clock=SimulatedClock())
    async with running([simulator]) as origins:
        port = int(origins["v"].rpartition(":")[2])
        assert origins["v"] == f"http://127.0.0.1:{port}"
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await asyncio.open_connection("127.0.0.1", port)
