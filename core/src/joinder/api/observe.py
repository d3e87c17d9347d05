"""Around every request: an id, one line in the log, its figures and its span. And /metrics, for who holds the token."""

from __future__ import annotations

import hmac
import logging
import random
import re
import time
from collections.abc import Iterable
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from joinder.api.problems import Unauthorized
from joinder.observe import tracing
from joinder.observe.log_context import log_context
from joinder.redact import Secrets
from joinder.runtime.hub import Hub
from joinder.services.admin.gauges import CONTENT_TYPE, Gauges

REQUEST_ID = b"x-request-id"
_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{8,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
ASKED_BY_MACHINES = ("/health/live", "/health/ready", "/metrics")
log = logging.getLogger("joinder.access")


def observed(app: ASGIApp) -> ASGIApp:
    """Wraps the app outside of its router, so that what no route answers is seen too."""

    async def observing(scope: Scope, receive: Receive, send: Send) -> None:
        request_id = _request_id(scope["headers"])
        status = 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), (REQUEST_ID, request_id.encode())]
            await send(message)

        began = time.perf_counter()
        with log_context(request_id=request_id), tracing.span("request") as span:
            try:
                await app(scope, receive, sending)
            finally:
                tracing.rename(span, f"{_method(scope)} {route_of(scope)}", status=status)
                _note(scope, status, time.perf_counter() - began)

    return observing


def _note(scope: Scope, status: int, seconds: float) -> None:
    route, method = route_of(scope), _method(scope)
    hub: Hub = scope["litestar_app"].state.hub
    hub.metrics.answered(route, method, status, seconds)
    level = logging.DEBUG if route in ASKED_BY_MACHINES and status < 400 else logging.INFO
    if not log.isEnabledFor(level):
        return
    seen = {"method": method, "route": route, "status": status, "duration_ms": round(seconds * 1000, 1)}
    log.log(level, "%s %s: %d", method, route, status, extra=seen)


def route_of(scope: Scope) -> str:
    """Returns the template, never the path: paths of owners' pages hold tokens."""
    return str(scope.get("path_template") or "none")


def _method(scope: Scope) -> str:
    method = str(scope.get("method"))
    return method if method in _METHODS else "other"


def _request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Returns the caller's own id if it can stand in a log, else a new one."""
    given = next((value for name, value in headers if name == REQUEST_ID), b"")
    return given.decode() if given and _VALID_ID.fullmatch(given) else f"{random.getrandbits(96):024x}"


@get("/metrics", include_in_schema=False)
async def metrics_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Serves the metrics, only with a token file: behind a proxy on this host everybody comes from 127.0.0.1."""
    token: Secrets | None = request.app.state.metrics_token
    if token is None:
        raise NotFoundException
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token["metrics token"].encode()):
        raise Unauthorized
    gauges: Gauges = request.app.state.gauges
    return Response(await gauges.page(), media_type=CONTENT_TYPE, headers={"cache-control": "no-store"})
