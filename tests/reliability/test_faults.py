"""Each fault does what its name says, or the matrix would prove nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from reliability import faults
from reliability.faults import NAMES, Fault, FaultProxy, Name, faulty

ANSWER = b"x" * 4000
QUESTION = b"?" * 1000


@asynccontextmanager
async def answering() -> AsyncIterator[tuple[FaultProxy, asyncio.Queue[bytes]]]:
    """A proxy before a server that answers a whole question and closes, and what that server got."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.put_nowait(await reader.readexactly(len(QUESTION)))
            writer.write(ANSWER)
            await writer.drain()
        except asyncio.IncompleteReadError as error:
            got.put_nowait(error.partial)
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with faulty(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy, got
    server.close()
    await server.wait_closed()


async def ask(proxy: FaultProxy) -> list[bytes]:
    """The pieces in which an answer came. Raises OSError."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(QUESTION)
        pieces = []
        while piece := await reader.read(65536):
            pieces.append(piece)
        return pieces
    finally:
        writer.close()


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_faulty_is_whole_again(name: Name) -> None:
    async with answering() as (proxy, _):
        await proxy.inject(Fault(name))
        try:
            answer = b"".join(await ask(proxy))
        except OSError:
            answer = b""
        assert (answer == ANSWER) is not Fault(name).cuts
        await proxy.heal()
        assert b"".join(await ask(proxy)) == ANSWER


async def test_nobody_listens_where_it_is_down() -> None:
    async with answering() as (proxy, got):
        await proxy.inject(Fault("down"))
        with pytest.raises(ConnectionRefusedError):
            await ask(proxy)
        assert got.empty()


@pytest.mark.parametrize(("name", "passes"), [("timeout", 0), ("limit_data", faults.LIMIT_BYTES)])
async def test_an_answer_is_cut(name: Name, passes: int) -> None:
    async with answering() as (proxy, got):
        await proxy.inject(Fault(name))
        assert len(b"".join(await ask(proxy))) == passes
        assert await got.get() == QUESTION


@pytest.mark.parametrize(("name", "passes"), [("timeout", 0), ("limit_data", faults.LIMIT_BYTES)])
async def test_a_question_is_cut(name: Name, passes: int) -> None:
    async with answering() as (proxy, got):
        await proxy.inject(Fault(name, "request"))
        assert await ask(proxy) == []
        assert len(await got.get()) == passes


async def test_a_reset_is_no_end_of_file() -> None:
    async with answering() as (proxy, _):
        await proxy.inject(Fault("reset_peer"))
        with pytest.raises(ConnectionResetError):
            await ask(proxy)


@pytest.mark.parametrize("name", ["slicer", "bandwidth"])
async def test_an_answer_comes_in_pieces(name: Name) -> None:
    async with answering() as (proxy, _):
        await proxy.inject(Fault(name))
        assert len(await ask(proxy)) > 2


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("latency", faults.LATENCY_S - faults.JITTER_S, faults.LATENCY_S + faults.JITTER_S),
        ("slow_close", faults.CLOSE_LATER_S, faults.CLOSE_LATER_S),
    ],
)
async def test_what_waits_waits(name: Name, least: float, most: float, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        waits.append(seconds)
        await sleep(0)

    async with answering() as (proxy, _):
        await proxy.inject(Fault(name))
        monkeypatch.setattr(faults.asyncio, "sleep", noted)
        await ask(proxy)
        monkeypatch.undo()
    assert [wait for wait in waits if least <= wait <= most]
