"""What every answer carries, whoever made it: headers that keep browsers from making more of it than it is."""

from __future__ import annotations

import re

import msgspec
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from joinder.api.problems import MEDIA_TYPE, Problem

HSTS = (b"strict-transport-security", b"max-age=31536000")
DEFAULTS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"content-security-policy": b"default-src 'none'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'",
}
_HOST = re.compile(rb"[A-Za-z0-9._~-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")
_BEFORE_HOSTS = ("1", "1.0")  # HTTP/1.0, which health checks still speak
_BAD_HOST = msgspec.json.encode(
    Problem(
        type="urn:joinder:problem#bad-request",
        title="The request cannot be understood",
        status=400,
        detail="Host names no host.",
        instance="/",
    )
)


def shielded(app: ASGIApp, *, is_https: bool) -> ASGIApp:
    """Adds headers outside of everything; what an answer says itself stays. Refuses a Host that is none, or two.

    Of HTTP/1.1 one that is missing, too.
    """
    added = [*DEFAULTS.items(), *([HSTS] if is_https else [])]

    async def shielding(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                limits = scope.get("state", {}).get("limits", {})  # of an API client, once it is known
                said = [*message.get("headers", []), *((key.encode(), told.encode()) for key, told in limits.items())]
                names = {name.lower() for name, _ in said}
                message["headers"] = [*said, *((name, value) for name, value in added if name not in names)]
            await send(message)

        if _is_wrong([value for name, value in scope["headers"] if name == b"host"], scope.get("http_version")):
            await _refuse(sending)
            return
        await app(scope, receive, sending)

    return shielding


def _is_wrong(hosts: list[bytes], version: str | None) -> bool:
    """Tells whether a request names its host wrongly; the web server tells of a missing one as an empty one."""
    if version in _BEFORE_HOSTS and hosts in ([], [b""]):
        return False
    is_missing = not hosts and version == "1.1"  # RFC 9112 §3.2
    return is_missing or len(hosts) > 1 or not all(map(_HOST.fullmatch, hosts))


async def _refuse(send: Send) -> None:
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(_BAD_HOST)).encode())]
    headers.append((b"cache-control", b"no-store"))
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": _BAD_HOST, "more_body": False})
