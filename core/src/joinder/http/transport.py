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
    """So many connections in small pools: httpcore looks at all of a pool's at each request (encode/httpx#3215)."""

    def __init__(self, context: ssl.SSLContext, backend: GuardedBackend, concurrency: int) -> None:
        self._pools = [
            httpcore.AsyncConnectionPool(
                ssl_context=context, max_connections=most, keepalive_expiry=20.0, network_backend=backend
            )
            for most in _shares(concurrency, POOLS)
        ]

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        """Sends by the least busy pool; of equal ones the first, so that few calls keep to few connections."""
        least_busy = min(self._pools, key=lambda pool: len(pool._requests))
        return await least_busy.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
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
