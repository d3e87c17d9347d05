"""What owners get to see of anything that goes wrong: a page that names who asked, in their language."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request, Response
from markupsafe import Markup

from joinder.api.pages import catalogue, render
from joinder.api.pages.render import Look
from joinder.errors import ConsentInvalid, TransientError, VendorError
from joinder.runtime.hub import Hub
from joinder.services.calls.strangers import SlowDown
from joinder.services.join import join_ends, landings, signed_links
from joinder.services.join.hosted_forms import FormRefused
from joinder.services.join.join_ends import JoinRefused
from joinder.services.join.join_sessions import RETRY_AFTER_S
from joinder.services.records import brands
from joinder.trouble import StoreRefused, StoreTrouble

FIELDS_MOST = 50  # of a query, or of a form
log = logging.getLogger("joinder.join")
Incoming = Request[Any, Any, Any]


async def answered(request: Incoming, hub: Hub, work: Awaitable[Response[Any]]) -> Response[Any]:
    """Awaits what an owner asked for; every refusal becomes its page."""
    try:
        await signed_links.know_keys(hub)
        return await work
    except JoinRefused as error:
        vendor = landings.vendor_of(hub, error.vendor) if error.vendor else None
        look = await look_of(request, hub, error.account_id, error.locale)
        return render.refusal(look, error, vendor.label if vendor else None)
    except FormRefused as error:
        return await _form_again(request, hub, error)


async def look_of(request: Incoming, hub: Hub, account_id: str | None = None, locale: str | None = None) -> Look:
    """Returns how a page looks: in the language of the link, of the session or of the browser, for this account."""
    asked = asked_locale(request) or locale
    language = catalogue.choose(asked, request.headers.get("accept-language"))
    brand = await brands.of_account(hub, account_id) if account_id else None
    return Look(language=language, brand=brand, locale=asked)


def asked_locale(request: Incoming) -> str | None:
    """Returns the language that `ui_locales` asks for, where we have it."""
    try:
        given = dict(parse_qsl(request.scope["query_string"].decode("latin-1"), max_num_fields=FIELDS_MOST))
    except ValueError:  # it is refused, in the browser's language
        return None
    return catalogue.known_locale(given.get("ui_locales"))


def on_vendor_error(request: Incoming, error: VendorError) -> Response[str]:
    log.warning("join: %s: %s", type(error).__name__, error)
    if isinstance(error, TransientError):
        return _plain(request, "vendor_unavailable", 503, RETRY_AFTER_S)
    return _plain(request, "operator_action", 502)


def on_store_trouble(request: Incoming, error: StoreTrouble) -> Response[str]:
    if isinstance(error, StoreRefused):
        return on_bug(request, error)
    return _plain(request, "store_unavailable", 503, error.retry_after_s)


def on_slow_down(request: Incoming, error: SlowDown) -> Response[str]:
    """Answers a stranger whose budgets are spent; nothing is read for it."""
    hub: Hub = request.app.state.hub
    join_ends.count_refusal(hub, None, "slow_down")
    return _plain(request, "slow_down", 429, error.retry_after_s)


def on_bug(request: Incoming, error: Exception) -> Response[str]:
    log.error("%s on %s", type(error).__name__, request.route_handler.paths)
    return _plain(request, "internal_error", 500)


def _plain(request: Incoming, code: str, status: int, retry_after_s: int | None = None) -> Response[str]:
    """Returns a page of which only the browser's language is known."""
    language = catalogue.choose(asked_locale(request), request.headers.get("accept-language"))
    wait = {"retry-after": str(retry_after_s)} if retry_after_s is not None else {}
    return render.ending(Look(language=language), code, status=status, headers=wait)


async def _form_again(request: Incoming, hub: Hub, error: FormRefused) -> Response[str]:
    """Shows it again: 422 for what the owner can correct; 503, and never "wrong key", when the vendor is away."""
    form = error.form
    look = await look_of(request, hub, form.account_id, form.locale)
    if isinstance(error.error, TransientError):
        said: Mapping[str, Markup | str] = {"": look.label("form_away", vendor=form.vendor.label)}
        return render.form(look, form, status=503, values=error.values, errors=said, retry_after_s=RETRY_AFTER_S)
    if isinstance(error.error, ConsentInvalid):
        texts = error.error.fields or {"": str(error.error)}
        said = render.entry_errors(look, form, error.faulty) or {
            name: look.vendors(text, form.vendor) for name, text in texts.items()
        }
        return render.form(look, form, status=422, values=error.values, errors=said)
    log.warning("join form: %s: %s", type(error.error).__name__, error.error)
    status = 422 if error.error.actor == "owner" else error.error.status
    said = {"": look.vendors(str(error.error), form.vendor)}
    return render.form(look, form, status=status, values=error.values, errors=said)
