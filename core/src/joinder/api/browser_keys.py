"""Keys for browsers, and the origins whose pages may use them (CORS, for those alone)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from litestar import Controller, Request, post
from litestar.params import FromPath, JSONBody
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from joinder.api.auth import BROWSERS_ROOTS, require_caller
from joinder.api.deps import NO_STORE, CallerDep, tokens_of
from joinder.services.records.access_tokens import BROWSERS_SCOPE
from joinder.wire.browser_keys import BrowserKey, NewBrowserKey

_PREFLIGHT = (
    (b"access-control-allow-methods", b"GET"),
    (b"access-control-allow-headers", b"authorization, if-none-match"),
    (b"access-control-max-age", b"600"),
)
_EXPOSED = (
    b"access-control-expose-headers",
    b"etag, joinder-as-of, joinder-complete, link, ratelimit, ratelimit-policy, retry-after",
)
_VARY = (b"vary", b"origin")


class BrowserKeyController(Controller):
    path = "/enrollments/{enrollment_id:str}/browser-keys"
    tags = ["Enrollments"]  # noqa: RUF012
    guards = [require_caller]  # noqa: RUF012

    @post(
        "/",
        operation_id="createBrowserKey",
        opt={"scope": BROWSERS_SCOPE},
        cache_control=NO_STORE,
        summary="Make a key for a browser",
    )
    async def create(
        self,
        request: Request[Any, Any, Any],
        caller: CallerDep,
        enrollment_id: FromPath[str],
        data: JSONBody[NewBrowserKey | None] = None,
    ) -> BrowserKey:
        """Makes a key that reads the sites and devices of this enrollment, and nothing else, for minutes (15)."""
        life_s = 60 * (data or NewBrowserKey()).minutes
        return BrowserKey.of(await tokens_of(request.app).for_browser(caller, enrollment_id, life_s))


def shared(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """Lets pages of these origins read what browser keys open; answers to any other token stay closed to them."""
    known = {origin.encode() for origin in origins}

    async def sharing(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        origin = headers.get(b"origin", b"")
        if origin not in known or scope["path"].split("/")[1] not in BROWSERS_ROOTS:
            await app(scope, receive, send)
        elif str(scope.get("method")) == "OPTIONS" and b"access-control-request-method" in headers:
            await _allow(send, origin)
        else:
            await app(scope, receive, _opened(scope, send, origin))

    return sharing if known else app


def _opened(scope: Scope, send: Send, origin: bytes) -> Send:
    """Adds the headers where a browser key was used, and to a refusal to let anybody in, which says nothing else."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            caller = scope.get("state", {}).get("caller")
            is_browsers = caller is not None and caller.enrollment_id is not None
            added = [_VARY]
            if is_browsers or message["status"] == 401:
                added += [(b"access-control-allow-origin", origin), _EXPOSED]
            message["headers"] = [*message.get("headers", []), *added]
        await send(message)

    return sending


async def _allow(send: Send, origin: bytes) -> None:
    headers = [(b"access-control-allow-origin", origin), *_PREFLIGHT, _VARY]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
