"""S32: a port of loopback without a login answers this machine's tools, not a web page that is shown here."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from joinder import loopback
from joinder.simulate.clock import SimulatedClock
from joinder.simulate.faults import FaultDial
from joinder.simulate.run import steered_from_here

OWN = {
    "a tool": {"host": "127.0.0.1:9464"},
    "by name": {"host": "localhost:9464"},
    "IPv6": {"host": "[::1]:9464"},
    "through a tunnel": {"host": "localhost:1"},
    "typed into a browser": {"host": "127.0.0.1:9464", "sec-fetch-site": "none"},
    "a page of its own": {"host": "127.0.0.1:9464", "origin": "http://127.0.0.1:9464", "sec-fetch-site": "same-origin"},
}
FOREIGN = {
    "a page": {"host": "127.0.0.1:9464", "origin": "https://evil.example"},
    "a page without an origin": {"host": "127.0.0.1:9464", "origin": "null"},
    "an image of a page": {"host": "127.0.0.1:9464", "sec-fetch-site": "cross-site"},
    "a page of another port": {"host": "127.0.0.1:9464", "sec-fetch-site": "same-site"},
    "a name that leads here": {"host": "evil.example:9464"},
    "one that begins like it": {"host": "127.0.0.1.evil.example"},
    "one that ends like it": {"host": "evil-localhost"},
    "no host": {},
    "nothing": {"host": ""},
    "a user before": {"host": "x@127.0.0.1"},
    "a line behind": {"host": "127.0.0.1\n"},
    "other digits": {"host": "127.0.0.1:٩٤"},
}


def raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


@pytest.mark.parametrize("kind", OWN)
def test_own_tools_are_answered(kind: str) -> None:
    assert not loopback.refuses(raw(OWN[kind]))


@pytest.mark.parametrize("kind", FOREIGN)
def test_pages_and_foreign_names_are_not(kind: str) -> None:
    assert loopback.refuses(raw(FOREIGN[kind]))


def test_two_hosts_are_none() -> None:
    assert loopback.refuses([*raw(OWN["a tool"]), *raw(OWN["a tool"])])


@pytest.mark.parametrize("path", ["/_faults", "/_clock", "/_state"])
@pytest.mark.parametrize("kind", ["a page", "a name that leads here", "an image of a page"])
async def test_a_simulator_is_steered_by_no_page(path: str, kind: str) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    clock = SimulatedClock()
    dial = FaultDial(app, clock)
    transport = httpx.ASGITransport(steered_from_here(dial))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8701") as client:
        answer = await client.post(path, json={"fault": "429", "shift": 5}, headers=FOREIGN[kind])
        assert answer.status_code == 403
        assert dial.faults == []
        assert (await client.post("/_faults", json={"fault": "429"})).status_code == 200
        assert len(dial.faults) == 1
