"""Every byte that leaves for a vendor, a device or a webhook passes here; the only module that imports httpx.

What it adds to httpx: declared hosts only, addresses checked where the socket is opened (so DNS rebinding does not
help), no redirects, no proxies from the environment, no cookies between owners, a total deadline, a size cap,
answers decoded into types, failures turned into joinder.errors, and silence: httpx logs full URLs at INFO and puts
them into exception texts, and vendors take API keys in the query.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import math
import ssl
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_network
from typing import Any, Protocol, TypeVar

import httpcore
import httpx
import msgspec

from joinder.egress import Address, GuardedBackend, PinnedTls, is_lan, is_public, plain_host
from joinder.errors import (
    DeviceIdentityChanged,
    DeviceUnreachable,
    OutcomeUnknown,
    PluginBug,
    RateLimited,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.skew import ClockSkew

T = TypeVar("T")

MAX_ANSWER_BYTES = 5 * 2**20
MAX_IGNORED_BYTES = 64 * 1024  # of a webhook's answer, before its connection is given up
MAX_RETRY_AFTER = timedelta(hours=24)
LOOPBACK = "127.0.0.1"
POOLS = 8  # of one client
_CHATTY_LOGGERS = (
    "httpx",
    *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")),
)


class Answer(msgspec.Struct, frozen=True):
    """One complete HTTP answer. `headers` are lower-case; `place` is method, host and path, never the query."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    place: str

    def __repr__(self) -> str:
        return f"Answer({self.status} from {self.place}, {len(self.content)} bytes)"

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300

    def json(self, into: type[T]) -> T:
        """The body as `into`. Raises UnexpectedPayload when it is HTML, cut off, of other types, or no number."""
        try:
            return msgspec.json.decode(self.content, type=into)
        except msgspec.ValidationError:
            return self._leniently(into)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            kind = "HTML" if self.content.lstrip()[:1] == b"<" else "something else"
            raise self._unexpected(f"body is {kind}, not the documented JSON") from None

    def _leniently(self, into: type[T]) -> T:
        """Numbers and booleans as text are read too, as vendors write them; text such as "NaN" is no number."""
        try:
            value = msgspec.json.decode(self.content, type=into, strict=False)
        except msgspec.ValidationError as error:  # its text may quote the answer
            raise self._unexpected("members are not as documented", detail=str(error)) from None
        if not _finite(msgspec.to_builtins(value)):
            raise self._unexpected("a number is NaN or infinite")
        return value

    def _unexpected(self, why: str, *, detail: str | None = None) -> UnexpectedPayload:
        return UnexpectedPayload(f"{self.place} answered something unexpected ({why})", detail=detail)

    def retry_after(self, now: datetime | None = None) -> timedelta | None:
        """Retry-After in either form (RFC 9110 §10.2.3), capped at a day; None when absent or nonsense."""
        value = self.headers.get("retry-after", "").strip()
        if value.isascii() and value.isdigit():
            return min(timedelta(seconds=int(value[:9])), MAX_RETRY_AFTER)
        try:
            wait = parsedate_to_datetime(value) - (now or datetime.now(UTC))
        except (ValueError, TypeError):
            return None
        return max(timedelta(0), min(wait, MAX_RETRY_AFTER))


def _finite(value: object) -> bool:
    if isinstance(value, dict):
        return all(_finite(member) for member in value.values())
    if isinstance(value, list | tuple):
        return all(_finite(member) for member in value)
    return not isinstance(value, float) or math.isfinite(value)


def raise_for_status(answer: Answer) -> None:
    """The classes every vendor shares: 429 and 5xx. A plugin checks its own bodies first."""
    if answer.status == 429:
        raise RateLimited(f"{answer.place} allows no more calls for now", retry_after=answer.retry_after())
    if answer.status >= 500 or answer.status in (408, 425):
        raise TransientError(f"{answer.place} answered {answer.status}", retry_after=answer.retry_after())
    if not answer.ok:
        raise UnexpectedPayload(f"{answer.place} answered {answer.status}")


