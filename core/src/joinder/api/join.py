"""The public way of an owner: from the operator's link to the vendor or our form, and back. Answers are pages."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from litestar import Controller, Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import FromPath

from joinder.api.door import COSTS, guest_of
from joinder.api.owner_answers import (
    FIELDS_MOST,
    Incoming,
    answered,
    asked_locale,
    look_of,
    on_bug,
    on_store_trouble,
    on_vendor_error,
)
from joinder.api.pages import colours, render
from joinder.errors import VendorError
from joinder.runtime.hub import Hub
from joinder.services.join import browser_sessions, form_answers, intros, join_sessions, landings
from joinder.services.join.hosted_forms import Form
from joinder.services.join.intros import Choice, Intro
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_sessions import Started
from joinder.services.join.labels import Labels
from joinder.services.join.redirects import with_result
from joinder.services.records import brands
from joinder.trouble import StoreTrouble

ASKED_AGAIN = "go"  # in the query of who has read what is asked


class JoinController(Controller):
    path = "/join"
    tags = ["Join"]  # noqa: RUF012 - Litestar's own convention
    exception_handlers = {  # noqa: RUF012 - Litestar's own convention
        VendorError: on_vendor_error,
        StoreTrouble: on_store_trouble,
        Exception: on_bug,
    }

    @get(
        "/flows/{flow_id:str}/authorize",
        operation_id="startJoin",
        opt={COSTS: "starts"},
        media_type="text/html",
        summary="Send an owner to the vendor",
    )
    async def authorize(self, request: Incoming, hub: NamedDependency[Hub], flow_id: FromPath[str]) -> Response[str]:
        """Public. Query: `vendor` (left out: a chooser when there are several), `state`, `reference`, `ui_locales`."""
        return await answered(request, hub, _authorize(request, hub, flow_id))

    @get(
        "/reconnect",
        operation_id="startReconnect",
        opt={COSTS: "starts"},
        media_type="text/html",
        summary="Send an owner to consent again",
    )
    async def reconnect(self, request: Incoming, hub: NamedDependency[Hub]) -> Response[str]:
        """Public. Query: `link`, as POST /enrollments/{id}/reconnect made it."""
        return await answered(request, hub, _reconnect(request, hub))

    @get(
        "/{vendor:str}/auth-granted",
        operation_id="finishConsent",
        opt={COSTS: "attempts"},
        media_type="text/html",
        summary="The vendor sends the owner back",
    )
    async def granted(self, request: Incoming, hub: NamedDependency[Hub], vendor: FromPath[str]) -> Response[str]:
        """Public. On to the flow's redirectURI with `state` and `enrollmentID`, or `error`, `error_description` and
        `error_code` (docs/errors.md): by the session's landing page, unless the flow leaves it out."""
        return await answered(request, hub, _granted(request, hub, vendor))

    @get(
        "/sessions/{token:str}",
        operation_id="showJoinForm",
        media_type="text/html",
        summary="The hosted form, and how it went",
    )
    async def form(self, request: Incoming, hub: NamedDependency[Hub], token: FromPath[str]) -> Response[str]:
        return await answered(request, hub, _session(request, hub, token))

    @post(
        "/sessions/{token:str}",
        operation_id="submitJoinForm",
        opt={COSTS: "attempts"},
        media_type="text/html",
        status_code=303,
        summary="The owner sends the form",
    )
    async def submit(self, request: Incoming, hub: NamedDependency[Hub], token: FromPath[str]) -> Response[str]:
        return await answered(request, hub, _submit(request, hub, token))

    @get("/style.css", media_type="text/css", include_in_schema=False)
    async def style(self) -> Response[bytes]:
        return Response(render.stylesheet(), headers={"cache-control": "max-age=3600"})

    @get("/icon.svg", media_type="image/svg+xml", include_in_schema=False)
    async def icon(self) -> Response[bytes]:
        return Response(render.icon(), headers={"cache-control": "max-age=3600"})

    @get("/brands/{account_id:str}/style.css", media_type="text/css", include_in_schema=False)
    async def brand_style(self, hub: NamedDependency[Hub], account_id: FromPath[str]) -> Response[str]:
        brand = await brands.of_account(hub, account_id)
        text = colours.stylesheet(brand.colour) if brand and brand.colour else ""
        return Response(text, headers={"cache-control": "max-age=3600"})

    @get("/brands/{account_id:str}/logo", include_in_schema=False)
    async def brand_logo(self, hub: NamedDependency[Hub], account_id: FromPath[str]) -> Response[bytes]:
        logo = await brands.logo_of(hub, account_id)
        if logo is None:
            return Response(b"", status_code=404, media_type="text/plain")
        return Response(logo.content, media_type=logo.media_type, headers={"cache-control": "max-age=3600"})


