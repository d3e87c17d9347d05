"""The public way of an owner: from the operator's link to the vendor or our form, and back. Answers are pages."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from litestar import Controller, Request, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath

from joinder.api.addresses import address_of
from joinder.api.pages import render
from joinder.errors import ConsentInvalid, TransientError, VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.strangers import Guest
from joinder.services.join import join_sessions
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_sessions import Choice, FormRefused, Started
from joinder.services.join.labels import Labels
from joinder.trouble import StoreRefused, StoreTrouble

RETRY_AFTER_S = 60
log = logging.getLogger("joinder.join")
Incoming = Request[Any, Any, Any]


def on_refused(_: Incoming, error: JoinRefused) -> Response[str]:
    return render.message(
        error.code, status=error.status, restart_url=error.restart_url, retry_after_s=error.retry_after_s
    )


def on_vendor_error(_: Incoming, error: VendorError) -> Response[str]:
    log.warning("join: %s: %s", type(error).__name__, error)
    if isinstance(error, TransientError):
        return render.message("vendor_unavailable", status=503, retry_after_s=RETRY_AFTER_S)
    return render.message("operator_action", status=502)


def on_form_refused(_: Incoming, error: FormRefused) -> Response[str]:
    """What the owner can correct: 422. The vendor is away: 503, and never "wrong key". Others: 5xx."""
    if isinstance(error.error, ConsentInvalid):
        errors = error.error.fields or {"": str(error.error)}
        return render.form(error.form, status=422, values=error.values, errors=errors)
    if isinstance(error.error, TransientError):
        errors = {"": f"We could not reach {error.form.vendor.label}. Nothing was saved. Try again in a minute."}
        return render.form(error.form, status=503, values=error.values, errors=errors, retry_after_s=RETRY_AFTER_S)
    log.warning("join form: %s: %s", type(error.error).__name__, error.error)
    status = 422 if error.error.actor == "owner" else error.error.status
    return render.form(error.form, status=status, values=error.values, errors={"": str(error.error)})


def on_store_trouble(request: Incoming, error: StoreTrouble) -> Response[str]:
    if isinstance(error, StoreRefused):
        return on_bug(request, error)
    return render.message("store_unavailable", status=503, retry_after_s=error.retry_after_s)


def on_bug(request: Incoming, error: Exception) -> Response[str]:
    log.error("%s on %s", type(error).__name__, request.route_handler.paths)
    return render.message("internal_error", status=500)


class JoinController(Controller):
    path = "/join"
    tags = ["Join"]  # noqa: RUF012 - Litestar's own convention
    exception_handlers = {  # noqa: RUF012 - Litestar's own convention
        JoinRefused: on_refused,
        FormRefused: on_form_refused,
        VendorError: on_vendor_error,
        StoreTrouble: on_store_trouble,
        Exception: on_bug,
    }

    @get(
        "/flows/{flow_id:str}/authorize",
        operation_id="startJoin",
        media_type="text/html",
        summary="Send an owner to the vendor",
    )
    async def authorize(self, request: Incoming, hub: NamedDependency[Hub], flow_id: FromPath[str]) -> Response[str]:
        """Public. Query: `vendor` (left out: a chooser when there are several), `state`, and `reference`."""
        query = _single(request)
        labels = Labels(reference=query.get("reference") or None, state=query.get("state"))
        started = await join_sessions.start(hub, flow_id, query.get("vendor"), labels, _guest(request, hub))
        if isinstance(started, Choice):
            return render.choose(started)
        return _sent_on(request, hub, started)

    @get("/reconnect", operation_id="startReconnect", media_type="text/html", summary="Send an owner to consent again")
    async def reconnect(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        """Public. Query: `link`, as POST /enrollments/{id}/reconnect made it."""
        link = _single(request).get("link", "")
        return _sent_on(request, hub, await join_sessions.start_reconnect(hub, link, _guest(request, hub)))

    @get(
        "/{vendor:str}/auth-granted",
        operation_id="finishConsent",
        media_type="text/html",
        summary="The vendor sends the owner back",
    )
    async def granted(self, request: Incoming, hub: NamedDependency[Hub], vendor: FromPath[str]) -> Response[str]:
        """Public. On to the flow's redirectURI with `state` and `enrollmentID`, or `error`, `error_description` and
        `error_code` (docs/errors.md)."""
        guest, query = _guest(request, hub), _single(request)
        return render.see_other(await join_sessions.finish_redirect(hub, vendor, query, request.cookies, guest))

    @get("/sessions/{token:str}", operation_id="showJoinForm", media_type="text/html", summary="The hosted form")
    async def form(self, request: Incoming, hub: NamedDependency[Hub], token: FromPath[str]) -> Response[str]:
        return render.form(await join_sessions.show_form(hub, token, request.cookies))

    @post(
        "/sessions/{token:str}",
        operation_id="submitJoinForm",
        media_type="text/html",
        status_code=303,
        summary="The owner sends the form",
    )
    async def submit(self, request: Incoming, hub: NamedDependency[Hub], token: FromPath[str]) -> Response[str]:
        _refuse_foreign(request, hub)
        values = _pairs((await request.body()).decode(errors="replace"))
        if values.get("action") == "cancel":
            return render.see_other(await join_sessions.cancel_form(hub, token, request.cookies))
        form_token = values.pop("form_token", "")
        guest = _guest(request, hub)
        return render.see_other(await join_sessions.submit_form(hub, token, request.cookies, values, form_token, guest))

    @get("/style.css", media_type="text/css", include_in_schema=False)
    async def style(self) -> Response[bytes]:
        return Response(render.stylesheet(), headers={"cache-control": "max-age=3600"})


def _sent_on(request: Incoming, hub: Hub, started: Started) -> Response[str]:
    surplus = join_sessions.surplus_cookies(hub, request.cookies)
    kept = _cookie(hub, started.cookie_name, started.cookie, join_sessions.LIFE_S)
    return render.see_other(started.url, [kept, *(_cookie(hub, name, "", 0) for name in surplus)])


def _cookie(hub: Hub, name: str, value: str, life_s: int) -> Cookie:
    return Cookie(
        key=name,
        value=value,
        path="/",
        max_age=life_s,
        secure=hub.settings.is_https,
        httponly=True,
        samesite="lax",  # strict cookies do not come back from a vendor's redirect
    )


def _guest(request: Incoming, hub: Hub) -> Guest:
    first = next(iter(join_sessions.own_cookies(hub, request.cookies)), None)
    return Guest(address=address_of(request), browser=request.cookies[first] if first else None)


def _single(request: Incoming) -> Mapping[str, str]:
    """The query, each parameter once."""
    return _pairs(request.scope["query_string"].decode("latin-1"))


def _pairs(text: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=50)
    except ValueError:
        raise JoinRefused("link_invalid") from None
    if len(dict(pairs)) != len(pairs):
        raise JoinRefused("link_invalid")
    return dict(pairs)


def _refuse_foreign(request: Incoming, hub: Hub) -> None:
    """A form from another site is not ours, whatever it carries."""
    origin, fetched_from = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    here = urlsplit(hub.settings.public_url)
    foreign = origin not in (None, "null") and urlsplit(str(origin)).netloc != here.netloc
    if foreign or fetched_from not in ("same-origin", "none"):
        raise JoinRefused("link_invalid", status=403)