class Meter(Protocol):
    """Counts the calls of one vendor app before they are made."""

    def call(self, *, exchange: bool) -> AbstractAsyncContextManager[None]:
        """Around one call. Raises RateLimited instead of letting it through; never for a token exchange."""

    async def limited(self, wait: timedelta | None) -> None:
        """The vendor allows no more calls for now."""


class Http:
    """A client for one vendor, shared by all its grants in this process."""

    meter: Meter | None = None

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        hosts: tuple[str, ...],
        reroute: Mapping[str, str],
        unreachable: type[TransientError] = TransientError,
        skew: ClockSkew | None = None,
    ) -> None:
        self._client = client
        self._skew = skew
        self._hosts = hosts
        self._port: int | None = None  # beside 443, which httpx writes as None
        self._reroute = reroute
        self._unreachable = unreachable

    def metered(self, meter: Meter) -> Http:
        """The same client, its calls counted."""
        made = copy.copy(self)
        made.meter = meter
        return made

    async def request(
        self,
        method: str,
        url: str,
        *,
        params: Mapping[str, str | int] | None = None,
        form: Mapping[str, str] | None = None,
        json: object = None,
        content: bytes | None = None,
        multipart: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        basic: tuple[str, str] | None = None,
        deadline: float = 30.0,
        exchange: bool = False,
    ) -> Answer:
        """One call, no retry. `exchange` marks a token call: cut off after sending, it raises OutcomeUnknown.

        At most one body: `form` is urlencoded, `json` encoded, `multipart` form-data fields, `content` as it is.
        """
        target = httpx.URL(url)
        place = f"{method} {target.host}{target.path}"
        self._refuse_undeclared(target)
        request = self._client.build_request(
            method,
            self._rerouted(target),
            params=target.params.merge(params) if params else None,
            data=dict(form) if form is not None else None,
            content=msgspec.json.encode(json) if json is not None else content,
            files={name: (None, value) for name, value in multipart.items()} if multipart else None,
            headers={
                "host": target.netloc.decode(),  # a stand-in, too, is told which of the vendor's hosts was meant
                **({"content-type": "application/json"} if json is not None else {}),
                **(headers or {}),
            },
        )
        auth = httpx.BasicAuth(*basic) if basic else None
        if self.meter is None:
            return await self._complete(request, auth, place, deadline=deadline, exchange=exchange)
        async with self.meter.call(exchange=exchange):
            return await self._complete(request, auth, place, deadline=deadline, exchange=exchange)

    async def _complete(
        self, request: httpx.Request, auth: httpx.Auth | None, place: str, *, deadline: float, exchange: bool
    ) -> Answer:
        try:
            async with asyncio.timeout(deadline):
                return await self._send(request, auth, place)
        except VendorError:
            raise
        except httpx.HTTPError as error:
            raise self._classify(error, place, exchange=exchange) from None
        except TimeoutError:
            raise _cut_off(place, exchange=exchange, error=VendorTimeout) from None

    async def _send(self, request: httpx.Request, auth: httpx.Auth | None, place: str) -> Answer:
        response = await self._client.send(request, auth=auth, stream=True, follow_redirects=False)
        try:
            if self._skew is not None:
                self._skew.note(response.headers)
            body = bytearray()
            inflate = _inflater(response.headers.get("content-encoding", ""))
            async for chunk in response.aiter_raw():
                body += inflate(chunk, MAX_ANSWER_BYTES + 1 - len(body))
                if len(body) > MAX_ANSWER_BYTES:
                    raise UnexpectedPayload(f"{place} answered more than {MAX_ANSWER_BYTES} bytes")
            return Answer(response.status_code, dict(response.headers), bytes(body), place)
        finally:
            await response.aclose()

    def _refuse_undeclared(self, target: httpx.URL) -> None:
        place = target.host if target.port in (None, self._port) else f"{target.host}:{target.port}"
        if target.scheme != "https" or place not in self._hosts or target.userinfo:
            raise PluginBug(f"call to {place} refused: the vendor declares {', '.join(self._hosts) or 'no host'}")

    def _rerouted(self, target: httpx.URL) -> httpx.URL:
        stand_in = self._reroute.get(_authority(target))
        if stand_in is None or not stand_in.startswith("http://"):
            return target
        origin = httpx.URL(stand_in)
        return target.copy_with(scheme="http", host=origin.host, port=origin.port)

    def _classify(self, error: httpx.HTTPError, place: str, *, exchange: bool) -> VendorError:
        name = type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout | httpx.UnsupportedProtocol):
            return self._unreachable(f"{place} cannot be reached", detail=name)
        if isinstance(error, httpx.DecodingError) and not exchange:
            return UnexpectedPayload(f"{place} answered a body that does not decompress")
        timed_out = isinstance(error, httpx.TimeoutException)
        return _cut_off(place, exchange=exchange, error=VendorTimeout if timed_out else self._unreachable)


