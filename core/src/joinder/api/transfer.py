"""How an answer travels: HEAD wherever GET, OPTIONS, ETag and 304, compression, caching, when a connection ends.

It stands outside of the router, so that no controller knows of any of it. Answers that are `no-store` hold secrets:
they have no ETag and are not compressed, for the length of what is compressed beside a secret tells of it (BREACH).
Weak ETags, as the same answer travels in several encodings.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from http import HTTPStatus
from typing import Any

from backports import zstd
from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send
from msgspec import Struct

from joinder.api.weights import listed, weights

COMPRESS_FROM_BYTES = 1024
DRAINED_BYTES = 64 * 1024  # of an unread body: the web server reads them away itself
NOBODYS = "NOBODYS-METHOD"
Headers = list[tuple[bytes, bytes]]
_OF_A_BODY = (b"content-length", b"content-type")
_TEXT = re.compile(rb"(application/([a-z.-]+\+)?json|application/x-ndjson|text/[a-z]+)\b")
_OWNERS = re.compile(  # pages where a GET may begin a consent: HEAD never does
    r"/join/(?!flows/?$|flows/[^/]+/?$|session/[^/]+/fetch-token/?$)"
)
_CODINGS: dict[str, Callable[[bytes], bytes]] = {  # the best first
    "zstd": lambda body: zstd.compress(body, 3),
    "gzip": lambda body: zlib.compress(body, 5, wbits=31),
}


class Asked(Struct, frozen=True):
    """What of a request decides how its answer travels."""

    method: str
    is_head: bool
    is_owners: bool
    is_read: bool
    is_private: bool
    known_tags: bytes
    encodings: bytes

    @staticmethod
    def of(scope: Scope) -> Asked:
        headers = dict(scope["headers"])
        method = str(scope.get("method"))
        is_owners = _OWNERS.match(scope["path"]) is not None
        return Asked(
            method=method,
            is_head=method == "HEAD" and not is_owners,
            is_owners=is_owners,
            is_read=method in ("GET", "HEAD"),
            is_private=b"authorization" in headers,
            known_tags=listed(scope["headers"], b"if-none-match") or b"",
            encodings=listed(scope["headers"], b"accept-encoding") or b"",
        )

    @property
    def served_as(self) -> str | None:
        """Returns the method the router is asked for. The refusal of one that nobody serves names those that are."""
        return "GET" if self.is_head else NOBODYS if self.method == "OPTIONS" else None


def transferred(app: ASGIApp) -> ASGIApp:
    """Wraps the app outside of its router."""

    async def transferring(scope: Scope, receive: Receive, send: Send) -> None:
        asked, body = Asked.of(scope), _Body(scope, receive)
        answer = _Answer(asked, body, send)
        if asked.served_as is not None:
            scope["method"] = asked.served_as  # type: ignore[arg-type,typeddict-unknown-key]
        try:
            await app(scope, body.receive, answer.send)
        finally:
            scope["method"] = asked.method  # type: ignore[arg-type,typeddict-unknown-key]

    return transferring


class _Body:
    """Notes whether a request's body was read to its end."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        is_long = b"transfer-encoding" in headers or not length.isdigit() or int(length) > DRAINED_BYTES
        self.is_left = is_long and str(scope.get("http_version", "1.1")).startswith("1")

    async def receive(self) -> ReceiveMessage:
        message = await self._receive()
        if not message.get("more_body", False):
            self.is_left = False
        return message


class _Answer:
    """Holds an answer's head until its body is known; an answer in pieces goes on as it is."""

    def __init__(self, asked: Asked, body: _Body, send: Send) -> None:
        self._asked, self._body, self._send = asked, body, send
        self._start: dict[str, Any] | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = dict(message)
            headers = [(name.lower(), value) for name, value in message.get("headers", [])]
            has_head = not self._asked.is_owners
            headers = [(name, _allowed(value, has_head) if name == b"allow" else value) for name, value in headers]
            if self._body.is_left:  # the server must cut the connection: who pools it is told
                headers.append((b"connection", b"close"))
            self._start["headers"] = headers
            return
        body: bytes = message.get("body", b"")  # type: ignore[assignment]
        more = bool(message.get("more_body", False))
        if self._start is not None:
            start, self._start = self._start, None
            if not more:
                body = _finish(self._asked, start, body)
            await self._send(start)  # type: ignore[arg-type]
        shown = b"" if self._asked.is_head else body
        await self._send({"type": "http.response.body", "body": shown, "more_body": more})


