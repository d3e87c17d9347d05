"""Where sockets may go: addresses are checked where the connection is opened, so DNS rebinding does not help."""

from __future__ import annotations

import asyncio
import hashlib
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import httpcore

from joinder.errors import DeviceUnreachable

Address = IPv4Address | IPv6Address
_PASTED = re.compile(  # at most one scheme, the port of https, and a path
    r"(?i:https?://)?(?:\[(?P<six>[0-9a-fA-F:.]+)\]|(?P<host>[A-Za-z0-9.-]+))(?::443)?(?:/[!-\[\]-~]*)?"
)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens a socket only to an address that `allowed` accepts; resolves once and connects to what it checked."""

    def __init__(
        self, allowed: Callable[[Address], bool], stand_ins: Mapping[tuple[str, int], tuple[str, int]]
    ) -> None:
        self._allowed = allowed
        self._stand_ins = stand_ins
        self._inner = httpcore.AnyIOBackend()
        self.reached: str | None = None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Any = None,
    ) -> httpcore.AsyncNetworkStream:
        """Opens a socket to the host's stand-in, or to the first of its addresses if all of them are allowed.

        Raises httpcore.ConnectError.
        """
        stand_in = self._stand_ins.get((host, port))
        is_stand_in_itself = stand_in == (host, port)
        if stand_in and (is_stand_in_itself or not is_literal(host)):
            self.reached = host
            return await self._inner.connect_tcp(*stand_in, timeout, local_address, socket_options)
        addresses = await _resolve(host, port)
        if not addresses or not all(self._allowed(address) for address in addresses):
            raise httpcore.ConnectError("address refused")
        self.reached = str(addresses[0])
        target = stand_in or (self.reached, port)
        return await self._inner.connect_tcp(*target, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("unix sockets are refused")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_NEVER = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "224.0.0.0/4", "240.0.0.0/4",
        "168.63.129.16/32", "192.88.99.0/24",
        "::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48",
        "2001::/32", "2002::/16", "fe80::/10", "fec0::/10",
        "fd00:ec2::254/128", "fd20:ce::254/128", "ff00::/8",
    )
)  # fmt: skip


def is_public(address: Address) -> bool:
    """Tells whether this is a global unicast address.

    `is_global` alone accepts NAT64, 6to4, multicast and site-local ones.
    """
    return address.is_global and not any(address in network for network in _NEVER)


def is_lan(address: Address) -> bool:
    """Tells whether this is a private unicast address that is not this machine.

    Loopback, link-local, metadata, CGNAT and tunnel forms do not count.
    """
    return address.is_private and not any(address in network for network in _NEVER) and not _is_own(address)


def _is_own(address: Address) -> bool:
    """Tells whether this machine has the address: only one of its own can be bound."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))
        except OSError:
            return False
        return True


def is_literal(host: str) -> bool:
    """Tells whether it is an IP address, not a name."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def _resolve(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError:
        raise httpcore.ConnectError("name does not resolve") from None
    return [ip_address(str(entry[4][0]).split("%")[0]) for entry in found]


def plain_host(address: str) -> str:
    """Returns an IP literal in normal form, or a plain DNS or mDNS name. Raises DeviceUnreachable for anything else.

    Of an address as browsers show it, `https://192.168.1.5/home`, the host counts. Odd number forms (0x7f.1,
    2130706433) are refused.
    """
    text = _host_in(address.strip()).rstrip(".").lower()
    if is_literal(text) and "%" not in text:
        return str(ip_address(text))
    labels = text.split(".")
    plain = all(
        label
        and len(label) <= 63
        and label.isascii()
        and label.replace("-", "").isalnum()
        and label.strip("-") == label
        for label in labels
    )
    if not plain or len(text) > 253 or labels[-1][:1].isdigit():
        raise DeviceUnreachable("That is not an IP address or a host name")
    return text


def _host_in(pasted: str) -> str:
    """Cuts scheme, path and the port of https off what was copied out of a browser; anything odd stays as it is."""
    found = _PASTED.fullmatch(pasted)
    return found["six"] or found["host"] if found else pasted


class PinnedTls:
    """Accepts exactly one self-signed certificate, checked inside the handshake: a wrong peer sees no HTTP at all."""

    def __init__(self, pin_sha256: str | None) -> None:
        self.seen_sha256: str | None = None
        self.mismatch = False
        pinned = self

        class CheckedHandshake(ssl.SSLObject):
            def do_handshake(self) -> None:
                super().do_handshake()
                pinned.seen_sha256 = hashlib.sha256(self.getpeercert(binary_form=True) or b"").hexdigest()
                if pin_sha256 is not None and pinned.seen_sha256 != pin_sha256:
                    pinned.mismatch = True
                    raise ssl.SSLCertVerificationError("certificate differs from the pinned one")

        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.context.check_hostname = False
        self.context.verify_mode = ssl.CERT_NONE  # devices sign their own; the pin above replaces the chain
        self.context.set_ciphers("DEFAULT")  # Python's own list is narrower than old devices offer
        self.context.sslobject_class = CheckedHandshake
