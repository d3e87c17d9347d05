"""The guard of conftest.py: no test reaches another machine."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest


def test_a_socket_to_elsewhere_is_refused() -> None:
    with socket.socket() as probe, pytest.raises(RuntimeError, match="refused"):
        probe.connect(("192.0.2.1", 80))


def test_names_do_not_resolve() -> None:
    with pytest.raises(socket.gaierror):
        socket.getaddrinfo("api.example.com", 443)


async def test_asyncio_and_httpx_are_held_too() -> None:
    with pytest.raises(RuntimeError, match="refused"):
        await asyncio.open_connection("192.0.2.1", 80)
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="refused"), flatten_subgroups=True):
            await client.get("http://192.0.2.1/")
