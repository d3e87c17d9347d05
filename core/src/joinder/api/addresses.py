"""From where a request comes: the connection, or what a proxy says of it that the operator declared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from litestar import Request

Address = IPv4Address | IPv6Address
IPV6_PREFIX = 64  # what one home has; it chooses the rest of the bits itself
NAT64 = IPv6Network("64:ff9b::/96")  # a translator in front has the whole of IPv4 in it
HOPS_MOST = 20


def address_of(request: Request[Any, Any, Any]) -> str | None:
    """Returns the address of who asks, IPv6 as its network; None where the connection has none.

    `X-Forwarded-For` is read from its end, past the proxies of JOINDER_TRUSTED_PROXIES: what stands before the first
    that is not one of them is anybody's text.
    """
    found = _parsed(request.client.host if request.client else "")
    if found is None:
        return None
    trusted: Sequence[str] = request.app.state.hub.settings.trusted_proxies
    if trusted:
        hops = ",".join(request.headers.getall("x-forwarded-for", [])).rsplit(",", HOPS_MOST)
        while hops and _is_in(found, tuple(trusted)) and (before := _parsed(hops.pop())) is not None:
            found = before
    return str(found) if isinstance(found, IPv4Address) else str(ip_network((int(found), IPV6_PREFIX), strict=False))


def _parsed(text: str) -> Address | None:
    """Reads an address, also as some proxies write it: with a port, or in brackets."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv4Address):
        return found
    return IPv4Address(int(found) & 0xFFFFFFFF) if found.ipv4_mapped or found in NAT64 else found


@lru_cache(maxsize=1024)
def _is_in(address: Address, networks: tuple[str, ...]) -> bool:
    return any(address in ip_network(network) for network in networks)
