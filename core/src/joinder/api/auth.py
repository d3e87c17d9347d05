"""Who calls: bearer tokens on every API route, and the OAuth 2.0 endpoints that give them out."""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

from litestar import Controller, Request, Response, get, post
from litestar.connection import ASGIConnection
from litestar.di import NamedDependency
from litestar.handlers.base import BaseRouteHandler

from joinder.api.addresses import address_of
from joinder.api.asking import media_type_of
from joinder.api.client_budgets import Budget, rate_limit, spend_request
from joinder.api.deps import bearer_of, tokens_of
from joinder.api.problems import Forbidden, TooManyRequests, Unauthorized
from joinder.ids import is_id
from joinder.observe.log_context import bind
from joinder.runtime.hub import Hub
from joinder.services.calls.buckets import MINUTE_S, Buckets
from joinder.services.readings import sites
from joinder.services.records import told
from joinder.services.records.access_tokens import InvalidClient, InvalidScope, InvalidToken
from joinder.services.records.accounts import REVEAL, SCOPES, Caller
from joinder.services.refusals import NotForBrowsers, NotFound
from joinder.store.tables import ApiClient

BROWSERS_ROOTS = ("sites", "solar-inverters", "batteries", "meters", "chargers")
FAILURES_PER_MINUTE, FAILURES_OF_ADDRESS = 20, 200
FORM_MOST_BYTES, FIELDS_MOST = 16 * 1024, 20
ASKED_PER_MINUTE = 120  # by one client, of all that these endpoints do; a token lives for an hour