def _inflater(encoding: str) -> Callable[[bytes, int], bytes]:
    """Unpacks no further than the limit; httpx's decoders, stacked as a server asks, make gigabytes of one packet."""
    if encoding in ("", "identity"):
        return lambda chunk, limit: chunk[:limit]
    if encoding not in ("gzip", "x-gzip"):
        raise httpx.DecodingError("an encoding nobody asked for")
    unpacker = zlib.decompressobj(wbits=31)

    def inflate(chunk: bytes, limit: int) -> bytes:
        try:
            return unpacker.decompress(chunk, limit)
        except zlib.error:
            raise httpx.DecodingError("not gzip") from None

    return inflate


def _cut_off(place: str, *, exchange: bool, error: type[TransientError]) -> VendorError:
    if exchange:
        return OutcomeUnknown(f"{place} was cut off; whether the vendor renewed the token is unknown")
    return error(f"{place} gave no complete answer in time" if error is VendorTimeout else f"{place} was cut off")


class DeviceHttp(Http):
    """A client for one device in an owner's network, with its own cookies and one pinned TLS certificate.

    `async with` closes it. `address` is the IP address it reached, `peer_sha256` the fingerprint it saw.
    """

    def __init__(self, host: str, port: int, pin_sha256: str | None, backend: GuardedBackend) -> None:
        self._pinned = PinnedTls(pin_sha256)
        self._backend = backend
        self.origin = f"https://{_bracketed(host)}" + ("" if port == 443 else f":{port}")
        super().__init__(
            _client(self._pinned.context, backend, cookies=CookieJar(), concurrency=1),
            hosts=(host,),
            reroute={},
            unreachable=DeviceUnreachable,
        )
        self._port = port

    async def __aenter__(self) -> DeviceHttp:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

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


class WebhookHttp(Http):
    """Posts events to addresses that integrators chose; only the status and Retry-After of an answer count."""

    def __init__(self, context: ssl.SSLContext, *, loopback: bool) -> None:
        self._loopback = loopback
        backend = GuardedBackend(self._allowed, {})
        cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        super().__init__(_client(context, backend, cookies=cookies, concurrency=256), hosts=(), reroute={})

    async def post(self, url: str, content: bytes, headers: Mapping[str, str], *, deadline: float) -> Answer:
        """One call, no redirect followed; the answer's content is empty. Raises TransientError when none came.

        Its `detail` says why no connection was made; it has none where one was made and cut.
        """
        try:
            return await self.request("POST", url, content=content, headers=headers, deadline=deadline)
        except (httpx.InvalidURL, ValueError):
            raise TransientError("not a URL", detail="URL") from None

    async def _send(self, request: httpx.Request, auth: httpx.Auth | None, place: str) -> Answer:
        response = await self._client.send(request, auth=auth, stream=True, follow_redirects=False)
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