def _finish(asked: Asked, start: dict[str, Any], body: bytes) -> bytes:
    """Completes the head of a whole answer, and returns the body as it travels."""
    headers: Headers = list(start["headers"])
    known = dict(headers)
    status = start["status"]
    if asked.method == "OPTIONS" and status == HTTPStatus.METHOD_NOT_ALLOWED:
        start["status"], start["headers"] = HTTPStatus.NO_CONTENT, [(b"allow", known.get(b"allow", b""))]
        return b""
    if (
        asked.is_private
        and (200 <= status < 300 or status == HTTPStatus.NOT_MODIFIED)
        and b"cache-control" not in known
    ):
        headers.append((b"cache-control", b"private, no-cache"))
    if b"no-store" in known.get(b"cache-control", b""):
        start["headers"] = headers
        return body
    if status == HTTPStatus.NOT_MODIFIED:  # decided further in
        start["headers"] = [one for one in headers if one[0] not in _OF_A_BODY]
        return b""
    if asked.is_read and status == 200 and body:
        tag = known.get(b"etag") or tag_of(body)
        if b"etag" not in known:
            headers.append((b"etag", tag))
        if is_known(tag, asked.known_tags):
            start["status"] = 304
            start["headers"] = [one for one in headers if one[0] not in _OF_A_BODY]
            return b""
    start["headers"], body = _compressed(asked, known, headers, body)
    return body


def _compressed(asked: Asked, known: dict[bytes, bytes], headers: Headers, body: bytes) -> tuple[Headers, bytes]:
    is_text = _is_text(known.get(b"content-type", b"")) and b"content-encoding" not in known
    if len(body) < COMPRESS_FROM_BYTES or not is_text:
        return headers, body
    headers = [*headers, *([] if b"vary" in known else [(b"vary", b"accept-encoding")])]
    coding = coding_of(asked.encodings)
    if coding is None:
        return headers, body
    body = _CODINGS[coding](body)
    length = (b"content-length", str(len(body)).encode())
    kept = [one for one in headers if one[0] != b"content-length"]
    return [*kept, (b"content-encoding", coding.encode()), length], body


@lru_cache(maxsize=64)
def _is_text(content_type: bytes) -> bool:
    return _TEXT.match(content_type) is not None


def _allowed(methods: bytes, has_head: bool) -> bytes:
    """Completes an Allow header: the router knows of no HEAD, which goes wherever GET does, if it goes at all."""
    names = {one.strip() for one in methods.split(b",")} | {b"OPTIONS"}
    return b", ".join(sorted(names | {b"HEAD"} if has_head and b"GET" in names else names))


def tag_of(body: bytes) -> bytes:
    return b'W/"%b"' % blake2b(body, digest_size=12).hexdigest().encode()


def is_known(tag: bytes, known_tags: bytes) -> bool:
    """Compares weakly (RFC 9110 §13.1.2)."""
    if not known_tags:
        return False
    tags = [one.strip().removeprefix(b"W/") for one in known_tags.split(b",")]
    return b"*" in tags or tag.removeprefix(b"W/") in tags


@lru_cache(maxsize=64)
def coding_of(accepted: bytes) -> str | None:
    """Returns the best coding the caller takes; None: as it is (RFC 9110 §12.5.3)."""
    weighed = weights(accepted.decode("latin-1"))
    rest = weighed.get("*", 0.0)
    wanted = {name: weighed.get(name, rest) for name in _CODINGS}
    best = max(wanted, key=lambda name: wanted[name])
    return best if wanted[best] > 0 else None
