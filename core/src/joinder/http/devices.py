"""A client for one device in an owner's network, which proves itself by its certificate."""

from __future__ import annotations

from http.cookiejar import CookieJar

import httpx

from joinder.egress import GuardedBackend, PinnedTls
from joinder.errors import DeviceIdentityChanged, DeviceUnreachable, VendorError
from joinder.http.client import Http
from joinder.http.transport import new_client


class DeviceHttp(Http):
    """A client for one device in an owner's network, with its own cookies and one pinned TLS certificate.

    `async with` closes it. `address` is the IP address it reached, `peer_sha256` the fingerprint it saw.
    """

    def __init__(self, host: str, port: int, pin_sha256: str | None, backend: GuardedBackend) -> None:
        self._pinned = PinnedTls(pin_sha256)
        self._backend = backend
        self.origin = f"https://{_bracketed(host)}" + ("" if port == 443 else f":{port}")
        super().__init__(
            new_client(self._pinned.context, backend, cookies=CookieJar(), concurrency=1),
            hosts=(host,),
            reroute={},
            unreachable=DeviceUnreachable,
        )
        self._port = port

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
