"""A client for addresses that integrators chose, where events are posted."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping

import httpx

from joinder.egress import Address, GuardedBackend, is_public
from joinder.errors import TransientError
from joinder.http.answers import Answer
from joinder.http.client import CLIENT, Http
from joinder.http.transport import new_client, no_cookies

LOOPBACK = "127.0.0.1"
MAX_IGNORED_BYTES = 64 * 1024  # of an answer, before its connection is given up


class WebhookHttp(Http):
    """Posts events to addresses that integrators chose; only the status and Retry-After of an answer count."""

    def __init__(self, context: ssl.SSLContext, *, loopback: bool) -> None:
        self._loopback = loopback
        backend = GuardedBackend(self._allowed, {})
        client = new_client(context, backend, cookies=no_cookies(), concurrency=256)
        super().__init__(client, hosts=(), reroute={})

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], *, deadline: float) -> Answer:
        """Sends one call, no redirect followed; the answer's content is empty. Raises TransientError when none came.

        Its `detail` says why no connection was made; it has none where one was made and cut.
        """
        try:
            return await self.request("POST", url, content=content, headers=headers, deadline=deadline)
        except (httpx.InvalidURL, ValueError):
            raise TransientError("not a URL", detail="URL") from None

    async def _send(self, request: httpx.Request, auth: httpx.Auth | None, place: str) -> Answer:
        response = await CLIENT.of(self).send(request, auth=auth, stream=True, follow_redirects=False)
        try:
            await _drain(response)
            return Answer(response.status_code, dict(response.headers), b"", place)
        finally:
            await response.aclose()

    def _refuse_undeclared(self, target: httpx.URL) -> None:
        local = self._loopback and target.scheme == "http" and target.host == LOOPBACK
        if target.userinfo or not (target.scheme == "https" or local):
            raise TransientError("only https addresses are called", detail="URL")

    def _allowed(self, address: Address) -> bool:
        return is_public(address) or (self._loopback and str(address) == LOOPBACK)


async def _drain(response: httpx.Response) -> None:
    """Reads a short body, so that the connection serves again; the status has been told, whatever follows."""
    size = 0
    with contextlib.suppress(httpx.HTTPError, TimeoutError):
        async with asyncio.timeout(1.0):
            async for chunk in response.aiter_raw():
                size += len(chunk)
                if size > MAX_IGNORED_BYTES:
                    return
