"""textual-serve for the one who started it: it answers only where it was started, and only with this start's token.

Any web page may send requests to this machine's loopback, and a name that anybody owns may lead there. Every request,
also for a file, must name the served origin in `Host` and, where it has one, in `Origin`; a WebSocket must have one,
as browsers let any page open it. The token is in the URL that is printed once, then in a cookie that no other site's
page sends. Cookies know no ports, so the port is in its name, and a token of another start is worth nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path

import click
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware
from textual_serve.server import Server

from joinder.observe import logs

PORT_OF_HTTP = 80  # which browsers leave out
LEAVES_S = 2.0  # for open terminals to end in
PAGE = Path(__file__).parent / "page"  # textual-serve's own asks for a font elsewhere, and takes no key before a click


def authority(host: str, port: int) -> str:
    """Returns host and port as browsers write them."""
    name = f"[{host}]" if ":" in host else host
    return name if port == PORT_OF_HTTP else f"{name}:{port}"


class OwnServer(Server):
    """Starts `command` for those who hold the token, for nobody else."""

    def __init__(self, command: str, *, host: str, port: int, title: str) -> None:
        self._authority = authority(host, port)
        self._origin = f"http://{self._authority}"
        self._token = secrets.token_urlsafe(32)
        self._cookie = f"joinder_terminal_{port}"
        super().__init__(command, host=host, port=port, title=title, public_url=self._origin, templates_path=PAGE)

    @property
    def url(self) -> str:
        return f"{self._origin}/?token={self._token}"

    def initialize_logging(self) -> None:
        """Logs as other commands do; textual-serve's own would write the locals of a traceback."""
        logs.configure("WARNING", "text")

    async def on_startup(self, app: web.Application) -> None:
        """Its banner is said by `_say`, once it listens."""

    def serve(self, debug: bool = False) -> None:
        """Serves until Ctrl-C. Raises OSError where nothing can listen. No access log: it would hold the token."""
        self.initialize_logging()
        web.run_app(
            self._make_app(),
            host=self.host,
            port=self.port,
            print=self._say,
            access_log=None,
            shutdown_timeout=LEAVES_S,
        )

    def _say(self, _: str) -> None:
        click.echo(
            f"The terminal is at\n\n  {self.url}\n\nWhoever has this address can do all you can. Ctrl-C ends it."
        )

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.router.add_static("/page", PAGE)
        app.middlewares.append(self._guarded())
        app.on_response_prepare.append(self._protect)
        return app

    def _guarded(self) -> Middleware:
        @web.middleware
        async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
            refusal = self._refusal(request)
            return web.Response(status=403, text=f"{refusal}\n") if refusal else await handler(request)

        return guarded

    def _refusal(self, request: web.Request) -> str | None:
        if request.headers.getall(hdrs.HOST, []) != [self._authority]:
            return "This is answered only at the address that was printed when it began."
        origins = request.headers.getall(hdrs.ORIGIN, [])
        if origins != [self._origin] and (origins or _is_websocket(request)):
            return "This is answered only to its own pages."
        if not self._has_token(request):
            return "This needs the address that was printed when it began, with its token."
        return None

    def _has_token(self, request: web.Request) -> bool:
        """Tells whether the token is right; what the URL says counts before the cookie."""
        given = request.query.getall("token", None) or [request.cookies.get(self._cookie, "")]
        return len(given) == 1 and secrets.compare_digest(_bytes(given[0]), _bytes(self._token))

    async def _protect(self, request: web.Request, response: web.StreamResponse) -> None:
        """Keeps the token in this browser: no address for other sites, no frame, no copy, no foreign script."""
        response.headers.update(
            {
                "Cache-Control": "no-store",
                "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
                "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
                f"connect-src 'self' ws://{self._authority}; "
                "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
            }
        )
        if response.status == 200 and request.path == "/":
            response.headers.add(hdrs.SET_COOKIE, f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict")


def _is_websocket(request: web.Request) -> bool:
    """Tells it also of one that says only a part of it; the path alone could start something."""
    return request.path.rstrip("/") == "/ws" or hdrs.UPGRADE in request.headers


def _bytes(text: str) -> bytes:
    return text.encode(errors="backslashreplace")
