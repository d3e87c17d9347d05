"""Loopback only: a socket to anywhere else fails the test that opened it."""

from __future__ import annotations

import gc
import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compiled import compiled_once
from databases import databases, fresh_database, pytest_generate_tests

__all__ = ["compiled_once", "databases", "fresh_database", "loopback_only", "pytest_generate_tests"]

HERE = Path(__file__).parent
_connect, _getaddrinfo = socket.socket.connect, socket.getaddrinfo


class LeftLoopback(RuntimeError):
    """A test tried to reach another machine."""


def _is_loopback(host: object) -> bool:
    text = host.decode() if isinstance(host, bytes) else str(host or "localhost")
    try:
        return ipaddress.ip_address(text).is_loopback or ipaddress.ip_address(text).is_unspecified
    except ValueError:
        return text == "localhost"


def _guarded_connect(self: socket.socket, address: Any) -> Any:
    if self.family != socket.AF_UNIX and not _is_loopback(address[0]):
        raise LeftLoopback(f"connection to {address[0]} refused")
    return _connect(self, address)


def _guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host or "127.0.0.1")
    except ValueError:
        if host != "localhost":
            raise socket.gaierror(socket.EAI_NONAME, f"no names in tests: {host}") from None
    return _getaddrinfo(host, *args, **kwargs)


# They start whole processes, a second of computing each: `make whole`, and so `make check`.
WHOLE = (
    "e2e/",
    "packaging/",
    "clients/",
    "deploy/test_upkeep.py",
    "testing/test_template.py",
    "reliability/test_r16_matrix.py",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).as_posix().startswith(WHOLE):
            item.add_marker(pytest.mark.whole)


def pytest_collection_finish() -> None:
    """Tells the garbage collector not to look again and again at what all tests share: modules, classes, the tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def loopback_only() -> Iterator[None]:
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = _guarded_getaddrinfo
    yield
    socket.socket.connect = _connect  # type: ignore[method-assign]
    socket.getaddrinfo = _getaddrinfo
