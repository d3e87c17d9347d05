"""Every error as RFC 9457 `application/problem+json`. `type` is a stable URN with a fragment (docs/errors.md)."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from litestar import Request, Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Struct

from joinder.clean import clean_line
from joinder.errors import TransientError, VendorError
from joinder.services.refusals import InFlight, Refusal, pointer
from joinder.store.advice import trouble_of
from joinder.store.types import NotText
from joinder.trouble import StoreRefused, StoreTrouble
from joinder.wire.base import wire_name

MEDIA_TYPE = "application/problem+json"
OURS = "urn:joinder:problem"
DERAPI_ERRORS = "https://docs.derapi.com/reference/errors"
DERAPI_TITLES = {  # of problems that clients of Derapi know, by the fragment, which is the same here and there
    "validation-error": "Invalid request",
    "invalid-enrollment-status": "Invalid enrollment status",
    "invalid-enrollment-application-time": "Invalid enrollment application time",
}
WRONG_MEMBERS = "One or more members of the request are wrong."
ERRORS_MOST = 50  # told of one request
IN_PATHS = "/:@!$&'()*+,;="  # characters that a path may have as they are, beside letters and digits (RFC 3986)
log = logging.getLogger("joinder.api")


class FieldError(Struct, omit_defaults=True):
    """One member of the request that cannot stay as it is; `pointer` is a JSON Pointer (RFC 6901)."""

    pointer: str
    detail: str


class Problem(Struct, omit_defaults=True, kw_only=True):
    """RFC 9457. `actor` says who must act on a vendor's failure, or our store's: owner, operator, vendor or nobody."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    errors: list[FieldError] | None = None
    actor: str | None = None


class Unauthorized(Exception):
    """No token, or none of ours."""


class Forbidden(Exception):
    """The token lacks a scope; the text names it."""


class TooManyRequests(Exception):
    """`retry_after_s` seconds from now."""

    def __init__(self, retry_after_s: int, limits: Mapping[str, str] = MappingProxyType({})) -> None:
        super().__init__("too many requests")
        self.retry_after_s = retry_after_s
        self.limits = limits  # RateLimit fields


class BodyTooSlow(Exception):
    """The body's rest did not come in time."""


class BodyCut(Exception):
    """The body's rest will not come: its sender hung up, or its chunks are none."""


class NotReady(Exception):
    """This process takes no new work; the text says why."""


_CLOSING = {"connection": "close"}
_TITLES = {
    400: ("bad-request", "The request cannot be understood"),
    401: ("unauthorized", "A valid access token is needed"),
    403: ("forbidden", "The access token does not allow this"),
    404: ("not-found", "There is no such resource"),
    405: ("method-not-allowed", "This resource does not have this method"),
    406: ("not-acceptable", "No representation is acceptable"),
    408: ("too-slow", "The request body did not come in time"),
    412: ("precondition-failed", "Changes take no condition"),
    413: ("too-large", "The request body is larger than 256 kB"),
    415: ("unsupported-media-type", "The request body has the wrong media type"),
    429: ("rate-limited", "Too many requests"),
    500: ("internal-error", "Something went wrong here"),
    503: ("not-ready", "This server takes no new work"),
}
_VENDOR_TITLES = {
    "vendor-error": "The vendor's answer cannot be used",
    "vendor-unavailable": "The vendor does not answer",
    "vendor-rate-limited": "The vendor allows no more calls for now",
    "vendor-timeout": "The vendor did not answer in time",
    "device-unreachable": "The owner's device does not answer",
    "vendor-outcome-unknown": "The connection to the vendor was cut while a token was renewed",
    "vendor-refusal-unexplained": "The vendor refuses to renew a token and tells no known reason",
    "vendor-unexpected-answer": "The vendor answered something unexpected",
    "authorization-lost": "The owner must consent again",
    "consent-denied": "The owner did not consent",
    "consent-continues": "The vendor asks the owner something more",
    "consent-invalid": "What was entered does not work at the vendor",
    "approval-refused": "The vendor decided against this enrollment",
    "operator-action-needed": "The operator must do something at the vendor or on this server",
    "consent-incomplete": "The vendor gave less for the consent than is needed",
    "paused": "The operator paused this enrollment",
    "approval-pending": "The vendor has not approved this enrollment yet",
    "app-credentials-rejected": "The vendor refuses the app credentials",
    "device-identity-changed": "The device shows another certificate",
    "site-gone": "No consent opens this site any more",
    "not-supported": "The vendor has no such data",
    "vendor-not-installed": "The vendor's plugin is not installed",
    "plugin-bug": "The vendor's plugin failed",
}


def problem(
    request: Request[Any, Any, Any],
    name: str,
    title: str,
    status: int,
    detail: str,
    *,
    errors: dict[str, str] | None = None,
    actor: str | None = None,
    headers: dict[str, str] | None = None,
) -> Response[Problem]:
    told = list(errors.items())[:ERRORS_MOST] if errors else []
    caller = request.scope.get("state", {}).get("caller")
    theirs = DERAPI_TITLES.get(name) if caller is not None and caller.is_compatible else None
    body = Problem(
        type=f"{DERAPI_ERRORS if theirs else OURS}#{name}",
        title=theirs or title,
        status=status,
        detail=clean_line(detail),
        instance=_reference(request.url.path),
        errors=[FieldError(*map(clean_line, entry)) for entry in told] or None,
        actor=actor,
    )
    return Response(
        body, status_code=status, media_type=MEDIA_TYPE, headers={"cache-control": "no-store", **(headers or {})}
    )


