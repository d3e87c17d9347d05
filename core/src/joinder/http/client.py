"""One vendor's client: declared hosts, a total deadline, a size cap, failures sorted and nothing told of them."""

from __future__ import annotations

import asyncio
import copy
import zlib
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol

import httpx
import msgspec

from joinder import patience
from joinder.behind import Behind
from joinder.errors import (
    OutcomeUnknown,
    PluginBug,
    TransientError,
    UnexpectedPayload,
    VendorError,
    VendorTimeout,
)
from joinder.http.answers import Answer
from joinder.http.transport import ON_A_NEW_CONNECTION
from joinder.skew import ClockSkew

MAX_ANSWER_BYTES = 5 * 2**20
_EXCHANGE_TIMEOUT = httpx.Timeout(None, connect=10.0, pool=10.0)  # once it is sent, only the deadline ends it


class Meter(Protocol):
    """Counts the calls of one vendor app before they are made."""

    def call(self, *, exchange: bool) -> AbstractAsyncContextManager[None]:
        """Stands around one call. Raises RateLimited instead of letting it through; never for a token exchange."""

    async def limited(self, wait: timedelta | None) -> None:
        """Notes that the vendor allows no more calls for now."""


CLIENT: Behind[httpx.AsyncClient] = Behind()
METER: Behind[Meter] = Behind()


class Http:
    """A client for one vendor, shared by all its grants in this process."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        *,
        hosts: tuple[str, ...],
        reroute: Mapping[str, str],
        unreachable: type[TransientError] = TransientError,
        skew: ClockSkew | None = None,
    ) -> None:
        CLIENT.put(self, client)
        self._skew = skew
        self._hosts = hosts
        self._reroute = reroute
        self._unreachable = unreachable

    def metered(self, meter: Meter) -> Http:
        """Returns the same client, its calls counted."""
        made = copy.copy(self)
        CLIENT.put(made, CLIENT.of(self))
        METER.put(made, meter)
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
        """Makes one call, no retry.

        `exchange` marks a token call: cut off after sending, it raises OutcomeUnknown. It goes on a connection of its
        own, as one kept from an earlier call may be closing, and a single-use token would be lost on it.
        At most one body: `form` is urlencoded, `json` encoded, `multipart` form-data fields, `content` as it is.
        """
        target = httpx.URL(url)
        place = f"{method} {target.host}{target.path}"
        self._refuse_undeclared(target)
        self._refuse_secrets(headers or {}, basic)
        request = CLIENT.of(self).build_request(
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
            timeout=_EXCHANGE_TIMEOUT if exchange else httpx.USE_CLIENT_DEFAULT,
            extensions={ON_A_NEW_CONNECTION: True} if exchange else None,
        )
        auth = httpx.BasicAuth(*basic) if basic else None
        meter = METER.get(self)
        if meter is None:
            return await self._complete(request, auth, place, deadline=deadline, exchange=exchange)
        async with meter.call(exchange=exchange):
            return await self._complete(request, auth, place, deadline=deadline, exchange=exchange)

    async def close(self) -> None:
        await CLIENT.of(self).aclose()

    async def _complete(
        self, request: httpx.Request, auth: httpx.Auth | None, place: str, *, deadline: float, exchange: bool
    ) -> Answer:
        try:
            async with patience.deadline(deadline) if exchange else asyncio.timeout(deadline):
                return await self._send(request, auth, place)
        except VendorError:
            raise
        except httpx.HTTPError as error:
            raise self._classify(error, place, exchange=exchange) from None
        except TimeoutError:
            raise _cut_off(place, exchange=exchange, error=VendorTimeout) from None

    async def _send(self, request: httpx.Request, auth: httpx.Auth | None, place: str) -> Answer:
        response = await CLIENT.of(self).send(request, auth=auth, stream=True, follow_redirects=False)
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
        place = _authority(target)
        if target.scheme != "https" or place not in self._hosts or target.userinfo:
            raise PluginBug(f"call to {place} refused: the vendor declares {', '.join(self._hosts) or 'no host'}")

    def _refuse_secrets(self, headers: Mapping[str, str], basic: tuple[str, str] | None) -> None:
        """Raises PluginBug for credentials that would go where others read them."""

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


def _authority(url: httpx.URL) -> str:
    return url.host if url.port is None else f"{url.host}:{url.port}"
