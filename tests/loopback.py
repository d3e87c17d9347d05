"""Loopback only: a socket to anywhere else fails the one that opened it, and no name is looked up."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_connect, _getaddrinfo = socket.socket.connect, socket.getaddrinfo


class LeftLoopback(RuntimeError):
    """A test tried to reach another machine."""


@contextmanager
def staying() -> Iterator[None]:
    """Keeps this process on this machine."""
    socket.socket.connect = _guarded_connect  # type: ignore[method-assign, assignment]
    socket.getaddrinfo = _guarded_getaddrinfo
    try:
        yield
    finally:
        socket.socket.connect = _connect  # type: ignore[method-assign]
        socket.getaddrinfo = _getaddrinfo


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
