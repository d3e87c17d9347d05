"""A client for this installation's own public address, as an owner's browser would come to it."""

from __future__ import annotations

import ssl

import httpx

from joinder.egress import GuardedBackend
from joinder.errors import PluginBug
from joinder.http.client import Http
from joinder.http.transport import new_client, no_cookies


class OwnHttp(Http):
    """Calls that one origin, wherever it is: it may well be behind a proxy on this machine."""

    def __init__(self, context: ssl.SSLContext, origin: str) -> None:
        backend = GuardedBackend(lambda address: not address.is_multicast, {})
        super().__init__(new_client(context, backend, cookies=no_cookies(), concurrency=1), hosts=(), reroute={})
        self._origin = httpx.URL(origin)

    def _refuse_undeclared(self, target: httpx.URL) -> None:
        own = self._origin
        if (target.scheme, target.host, target.port, target.userinfo) != (own.scheme, own.host, own.port, b""):
            raise PluginBug(f"call to {target.host} refused: this client calls {own.host} alone")
