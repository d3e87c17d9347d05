"""Where strangers whose budgets are spent are sent away: before they wait for others, and before anything is read."""

from __future__ import annotations

from typing import Any

from litestar import Request
from litestar.types import Scope

from joinder.api.addresses import address_of
from joinder.runtime.hub import Hub
from joinder.services.calls.strangers import Guest
from joinder.services.join import browser_sessions

PAGES = "/join/"
COSTS = "costs"  # of an owner's page: the tier of `Strangers` in which what it does is counted


def look(scope: Scope) -> None:
    """Lets in who may ask, and counts that; API clients, who have budgets of their own, uncounted. Raises SlowDown."""
    handler = scope["route_handler"]
    if not scope["path"].startswith(PAGES) or handler.resolve_guards():
        return
    hub: Hub = scope["litestar_app"].state.hub
    guest = guest_of(Request(scope), hub)
    hub.strangers.admit(guest, handler.opt.get(COSTS), scope["path_params"].get("flow_id"))


def guest_of(request: Request[Any, Any, Any], hub: Hub) -> Guest:
    """Says who asks, as far as it is known."""
    first = next(iter(browser_sessions.own_cookies(hub, request.cookies)), None)
    return Guest(address=address_of(request), browser=request.cookies[first] if first else None)
