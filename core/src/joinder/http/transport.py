"""How bytes travel: httpx over small connection pools, below which addresses are checked, and no logs."""

from __future__ import annotations

import logging
import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import httpcore
import httpx

from joinder.egress import GuardedBackend

POOLS = 8  # of one client
IDLE_S = 4.0  # Apache and Node close an idle connection after 5; a call on it would be cut off
ON_A_NEW_CONNECTION = "joinder.new_connection"  # extension of a request that no closing connection may cut off
_CHATTY_LOGGERS = (
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)


def new_client(
    context: ssl.SSLContext, backend: GuardedBackend, *, cookies: CookieJar, concurrency: int
) -> httpx.AsyncClient:
    silence_client_loggers()
    transport = httpx.AsyncHTTPTransport(verify=context)
    pools: Any = _SmallPools(context, backend, concurrency)
    transport._pool = pools  # the only way to place a guard below httpx 0.28
    return httpx.AsyncClient(
        transport=transport,
        cookies=cookies,
        trust_env=False,
        timeout=httpx.Timeout(30.0, connect=10.0),
        headers={"user-agent": "joinder", "accept": "application/json", "accept-encoding": "gzip"},
    )


def no_cookies() -> CookieJar:
    """Makes a jar that keeps none, for a client that many owners share."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


class _SmallPools:
    """So many connections in small pools: httpcore looks at all of a pool's at each request (encode/httpx#3215).

    As many more for calls on connections of their own, which are closed after them.
    """

    def __init__(self, context: ssl.SSLContext, backend: GuardedBackend, concurrency: int) -> None:
        def pools(keep: int | None) -> list[httpcore.AsyncConnectionPool]:
            return [
                httpcore.AsyncConnectionPool(
                    ssl_context=context,
                    max_connections=most,
                    max_keepalive_connections=keep,
                    keepalive_expiry=IDLE_S,
                    network_backend=backend,
                )
                for most in _shares(concurrency, POOLS)
            ]

        self._pools, self._unshared = pools(None), pools(0)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Sends by the least busy pool; of equal ones the first, so that few calls keep to few connections."""
        pools = self._unshared if request.extensions.get(ON_A_NEW_CONNECTION) else self._pools
        least_busy = min(pools, key=lambda pool: len(pool._requests))
        return await least_busy.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in (*self._pools, *self._unshared):
            await pool.aclose()


def _shares(whole: int, parts: int) -> list[int]:
    parts = min(whole, parts)
    return [whole // parts + (part < whole % parts) for part in range(parts)]


def silence_client_loggers() -> None:
    """Silences httpx and httpcore at any level: they log URLs, headers and cookies."""
    for name in _CHATTY_LOGGERS:
        logger = logging.getLogger(name)
        if _nothing not in logger.filters:
            logger.addFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