async def require_caller(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
    """Guards a route before the request's body is looked at. The route's `scope` option is what the token needs."""
    token = bearer_of(connection.scope)
    if token is None:
        raise Unauthorized
    try:
        caller, connection.scope["state"]["stamp"] = await tokens_of(connection.app).verify(token)
    except InvalidToken:
        raise Unauthorized from None
    connection.scope["state"]["caller"] = caller
    spend_request(connection.scope, caller)
    needed = handler.opt.get("scope")
    if needed is not None and needed not in caller.scopes:
        tokens_of(connection.app).audit.refused(caller.account_id, caller.client_id, needed)
        raise Forbidden(needed)
    if caller.enrollment_id is not None:
        await _refuse_beyond(connection, caller, caller.enrollment_id)
    if caller.is_compatible:
        await _refuse_unknown(connection, caller)
    bind(account_id=caller.account_id)


async def _refuse_unknown(connection: ASGIConnection[Any, Any, Any, Any], caller: Caller) -> None:
    """Raises NotFound for what is of a vendor, or a type of credentials, that the caller is not told of."""
    for name, row_id in connection.path_params.items():
        if not await told.may_see(connection.app.state.hub, caller.account_id, caller.told, name, row_id):
            raise NotFound


async def _refuse_beyond(connection: ASGIConnection[Any, Any, Any, Any], caller: Caller, enrollment_id: str) -> None:
    """Lets a browser key read sites and devices of its enrollment.

    Raises NotForBrowsers, or NotFound for ids of others.
    """
    root = connection.url.path.split("/")[1]
    if connection.scope.get("method") != "GET" or root not in BROWSERS_ROOTS:
        raise NotForBrowsers(
            "A browser key reads /sites, /solar-inverters, /batteries, /meters and /chargers, and nothing else."
        )
    ids = {name: connection.path_params.get(name) for name in ("site_id", "device_id")}
    if any(ids.values()) and not await sites.may_read(
        connection.app.state.hub, caller.account_id, enrollment_id, **ids
    ):
        raise NotFound


def provide_caller(request: Request[Any, Any, Any], hub: NamedDependency[Hub]) -> Caller:
    caller: Caller = request.scope["state"]["caller"]
    return caller


class FailedLogins:
    """Failed log-ins a minute, of a client id from an address and of an address. A right secret is never held up."""

    def __init__(self) -> None:
        self._of_client, self._of_address = Buckets(FAILURES_PER_MINUTE), Buckets(FAILURES_OF_ADDRESS)
        self._asked = Budget("client", ASKED_PER_MINUTE)

    def spend(self, client_id: str) -> dict[str, str]:
        """Spends of a client's own budget, once it has proved to be that client. Returns the fields that tell of it.

        Raises TooManyRequests.
        """
        return self._asked.spend(client_id)

    def note(self, client_id: str, address: str) -> None:
        """Counts a log-in that failed; what is no client id, of any length, counts as one. Raises TooManyRequests."""
        client = f"{client_id if is_id(client_id, 'clnt') else ''} {address}"
        wait_s = max(self._of_client.wait_s(client), self._of_address.wait_s(address))
        if wait_s > 0:
            limits = rate_limit("failed-logins", FAILURES_PER_MINUTE, 0, MINUTE_S)
            raise TooManyRequests(math.ceil(wait_s), limits)
        self._of_client.take(client)
        self._of_address.take(address)


class OAuth2Controller(Controller):
    """Client credentials (RFC 6749 §4.4), metadata (RFC 8414), keys (RFC 7517), revocation and introspection."""

    tags = ["OAuth 2.0"]  # noqa: RUF012 - Litestar's own convention

    @post("/oauth2/token", operation_id="createAccessToken", status_code=200, summary="Get an access token")
    async def token(self, request: Request[Any, Any, Any]) -> Response[dict[str, Any]]:
        """Takes the form `grant_type=client_credentials[&scope=…]`, the client by HTTP Basic or in the form."""
        form = _form(request, await request.body())
        if form is None:
            return _oauth_error("invalid_request", "Send application/x-www-form-urlencoded, each parameter once.")
        presented = _client(request, form)
        if presented is None:
            return _oauth_error("invalid_client", "Authenticate by HTTP Basic, or by client_id and client_secret.")
        if form.get("grant_type") != "client_credentials":
            code = "unsupported_grant_type" if "grant_type" in form else "invalid_request"
            return _oauth_error(code, "grant_type must be client_credentials.")
        try:
            client = await tokens_of(request.app).authenticated(*presented)
            limits = _failures(request).spend(client.id)
            token = await tokens_of(request.app).issue_to(client, form.get("scope"))
        except InvalidClient:
            return _not_known(request, presented[0])
        except InvalidScope:
            return _oauth_error("invalid_scope", "The client does not have every scope it asks for.")
        return _no_store(
            {
                "access_token": token.access_token,
                "expires_in": token.expires_in,
                "token_type": token.token_type,
                "expires_at": token.expires_at,
                "scope": token.scope,
            },
            limits,
        )

    @post("/oauth2/revoke", operation_id="revokeAccessToken", status_code=200, summary="End an access token")
    async def revoke(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Form `token`, the client as at `/oauth2/token` (RFC 7009). 200 also for what is no token, or has ended."""
        asked = await _asked(request)
        if isinstance(asked, Response):
            return asked
        try:
            await tokens_of(request.app).revoke(asked.client, asked.token)
        except InvalidClient:
            return _oauth_error("unauthorized_client", "The token was issued to another client.")
        return _no_store({}, asked.limits)

    @post("/oauth2/introspect", operation_id="introspectAccessToken", status_code=200, summary="Ask about a token")
    async def introspect(self, request: Request[Any, Any, Any]) -> Response[Any]:
        """Form `token`, the client as at `/oauth2/token` (RFC 7662). Tokens of other accounts are never active."""
        asked = await _asked(request)
        if isinstance(asked, Response):
            return asked
        return _no_store(await tokens_of(request.app).introspect(asked.client, asked.token), asked.limits)

    @get("/.well-known/jwks.json", operation_id="getJwks", summary="Keys that verify access tokens")
    async def jwks(self, request: Request[Any, Any, Any]) -> dict[str, Any]:
        return {**await tokens_of(request.app).jwks()}

    @get(
        "/.well-known/oauth-authorization-server",
        operation_id="getAuthorizationServer",
        summary="Authorization server metadata",
    )
    async def metadata(self, request: Request[Any, Any, Any]) -> dict[str, Any]:
        issuer = request.app.state.hub.settings.public_url
        return {
            "issuer": issuer,
            "token_endpoint": f"{issuer}/oauth2/token",
            "revocation_endpoint": f"{issuer}/oauth2/revoke",
            "introspection_endpoint": f"{issuer}/oauth2/introspect",
            "jwks_uri": f"{issuer}/.well-known/jwks.json",
            "grant_types_supported": ["client_credentials"],
            **{
                f"{endpoint}_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"]
                for endpoint in ("token", "revocation", "introspection")
            },
            "scopes_supported": [*SCOPES, REVEAL],
            "response_types_supported": [],
        }


@dataclass(frozen=True)
class _Asked:
    """A request about a token, by a client that proved to be it."""

    client: ApiClient
    token: str
    limits: dict[str, str]


async def _asked(request: Request[Any, Any, Any]) -> _Asked | Response[dict[str, Any]]:
    """Returns who asks about which token, or the refusal."""
    form = _form(request, await request.body())
    presented = _client(request, form) if form is not None else None
    if form is None or not form.get("token"):
        return _oauth_error("invalid_request", "Send application/x-www-form-urlencoded with `token`, each once.")
    if presented is None:
        return _oauth_error("invalid_client", "Authenticate by HTTP Basic, or by client_id and client_secret.")
    try:
        client = await tokens_of(request.app).authenticated(*presented)
    except InvalidClient:
        return _not_known(request, presented[0])
    return _Asked(client, form["token"], _failures(request).spend(client.id))


def _not_known(request: Request[Any, Any, Any], client_id: str) -> Response[dict[str, Any]]:
    _failures(request).note(client_id, address_of(request) or "")
    return _oauth_error("invalid_client", "Unknown client or wrong secret.")


def _failures(request: Request[Any, Any, Any]) -> FailedLogins:
    failures: FailedLogins = request.app.state.failures
    return failures


def _form(request: Request[Any, Any, Any], body: bytes) -> dict[str, str] | None:
    """Returns the fields; None for what is no form, or far from any that is meant: strangers may send it."""
    is_form = media_type_of(request) == "application/x-www-form-urlencoded"
    if not is_form or len(body) > FORM_MOST_BYTES:
        return None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MOST)
    except ValueError:  # too many, or not UTF-8
        return None
    return dict(pairs) if len(dict(pairs)) == len(pairs) else None


def _client(request: Request[Any, Any, Any], form: dict[str, str]) -> tuple[str, str] | None:
    """Reads id and secret. Refuses both ways at once (RFC 6749 §2.3), and a form that names another client."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        posted = form.get("client_id"), form.get("client_secret")
        return (posted[0], posted[1]) if posted[0] and posted[1] else None
    try:
        user, found, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:  # not base64, not UTF-8, not ASCII
        return None
    user, password = unquote_plus(user), unquote_plus(password)
    if not found or "client_secret" in form or form.get("client_id", user) != user:
        return None
    return user, password


def _oauth_error(code: str, description: str) -> Response[dict[str, Any]]:
    """Answers as RFC 6749 §5.2. Every 401 carries a challenge (RFC 9110 §15.5.2)."""
    response = _no_store({"error": code, "error_description": description})
    response.status_code = 401 if code == "invalid_client" else 400
    if code == "invalid_client":
        response.headers["www-authenticate"] = 'Basic realm="joinder"'
    return response


def _no_store(body: dict[str, Any], limits: dict[str, str] | None = None) -> Response[dict[str, Any]]:
    return Response(body, headers={"cache-control": "no-store", "pragma": "no-cache", **(limits or {})})
