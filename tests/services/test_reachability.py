"""The public URL is asked as a browser would ask it, and no other address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs

from joinder.errors import PluginBug
from joinder.runtime.hub import Hub
from joinder.services.operations import doctor
from joinder.services.operations.reachability import METADATA, public_address
from joinder.simulate.tls import self_signed
from misbehaving import Served, http_answer

DATABASES = ("sqlite",)


@asynccontextmanager
async def serving(
    answer: Callable[[str], bytes], tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[str, Served]]:
    served = Served([])
    server = await asyncio.start_server(served.handle, "127.0.0.1", 0, ssl=tls)
    origin = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    served.script.append(answer(origin))
    async with server:
        yield origin, served


def at(hub: Hub, origin: str) -> None:
    hub.settings = structs.replace(hub.settings, public_url=origin)


def metadata(issuer: str) -> bytes:
    return http_answer(b'{"issuer": "%s"}' % issuer.encode())


async def test_a_server_with_this_public_url_is_well(hub: Hub) -> None:
    async with serving(metadata) as (origin, served):
        at(hub, origin)
        assert await public_address(hub) == (f"{origin} answers", None)
    assert [request.split()[1].decode() for request in served.requests] == [METADATA]


@pytest.mark.parametrize(
    "answer", [metadata("https://other.example"), http_answer(b"<html>"), http_answer(b"", "404 Not Found")]
)
async def test_somebody_else_there_is_a_finding(hub: Hub, answer: bytes) -> None:
    async with serving(lambda _: answer) as (origin, _):
        at(hub, origin)
        found = [one for one in await doctor.redirects(hub) if not one.ok]
    assert "JOINDER_PUBLIC_URL" in str(found[0].next_step)


async def test_on_loopback_a_server_need_not_run(hub: Hub) -> None:
    at(hub, "http://127.0.0.1:9")
    assert [one.ok for one in await doctor.redirects(hub)] == [True]


async def test_a_certificate_that_no_browser_accepts_is_a_finding(hub: Hub, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*self_signed(tmp_path, name="127.0.0.1"))
    async with serving(metadata, tls=context) as (origin, _):
        at(hub, origin)
        found = await doctor.redirects(hub)
    assert "certificate" in str(found[0].next_step)


async def test_an_address_that_nobody_answers_is_a_finding(hub: Hub) -> None:
    at(hub, "https://127.0.0.1:9")
    found = await doctor.redirects(hub)
    assert "joinder serve" in str(found[0].next_step)


@pytest.mark.parametrize("url", ["https://127.0.0.1:9/", "http://127.0.0.1:10/", "http://vendor.example/"])
async def test_that_client_calls_nobody_else(hub: Hub, url: str) -> None:
    http = hub.http.own("http://127.0.0.1:9")
    with pytest.raises(PluginBug, match="refused"):
        await http.request("GET", url)
    await http.close()
