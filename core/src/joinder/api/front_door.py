"""What a browser sees that opens an address of the API: a page, or the page that was meant, in place of JSON."""

from __future__ import annotations

import re
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import HTTPException

from joinder.api import problems
from joinder.api.owner_answers import on_slow_down
from joinder.api.pages import catalogue, render
from joinder.api.pages.render import Look
from joinder.services.calls.strangers import SlowDown

_FLOW = re.compile(r"/join/flows/([a-z]{4}-[a-z2-7]{16})/?")
_PAGES = ("/join", "/join/")
Incoming = Request[Any, Any, Any]


@get("/", include_in_schema=False, sync_to_thread=False)
def home(request: Incoming) -> Response[Any]:
    """Says to a browser what this server is; to a program that nothing is here."""
    return _home(request, 200) if _is_browser(request) else problems.on_http_error(request, _nothing())


def on_unauthorized(request: Incoming, error: problems.Unauthorized) -> Response[Any]:
    """Takes who opens a flow's address in a browser for an owner whose link lost its end."""
    found = _FLOW.fullmatch(request.scope["path"])
    if found and request.method == "GET" and _is_browser(request) and "authorization" not in request.headers:
        query = request.scope["query_string"].decode("latin-1")
        return render.see_other(f"/join/flows/{found[1]}/authorize" + (f"?{query}" if query else ""))
    return problems.on_unauthorized(request, error)


def on_http_error(request: Incoming, error: HTTPException) -> Response[Any]:
    """Answers a browser that looks for a page where none is."""
    is_ours = request.scope["path"].startswith(_PAGES[1]) or request.scope["path"] in _PAGES
    if error.status_code == 404 and is_ours and _is_browser(request):
        return _home(request, 404)
    return problems.on_http_error(request, error)


HANDLERS = {
    **problems.HANDLERS,
    problems.Unauthorized: on_unauthorized,
    HTTPException: on_http_error,
    SlowDown: on_slow_down,
}


def _home(request: Incoming, status: int) -> Response[str]:
    language = catalogue.choose(None, request.headers.get("accept-language"))
    return render.home(Look(language=language), status)


def _is_browser(request: Incoming) -> bool:
    return "text/html" in request.headers.get("accept", "")


def _nothing() -> HTTPException:
    return HTTPException(status_code=404, detail="Not Found")
