"""What is refused of how something is asked, before anything is read or done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from litestar import Request, Response

from joinder import virtual
from joinder.api import queries
from joinder.api.formats import JSON, chosen
from joinder.api.members import faults, unfit
from joinder.api.problems import WRONG_MEMBERS, problem
from joinder.api.weights import listed
from joinder.runtime.hub import Hub
from joinder.services.records.accounts import Caller
from joinder.services.refusals import Invalid, pointer

API_VERSION = "v2024-09-01"
MEMBERS_MOST = 200
_JSON_TYPES = ("application/json", "application/merge-patch+json")
Incoming = Request[Any, Any, Any]


async def refuse_early(request: Incoming) -> Response[Any] | None:
    """Answers what cannot be understood: an unknown API version, query or media type, a body that is no JSON."""
    if request.headers.get("api-version") not in (None, API_VERSION):
        wants = f"The only API version is {API_VERSION}; or leave it out."
        return problem(request, "bad-request", "Unknown API version", 400, wants)
    if request.route_handler.resolve_guards():  # else an owner's page, or for machines
        queries.refuse(request, lambda: vendors_of(request.app.state.hub, request.scope["state"]["caller"]))
        offered = request.route_handler.opt.get("formats", (JSON,))
        accepted = listed(request.scope["headers"], b"accept")
        media_type = chosen("*/*" if accepted is None else accepted.decode("latin-1"), offered)
        if media_type is None:
            return _not_acceptable(request, offered)
        request.scope["state"]["media_type"] = media_type
        if request.method not in ("GET", "HEAD") and _is_conditional(request):
            title, wants = (
                "Changes take no condition",
                "Nothing was changed. Send no If-Match and no If-Unmodified-Since.",
            )
            return problem(request, "precondition-failed", title, 412, wants)
    return await _refuse_body(request)


def vendors_of(hub: Hub, caller: Caller) -> Collection[str]:
    """Returns the names a caller may ask for; a client of Derapi knows some that are not installed."""
    if caller.told.vendors is not None:
        return caller.told.vendors
    return [entry.name for entry in hub.registry.installed if (entry.name == virtual.NAME) == caller.is_virtual]


def _is_conditional(request: Incoming) -> bool:
    """Tells whether a change is wanted only of what was read before, which nothing here looks after."""
    return request.headers.get("if-match", "*") != "*" or "if-unmodified-since" in request.headers


def _not_acceptable(request: Incoming, offered: Sequence[str]) -> Response[Any]:
    title, wants = "No representation is acceptable", f"This answers {', '.join(offered)}; send no Accept, or */*."
    return problem(request, "not-acceptable", title, 406, wants)


async def _refuse_body(request: Incoming) -> Response[Any] | None:
    expects_json = request.method in ("POST", "PUT", "PATCH") and not request.url.path.startswith(
        ("/oauth2/", "/join/sessions/", "/join/connection/")
    )
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    if not expects_json:
        return None
    if not has_body:
        field = request.route_handler.parsed_fn_signature.parameters.get("data")
        if field is not None and field.is_required:
            raise Invalid("This needs a body.", errors={"": "is required: an object"})
        return None
    if media_type_of(request) not in _JSON_TYPES:
        title, wants = "The request body has the wrong media type", "Send application/json."
        return problem(request, "unsupported-media-type", title, 415, wants)
    if request.headers.get("content-encoding", "identity") != "identity":
        title, wants = "The request body has the wrong media type", "Send the body as it is, without Content-Encoding."
        return problem(request, "unsupported-media-type", title, 415, wants)
    try:
        decoded = msgspec.json.decode(sent := await request.body())
        errors = unfit(sent)
    except (ValueError, RecursionError):  # Litestar takes neither bad UTF-8 nor deep nesting for the sender's fault
        title, wants = "The request cannot be understood", "The body is not well-formed JSON."
        return problem(request, "bad-request", title, 400, wants)
    if decoded is None:
        wants = "A body is an object; leave out one that says nothing."
        raise Invalid(wants, errors={"": "must be an object"})
    place = _too_many(decoded)
    if place is not None:
        wants = f"Lists and objects have at most {MEMBERS_MOST} members."
        raise Invalid(wants, errors={place: "has too many members"})
    if errors:
        raise Invalid(WRONG_MEMBERS, errors=errors)
    _refuse_types(request, decoded)
    return None


def _refuse_types(request: Incoming, decoded: object) -> None:
    """Raises Invalid for a body that is of its type only after a conversion, which Litestar would make of it."""
    field = request.route_handler.parsed_fn_signature.parameters.get("data")
    if field is None:
        return
    if errors := faults(decoded, field.annotation):
        raise Invalid(WRONG_MEMBERS, errors=errors)


def _too_many(value: object, place: str = "") -> str | None:
    """Says where a list or an object of a body is longer than any may be; nested no deeper than JSON was decoded."""
    if not isinstance(value, list | dict):
        return None
    if len(value) > MEMBERS_MOST:
        return place
    members = value.items() if isinstance(value, dict) else enumerate(value)
    places = (_too_many(member, place + pointer(name)) for name, member in members)
    return next((found for found in places if found is not None), None)


def media_type_of(request: Incoming) -> str:
    """Returns what kind of body is sent, in lower case and without parameters."""
    return request.headers.get("content-type", "").split(";")[0].strip().lower()
