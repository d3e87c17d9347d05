"""A client for one device in an owner's network, which proves itself by its certificate, or is told no secret."""

from __future__ import annotations

from collections.abc import Mapping
from http.cookiejar import CookieJar

import httpx

from joinder.egress import GuardedBackend, PinnedTls
from joinder.errors import DeviceIdentityChanged, DeviceUnreachable, PluginBug, VendorError
from joinder.http.client import Http
from joinder.http.transport import new_client, no_cookies

_CARRY_SECRETS = frozenset(("authorization", "cookie", "proxy-authorization", "x-api-key"))


class DeviceHttp(Http):
    """A client for one device in an owner's network, with its own cookies and one pinned TLS certificate.

    `async with` closes it. `address` is the IP address it reached, `peer_sha256` the fingerprint it saw. `is_plain`:
    http without TLS, over which no credentials go.
    """

    def __init__(
        self, host: str, port: int, pin_sha256: str | None, backend: GuardedBackend, *, is_plain: bool = False
    ) -> None:
        self._pinned = PinnedTls(pin_sha256)
        self._backend = backend
        self._scheme, default = ("http", 80) if is_plain else ("https", 443)
        self.origin = f"{self._scheme}://{_bracketed(host)}" + ("" if port == default else f":{port}")
        super().__init__(
            new_client(self._pinned.context, backend, cookies=no_cookies() if is_plain else CookieJar(), concurrency=1),
            hosts=(host,),
            reroute={},
            unreachable=DeviceUnreachable,
        )
        self._port = port if port != default else None  # as httpx tells a scheme's own

    def _refuse_undeclared(self, target: httpx.URL) -> None:
        if target.scheme != self._scheme or target.port != self._port or target.host not in self._hosts:
            raise PluginBug(f"call to {target.host} refused: this client calls {self.origin} alone")
        if target.userinfo:
            raise PluginBug("call refused: the address carries user information")

    def _refuse_secrets(self, headers: Mapping[str, str], basic: tuple[str, str] | None) -> None:
        if self._scheme == "http" and (basic or _CARRY_SECRETS & {name.lower() for name in headers}):
            raise PluginBug("call refused: credentials over plain http are read by anybody in that network")

    async def __aenter__(self) -> DeviceHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def address(self) -> str | None:
        return self._backend.reached

    @property
    def peer_sha256(self) -> str | None:
        return self._pinned.seen_sha256

    def _classify(self, error: httpx.HTTPError, place: str, *, exchange: bool) -> VendorError:
        if self._pinned.mismatch:
            return DeviceIdentityChanged("The device shows another certificate than before; its token was not sent")
        return super()._classify(error, place, exchange=exchange)


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
