"""`Idempotency-Key` on every POST of the API (draft-ietf-httpapi-idempotency-key-header): done once, answered alike.

Only what succeeded is kept: after any refusal nothing was done, so the key may be used again. An operation with
`opt={"own_keys": True}` keeps the keys of its requests itself, for longer, and is left alone.
"""

from __future__ import annotations

import hashlib
import re

from litestar.types import ASGIApp, Message, Receive, ReceiveMessage, Scope, Send

from joinder.api.client_budgets import spend_request
from joinder.api.deps import bearer_of, tokens_of
from joinder.observe.log_context import bound
from joinder.runtime.hub import Hub
from joinder.services.records import idempotency
from joinder.services.records.access_tokens import InvalidToken
from joinder.services.records.accounts import Caller
from joinder.services.records.idempotency import Answer, Place
from joinder.services.refusals import Refusal

BODY_MOST_BYTES = 256 * 1024  # as of any request
_KEY = re.compile(r'"?[\x21\x23-\x5b\x5d-\x7e]{1,255}"?')
_KEPT = (b"content-type", b"cache-control", b"location")


def idempotent(app: ASGIApp) -> ASGIApp:
    """Makes a middleware; it stands inside of what bounds the intake."""

    async def handling(scope: Scope, receive: Receive, send: Send) -> None:
        key = _key_in(scope) if scope.get("method") == "POST" else None
        caller = await _caller(scope) if key is not None else None
        if key is None or caller is None:
            await app(scope, receive, send)  # or refused as any other
            return
        spend_request(scope, caller)  # also for an answer that is kept
        await _Repeatable(app, scope, caller, key.decode("latin-1")).handle(receive, send)

    return handling


def _key_in(scope: Scope) -> bytes | None:
    keys = [value for name, value in scope["headers"] if name == b"idempotency-key"]
    if len(keys) > 1:
        raise Refusal("Send Idempotency-Key once.")
    return keys[0] if keys else None


async def _caller(scope: Scope) -> Caller | None:
    """Returns who asks; None where that is to be found out or refused, or the key to be kept, further in."""
    handler = scope["route_handler"]
    if not handler.resolve_guards() or "own_keys" in handler.opt:
        return None
    token, needed = bearer_of(scope), handler.opt.get("scope")
    try:
        caller = (await tokens_of(scope["litestar_app"]).verify(token))[0] if token is not None else None
    except InvalidToken:
        return None
    is_allowed = caller is not None and caller.enrollment_id is None and (needed is None or needed in caller.scopes)
    return caller if is_allowed else None  # who may not ask is not told what another token of this client was answered


def key_of(header: str) -> str:
    """Returns the key without its quotation marks. Raises Refusal."""
    if not _KEY.fullmatch(header):
        raise Refusal("Idempotency-Key has 1 to 255 visible characters.")
    return header.strip('"')


class _Repeatable:
    """One POST under a key."""

    def __init__(self, app: ASGIApp, scope: Scope, caller: Caller, key: str) -> None:
        self._app, self._scope = app, scope
        self._hub: Hub = scope["litestar_app"].state.hub
        self._place = Place.of(caller, key_of(key))
        self._messages: list[ReceiveMessage] = []
        self._status, self._headers, self._sent = 0, list[tuple[bytes, bytes]](), b""

    async def handle(self, receive: Receive, send: Send) -> None:
        body = await self._read(receive)
        if len(body) > BODY_MOST_BYTES:
            await self._app(self._scope, self._again(receive), send)
            return
        request_id = bound().get("request_id", "")
        known = await idempotency.begin(self._hub, self._place, _fingerprint(self._scope, body), request_id)
        await (self._run(receive, send) if known is None else _replay(known, send))

    async def _read(self, receive: Receive) -> bytes:
        """Reads the body, or as much of it as tells that it is too large."""
        body = b""
        while len(body) <= BODY_MOST_BYTES:
            message = await receive()
            self._messages.append(message)
            body += message.get("body", b"")  # type: ignore[operator]
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        return body

    def _again(self, receive: Receive) -> Receive:
        async def receiving() -> ReceiveMessage:
            return self._messages.pop(0) if self._messages else await receive()

        return receiving

    async def _run(self, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status, self._headers = message["status"], list(message.get("headers", []))
            elif message["type"] == "http.response.body":
                self._sent += message.get("body", b"")
            await send(message)

        try:
            await self._app(self._scope, self._again(receive), sending)
        finally:
            is_cut = not 200 <= self._status < 500
            await idempotency.end(self._hub, self._place, self._answer(), is_cut=is_cut)

    def _answer(self) -> Answer | None:
        if not 200 <= self._status < 300:
            return None
        headers = [(name.decode(), value.decode("latin-1")) for name, value in self._headers if name.lower() in _KEPT]
        return Answer(self._status, headers, self._sent.decode())


async def _replay(known: Answer, send: Send) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in known.headers]
    headers += [(b"idempotency-replayed", b"true"), (b"content-length", str(len(known.body.encode())).encode())]
    await send({"type": "http.response.start", "status": known.status, "headers": headers})
    await send({"type": "http.response.body", "body": known.body.encode(), "more_body": False})


def _fingerprint(scope: Scope, body: bytes) -> str:
    asked = b"\n".join((scope["path"].encode(), scope.get("query_string", b""), body))
    return hashlib.sha256(asked).hexdigest()