def _reference(path: str) -> str:
    """Returns a URI of this server: one that begins with two slashes would name another (RFC 3986, 4.2)."""
    quoted = quote(path, safe=IN_PATHS, errors="replace")
    return f"/.{quoted}" if quoted.startswith("//") else quoted


def on_refusal(request: Request[Any, Any, Any], error: Refusal) -> Response[Problem]:
    wait = {"retry-after": "1"} if isinstance(error, InFlight) else None
    return problem(request, error.problem, error.title, error.status, error.detail, errors=error.errors, headers=wait)


def on_vendor_error(request: Request[Any, Any, Any], error: VendorError) -> Response[Problem]:
    headers = {}
    if isinstance(error, TransientError):
        wait = error.retry_after or timedelta(seconds=60)
        headers["retry-after"] = str(max(1, int(wait.total_seconds())))
    if error.detail:
        log.warning("%s: %s (%s)", type(error).__name__, error, error.detail)
    return problem(
        request,
        error.problem,
        _VENDOR_TITLES[error.problem],
        error.status,
        str(error),
        actor=error.actor,
        headers=headers,
    )


def on_unauthorized(request: Request[Any, Any, Any], _: Unauthorized) -> Response[Problem]:
    challenge = {"www-authenticate": 'Bearer realm="joinder", error="invalid_token"'}
    return _plain(request, 401, "Send an access token from POST /oauth2/token as `Authorization: Bearer …`.", challenge)


def on_forbidden(request: Request[Any, Any, Any], error: Forbidden) -> Response[Problem]:
    challenge = {"www-authenticate": f'Bearer realm="joinder", error="insufficient_scope", scope="{error}"'}
    return _plain(request, 403, f"This needs the scope {error}.", challenge)


def on_too_many(request: Request[Any, Any, Any], error: TooManyRequests) -> Response[Problem]:
    wait = {"retry-after": str(error.retry_after_s), **error.limits}
    return _plain(request, 429, f"Try again in {error.retry_after_s} seconds.", wait)


def on_slow_body(request: Request[Any, Any, Any], _: BodyTooSlow) -> Response[Problem]:
    return _plain(request, 408, "Send the whole body at once.", _CLOSING)


def on_cut_body(request: Request[Any, Any, Any], _: BodyCut) -> Response[Problem]:
    return _plain(request, 400, "The body ended before it was whole, or its chunks are not well-formed.", _CLOSING)


def on_not_ready(request: Request[Any, Any, Any], error: NotReady) -> Response[Problem]:
    return _plain(request, 503, str(error), {"retry-after": "5"})


def on_store_trouble(request: Request[Any, Any, Any], error: StoreTrouble) -> Response[Problem]:
    """Ours, whoever was asked for what; the log has told it once."""
    if isinstance(error, StoreRefused):
        return on_bug(request, error)
    wait = {"retry-after": str(error.retry_after_s)}
    title = "This server's database cannot be used now"
    return problem(request, error.problem, title, 503, trouble_of(error) or title, actor="operator", headers=wait)


def on_not_text(request: Request[Any, Any, Any], _: NotText) -> Response[Problem]:
    return _plain(request, 400, "A text of the request contains a NUL character.")


def on_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[Problem]:
    """Answers Litestar's refusals (routing, parsing, size) in words of ours, as theirs may quote the query."""
    if isinstance(error, ValidationException):
        return problem(
            request,
            "validation-error",
            "The request does not match its schema",
            400,
            WRONG_MEMBERS,
            errors=_pointers(error),
        )
    if error.status_code not in _TITLES:
        return on_bug(request, error)
    details = {404: "No such path.", 405: "See /openapi.json for the methods.", 413: "Send at most 262144 bytes."}
    allow = {"allow": error.headers["allow"]} if error.headers and "allow" in error.headers else None
    return _plain(
        request, error.status_code, details.get(error.status_code, "The body is not well-formed JSON."), allow
    )


def on_bug(request: Request[Any, Any, Any], error: Exception) -> Response[Problem]:
    """Shows nothing of the exception; the log has its type and place."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.tb_lineno}" if frame else "?"
    log.error("%s at %s, %s %s at %d", type(error).__name__, place, request.method, request.url.path, int(time.time()))
    return _plain(request, 500, "The log says more; nothing of your request was stored half.")


def _plain(
    request: Request[Any, Any, Any], status: int, detail: str, headers: dict[str, str] | None = None
) -> Response[Problem]:
    name, title = _TITLES[status]
    return problem(request, name, title, status, detail, headers=headers)


def _pointers(error: ValidationException) -> dict[str, str]:
    """Turns Litestar's list of field errors into JSON Pointers; a parameter's is its name."""
    place = re.search(r"^(.*) - at `\$\.([^`]+)`", str(error.__cause__ or ""))
    if place:
        return {f"/{wire_name(place.group(2))}": place.group(1)}
    extra = error.extra if isinstance(error.extra, list) else []
    found = {str(entry.get("key", "")): str(entry.get("message", "")) for entry in extra if isinstance(entry, dict)}
    return {"" if key == "data" else pointer(wire_name(key)): text for key, text in found.items()}


HANDLERS: dict[int | type[Exception], Any] = {
    Refusal: on_refusal,
    VendorError: on_vendor_error,
    Unauthorized: on_unauthorized,
    Forbidden: on_forbidden,
    TooManyRequests: on_too_many,
    BodyTooSlow: on_slow_body,
    BodyCut: on_cut_body,
    NotReady: on_not_ready,
    StoreTrouble: on_store_trouble,
    NotText: on_not_text,
    HTTPException: on_http_error,
    Exception: on_bug,
}
