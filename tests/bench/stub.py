"""The vendor the benchmarks talk to: a bare asyncio server on 127.0.0.1 in a process of its own, which answers as the
template vendor (joinder_acme) does and costs next to nothing, so that what is measured is the client.
"""

from __future__ import annotations

import asyncio
import importlib
import itertools
import json
import multiprocessing
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import joinder

QUARTER_S = 900
_numbers = itertools.count()


def day_start(at: float) -> int:
    return int(at) // 86400 * 86400


def template_vendor() -> object:
    """The plugin that `joinder new-vendor` writes."""
    sys.path.insert(0, str(Path(joinder.__file__).parent / "templates/vendor/src"))
    return importlib.import_module("joinder_acme")


@cache
def _energy(path: bytes) -> bytes:
    """The quarter hours asked for; a day of them where the question names none."""
    asked = parse_qs(urlsplit(path.decode()).query)
    try:
        start, end = (int(datetime.fromisoformat(asked[name][0]).timestamp()) for name in ("start", "end"))
    except (KeyError, ValueError):
        end = day_start(time.time())
        start = end - 86400
    rows = [
        {
            "start": datetime.fromtimestamp(at, UTC).isoformat(),
            "end": datetime.fromtimestamp(at + QUARTER_S, UTC).isoformat(),
            "solar": 100.5,
            "charged": 0.0,
            "discharged": 12.25,
            "imported": 30.0,
            "exported": 1.5,
            "soc": 55.5,
        }
        for at in range(start // QUARTER_S * QUARTER_S, end, QUARTER_S)
    ]
    return json.dumps({"rows": rows}).encode()


def _power() -> bytes:
    at = datetime.fromtimestamp(int(time.time()), UTC).isoformat()
    return json.dumps({"at": at, "solar": 1200.0, "battery": -300.0, "grid": 200.0, "soc": 55.5}).encode()


def _token() -> bytes:
    number = next(_numbers)
    return json.dumps(
        {"access_token": f"a{number}" * 8, "refresh_token": f"r{number}" * 8, "expires_in": 28800}
    ).encode()


_SITE = json.dumps(
    {
        "id": "1",
        "name": "Bench home",
        "timezone": "Europe/Berlin",
        "devices": [{"serial": "I1", "kind": "inverter"}, {"serial": "B1", "kind": "battery", "capacity_wh": 10000}],
    }
).encode()


class _Connection(asyncio.Protocol):
    def __init__(self, latency_s: float) -> None:
        self._latency_s = latency_s
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line[:15].lower() == b"content-length:"), 0
            )
            if len(self._got) < end + 4 + length:
                return
            self._got = self._got[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1])

    def _answer(self, path: bytes) -> None:
        body = _token() if b"token" in path else self._of_site(path)
        answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
            len(body),
            body,
        )
        if self._latency_s:
            asyncio.get_running_loop().call_later(self._latency_s, self._transport.write, answer)
        else:
            self._transport.write(answer)

    def _of_site(self, path: bytes) -> bytes:
        if b"/energy" in path:
            return _energy(path)
        return _power() if b"/power" in path else _SITE.replace(b'"1"', b'"%b"' % path.rpartition(b"/")[-1], 1)


def _serve(listener: socket.socket, latency_s: float) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(lambda: _Connection(latency_s), sock=listener)
        await server.serve_forever()

    asyncio.run(run())


@contextmanager
def stub(latency_s: float = 0.0) -> Iterator[str]:
    """Its origin."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen(512)
    process = multiprocessing.get_context("fork").Process(target=_serve, args=(listener, latency_s), daemon=True)
    process.start()
    origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    try:
        yield origin
    finally:
        process.kill()
        process.join()