class HttpFactory:
    """Makes the clients of one process and closes them. `reroute` sends declared hosts to loopback simulators.

    `loopback_webhooks`: webhooks may go to http://127.0.0.1, which only a server that is itself there wants.
    """

    def __init__(
        self,
        *,
        allowed_networks: tuple[str, ...] = (),
        reroute: Mapping[str, str] | None = None,
        loopback_webhooks: bool = False,
    ) -> None:
        self.reroute = dict(reroute or {})
        for stand_in in self.reroute.values():
            if httpx.URL(stand_in).host != "127.0.0.1":
                raise ValueError(f"reroute target {stand_in} is not on 127.0.0.1")
        self._networks = tuple(ip_network(network) for network in allowed_networks)
        self._context: ssl.SSLContext | None = None
        self._vendors: dict[tuple[str, ...], Http] = {}
        self.skew = ClockSkew()
        self._loopback_webhooks = loopback_webhooks
        self._webhooks: WebhookHttp | None = None

    def vendor(self, hosts: tuple[str, ...], *, concurrency: int = 100) -> Http:
        """The shared client for a vendor's declared hosts."""
        if hosts not in self._vendors:
            cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # shared by owners: keep none
            backend = GuardedBackend(is_public, self._stand_ins())
            client = _client(self._tls(), backend, cookies=cookies, concurrency=concurrency)
            self._vendors[hosts] = Http(client, hosts=hosts, reroute=self.reroute, skew=self.skew)
        return self._vendors[hosts]

    def device(self, address: str, *, pin_sha256: str | None = None) -> DeviceHttp:
        """A client for a device an owner named: an IP address or plain name inside the allowed networks, port 443.

        Raises DeviceUnreachable for anything else, without saying which rule refused it.
        """
        if not self._networks:
            raise DeviceUnreachable("This server may not reach devices in any network; its operator must allow one")
        host = plain_host(address)
        return DeviceHttp(host, 443, pin_sha256, GuardedBackend(self._in_allowed_network, self._stand_ins()))

    def operator_device(self, host: str, port: int = 443, *, pin_sha256: str | None = None) -> DeviceHttp:
        """A client for a device the operator names at a command line: any unicast address, any port."""
        return DeviceHttp(
            host, port, pin_sha256, GuardedBackend(lambda address: not address.is_multicast, self._stand_ins())
        )

    def webhooks(self) -> WebhookHttp:
        """The shared client for integrators' endpoints: https and public addresses only."""
        if self._webhooks is None:
            self._webhooks = WebhookHttp(self._tls(), loopback=self._loopback_webhooks)
        return self._webhooks

    async def close(self) -> None:
        for http in (*self._vendors.values(), *([self._webhooks] if self._webhooks else [])):
            await http._client.aclose()
        self._vendors.clear()
        self._webhooks = None

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = httpx.create_ssl_context(trust_env=False)  # 70 ms of CPU: one per process
        return self._context

    def _in_allowed_network(self, address: Address) -> bool:
        return is_lan(address) and any(address in network for network in self._networks)

    def _stand_ins(self) -> dict[tuple[str, int], tuple[str, int]]:
        dial = {}
        for declared, stand_in in self.reroute.items():
            origin, host = httpx.URL(stand_in), httpx.URL(f"https://{declared}")
            target = (origin.host, origin.port or 443)
            dial[(host.host, host.port or 443)] = target
            dial[target] = target
        return dial


def _authority(url: httpx.URL) -> str:
    return url.host if url.port is None else f"{url.host}:{url.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _client(
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
        """By the least busy; of equal ones the first, so that few calls keep to few connections."""
        least_busy = min(self._pools, key=lambda pool: len(pool._requests))
        return await least_busy.handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


def _shares(whole: int, parts: int) -> list[int]:
    parts = min(whole, parts)
    return [whole // parts + (part < whole % parts) for part in range(parts)]


def silence_client_loggers() -> None:
    """httpx and httpcore log URLs, headers and cookies; whatever level is set, they are not heard."""
    for name in _CHATTY_LOGGERS:
        logger = logging.getLogger(name)
        if _nothing not in logger.filters:
            logger.addFilter(_nothing)


def _nothing(record: logging.LogRecord) -> bool:
    return False