async def _authorize(request: Incoming, hub: Hub, flow_id: str) -> Response[str]:
    query, locale = single(request), asked_locale(request)
    vendor, labels = query.get("vendor"), Labels(reference=query.get("reference") or None, state=query.get("state"))
    first = None if ASKED_AGAIN in query else await intros.introduce(hub, flow_id, vendor, labels)
    if first is not None:
        return await _introduced(request, hub, flow_id, labels, first)
    begun = await join_sessions.start(hub, flow_id, vendor, labels, guest_of(request, hub), locale=locale)
    return await _introduced(request, hub, flow_id, labels, begun)


async def _introduced(
    request: Incoming, hub: Hub, flow_id: str, labels: Labels, shown: Started | Choice | Intro
) -> Response[str]:
    if isinstance(shown, Started):
        return _sent_on(request, hub, shown)
    look = await look_of(request, hub, shown.account_id)
    if isinstance(shown, Choice):
        return render.choose(look, shown)
    path = browser_sessions.authorize_path(flow_id, shown.vendor.name, labels, look.locale)
    return render.intro(look, shown, with_result(path, **{ASKED_AGAIN: "1"}))


async def _reconnect(request: Incoming, hub: Hub) -> Response[str]:
    query, locale = single(request), asked_locale(request)
    link = query.get("link", "")
    shown = None if ASKED_AGAIN in query else await intros.introduce_again(hub, link)
    if shown is None:
        started = await join_sessions.start_reconnect(hub, link, guest_of(request, hub), locale=locale)
        return _sent_on(request, hub, started)
    go_url = with_result("/join/reconnect", link=link, ui_locales=locale, **{ASKED_AGAIN: "1"})
    return render.intro(await look_of(request, hub, shown.account_id), shown, go_url)


async def _granted(request: Incoming, hub: Hub, vendor: str) -> Response[str]:
    query = single(request)
    ended = await join_sessions.finish_redirect(hub, vendor, query, request.cookies, guest_of(request, hub))
    return await _ended(hub, join_sessions.state_in(hub, vendor, query), ended)


async def _session(request: Incoming, hub: Hub, token: str) -> Response[str]:
    shown = await form_answers.show(hub, token, request.cookies)
    look = await look_of(request, hub, shown.account_id, shown.locale)
    return render.form(look, shown) if isinstance(shown, Form) else render.landing(look, shown)


async def _submit(request: Incoming, hub: Hub, token: str) -> Response[str]:
    refuse_foreign(request, hub)
    values = pairs((await request.body()).decode(errors="replace"))
    if values.get("action") == "cancel":
        return await _ended(hub, token, await form_answers.cancel_form(hub, token, request.cookies))
    form_token = values.pop("form_token", "")
    guest = guest_of(request, hub)
    ended = await form_answers.submit_form(hub, token, request.cookies, values, form_token, guest)
    return await _ended(hub, token, ended)


async def _ended(hub: Hub, token: str, target: str) -> Response[str]:
    """Sends the owner to the integrator, by the session's landing page where the flow has one."""
    return render.see_other(f"/join/sessions/{token}" if await landings.is_to_land(hub, token) else target)


def _sent_on(request: Incoming, hub: Hub, started: Started) -> Response[str]:
    surplus = browser_sessions.surplus_cookies(hub, request.cookies)
    kept = _cookie(hub, started.cookie_name, started.cookie, browser_sessions.LIFE_S)
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


def single(request: Incoming) -> Mapping[str, str]:
    """Returns the query, each parameter once. Raises JoinRefused."""
    return pairs(request.scope["query_string"].decode("latin-1"))


def pairs(text: str) -> dict[str, str]:
    """Reads a form or a query. Raises JoinRefused where a name stands twice, or there are too many."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MOST)
    except ValueError:
        raise JoinRefused("link_invalid") from None
    if len(dict(pairs)) != len(pairs):
        raise JoinRefused("link_invalid")
    return dict(pairs)


def refuse_foreign(request: Incoming, hub: Hub) -> None:
    """Raises JoinRefused for a form from another site: it is not ours, whatever it carries."""
    origin, fetched_from = request.headers.get("origin"), request.headers.get("sec-fetch-site", "same-origin")
    here = urlsplit(hub.settings.public_url)
    foreign = origin not in (None, "null") and urlsplit(str(origin)).netloc != here.netloc
    if foreign or fetched_from not in ("same-origin", "none"):
        raise JoinRefused("link_invalid", status=403)
